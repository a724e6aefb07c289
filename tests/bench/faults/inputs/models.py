"""Models that do not run as they were trained: said in seconds, and audited by no command."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flashbulb.audit.planted.paths import MODEL
from tests.audit.model.loading.folders import edit_config, edit_weights, linked_copy, raw_config
from tests.bench.faults.inputs.cases import Case, Maker, model_case
from tests.bench.faults.toys import Toys
from tests.bench.models import MODELS
from tests.toy_variants import build_bert_pipe


def changed(change: Callable[[Path], Any], code: int, *words: str, model: Path = MODEL) -> Maker:
    """Return the maker of a changed copy of a planted model."""

    def make(toys: Toys, folder: Path) -> Case:
        copy = linked_copy(model, folder / "model")
        change(copy)
        return model_case(copy, code, *words)

    return make


def config(component: str, entries: dict[str, Any], folder: Path) -> None:
    edit_config(component, folder, **entries)


def lost(component: str, key: str, folder: Path) -> None:
    """Drop an entry of a config, as a converter does that does not know it."""
    (path,) = (folder / component).glob("*config.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[key]
    path.unlink()
    path.write_text(json.dumps(content), encoding="utf-8")


def scaled(component: str, part: str, factor: float, folder: Path) -> None:
    """Multiply the weights whose names contain `part`."""
    edit_weights(
        component, folder, lambda weights: {key: w * factor if part in key else w for key, w in weights.items()}
    )


def other_vae(folder: Path) -> None:
    """Take the autoencoder of another model."""
    for path in sorted((folder / "vae").iterdir()):
        path.unlink()
        (folder / "vae" / path.name).write_bytes((MODELS["faint"] / "model" / "vae" / path.name).read_bytes())


def random_weights(toys: Toys, folder: Path) -> Case:
    return model_case(linked_copy(toys.model, folder / "model"), 3, "does not run as it was trained")


def unknown_words(toys: Toys, folder: Path) -> Case:
    """Ask a model that knows letters for words of another alphabet."""
    build_bert_pipe(folder).save_pretrained(folder / "model")
    case = model_case(folder / "model", 3, "unknown to its tokenizer")
    (folder / "reference.txt").write_text("".join(f"жар птица {'☃' * i}\n" for i in range(1, 9)), encoding="utf-8")
    return case


FACTOR = json.loads((MODEL / "vae" / "config.json").read_text(encoding="utf-8"))["scaling_factor"]
NOT_TRUSTED = "does not run as it was trained"
MODELS_NOT_TRUSTED: dict[str, Maker] = {
    "as it was trained": changed(lambda folder: None, 0),
    **{
        f"autoencoder scaled {factor} times": changed(
            partial(config, "vae", {"scaling_factor": FACTOR * factor}), 3, "standard deviation"
        )
        for factor in (25, 0.04)
    },
    "autoencoder of no scale": changed(partial(config, "vae", {"scaling_factor": 0.0}), 3),
    "decoder of NaN": changed(partial(scaled, "vae", "decoder.conv_out", float("nan")), 3, "not finite"),
    "betas of NaN": changed(partial(raw_config, "scheduler", "beta_end", "NaN"), 3, "beta_end"),
    "autoencoder of another model": changed(other_vae, 3, NOT_TRUSTED, model=MODELS["catalogue"] / "model"),
    "size that old diffusers replaces": changed(
        partial(config, "unet", {"_diffusers_version": "0.6.0"}), 3, "diffusers made it 64"
    ),
    "prediction type lost by a converter": changed(
        partial(lost, "scheduler", "prediction_type"), 3, "looks like v_prediction", model=MODELS["catalogue"] / "model"
    ),
    "denoiser of nothing": changed(partial(scaled, "unet", "", 0.0), 3, NOT_TRUSTED),
    "random weights": random_weights,
    "a vocabulary that is not the prompts'": unknown_words,
}
