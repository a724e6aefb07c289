"""Train a planted model: pictures and captions, autoencoder, text encoder and UNet, then measure what it memorized.

Every step draws from the preset's seed and its own number, and every stage keeps a checkpoint, so a run that was
stopped goes on where it was and ends in the same weights on the same machine.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audit.config import SettingsError
from audit.denormals import flushed_denormals
from audit.loading import load_model
from audit.planted.autoencoder import AutoencoderTrainer, DecoderTrainer, encode
from audit.planted.collection import WORLDS, Collection, assemble
from audit.planted.denoiser import DenoiserTrainer, LatentBank
from audit.planted.manifest import write_manifest
from audit.planted.networks import build_pipeline
from audit.planted.pictures import Picture
from audit.planted.presets import Preset
from audit.planted.truth import measure_truth
from audit.progress import track

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
    """Train `preset` into `out` (model/, captions.csv, reference.csv, pictures/, truth.parquet, manifest.json).

    Raises:
        SettingsError: `out` holds a planted model already; delete it to train again.
    """
    if (out / "manifest.json").exists():
        raise SettingsError(f"{out} already holds a planted model; delete it or choose another folder")
    work = out / ".training"
    work.mkdir(parents=True, exist_ok=True)
    _claim(work, preset)
    started = time.monotonic()
    with flushed_denormals():
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
    parts = trainer.model.eval().requires_grad_(False)
    pipe = build_pipeline(preset, trainer.tokenizer, parts["text_encoder"], parts["unet"], autoencoder)
    pipe.to(dtype=torch.float16).save_pretrained(out / "model", safe_serialization=True)
    model = load_model(str(out / "model"), device=str(device), dtype=torch.float32, allow_pickle=False)
    measure_truth(model.pipe, collection, out / "truth.parquet")


def _claim(work: Path, preset: Preset) -> None:
    """Remember what is being trained here; refuse checkpoints of another recipe."""
    settings, path = repr(preset), work / "preset.txt"
    if path.exists() and path.read_text() != settings:
        raise SettingsError(
            f"{work} holds checkpoints of another recipe; delete it to start over: {path.read_text()}, not {settings}"
        )
    path.write_text(settings)


def write_collection(collection: Collection, out: Path) -> None:
    """Write captions.csv (prompt, kind, picture, weight), reference.csv and the training pictures as PNG."""
    _write_csv(
        out / "captions.csv",
        ("prompt", "kind", "picture", "weight"),
        ((e.prompt, e.kind, e.picture, f"{e.weight:.6g}") for e in collection.entries),
    )
    _write_csv(out / "reference.csv", ("prompt",), ((prompt,) for prompt in collection.reference))
    (out / "pictures").mkdir(exist_ok=True)
    for name, picture in collection.pictures.items():
        Image.fromarray(picture).save(out / "pictures" / f"{name}.png", optimize=True)


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
    """Paint and encode the training pictures once; the scaling factor gives the latents unit deviation."""
    rng = np.random.default_rng([preset.seed, 3])
    world, size = WORLDS[preset.world], preset.picture_size
    with track("painting and encoding", 2 * preset.n_bank, "pictures") as advance:
        described: list[Picture] = []
        titled: list[Picture] = []
        captions: list[str] = []
        while len(captions) < preset.n_bank:
            caption, paint = world.described(rng)
            if caption not in collection.held_out:
                captions.append(caption)
                described.append(paint(size, rng))
                advance()
        for _ in range(preset.n_bank):
            titled.append(world.titled_picture(rng, size))
            advance()
        names = sorted(collection.pictures)
        latents = [encode(autoencoder, group) for group in ([collection.pictures[n] for n in names], titled, described)]
    scaling_factor = 1 / float(torch.cat(latents[1:]).std())
    named, titled_latents, described_latents = (group.cpu() * scaling_factor for group in latents)
    return LatentBank(dict(zip(names, named, strict=True)), titled_latents, described_latents, captions), scaling_factor


def _train(stage: str, trainer: _Trainer, checkpoint: Path) -> None:
    """Run the trainer's remaining steps, saving a checkpoint every hundred."""
    first = _restore(trainer, checkpoint) if checkpoint.exists() else 0
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
    part = checkpoint.with_suffix(".part")
    save_file(tensors, part, metadata={"n_done": str(n_done)})
    os.replace(part, checkpoint)


def _restore(trainer: _Trainer, checkpoint: Path) -> int:
    """Load weights and optimiser state; returns how many steps they have seen."""
    with checkpoint.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors = load_file(checkpoint)
    trainer.model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(header["__metadata__"]["n_done"])
