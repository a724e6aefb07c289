"""The inputs of an audit: what the user must give, the run directory by default, and the inputs of the demo."""

from __future__ import annotations

import shlex
from pathlib import Path

from flashbulb.audit.planted.paths import CAPTIONS, IMAGES, MODEL, REFERENCE
from flashbulb.audit.settings.option import SettingsError


def embedded_model() -> str:
    """Return the folder of the pipeline that comes with Flashbulb.

    Raises:
        SettingsError: the folder is missing.
    """
    if not (MODEL / "model_index.json").is_file():
        raise SettingsError(f"the embedded model is missing from {MODEL}; install flashbulb again or pass --model")
    return str(MODEL)


def given_model(model: str | None, command: str) -> str:
    """Return the argument MODEL of a command.

    Raises:
        SettingsError: the user gave none.
    """
    if model is None:
        raise SettingsError(
            f"MODEL is missing; give a pipeline folder or hub id: flashbulb {command} MODEL. The embedded model of "
            f"`flashbulb demo` is {MODEL}"
        )
    return model


def refuse_missing_model(model: str) -> None:
    """Refuse a path at which nothing lies; a hub id is owner/name.

    Raises:
        SettingsError: there is no such folder or file.
    """
    looks_like_path = model.count("/") != 1 or model.startswith((".", "/", "~"))
    if looks_like_path and not Path(model).expanduser().exists():
        raise SettingsError(f"no model folder {model}; give a diffusers pipeline folder or a hub id such as owner/name")


def default_run_name(model: str | None) -> str:
    """Return the name of a model's run directory where the user gives no --out. None is the embedded model."""
    return "embedded" if model is None else Path(model.rstrip("/")).name or "model"


def resolve_inputs(
    model: str | None, prompts: str | None, reference: str | None, train_images: Path | None, out: Path | None
) -> dict[str, object]:
    """Refuse inputs that lack a model or prompts, and name the run directory after the model.

    Raises:
        SettingsError: the user gave no model or no prompts.
    """
    if model is None:
        raise SettingsError("--model is missing; give the model to audit, or see `flashbulb demo`, which needs none")
    if prompts is None:
        pull = shlex.join(["flashbulb", "pull", model, str(train_images)])
        without = "" if train_images is None else f", or pull at the images without captions: {pull}"
        raise SettingsError(f"--prompts is missing; give a file of prompts to audit (csv, txt, jsonl, …){without}")
    out = out or Path("runs") / default_run_name(model)
    return {"model": model, "prompts": prompts, "reference": reference, "train_images": train_images, "out": out}


def demo_inputs() -> dict[str, object]:
    """Return what `flashbulb demo` audits: the embedded model, its captions, reference prompts, training images."""
    inputs = {"model": embedded_model(), "prompts": str(CAPTIONS), "reference": str(REFERENCE), "train_images": IMAGES}
    return {**inputs, "out": Path("runs") / default_run_name(None), "workers": "auto"}
