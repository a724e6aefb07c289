"""Every command that writes is killed or interrupted at many moments, and the same command again resumes it.

Nothing may be lost: all files then equal those of a command that nobody disturbed, but for times. An early kill, before
a directory says whose it is, must not leave one that `--force` refuses either.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.faults.commands import Command, Undisturbed, started, undisturbed, writing_commands
from tests.bench.faults.injection import SIGNALS, Plan
from tests.bench.faults.results import parts_of, read_result
from tests.bench.faults.runs import Ended, run
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial, as_command

INTERRUPTED = {"SIGINT": (130, -2), "SIGTERM": (143, -15), "SIGKILL": (-9,)}
"""Exit codes; a shell shows -2 and -15, of a process that has no handler yet or any more, as 130 and 143."""
EXPECTED = "then as undisturbed"


class Moment(NamedTuple):
    """When a signal comes: at an event, or after a share of the command's time."""

    signal: str
    event: int | None
    share: float


def try_kills(toys: Toys, work: Path, seed: int, n_moments: int, names: Collection[str] = ()) -> Iterator[Trial]:
    """Disturb each command at `n_moments` events and as many times.

    Args:
        names: of the commands; all by default.
    """
    chance = random.Random(seed)
    for command in writing_commands(toys, names):
        calm = undisturbed(toys, command, work / command.name)
        if isinstance(calm, str):
            yield Trial("kills", command.name, "nothing", EXPECTED, "", calm, as_command(command.arguments))
            continue
        for moment in choose_moments(len(calm.events), n_moments, chance):
            yield try_moment("kills", toys, command, calm, moment, work / command.name)


def choose_moments(n_events: int, n_moments: int, chance: random.Random) -> list[Moment]:
    """Spread kills evenly over events and time, the first events always among them, and add other signals."""
    early = [0, 1, 2]
    spread = [int((index + chance.random()) * n_events / n_moments) for index in range(n_moments)]
    at_events = sorted({event for event in [*early, *spread, n_events - 1] if event < n_events})
    moments = [Moment("SIGKILL", event, 0.0) for event in at_events]
    moments += [Moment("SIGKILL", None, (index + chance.random()) / n_moments) for index in range(n_moments)]
    for name in ("SIGTERM", "SIGINT"):
        moments += [Moment(name, event, 0.0) for event in sorted(chance.sample(at_events, min(2, len(at_events))))]
        moments.append(Moment(name, None, chance.random()))
    return moments


def try_moment(section: str, toys: Toys, command: Command, calm: Undisturbed, moment: Moment, folder: Path) -> Trial:
    """Disturb a command at one moment, run it again and compare."""
    started(toys, command, folder)
    if moment.event is None:
        after = moment.share * calm.ended.seconds
        disturbed = run(Plan(str(folder)), command.arguments, killed_after=after, number=SIGNALS[moment.signal])
        tried = f"{moment.signal} after {moment.share:.0%} of its time"
    else:
        disturbed = run(Plan(str(folder), moment.signal, moment.event), command.arguments)
        tried = f"{moment.signal} at event {moment.event} of {len(calm.events)}: {_event(calm, moment.event, folder)}"
    forced = _forced(command, folder) if moment.event is not None and moment.event < 4 else None
    again = run(Plan(str(folder)), command.arguments)
    problem = _problem(calm, moment, disturbed, again, folder) or _refused(forced)
    observed = f"{disturbed.code}, then {again.code}{parts_of(folder)}" + (
        "" if forced is None else f", forced {forced.code}"
    )
    return Trial(section, command.name, tried, EXPECTED, observed, problem, as_command(command.arguments))


def _event(calm: Undisturbed, number: int, folder: Path) -> str:
    return calm.events[number].replace(f"{folder}/", "")


def _forced(command: Command, folder: Path) -> Ended | None:
    """Start over in a copy of what the kill left."""
    if not command.can_force:
        return None
    copy = folder.with_name(f"{folder.name}-forced")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return run(Plan(str(copy)), (*command.arguments, "--force"))


def _refused(forced: Ended | None) -> str | None:
    return f"--force: {forced.code} {' '.join(forced.lines)}" if forced is not None and forced.code else None


def _problem(calm: Undisturbed, moment: Moment, disturbed: Ended, again: Ended, folder: Path) -> str | None:
    """Say what went wrong; a command that ended before its signal came counts as one that nobody disturbed."""
    if disturbed.code not in (*INTERRUPTED[moment.signal], calm.ended.code):
        return f"{moment.signal}: exit code {disturbed.code} {' '.join(disturbed.lines)}"
    if disturbed.code != calm.ended.code and (odd := disturbed.misbehaved()):
        return f"{moment.signal}: {odd}"
    if again.code != calm.ended.code:
        return f"lost: again {again.code} {' '.join(again.lines)}"
    differences = calm.result.differences(read_result(folder))
    return f"lost: {'; '.join(differences[:4])}" if differences else None
