"""Fill in the inputs that the user leaves out: the embedded model, its prompts and images, and a run directory."""

from __future__ import annotations

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


def default_run_name(model: str | None) -> str:
    """Return the name of a model's run directory where the user gives no --out. None is the embedded model."""
    return "embedded" if model is None else Path(model.rstrip("/")).name or "model"


def resolve_inputs(
    model: str | None, prompts: str | None, reference: str | None, train_images: Path | None, out: Path | None
) -> dict[str, object]:
    """Fill in the inputs that the user left out.

    Without a model or prompts, these are the embedded model, its captions, reference prompts and training images.

    Raises:
        SettingsError: the user gave a model without prompts.
    """
    if model is not None and prompts is None:
        raise SettingsError("--prompts is required with --model; give a file of prompts to audit (csv, txt, jsonl, …)")
    if model is None and prompts is None:
        reference = reference or str(REFERENCE)
        train_images = train_images or IMAGES
    return {
        "model": embedded_model() if model is None else model,
        "prompts": prompts or str(CAPTIONS),
        "reference": reference,
        "train_images": train_images,
        "out": out or Path("runs") / default_run_name(model),
    }
