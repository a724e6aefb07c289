"""A Stable Diffusion pipeline of real diffusers and transformers classes at toy size, with random weights."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

MAX_POSITIONS = 32  # tokens of a prompt, including start and end
TEXT_WIDTH = 32


def byte_alphabet() -> list[str]:
    """Return the 256 characters that byte-level BPE uses for the 256 byte values, in byte order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(rest)) for byte in range(256)]


def build_toy_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """Build a CLIP tokenizer without merges: one token per byte, so any text can be encoded."""
    alphabet = byte_alphabet()
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=MAX_POSITIONS, pad_token=pad_token)


def clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Describe a text encoder 32 channels wide and 2 layers deep, with 64 MLP neurons per layer."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_toy_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the text encoder of `clip_config`."""
    return CLIPTextModel(clip_config(tokenizer))


def build_toy_unet(*, use_linear_projection: bool, latent_size: int) -> UNet2DConditionModel:
    """Build a UNet of two blocks with four cross-attention layers, in its down, middle and up parts."""
    return UNet2DConditionModel(
        sample_size=latent_size,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=use_linear_projection,
    )


def build_toy_vae(latent_size: int) -> AutoencoderKL:
    """Build an autoencoder with 4 latent channels; images are twice as large as the latents."""
    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=2 * latent_size,
    )


def build_toy_pipe(
    *,
    prediction_type: str = "epsilon",
    use_linear_projection: bool = False,
    latent_size: int = 8,
    seed: int = 0,
) -> StableDiffusionPipeline:
    """Build a pipeline on the CPU in float32; equal arguments give equal weights, the global seed does not change."""
    tokenizer = build_toy_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = build_toy_text_encoder(tokenizer).eval()
        unet = build_toy_unet(use_linear_projection=use_linear_projection, latent_size=latent_size).eval()
        vae = build_toy_vae(latent_size).eval()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def build_toy_xl_pipe(
    *,
    latent_size: int = 8,
    seed: int = 0,
    prediction_type: str = "epsilon",
    time_cond_proj_dim: int | None = None,
    force_zeros_for_empty_prompt: bool = True,
) -> StableDiffusionXLPipeline:
    """Build a Stable Diffusion XL pipeline: two text encoders, conditioned also on pooled text and image sizes."""
    toy = build_toy_pipe(latent_size=latent_size, seed=seed, prediction_type=prediction_type)
    n_time_ids, time_width = 6, 8
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        second = CLIPTextModelWithProjection(CLIPTextConfig(**toy.text_encoder.config.to_dict())).eval()
        config = {name: value for name, value in toy.unet.config.items() if not name.startswith("_")} | {
            "cross_attention_dim": 2 * TEXT_WIDTH,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": time_width,
            "projection_class_embeddings_input_dim": n_time_ids * time_width + TEXT_WIDTH,
            "time_cond_proj_dim": time_cond_proj_dim,
        }
        unet = UNet2DConditionModel(**config).eval()
    pipe = StableDiffusionXLPipeline(
        **{name: toy.components[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")},
        unet=unet,
        text_encoder_2=second,
        tokenizer_2=build_toy_tokenizer(pad_token="!"),  # as the second tokenizer pads
        force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
