"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel

from flashbulb.audit.settings import DescriptorName, Dtype, SiteKind, Strategy

MODEL_HELP = "Pipeline folder or hub id; by default the embedded model."
TRAIN_IMAGES_HELP = "Training images to compare with: folder, imagefolder, .tar shards, or index (`flashbulb index`)."
DESCRIPTOR_HELP = "Learned image descriptor to use in addition to the pixel comparison."
WEIGHTS_HELP = "Weights of the descriptor: a TorchScript file (SSCD) or a transformers folder (DINOv2)."
POLICY_HELP = "Policy file with the gate's limits (TOML); by default no memorized image is allowed."
WAIVERS_HELP = "File of waivers, findings that somebody has accepted (TOML)."
SHA256_HELP = "Expected SHA-256 of the weights (64 hex digits); others are refused."


def _devices() -> list[str]:
    return ["auto", "cpu", "cuda", "cuda:0", "mps"]


def _sites() -> tuple[str, ...]:
    return get_args(SiteKind)


def _strategies() -> tuple[str, ...]:
    return get_args(Strategy)


def chosen_settings(options: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of `model` that the options set. A value that is repeated counts once."""
    chosen = {name: options[name] for name in model.model_fields if options.get(name) not in (None, (), [])}
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else value
        for name, value in chosen.items()
    }


def detector_names() -> Iterator[str]:
    """Yield the values of --detectors, from the files of `flashbulb.audit.detectors`, as importing them needs torch."""
    import pkgutil

    from flashbulb.audit import detectors

    yield from ("all", "none")
    yield from (module.name for module in pkgutil.iter_modules(detectors.__path__) if module.name != "views")


AllowPickle = Annotated[
    bool, typer.Option(help="Allow pickled weights; loading them can run code, so use it only for weights you trust.")
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device to run on: cpu, cuda, cuda:1, mps; auto is cuda if available, else cpu.", autocompletion=_devices
    ),
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Data type of the model; auto is float32 on the CPU, else float16."),
]
Seed = Annotated[int | None, typer.Option(help="Run seed, from which all random numbers derive.")]
Descriptor = Annotated[DescriptorName | None, typer.Option(help=DESCRIPTOR_HELP)]
DescriptorWeights = Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)]
DescriptorSha256 = Annotated[str | None, typer.Option(help=SHA256_HELP)]
TrainImages = Annotated[Path | None, typer.Option(help=TRAIN_IMAGES_HELP)]
Detectors = Annotated[
    list[str] | None,
    typer.Option(
        help="Published detector to add (repeat for more), or all, or none; see `flashbulb detectors`.",
        autocompletion=detector_names,
    ),
]
Sites = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Kind of site to record (repeat for more): {', '.join(_sites())}.",
        autocompletion=_sites,
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        help=f"Recovery strategy to try (repeat for more): {', '.join(_strategies())}; sample is required.",
        autocompletion=_strategies,
    ),
]
Policy = Annotated[Path | None, typer.Option(help=POLICY_HELP)]
Waivers = Annotated[Path | None, typer.Option(help=WAIVERS_HELP)]
BatchSize = Annotated[int | None, typer.Option(help="Latents per UNet call.")]
Force = Annotated[bool, typer.Option(help="Delete the contents of the run directory and start over.")]
Gate = Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 untrusted.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; by default text.")]
TextColumn = Annotated[
    str | None, typer.Option(help="Column that holds the prompts; by default prompt, text or caption.")
]
