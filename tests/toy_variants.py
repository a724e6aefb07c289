"""Toy pipelines of kinds that people load: inverted words, another text encoder, schedule or autoencoder."""

import string
from pathlib import Path

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import BertConfig, BertModel, BertTokenizer

from tests.toy import MAX_POSITIONS, TEXT_WIDTH, build_toy_pipe, build_toy_xl_pipe

INVERTED = ("<toy>", "<toy>_1", "<toy>_2")
"""Tokens of a textual inversion of three vectors; a prompt names the first, and the pipeline writes out all."""


def build_inverted_pipe() -> StableDiffusionPipeline:
    """Build a toy pipeline with a textual inversion of several vectors."""
    pipe = build_toy_pipe()
    pipe.tokenizer.add_tokens(list(INVERTED))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    return pipe


def build_bert_pipe(folder: Path) -> StableDiffusionPipeline:
    """Build a toy pipeline that reads letters with BERT, as Chinese Stable Diffusions do.

    Args:
        folder: where the vocabulary is written.
    """
    letters = string.ascii_lowercase
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary))
    pipe = build_toy_pipe()
    pipe.tokenizer = BertTokenizer(str(path), model_max_length=MAX_POSITIONS)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_POSITIONS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe.text_encoder = BertModel(config).eval()
    return pipe


def build_light_pipe() -> StableDiffusionPipeline:
    """Build a toy pipeline to count evaluations with: its UNet has few layers, and none that reads the prompt."""
    pipe = build_toy_pipe(latent_size=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe.unet = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8,),
            layers_per_block=1,
            down_block_types=("DownBlock2D",),
            mid_block_type=None,
            up_block_types=("UpBlock2D",),
            cross_attention_dim=TEXT_WIDTH,
            norm_num_groups=4,
        ).eval()
    pipe.vae = build_tiny_autoencoder()
    return pipe


def build_zero_snr_pipe(prediction_type: str = "v_prediction") -> StableDiffusionPipeline:
    """Build a toy pipeline whose schedule ends in pure noise, where sampling starts."""
    pipe = build_toy_pipe(prediction_type=prediction_type)
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    return pipe


def build_zero_snr_xl_pipe() -> StableDiffusionXLPipeline:
    """Build a toy Stable Diffusion XL that predicts v and whose schedule ends in pure noise."""
    pipe = build_toy_xl_pipe(prediction_type="v_prediction")
    pipe.scheduler = build_zero_snr_pipe().scheduler
    return pipe


def build_turbo_pipe() -> StableDiffusionXLPipeline:
    """Build a toy Stable Diffusion XL with the schedule of Turbo, which samples in 1 to 4 steps without guidance."""
    pipe = build_toy_xl_pipe()
    pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    return pipe


def build_lcm_pipe() -> StableDiffusionXLPipeline:
    """Build a toy Stable Diffusion XL distilled by latent consistency: its UNet reads the guidance scale."""
    pipe = build_toy_xl_pipe(time_cond_proj_dim=16)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def build_refiner_pipe() -> StableDiffusionXLImg2ImgPipeline:
    """Build a toy refiner of Stable Diffusion XL, without the first text encoder."""
    parts = build_toy_xl_pipe().components | {"text_encoder": None, "tokenizer": None}
    del parts["image_encoder"], parts["feature_extractor"]
    return StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True, add_watermarker=False)


def build_tiny_autoencoder() -> AutoencoderTiny:
    """Build an autoencoder whose encoder returns latents and no distribution; images are twice as large."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            scaling_factor=0.5,
        ).eval()
