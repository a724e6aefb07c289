"""Build the untrained parts of a planted pipeline from real diffusers and transformers classes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from flashbulb.audit.planted.presets import Preset

START, END = "<|startoftext|>", "<|endoftext|>"
N_HEADS = 4
_SIZE_WIDTH, _N_SIZES = (
    16,
    6,
)  # embedding of each number of a picture's size and place, as Stable Diffusion XL reads them


def build_tokenizer(captions: Iterable[str], vocabulary_size: int, max_tokens: int) -> CLIPTokenizer:
    """Learn byte-pair merges from captions; every byte is in the vocabulary, so any text can be encoded."""
    backend = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [byte + "</w>" for byte in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size + len(endings),
        initial_alphabet=alphabet,
        special_tokens=endings,  # numbered in this order; otherwise the order of a hash map breaks ties between merges
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *endings, *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_tokens)


def tokenizers_of(preset: Preset, tokenizer: CLIPTokenizer) -> dict[str, CLIPTokenizer]:
    """Return the tokenizer of each text encoder, by the encoder's name; the second pads with "!" as OpenCLIP does."""
    if preset.n_text_encoders == 1:
        return {"text_encoder": tokenizer}
    second = deepcopy(tokenizer)
    second.pad_token = "!"
    return {"text_encoder": tokenizer, "text_encoder_2": second}


def build_text_encoders(preset: Preset, tokenizer: CLIPTokenizer) -> dict[str, nn.Module]:
    """Build untrained text encoders that read `max_tokens` tokens, by name; the second also pools its text."""

    def config(activation: str, **more: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=preset.text_width,
            intermediate_size=4 * preset.text_width,
            num_hidden_layers=preset.text_layers,
            num_attention_heads=N_HEADS,
            max_position_embeddings=preset.max_tokens,
            hidden_act=activation,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **more,
        )

    encoders: dict[str, nn.Module] = {"text_encoder": CLIPTextModel(config("quick_gelu"))}
    if preset.n_text_encoders == 2:
        encoders["text_encoder_2"] = CLIPTextModelWithProjection(config("gelu", projection_dim=preset.text_width))
    return encoders


def build_unet(preset: Preset) -> UNet2DConditionModel:
    """Build an untrained UNet with cross-attention in every block but the lowest."""
    n_blocks = len(preset.unet_channels)
    added: dict[str, Any] = {}
    if preset.n_text_encoders == 2:
        added = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": _SIZE_WIDTH,
            "projection_class_embeddings_input_dim": _N_SIZES * _SIZE_WIDTH + preset.text_width,
        }
    return UNet2DConditionModel(
        sample_size=preset.picture_size // 2 ** (len(preset.autoencoder_channels) - 1),
        in_channels=preset.latent_channels,
        out_channels=preset.latent_channels,
        block_out_channels=preset.unet_channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * (n_blocks - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (n_blocks - 1),
        cross_attention_dim=preset.n_text_encoders * preset.text_width,
        attention_head_dim=N_HEADS,
        use_linear_projection=preset.use_linear_projection,
        **added,
    )


def build_scheduler(preset: Preset) -> DDIMScheduler:
    """Build Stable Diffusion's DDIM schedule with the preset's prediction type."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=preset.prediction_type,
    )


def build_pipeline(
    preset: Preset, tokenizer: CLIPTokenizer, networks: nn.ModuleDict, autoencoder: AutoencoderKL
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """Assemble the pipeline that diffusers would load, without a safety checker.

    Args:
        networks: the UNet and the text encoders, by component.
    """
    tokenizers = {name.replace("text_encoder", "tokenizer"): t for name, t in tokenizers_of(preset, tokenizer).items()}
    parts = {**dict(networks), **tokenizers, "vae": autoencoder, "scheduler": build_scheduler(preset)}
    if preset.n_text_encoders == 2:
        return StableDiffusionXLPipeline(**parts, add_watermarker=False)
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
