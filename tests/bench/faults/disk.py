"""The disk fails at many moments of every command: full, read-only, a limit on the size of files, a single error.

The command ends with one line and exit code 2 or 3, or with its result where the failure takes nothing from it; what it
leaves passes no gate that fails otherwise, and the same command afterwards gives the undisturbed result.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.bench.faults.commands import Command, Undisturbed, started, undisturbed, writing_commands
from tests.bench.faults.injection import FULL, Plan
from tests.bench.faults.results import parts_of, read_result
from tests.bench.faults.runs import Ended, run
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial, as_command

LIMITS = (0, 500, 3_000, 20_000, 100_000)
"""Bytes a file may have."""
EXPECTED = "2 or 3, then as undisturbed"
LASTING = {FULL: "disk full", "EROFS": "disk read-only", "EDQUOT": "quota spent"}
PASSING = {"EIO": "one error of the device", "ENOSPC": "disk full for a moment"}


def try_disk(toys: Toys, work: Path, seed: int, n_moments: int, names: Collection[str] = ()) -> Iterator[Trial]:
    """Fail each command at `n_moments` events with every fault, and run it under every limit.

    Args:
        names: of the commands; all by default.
    """
    chance = random.Random(seed)
    for command in writing_commands(toys, names):
        folder = work / command.name
        calm = undisturbed(toys, command, folder)
        if isinstance(calm, str):
            yield Trial("disk", command.name, "nothing", EXPECTED, "", calm, as_command(command.arguments))
            continue
        for fault, words in (LASTING | PASSING).items():
            for event in _spread(len(calm.events), n_moments, chance):
                place = calm.events[event].replace(f"{folder}/", "")
                tried = (
                    f"{words} from event {event}: {place}" if fault in LASTING else f"{words}, event {event}: {place}"
                )
                plan = Plan(str(folder), fault, event, fault in LASTING)
                yield _try(toys, command, calm, plan, words, tried)
        for limit in LIMITS:
            plan = Plan(str(folder), limit=limit)
            yield _try(toys, command, calm, plan, "limited file size", f"no file above {limit} bytes")


def _spread(n_events: int, n_moments: int, chance: random.Random) -> list[int]:
    """Choose events evenly, one in each stretch, the first always among them."""
    return sorted({0, *(int((index + chance.random()) * n_events / n_moments) for index in range(n_moments))})


def _try(toys: Toys, command: Command, calm: Undisturbed, plan: Plan, words: str, tried: str) -> Trial:
    folder = Path(plan.folder)
    started(toys, command, folder)
    failed = run(plan, command.arguments)
    problem = _problem_of_failure(calm, failed, folder)
    again = run(Plan(str(folder)), command.arguments)
    problem = problem or _problem_of_next(calm, again, folder)
    observed = f"{failed.code}, then {again.code}{parts_of(folder)}: {' '.join(failed.lines)[:160]}"
    kind = f"{command.name}: {words}"
    return Trial("disk", kind, tried, EXPECTED, observed, problem, as_command(command.arguments))


def _problem_of_failure(calm: Undisturbed, failed: Ended, folder: Path) -> str | None:
    if odd := failed.misbehaved():
        return f"exit code {failed.code}, {odd}"
    if failed.code == calm.ended.code:
        differences = calm.result.differences(read_result(folder))
        return f"exit code {failed.code} with another result: {'; '.join(differences[:4])}" if differences else None
    if failed.code not in (2, 3):
        return f"exit code {failed.code} {' '.join(failed.lines)}"
    return f"complete after exit code {failed.code}" if _says_complete(folder, calm) else None


def _says_complete(folder: Path, calm: Undisturbed) -> bool:
    """Whether a record says complete though the command failed and files are missing that it speaks for.

    A localization is an addition to a complete run and has a record of its own, which is written last.
    """
    missing = [name for name in calm.result.differences(read_result(folder)) if name.startswith("missing: run/")]
    additions = [name for name in missing if name.startswith("missing: run/localization/")]
    try:
        status = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8")).get("status")
    except (OSError, ValueError):
        status = None
    is_complete = status == "complete" and len(missing) > len(additions)
    return is_complete or (bool(additions) and (folder / "run" / "localization" / "settings.json").exists())


def _problem_of_next(calm: Undisturbed, again: Ended, folder: Path) -> str | None:
    if again.code != calm.ended.code:
        return f"not resumed: again {again.code} {' '.join(again.lines)}"
    differences = calm.result.differences(read_result(folder))
    return f"not resumed: {'; '.join(differences[:4])}" if differences else None
