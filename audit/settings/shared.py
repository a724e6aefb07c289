"""Settings that several commands share, and the values they can take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypeAliasType

from flashbulb.audit.settings.option import Option, Settings

SiteKind = Literal["text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward"]
AscentSiteKind = Literal["feed_forward", "cross_out"]
Replacement = Literal["unconditional", "mean", "zero"]
DescriptorName = Literal["sscd-disc-large", "sscd-disc-mixup", "dinov2"]

MOST = 1e6
"""Bound of rates, radii and scales: what is far beyond it overflows in the model."""

Model = Annotated[str, Field(description="Pipeline folder, hub id, or single .safetensors file.")]
Configs = Annotated[
    Path | None,
    Field(
        description="With a single file as model: pipeline folder of its kind, for configs and tokenizers; or folder "
        "of CLIP's tokenizer; or kind, such as stable-diffusion-2-base."
    ),
    Option("Inputs", "model-config", changes_result=False),
]
DenoiserFile = Annotated[
    Path | None,
    Field(description="Denoiser to use instead of the model's, a .gguf file; the model is a pipeline folder."),
    Option("Inputs", "denoiser", changes_result=False),
]
Autoencoder = Annotated[
    Path | None,
    Field(description="Autoencoder to use instead of the model's: its folder, or a pipeline folder that holds it."),
    Option("Inputs", changes_result=False),
]
TextualInversions = Annotated[
    tuple[str, ...],
    Field(description="Textual inversion to add, FILE or FILE:TOKEN (.safetensors; repeat for more)."),
    Option("Inputs", changes_result=False),
]
Loras = Annotated[
    tuple[str, ...],
    Field(description="LoRA to add to the model, FILE or FILE:SCALE (.safetensors; repeat for more)."),
    Option("Inputs", changes_result=False),
]
ADDED = ("configs", "denoiser", "vae", "textual_inversion", "lora")
"""Settings that add files to a model."""

TextColumn = Annotated[
    str | None,
    Field(description="Column that holds the prompts; by default prompt, text or caption."),
    Option("Inputs"),
]
SampleSteps = Annotated[int, Field(ge=1, description="Denoising steps per image."), Option("Images")]
GuidanceScale = Annotated[
    float, Field(ge=1, le=MOST, description="Guidance scale; 1 is no guidance."), Option("Images")
]
BatchSize = TypeAliasType("BatchSize", Annotated[int, Field(ge=1)] | Literal["auto"])
"""A name of its own, as `WorkerCount` has, because typer takes no union of types."""
WorkerCount = TypeAliasType("WorkerCount", Annotated[int, Field(ge=1, le=256)] | Literal["auto"])
AUTO_BATCH_SIZE = "auto is the default, and less where memory runs out."
"""What auto is in commands that do not measure speed."""
ImagesPerCall = Annotated[
    BatchSize,
    Field(description=f"Images per call of the pipeline; {AUTO_BATCH_SIZE}"),
    Option("Machine", changes_result=False),
]
DtypeName = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    Field(description="Data type of the model; auto is float32 on the CPU, else float16."),
]
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "npu")


def _known_device(device: str) -> str:
    kind, colon, index = device.partition(":")
    if kind in _DEVICES and (index.isdigit() if colon else True):
        return device
    nearest = "cuda" if kind in ("gpu", "nvidia", "rocm") else None
    hint = f"did you mean {nearest}{colon}{index}?" if nearest else f"give {', '.join(_DEVICES)}, or one such as cuda:1"
    raise ValueError(f"{device!r} is no device; {hint}")


Device = Annotated[
    str,
    AfterValidator(_known_device),
    Field(description="Device to run on: cpu, cuda, cuda:1, mps; auto is cuda if available, else cpu."),
    Option("Machine", words=lambda: ("auto", "cpu", "cuda", "cuda:0", "mps"), changes_result=False),
]
OffloadName = Annotated[
    Literal["model", "group", "sequential"] | None,
    Field(
        description="Keep the weights in the host memory and move them to the device when they run: whole networks, "
        "groups of layers ahead of time, or layer by layer."
    ),
    Option("Machine", changes_result=False),
]
AllowPickle = Annotated[
    bool,
    Field(description="Allow pickled weights; loading them can run code, so use it only for weights you trust."),
    Option("Machine", changes_result=False, only_typed=True, can_run_code=True),
]
Checkpointing = Annotated[
    bool,
    Field(description="Use gradient checkpointing: less memory, more time."),
    Option("Ascents", changes_result=False),
]
ClipSkip = Annotated[
    int | None,
    Field(
        ge=1,
        description="Last layers of the CLIP text encoder to leave out (clip_skip of diffusers).",
    ),
    Option("Neurons"),
]
Examine = Annotated[
    bool,
    Field(description="Examine first whether the model runs as it was trained; --no-examine trusts that it does."),
    Option("Machine", changes_result=False),
]
Seed = Annotated[
    int, Field(ge=0, lt=2**31, description="Run seed, from which all random numbers derive."), Option("Machine")
]


class TrainingImageSettings(Settings):
    """The training images to compare with. Paths are as the user gave them."""

    train_images: Annotated[
        Path | None,
        Field(
            description="Training images to compare with: folder, imagefolder, .tar, .zip or .parquet shards, or "
            "index (`flashbulb index`)."
        ),
        Option("Inputs"),
    ]
    descriptor: Annotated[
        DescriptorName | None,
        Field(description="Learned image descriptor to use in addition to the pixel comparison."),
        Option("Inputs"),
    ] = None
    descriptor_weights: Annotated[
        Path | None,
        Field(description="Weights of the descriptor: a TorchScript file (SSCD) or a transformers folder (DINOv2)."),
        Option("Inputs", changes_result=False, can_run_code=True),
    ] = None
    descriptor_sha256: Annotated[
        str | None,
        Field(description="Expected SHA-256 of the weights (64 hex digits); others are refused."),
        Option("Inputs"),
    ] = None
