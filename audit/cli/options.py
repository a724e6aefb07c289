"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel

from audit.config import DescriptorName, Dtype, SiteKind, Strategy

MODEL_HELP = "Pipeline folder or hub id; by default the embedded model."
TRAIN_IMAGES_HELP = "Training pictures to compare with: a folder, an imagefolder, .tar shards, or an index."
DESCRIPTOR_HELP = "Learnt descriptor to compare pictures with as well."
WEIGHTS_HELP = "Its weights: a TorchScript file (SSCD) or a transformers folder (DINOv2)."
POLICY_HELP = "Limits (TOML); by default no memorized picture at all."
WAIVERS_HELP = "Findings that somebody answers for (TOML)."
SHA256_HELP = "Refuse weights of another SHA-256 (64 hex digits)."


def _devices() -> list[str]:
    return ["auto", "cpu", "cuda", "cuda:0", "mps"]


def _sites() -> tuple[str, ...]:
    return get_args(SiteKind)


def _strategies() -> tuple[str, ...]:
    return get_args(Strategy)


def chosen_settings(given: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """What was given of `model`, whose fields the options are named like; a value that is repeated counts once."""
    chosen = {name: given[name] for name in model.model_fields if given.get(name) not in (None, (), [])}
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else value
        for name, value in chosen.items()
    }


def detector_names() -> Iterator[str]:
    """What --detectors takes; told by the files of `audit.detectors`, which without torch cannot be asked."""
    import pkgutil

    from audit import detectors

    yield from ("all", "none")
    yield from (module.name for module in pkgutil.iter_modules(detectors.__path__) if module.name != "spikes")


AllowPickle = Annotated[bool, typer.Option(help="Load pickled weights, which can run code.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where to run: cpu, cuda, cuda:1, mps; auto is cuda if it is there.", autocompletion=_devices),
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Numbers of the model; auto is float32 on the CPU, else float16."),
]
Seed = Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")]
Descriptor = Annotated[DescriptorName | None, typer.Option(help=DESCRIPTOR_HELP)]
DescriptorWeights = Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)]
DescriptorSha256 = Annotated[str | None, typer.Option(help=SHA256_HELP)]
TrainImages = Annotated[Path | None, typer.Option(help=TRAIN_IMAGES_HELP)]
Detectors = Annotated[
    list[str] | None,
    typer.Option(
        help="Published detector to add (repeat for more), `all` or `none`; see `engram detectors`.",
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
        help=f"Rung of the ladder of recovery (repeat for more): {', '.join(_strategies())}; every ladder has sample.",
        autocompletion=_strategies,
    ),
]
Policy = Annotated[Path | None, typer.Option(help=POLICY_HELP)]
Waivers = Annotated[Path | None, typer.Option(help=WAIVERS_HELP)]
BatchSize = Annotated[int | None, typer.Option(help="Latents in one UNet call.")]
Force = Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")]
Gate = Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 not to be trusted.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; by default lines.")]
TextColumn = Annotated[str | None, typer.Option(help="Column of the captions; by default prompt, text or caption.")]
