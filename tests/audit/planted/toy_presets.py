"""Presets shrunk to the size of tests."""

from dataclasses import replace

from flashbulb.audit.planted.presets import Preset


def toy(preset: Preset) -> Preset:
    """Shrink a preset: it trains in seconds instead of an hour, and learns nothing."""
    return replace(
        preset,
        name=f"{preset.name}-toy",
        picture_size=16,
        autoencoder_channels=(32, 32),
        unet_channels=(32, 32),
        text_width=32,
        text_layers=2,
        n_planted_titles=8,
        n_planted_descriptions=3,
        photographs=(),
        n_templates=2,
        n_template_colours=2,
        n_seen=8,
        n_unseen=8,
        n_descriptive=8,
        n_odd=2,
        n_reference=20,
        n_bank=24,
        autoencoder_steps=3,
        decoder_steps=3,
        autoencoder_batch=4,
        denoiser_steps=4,
        denoiser_batch=6,
    )
