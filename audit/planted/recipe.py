"""Train a planted model: its autoencoder, text encoders and UNet; then measure what it memorized.

Every step draws from the preset's seed and its own number, and every stage saves checkpoints. A run that is
interrupted therefore resumes, and ends with the same weights on the same machine.
"""

from __future__ import annotations

import csv
import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.autoencoder import AutoencoderTrainer, DecoderTrainer, encode
from flashbulb.audit.planted.collection import WORLDS, Collection, assemble
from flashbulb.audit.planted.denoiser import DenoiserTrainer, LatentBank
from flashbulb.audit.planted.manifest import PlantedModelError, write_manifest
from flashbulb.audit.planted.networks import build_pipeline
from flashbulb.audit.planted.presets import Preset
from flashbulb.audit.planted.truth import measure_truth
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.run.progress import track
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.tables.files import write_text

logger = logging.getLogger(__name__)

_CHECKPOINT_EVERY = 100


class _Trainer(Protocol):
    @property
    def model(self) -> nn.Module: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    @property
    def n_steps(self) -> int: ...

    def step(self, step: int) -> float: ...


def train_planted(preset: Preset, out: Path, device: torch.device) -> Path:
    """Train a planted model in the folder `out`, or resume its training.

    It writes model/, captions.csv, reference.csv, pictures/, truth.parquet and manifest.json.

    Raises:
        PlantedModelError: `out` already holds a planted model, or checkpoints of another preset.
        DirectoryHeldError: another process trains there.
    """
    if (out / "manifest.json").exists():
        raise PlantedModelError(f"{out} already holds a planted model; delete it or choose another folder")
    work, started = out / ".training", time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    with hold_directory(out), computing():
        _claim(work, preset)
        _train_and_measure(preset, out, work, device)
        write_manifest(out, preset)
        shutil.rmtree(work)
    logger.info("planted model %s in %s after %.0f minutes", preset.name, out, (time.monotonic() - started) / 60)
    return out


def _train_and_measure(preset: Preset, out: Path, work: Path, device: torch.device) -> None:
    collection = assemble(preset)
    write_collection(collection, out)
    autoencoder = _train_autoencoder(preset, collection, work, device)
    bank, scaling_factor = build_bank(preset, collection, autoencoder)
    autoencoder.register_to_config(scaling_factor=scaling_factor)
    trainer = DenoiserTrainer(preset, collection, bank, device)
    _train("text encoder and UNet", trainer, work / "denoiser.safetensors")
    decoder_trainer = DecoderTrainer(autoencoder, preset, collection, device)
    _train("decoder", decoder_trainer, work / "decoder.safetensors")
    autoencoder = decoder_trainer.model.eval().requires_grad_(False)
    networks = trainer.model.eval().requires_grad_(False)
    pipe = build_pipeline(preset, trainer.tokenizer, networks, autoencoder)
    pipe.to(dtype=torch.float16).save_pretrained(out / "model", safe_serialization=True)
    model = load_model(str(out / "model"), device=str(device), dtype=torch.float32, allow_pickle=False)
    measure_truth(model.pipe, collection, out / "truth.parquet", preset.truth_seeds)


def _claim(work: Path, preset: Preset) -> None:
    """Record which preset is trained here; refuse checkpoints of another."""
    settings, path = repr(preset), work / "preset.txt"
    if path.exists() and path.read_text() != settings:
        raise PlantedModelError(
            f"{work} holds checkpoints of another preset; delete it to start over: {path.read_text()}, not {settings}"
        )
    write_text(path, settings)


def write_collection(collection: Collection, out: Path) -> None:
    """Write captions.csv (prompt, kind, picture, weight), reference.csv, and the training images as PNG files."""
    _write_csv(
        out / "captions.csv",
        ("prompt", "kind", "picture", "weight"),
        ((e.prompt, e.kind, e.image, f"{e.weight:.6g}") for e in collection.entries),
    )
    _write_csv(out / "reference.csv", ("prompt",), ((prompt,) for prompt in collection.reference))
    (out / "pictures").mkdir(exist_ok=True)
    for name, image in collection.images.items():
        Image.fromarray(image).save(out / "pictures" / f"{name}.png", optimize=True)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _train_autoencoder(preset: Preset, collection: Collection, work: Path, device: torch.device) -> AutoencoderKL:
    trainer = AutoencoderTrainer(preset, collection, device)
    _train("autoencoder", trainer, work / "autoencoder.safetensors")
    return trainer.model.eval().requires_grad_(False)


def build_bank(preset: Preset, collection: Collection, autoencoder: AutoencoderKL) -> tuple[LatentBank, float]:
    """Paint and encode the training images; return them with the factor that scales latents to unit deviation."""
    rng = np.random.default_rng([preset.seed, 3])
    world, size = WORLDS[preset.world], preset.picture_size
    with track("painting and encoding", 2 * preset.n_bank, "images") as advance:
        described: list[RgbImage] = []
        titled: list[RgbImage] = []
        captions: list[str] = []
        while len(captions) < preset.n_bank:
            caption, paint = world.described(rng)
            if caption not in collection.held_out:
                captions.append(caption)
                described.append(paint(size, rng))
                advance()
        for _ in range(preset.n_bank):
            titled.append(world.titled_image(rng, size))
            advance()
        names = sorted(collection.images)
        latents = [encode(autoencoder, group) for group in ([collection.images[n] for n in names], titled, described)]
    scaling_factor = 1 / float(torch.cat(latents[1:]).std())
    named, titled_latents, described_latents = (group.cpu() * scaling_factor for group in latents)
    return LatentBank(dict(zip(names, named, strict=True)), titled_latents, described_latents, captions), scaling_factor


def _train(stage: str, trainer: _Trainer, checkpoint: Path) -> None:
    """Run the trainer's remaining steps, and save a checkpoint every hundred."""
    first = _restore(trainer, checkpoint)
    with track(stage, trainer.n_steps, "steps", done=first) as advance:
        for step in range(first, trainer.n_steps):
            loss = trainer.step(step)
            advance(1, f"loss {loss:.4f}")
            if (step + 1) % _CHECKPOINT_EVERY == 0 or step + 1 == trainer.n_steps:
                _save(trainer, step + 1, checkpoint)


def _save(trainer: _Trainer, n_done: int, checkpoint: Path) -> None:
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in trainer.model.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    write_tensors(checkpoint, tensors, checkpoint.name, {"n_done": n_done})


def _restore(trainer: _Trainer, checkpoint: Path) -> int:
    """Load weights and optimiser state; return the number of steps they have taken, 0 without a readable checkpoint."""
    kept = read_tensors(checkpoint, checkpoint.name)
    if kept is None:
        return 0
    tensors, stated = kept
    trainer.model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(stated["n_done"])
