"""A checkpoint is told by what it holds, named after its file, and ordered by the step in its name."""

from pathlib import Path

import pytest
import torch

from flashbulb.audit.additions.checkpoints import Checkpoint, find_checkpoint, in_order
from flashbulb.audit.model.errors import ModelError
from tests.audit.files.loras import lora_file


def ordered(*names: str) -> tuple[str, list[tuple[str, int]]]:
    """Return the unit, and the names with their numbers."""
    found = in_order([Checkpoint(name, "LoRA", Path(name)) for name in names])
    return found.unit, [(step.checkpoint.name, step.number) for step in found.steps]


@pytest.mark.parametrize(
    ("name", "unit", "number"),
    [
        ("checkpoint-500", "step", 500),
        ("style-step00000500", "step", 500),
        ("style_1500_lora-steps-20", "step", 20),
        ("epoch=3-step=500", "step", 500),
        ("epoch_7", "epoch", 7),
        ("checkpoint-epoch-3", "epoch", 3),
        ("style-000004", "epoch", 4),
        ("sd-v1-5", "place", 1),
        ("final", "place", 1),
        ("checkpoint-" + "9" * 30, "place", 1),
    ],
)
def test_the_step_is_read_from_the_name(name: str, unit: str, number: int) -> None:
    assert ordered(name) == (unit, [(name, number)])


def test_steps_order_the_checkpoints_as_numbers_not_as_words() -> None:
    names = ("checkpoint-1000", "checkpoint-200", "checkpoint-30")
    assert ordered(*names) == ("step", [("checkpoint-30", 30), ("checkpoint-200", 200), ("checkpoint-1000", 1000)])


def test_the_given_order_counts_where_a_name_has_no_step() -> None:
    assert ordered("checkpoint-30", "final") == ("place", [("checkpoint-30", 1), ("final", 2)])
    assert ordered("checkpoint-30", "epoch-2") == ("place", [("checkpoint-30", 1), ("epoch-2", 2)])


@pytest.mark.parametrize(
    "names",
    [
        ("checkpoint-1000", "checkpoint-200", "final"),
        ("epoch-2", "checkpoint-3", "epoch-1"),
        ("checkpoint-7", "step-7"),
        ("same", "same"),
    ],
)
def test_an_order_that_contradicts_the_names_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=r"in the order of their training|are both named"):
        ordered(*names)


def test_a_file_is_told_by_its_keys_and_named_after_itself_or_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.zeros(2)
    lora = lora_file(tmp_path / "style.safetensors", {"lora_unet_x.lora_down.weight": weight})
    single = lora_file(tmp_path / "whole.safetensors", {"model.diffusion_model.x.weight": weight})
    (tmp_path / "checkpoint-5").mkdir()
    saved = tmp_path / "checkpoint-5" / "pytorch_lora_weights.safetensors"
    saved.write_bytes(lora.read_bytes())
    assert find_checkpoint(str(lora)) == Checkpoint("style", "LoRA", lora)
    assert find_checkpoint(str(single)) == Checkpoint("whole", "single file", single)
    assert (
        find_checkpoint(str(saved)) == find_checkpoint(f"{saved.parent}/") == Checkpoint("checkpoint-5", "LoRA", saved)
    )
    (tmp_path / "link.safetensors").symlink_to(lora)
    assert find_checkpoint(str(tmp_path / "link.safetensors")).name == "link"
    monkeypatch.chdir(saved.parent)
    assert find_checkpoint(".").name == "checkpoint-5"
