"""Write the configs of a checkpoint that comes without: those of Stable Diffusion 1, 2 and XL, and CLIP's tokenizer.

The configs are Flashbulb's own files. The vocabulary is CLIP's, of which a copy is read: in a tokenizer's folder, or in
OpenCLIP if that is installed. The kind is told from weights and from what the file says of itself. What neither tells,
as whether Stable Diffusion 2 predicts noise or velocity, the user has to say.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from flashbulb.audit.model.errors import ModelError

CONFIGS = Path(__file__).parent / "configs"
KINDS = ("stable-diffusion-1", "stable-diffusion-2", "stable-diffusion-2-base", "stable-diffusion-xl")
"""Kinds of checkpoints whose configs come with Flashbulb, as --model-config names them."""

_TOKENIZER = ("vocab.json", "merges.txt")
_OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
_OPEN_CLIP_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_N_MERGES = 49_152 - 256 - 2
_READS_TEXT = "model.diffusion_model.input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
_WIDTHS = {768: "stable-diffusion-1", 1024: "stable-diffusion-2", 2048: "stable-diffusion-xl"}
_V_PREDICTION, _ZERO_SNR = "v_pred", "ztsnr"
MARKERS = (_V_PREDICTION, _ZERO_SNR)
"""Keys without weights by which trainers mark how a model was trained."""


def find_kind(path: Path, file: Any) -> str:
    """Return the kind of an open checkpoint.

    Raises:
        ModelError: it is of no kind, or does not say which.
    """
    keys = set(file.keys())
    if "conditioner.embedders.0.model.ln_final.weight" in keys:
        raise ModelError(f"{path} is a refiner, which only finishes images that another model began; audit its base")
    key = next((name for name in map(_READS_TEXT.format, (1, 4)) if name in keys), None)
    width = file.get_slice(key).get_shape()[-1] if key is not None else None
    if width not in _WIDTHS:
        raise ModelError(
            f"{path} is no checkpoint of {', '.join(KINDS)}; give with --model-config the folder of a pipeline of its "
            "kind"
        )
    if (kind := _WIDTHS[width]) != "stable-diffusion-2":
        return kind
    prediction = _stated_prediction(file)
    if prediction is None:
        raise ModelError(
            f"{path} does not say what it predicts; give --model-config stable-diffusion-2 (velocity, 768 pixels) or "
            "stable-diffusion-2-base (noise, 512 pixels)"
        )
    return kind if prediction == "v_prediction" else "stable-diffusion-2-base"


def write_configs(kind: str, file: Any, tokenizer: Path | None, target: Path) -> Path:
    """Write the configs of a checkpoint of a kind, and its tokenizers, to a folder in `target`.

    Args:
        file: the open checkpoint.
        tokenizer: folder with vocab.json and merges.txt; None looks for OpenCLIP.

    Raises:
        ModelError: there is no tokenizer.
    """
    folder = Path(shutil.copytree(CONFIGS / kind, target / kind))
    files = _copied_tokenizer(tokenizer) if tokenizer is not None else _open_clip_tokenizer()
    for tokenizer_folder in folder.glob("tokenizer*"):
        for name, content in files.items():
            (tokenizer_folder / name).write_bytes(content)
    schedule = folder / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps(json.loads(schedule.read_text()) | _stated_schedule(file)))
    return folder


def is_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds CLIP's vocabulary and no pipeline."""
    return not (folder / "model_index.json").exists() and all((folder / name).is_file() for name in _TOKENIZER)


def _stated_prediction(file: Any) -> str | None:
    """Return what the file says that it predicts; None if it says nothing."""
    stated = (file.metadata() or {}).get("modelspec.prediction_type", "").lower()
    if _V_PREDICTION in file.keys() or stated.startswith("v"):  # noqa: SIM118
        return "v_prediction"
    return "epsilon" if stated.startswith("eps") else None


def _stated_schedule(file: Any) -> Mapping[str, Any]:
    """Return what the file says of its schedule."""
    prediction = _stated_prediction(file)
    schedule: dict[str, Any] = {} if prediction is None else {"prediction_type": prediction}
    if _ZERO_SNR in file.keys():  # noqa: SIM118
        schedule |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return schedule


def _copied_tokenizer(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in _TOKENIZER}


def _open_clip_tokenizer() -> dict[str, bytes]:
    """Read the vocabulary that comes with OpenCLIP, whose code is not imported."""
    spec = find_spec("open_clip")
    places = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    path = next((place / _OPEN_CLIP_FILE for place in places if (place / _OPEN_CLIP_FILE).is_file()), None)
    if path is None:
        raise ModelError(
            "a single file comes without a tokenizer; install open_clip_torch, whose vocabulary is read, or give "
            "--model-config a folder: of CLIP's tokenizer (vocab.json and merges.txt) or of a pipeline of its kind"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _OPEN_CLIP_SHA256:
        raise ModelError(f"{path} is not CLIP's vocabulary; install open_clip_torch again, or give --model-config")
    merges = gzip.decompress(content).decode().split("\n")[1 : _N_MERGES + 1]
    return vocabulary_files(merges)


def vocabulary_files(merges: Sequence[str]) -> dict[str, bytes]:
    """Return the files of a CLIP tokenizer with these merges of two pieces each, first to last."""
    pieces = [*_alphabet(), *(f"{letter}</w>" for letter in _alphabet())]
    pieces += ["".join(merge.split()) for merge in merges]
    numbers = {piece: number for number, piece in enumerate((*pieces, "<|startoftext|>", "<|endoftext|>"))}
    return {
        "vocab.json": json.dumps(numbers, ensure_ascii=False).encode(),
        "merges.txt": "\n".join(("#version: 0.2", *merges, "")).encode(),
    }


def _alphabet() -> Iterator[str]:
    """Yield the characters that stand for bytes: printable bytes for themselves, then 256 on for the others."""
    printable = list(chain(range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100)))
    yield from map(chr, printable)
    yield from map(chr, range(256, 256 + 256 - len(printable)))
