"""A mistake in the checkpoints of a sweep is one line before anything is recorded."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from tests.audit.cli.trainings import Training
from tests.audit.commands import refused, text_file
from tests.audit.files.loras import lora_file


def mistakes(training: Training, folder: Path) -> Iterable[tuple[tuple[object, ...], str]]:
    """Yield the checkpoints and models of a sweep, and what its error line says."""
    pipeline, lora, last = training.checkpoints
    torch_file = text_file(folder / "checkpoint-1.bin", ["x"])
    torn = folder / "checkpoint-3.safetensors"
    torn.write_bytes(last.read_bytes()[:1000])
    neither = lora_file(folder / "checkpoint-2.safetensors", {"weight": torch.zeros(2)})
    both = {"model.diffusion_model.x": torch.zeros(2), "unet.to_q.lora_A.weight": torch.zeros(2)}
    unclear = lora_file(folder / "checkpoint-4.safetensors", both)
    (folder / "empty").mkdir()
    twin = Path(shutil.copytree(lora, folder / "checkpoint-40"))
    same = Path(shutil.copytree(lora, folder / "checkpoint-040"))
    final = Path(shutil.copytree(lora, folder / "final"))
    model = ("--model", training.base)
    yield (lora,), "is a LoRA; give the pipeline that it belongs to with --model"
    yield (pipeline, *model), "leave it out, or give the model that the training started from with --baseline-model"
    yield (folder / "nowhere", *model), "no checkpoint"
    yield (folder / "empty",), "holds neither model_index.json nor pytorch_lora_weights.safetensors"
    yield (torch_file,), "no .safetensors file"
    yield (torn,), "cannot be read"
    yield (neither, *model), "looks like neither a single-file checkpoint nor a LoRA"
    yield (unclear, *model), "looks like both a single-file checkpoint and a LoRA"
    yield (lora, twin, *model), "are both named checkpoint-40"
    yield (lora, same, *model), "each step once"
    yield (last, lora, final, *model), "in the order of their training"
    yield (lora, *model, "--prompts", "-"), "give a file"
    os.mkfifo(folder / "piped.csv")
    yield (lora, *model, "--prompts", folder / "piped.csv"), "piped.csv can be read once"
    yield (lora, *model, "--fpr", "0.9"), "--fpr"
    yield (lora, *model, "--prompts", folder / "nowhere.csv"), "nowhere.csv"
    yield (), "CHECKPOINTS is missing"


def test_a_mistake_is_one_line_and_nothing_is_written(training: Training, tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    for words, expected in mistakes(training, tmp_path / "inputs"):
        line = refused("sweep", *training.options, "--out", tmp_path / "sweep", *words)
        assert expected in line
        assert not (tmp_path / "sweep").exists()
