"""Checkpoints of a training: what each of them is, its name, its step, and their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from flashbulb.audit.additions.files import opened
from flashbulb.audit.model.errors import ModelError

CheckpointKind = Literal["pipeline", "single file", "LoRA"]

_INDEX_FILE = "model_index.json"
_LORA_FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers' scripts give a LoRA
_SINGLE_FILE_KEY = "model.diffusion_model."
_LORA_KEY = re.compile(r"lora", re.IGNORECASE)
_STEP = re.compile(r"(?:checkpoint|ckpt|steps?|iter(?:ation)?s?)[-_=]?(\d{1,12})(?!\d)", re.IGNORECASE)
_EPOCH = re.compile(r"epochs?[-_=]?(\d{1,12})(?!\d)|[-_](\d{6})$", re.IGNORECASE)  # kohya: style-000004 is an epoch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of a training; `path` is a pipeline folder or a .safetensors file."""

    name: str
    kind: CheckpointKind
    path: Path


class Step(NamedTuple):
    """A checkpoint and its step, epoch or place."""

    checkpoint: Checkpoint
    number: int


class OrderedCheckpoints(NamedTuple):
    """Checkpoints in the order of their training; `unit` says what their numbers count: step, epoch or place."""

    unit: str
    steps: tuple[Step, ...]


def find_checkpoint(text: str) -> Checkpoint:
    """Tell what a path is: a pipeline folder, a single file, a LoRA file or the folder of one.

    Raises:
        ModelError: it is none of them.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        if (path / _INDEX_FILE).is_file():
            return Checkpoint(_name(path), "pipeline", path)
        if (path / _LORA_FILE).is_file():
            return Checkpoint(_name(path), "LoRA", path / _LORA_FILE)
        raise ModelError(
            f"{text} holds neither {_INDEX_FILE} nor {_LORA_FILE}, so it is no checkpoint to audit; give a pipeline "
            "folder (save_pretrained writes one), a single file or a LoRA"
        )
    if not path.is_file():
        raise ModelError(f"no checkpoint {text}; give a pipeline folder, a single file or a LoRA file")
    if path.suffix != ".safetensors":
        raise ModelError(f"{text} is no .safetensors file, and others can run code; convert it")
    return Checkpoint(_name(path.parent if path.name == _LORA_FILE else path), _kind_of_file(path), path)


def _name(path: Path) -> str:
    named = path if path.name not in ("", "..") else path.resolve()
    return named.stem if named.suffix == ".safetensors" else named.name


def _kind_of_file(path: Path) -> CheckpointKind:
    with opened(path) as file:
        keys = list(file.keys())
    is_single = any(key.startswith(_SINGLE_FILE_KEY) for key in keys)
    is_lora = any(_LORA_KEY.search(key) for key in keys)
    if is_single == is_lora:
        what = "both a single-file checkpoint and a LoRA" if is_lora else "neither a single-file checkpoint nor a LoRA"
        raise ModelError(f"{path} looks like {what}; give a pipeline folder, a single file or a LoRA file")
    return "LoRA" if is_lora else "single file"


def in_order(checkpoints: Sequence[Checkpoint]) -> OrderedCheckpoints:
    """Order checkpoints by the steps or epochs in their names; if one of them has none, keep the given order.

    Raises:
        ModelError: two have the same name or step, or the given order contradicts the names.
    """
    seen: dict[str, Checkpoint] = {}
    for checkpoint in checkpoints:
        if (first := seen.setdefault(checkpoint.name, checkpoint)) is not checkpoint:
            raise ModelError(
                f"{first.path} and {checkpoint.path} are both named {checkpoint.name}; rename one of them, its name is "
                "that of its run directory"
            )
    numbered = [(checkpoint, _number(checkpoint.name)) for checkpoint in checkpoints]
    units = {None if number is None else number[0] for _, number in numbered}
    steps = [Step(checkpoint, number[1]) for checkpoint, number in numbered if number is not None]
    if len(units) == 1 and len(steps) == len(numbered):
        (unit,) = units
        steps.sort(key=lambda step: step.number)
        _check_ascending(steps)
        return OrderedCheckpoints(str(unit), tuple(steps))
    for unit in ("step", "epoch"):
        _check_ascending([Step(c, n[1]) for c, n in numbered if n is not None and n[0] == unit])
    return OrderedCheckpoints("place", tuple(Step(c, place) for place, c in enumerate(checkpoints, 1)))


def _number(name: str) -> tuple[str, int] | None:
    """Return the unit and the last number of it that a name holds, as `checkpoint-500` or `style-step00000500`."""
    if steps := _STEP.findall(name):
        return "step", int(steps[-1])
    if epochs := _EPOCH.findall(name):
        return "epoch", int("".join(epochs[-1]))
    return None


def _check_ascending(steps: Sequence[Step]) -> None:
    for before, after in pairwise(steps):
        if before.number >= after.number:
            raise ModelError(
                f"{after.checkpoint.name} is given after {before.checkpoint.name}; give checkpoints in the order of "
                "their training, each step once"
            )
