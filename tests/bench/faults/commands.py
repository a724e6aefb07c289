"""Every command that writes, in the state of a folder from which it starts."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tests.bench.faults.injection import Plan
from tests.bench.faults.results import Result, read_result
from tests.bench.faults.runs import Ended, events_of, run
from tests.bench.faults.toys import SAMPLING, Toys

SEARCH = 400 + 2 * 2 * (3 + 3 * 15 + 6 + 2 + 4 + 8)  # the baseline's prompts and two rounds
GATE_OUTPUTS = (
    *("--junit", "j.xml", "--sarif", "s.sarif", "--summary", "s.md"),
    *("--findings", "f.jsonl", "--findings", "f.parquet", "--model-card", "card.md"),
)


class Command(NamedTuple):
    """A command and the name of the state it starts from."""

    name: str
    state: str | None
    arguments: tuple[object, ...]
    can_force: bool = False


class Undisturbed(NamedTuple):
    """What a command does when nothing happens to it."""

    ended: Ended
    result: Result
    events: list[str]


def writing_commands(toys: Toys, names: Collection[str] = ()) -> list[Command]:
    """List every command that writes a folder or a file, but the training of planted models; quick ones first.

    Args:
        names: of the commands to list; all by default.
    """
    images = ("--train-images", toys.training)
    ablated = ("--neurons", toys.neurons, "--prompt", "a red star", "--out", "out")
    searched = ("--budget", SEARCH, "--starts", 2, "--steps", 1, "--text-starts", 1, "--out", "run")
    localized = ("--samples", 2, "--sample-steps", 2, "--seeds", 1, "--points", 2, "--controls", 1, "--no-again")
    commands = [
        Command("index", None, ("index", toys.training, "out")),
        Command("merge", "parts", ("merge", "run"), can_force=True),
        Command("gate", "audited", ("gate", "run", *GATE_OUTPUTS)),
        Command("report", "audited", ("report", "run")),
        Command("detect", "recorded", ("detect", "run", "--fpr", 0.2)),
        Command("calibrate", None, ("calibrate", *_calibration(toys)), can_force=True),
        Command("discover", None, ("discover", toys.searched, *searched, *images), can_force=True),
        Command("pull", None, ("pull", toys.model, toys.training, "--no-examine", "--out", "out"), can_force=True),
        Command("ablate", None, ("ablate", toys.model, *ablated, *SAMPLING), can_force=True),
        Command("localize", "audited", ("localize", "run", *localized)),
        Command("record", None, ("record", *toys.recording()), can_force=True),
        Command("recover", "detected", ("recover", "run", *toys.recovery())),
        Command("audit", None, ("audit", *toys.recording(), "--fpr", 0.2, *toys.recovery()), can_force=True),
    ]
    return [command for command in commands if not names or command.name in names]


def _calibration(toys: Toys) -> tuple[object, ...]:
    reference = toys.folder / "reference.txt"
    return ("--model", toys.model, "--reference", reference, "--out", "calibration", "--seeds", 2)


def started(toys: Toys, command: Command, folder: Path) -> Path:
    """Make the folder in which the command starts."""
    shutil.rmtree(folder, ignore_errors=True)
    if command.state is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(toys.state(command.state), folder)
    return folder


def undisturbed(toys: Toys, command: Command, folder: Path) -> Undisturbed | str:
    """Run the command twice from its start to its end; keep what it wrote and in which order, or say what differs."""
    started(toys, command, folder)
    log = folder.with_name(f"{folder.name}.log")
    first = run(Plan(str(folder), log=str(log)), command.arguments)
    if first.code != (1 if command.name == "gate" else 0):
        return f"exit code {first.code} though nothing happens: {first.err[-300:]}"
    result = read_result(folder)
    started(toys, command, folder)
    second = run(Plan(str(folder)), command.arguments)
    differences = result.differences(read_result(folder))
    return f"differs from itself: {differences}" if differences else Undisturbed(second, result, events_of(log))
