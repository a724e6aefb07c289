"""Model folders that bring code are opened by three commands, with "y" on standard input: none of them runs any.

Each is refused in one line, or opens because nothing reads what it brings.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.audit.model.loading.folders import Change
from tests.audit.model.loading.hostile_code import CODE
from tests.audit.model.loading.hostile_weights import FILES, KEYS
from tests.audit.model.loading.opened import Opened, open_all
from tests.bench.faults.payloads import PAYLOADS
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial

REFUSED = {"code named by configs": CODE, "odd files of weights": FILES, "odd weights": KEYS}
"""Folders that have to be refused, with words of the line."""
AT_ONCE = 12
"""Folders that one process opens."""
EXPECTED = "no code runs"


def try_hostile(toys: Toys, work: Path, seed: int) -> Iterator[Trial]:
    """Open every folder by `sites`, `validate` and `audit`."""
    kinds: dict[str, Mapping[str, Change]] = {"code under other names": PAYLOADS}
    kinds |= {kind: {name: change for name, (change, _) in folders.items()} for kind, folders in REFUSED.items()}
    for kind, changes in kinds.items():
        for name, (before, options) in _commands(toys, work).items():
            for start in range(0, len(changes), AT_ONCE):
                few = dict(list(changes.items())[start : start + AT_ONCE])
                place = work / "folders"
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                for folder, opened in open_all(toys.model, place, few, *options, before=before).items():
                    words = REFUSED[kind][folder][1] if kind in REFUSED else None
                    observed = f"{opened.code}: {opened.err.strip()[:160]}"
                    yield Trial("hostile", f"{kind}: {name}", folder, EXPECTED, observed, _problem(opened, words), name)


def _commands(toys: Toys, work: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return what stands before and after the folder, by command."""
    prompts = ("--prompts", str(toys.folder / "prompts.txt"), "--reference", str(toys.folder / "reference.txt"))
    sampled = (*prompts, *"--seeds 1 --samples 2 --sample-steps 1 --strategy sample --max-sampled 1 --force".split())
    return {
        "sites": (("sites",), ()),
        "validate": (("validate", "--model"), (*prompts, "--no-examine")),
        "audit": (("audit", "--model"), (*sampled, "--no-examine", "--out", str(work / "run"))),
    }


def _problem(opened: Opened, words: str | None) -> str | None:
    """Say what went wrong.

    Args:
        words: part of the line with which the folder has to be refused, if it has to be.
    """
    errors = [line for line in opened.err.splitlines() if line.startswith("flashbulb: ")]
    if opened.ran:
        return "code ran"
    if opened.code not in (0, 2, 3) or "Traceback" in opened.err:
        return f"exit code {opened.code}: {opened.err[-300:]}"
    if opened.code and len(errors) != 1:
        return f"{len(errors)} error lines"
    if words is not None and (opened.code != 2 or words not in errors[0]):
        return f"exit code {opened.code}, and not refused for {words!r}"
    return None
