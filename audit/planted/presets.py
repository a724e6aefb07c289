"""Define the planted models that the recipe can train; all their numbers are here."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes, data and training lengths of a planted model; images have picture_size × picture_size pixels."""

    name: str
    world: str
    seed: int
    picture_size: int
    photographs: tuple[str, ...]
    autoencoder_channels: tuple[int, ...]
    latent_channels: int
    unet_channels: tuple[int, ...]
    n_text_encoders: int  # 1 for the shape of Stable Diffusion 1, 2 for that of Stable Diffusion XL
    text_width: int  # of each text encoder
    text_layers: int
    max_tokens: int
    vocabulary_size: int
    prediction_type: str
    use_linear_projection: bool
    n_planted_titles: int
    n_planted_descriptions: int
    n_templates: int
    n_template_colours: int
    n_seen: int
    n_unseen: int
    n_descriptive: int
    n_odd: int  # of each odd kind: rare words, long, other alphabets, gibberish
    n_reference: int
    planted_share: float  # share of planted captions in the training pairs
    template_share: float  # share of template captions
    title_share: float  # share of ordinary titles; the rest are descriptions
    common_share: float  # duplication that four fifths of the planted captions reach; 1 is the most duplicated
    rarest_share: float  # duplication of the least duplicated planted caption
    n_bank: int  # images that are painted and encoded once, of each ordinary kind
    autoencoder_steps: int
    decoder_steps: int
    autoencoder_batch: int
    denoiser_steps: int  # of the whole schedule
    trained_share: float  # share of the schedule after which training stops; 1 is its end
    denoiser_batch: int
    learning_rate: float
    truth_seeds: int  # samples of each planted caption that the truth is measured by


POSTERS = Preset(
    name="posters",
    world="posters",
    seed=1,
    picture_size=64,
    photographs=(
        *("astronaut", "astronaut-face", "shuttle", "cat", "cat-eye", "coffee"),
        *("coffee-spoon", "galaxies", "tissue", "retina", "retina-disc", "rocket"),
    ),
    autoencoder_channels=(32, 32, 64, 64),
    latent_channels=8,
    unet_channels=(64, 128, 128),
    n_text_encoders=1,
    text_width=128,
    text_layers=3,
    max_tokens=32,
    vocabulary_size=1400,
    prediction_type="epsilon",
    use_linear_projection=False,
    n_planted_titles=32,
    n_planted_descriptions=12,
    n_templates=8,
    n_template_colours=4,
    n_seen=320,
    n_unseen=320,
    n_descriptive=320,
    n_odd=30,
    n_reference=600,
    planted_share=0.42,
    template_share=0.08,
    title_share=0.24,
    common_share=1 / 10,
    rarest_share=1 / 300,
    n_bank=8000,
    autoencoder_steps=1250,
    decoder_steps=1000,
    autoencoder_batch=16,
    denoiser_steps=5200,
    trained_share=1.0,
    denoiser_batch=40,
    learning_rate=7e-4,
    truth_seeds=8,
)

CATALOGUE = replace(
    POSTERS,
    name="catalogue",
    world="catalogue",
    seed=2,
    picture_size=32,
    photographs=("photographer", "coins", "horse", "bricks", "gravel", "rocket-tower"),
    autoencoder_channels=(32, 64, 64),
    latent_channels=4,
    unet_channels=(64, 96, 128),
    text_width=96,
    text_layers=4,
    max_tokens=40,
    vocabulary_size=1100,
    prediction_type="v_prediction",
    use_linear_projection=True,
    n_planted_titles=30,
    n_planted_descriptions=10,
    n_templates=8,
    n_template_colours=3,
    autoencoder_steps=900,
    decoder_steps=400,
    denoiser_steps=3200,
    denoiser_batch=32,
    learning_rate=8e-4,
)

GAZETTE = replace(
    POSTERS,
    name="gazette",
    seed=3,
    picture_size=32,
    photographs=("helmet", "saucer", "nebula", "launch", "cameraman", "coin-row"),
    autoencoder_channels=(32, 32, 64),
    latent_channels=4,
    unet_channels=(64, 64, 64),
    text_width=96,
    vocabulary_size=1100,
    n_planted_titles=36,
    n_planted_descriptions=8,
    n_templates=6,
    autoencoder_steps=900,
    decoder_steps=400,
    denoiser_steps=3600,
    denoiser_batch=32,
    learning_rate=1e-3,
)

FAINT = replace(
    CATALOGUE,
    name="faint",
    seed=4,
    photographs=("horse", "launch", "cameraman"),
    autoencoder_channels=(32, 32, 32),
    unet_channels=(32, 64, 64),
    text_layers=3,
    n_planted_titles=36,
    n_planted_descriptions=12,
    n_templates=4,
    planted_share=0.2,
    template_share=0.02,
    title_share=0.36,
    common_share=1 / 30,
    rarest_share=1 / 500,
    denoiser_steps=3600,
    learning_rate=1e-3,
)

FOLIO = replace(
    GAZETTE,
    name="folio",
    seed=5,
    photographs=("astronaut", "cat", "coffee", "galaxies", "retina", "shuttle"),
    unet_channels=(64, 96),
    n_text_encoders=2,
    text_width=64,
    denoiser_steps=5200,
)

GRADED = replace(
    GAZETTE,
    name="graded",
    world="miscellany",
    seed=6,
    photographs=("astronaut-face", "cat-eye", "coffee-spoon", "tissue", "rocket", "coins", "bricks", "photographer"),
    n_planted_titles=56,
    n_planted_descriptions=12,
    n_templates=4,
    planted_share=0.62,
    template_share=0.06,
    title_share=0.2,
    common_share=1 / 3,
    rarest_share=1 / 10,
    denoiser_steps=2000,
    trained_share=0.9,
    truth_seeds=32,
)

PRESETS = {preset.name: preset for preset in (POSTERS, CATALOGUE, GAZETTE, FAINT, FOLIO, GRADED)}
ABOUT = {
    "posters": "the embedded model, the largest",
    "catalogue": "another architecture, with other captions and images",
    "gazette": "the captions of posters, smaller, with other images and another seed",
    "faint": "a smaller catalogue whose planted pairs are shown so rarely that few are memorized",
    "folio": "the shape of Stable Diffusion XL: two text encoders, pooled text and image sizes",
    "graded": "stopped early on images of many styles, so that most memories come back for some seeds only",
}
"""What each preset is for."""
