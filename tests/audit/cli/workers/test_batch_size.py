"""`--batch-size auto` is one setting of all commands, and a model without room for a batch is given smaller ones."""

from functools import wraps
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from flashbulb.audit.cli import app
from flashbulb.hooks import save_neurons
from tests.audit.cli.ablations import NEURONS
from tests.audit.cli.conftest import N_NEUTRAL
from tests.audit.commands import CANDIDATES, run_flashbulb, text_file
from tests.audit.searches import build_worded_pipe
from tests.audit.shortages import ON_CPU
from tests.toy import build_toy_pipe

NO_EXAMINE = ("--no-examine",)
SAMPLING = ("--samples", 2, "--sample-steps", 2)
TAKING = ("ablate", "audit", "calibrate", "compare", "discover", "localize", "pull", "record", "recover", "validate")


@pytest.fixture
def room(monkeypatch) -> list[int]:
    """Give every UNet room for so many rows a call, and return the sizes that it was called with."""
    sizes: list[int] = []
    forward = UNet2DConditionModel.forward

    @wraps(forward)
    def limited(self, sample, *arguments, **keywords):
        sizes.append(len(sample))
        if len(sample) > 4:
            raise ON_CPU
        return forward(self, sample, *arguments, **keywords)

    monkeypatch.setattr(UNet2DConditionModel, "forward", limited)
    return sizes


def test_auto_at_the_top_of_the_file_is_taken_by_every_command(tmp_path, monkeypatch):
    import typer.main

    commands = typer.main.get_command(app).commands
    with_batches = {name for name, command in commands.items() if any(p.name == "batch_size" for p in command.params)}
    assert with_batches >= set(TAKING)
    monkeypatch.chdir(tmp_path)
    text_file(Path("flashbulb.toml"), ['batch_size = "auto"'])
    for name in sorted(with_batches):
        answer = run_flashbulb(name, "--help-all")
        assert "<int|auto>" in answer.out
    assert "--neurons" in run_flashbulb("ablate", "nowhere", "--prompt", "a", "--out", "o").err


@pytest.mark.parametrize("command", ["pull", "compare", "ablate", "localize", "discover"])
def test_a_command_goes_on_in_smaller_batches(
    command, room, short_pulls, short_searches, inputs, copied, finished, tmp_path
):
    images, out = finished.run.parent / "training", ("--out", tmp_path / "out")
    if command == "pull":
        words = (inputs.model, images, *out)
    elif command == "compare":
        build_toy_pipe(seed=1).save_pretrained(tmp_path / "base")
        words = (tmp_path / "base", inputs.model, "--prompts", inputs.prompts, *SAMPLING, *out)
    elif command == "ablate":
        save_neurons(tmp_path / "neurons.json", NEURONS)
        prompts = [word for text in CANDIDATES[:3] for word in ("--prompt", text)]
        words = (inputs.model, "--neurons", tmp_path / "neurons.json", *prompts, *SAMPLING, *out)
    elif command == "localize":
        words = (copied, *SAMPLING, "--seeds", 1, "--points", 4, "--controls", 1, "--no-again")
    else:
        build_worded_pipe().save_pretrained(tmp_path / "searched")
        starts = ("--starts", 6, "--steps", 1, "--text-starts", 1)
        words = (tmp_path / "searched", "--budget", 290 + N_NEUTRAL, *starts, *out)
    answer = run_flashbulb(command, *words, "--batch-size", "auto", *(() if command == "localize" else NO_EXAMINE))
    assert answer.code == 0, answer.err
    assert "memory ran out" in answer.err
    assert max(room) > 4
    assert room[-1] <= 4
