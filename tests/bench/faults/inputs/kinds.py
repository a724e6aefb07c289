"""Every kind of input that the field breaks a product with, once: what has to come of it, and what does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.faults.injection import Plan
from tests.bench.faults.inputs.cases import Case, Maker
from tests.bench.faults.inputs.images import IMAGES
from tests.bench.faults.inputs.models import MODELS_NOT_TRUSTED
from tests.bench.faults.inputs.prompts import PROMPTS
from tests.bench.faults.inputs.runs import try_checks
from tests.bench.faults.runs import Ended, run
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial, as_command

KINDS: dict[str, dict[str, Maker]] = {"1": MODELS_NOT_TRUSTED, "3": PROMPTS, "4": IMAGES}
"""By section of the list of what the field breaks; kinds of section 2 are tried by every command, see `hostile.py`."""


def try_kinds(toys: Toys, work: Path, seed: int) -> Iterator[Trial]:
    """Run the command of each kind."""
    for section, makers in KINDS.items():
        for name, make in makers.items():
            folder = work / "kind"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            case = make(toys, folder)
            ended = run(Plan(str(folder)), case.arguments, examined=case.is_examined)
            words = f", with {' and '.join(map(repr, case.words))}" if case.words else ""
            expected = f"{' or '.join(map(str, case.codes))}{words}"
            observed = f"{ended.code}: {' '.join(ended.lines)[:200]}"
            problem = _problem(case, ended)
            yield Trial("kinds", f"{section}: {name}", name, expected, observed, problem, as_command(case.arguments))
    yield from try_checks(toys, work)


def _problem(case: Case, ended: Ended) -> str | None:
    if odd := ended.misbehaved():
        return f"exit code {ended.code}, {odd}"
    if ended.code not in case.codes:
        return f"exit code {ended.code}: {' '.join(ended.lines) or ended.out[-300:]}"
    said = " ".join(ended.lines) if ended.code else ended.out + ended.err
    missing = [word for word in case.words if word not in said]
    return f"does not say {missing}: {said[-300:]}" if missing else None
