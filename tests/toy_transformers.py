"""Stable Diffusion 3 and Flux pipelines of real diffusers and transformers classes at toy size, with random weights."""

from __future__ import annotations

import string

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.toy import TEXT_WIDTH, build_toy_text_encoder, build_toy_tokenizer, clip_config

LATENT_CHANNELS = 16
HEAD_WIDTH, N_HEADS = 16, 2
WIDTH = HEAD_WIDTH * N_HEADS  # of a transformer's stream


def build_toy_t5_tokenizer() -> T5Tokenizer:
    """Build a T5 tokenizer of one token per printable ASCII character; other characters are unknown tokens."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(piece, -1.0) for piece in ("▁", *string.digits, *string.ascii_letters, *string.punctuation)]
    return T5Tokenizer(vocab=[*special, *pieces], extra_ids=0, model_max_length=512)


def build_toy_t5(tokenizer: T5Tokenizer, width: int) -> T5EncoderModel:
    """Build a T5 encoder of two gated layers, as T5 v1.1 has them."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=16,
        d_ff=2 * width,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return T5EncoderModel(config)


def build_toy_flow_vae(latent_size: int, *, scaling_factor: float, shift_factor: float) -> AutoencoderKL:
    """Build an autoencoder with 16 latent channels and a shift; images are four times as large as the latents."""
    return AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=4 * latent_size,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def build_toy_sd3_transformer(latent_size: int) -> SD3Transformer2DModel:
    """Build three joint blocks; the last has no feed-forward layer for text, as in the real model."""
    return SD3Transformer2DModel(
        sample_size=latent_size,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=3,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=N_HEADS,
        caption_projection_dim=WIDTH,
        joint_attention_dim=2 * TEXT_WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=latent_size,
    )


def build_toy_sd3_pipe(*, with_t5: bool = False, latent_size: int = 8, seed: int = 0) -> StableDiffusion3Pipeline:
    """Build a Stable Diffusion 3 pipeline on the CPU in float32, for images of 32 pixels.

    Without T5 the pipeline passes 256 rows of zeros in its place, or `max_sequence_length` of them.
    """
    tokenizer = build_toy_tokenizer()
    t5_tokenizer = build_toy_t5_tokenizer() if with_t5 else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoders = [CLIPTextModelWithProjection(clip_config(tokenizer)).eval() for _ in range(2)]
        t5 = None if t5_tokenizer is None else build_toy_t5(t5_tokenizer, 2 * TEXT_WIDTH).eval()
        transformer = build_toy_sd3_transformer(latent_size).eval()
        vae = build_toy_flow_vae(latent_size, scaling_factor=1.5305, shift_factor=0.0609).eval()
    pipe = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=text_encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=text_encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def build_toy_flux_transformer(*, guidance_embeds: bool) -> FluxTransformer2DModel:
    """Build two blocks of two streams and two of one."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=N_HEADS,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )


def build_toy_flux_pipe(*, guidance_embeds: bool = True, latent_size: int = 8, seed: int = 0) -> FluxPipeline:
    """Build a Flux pipeline on the CPU in float32: dev's shape with `guidance_embeds`, schnell's without.

    The pipeline's own default size is 128 latents; pass `height` and `width` of 4 * latent_size pixels.
    """
    tokenizer, t5_tokenizer = build_toy_tokenizer(), build_toy_t5_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = build_toy_text_encoder(tokenizer).eval()
        t5 = build_toy_t5(t5_tokenizer, TEXT_WIDTH).eval()
        transformer = build_toy_flux_transformer(guidance_embeds=guidance_embeds).eval()
        vae = build_toy_flow_vae(latent_size, scaling_factor=0.3611, shift_factor=0.1159).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0 if guidance_embeds else 1.0, use_dynamic_shifting=guidance_embeds
    )
    pipe = FluxPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer,
        transformer=transformer,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
