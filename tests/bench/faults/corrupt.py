"""A finished audit that fails the gate is damaged or edited in over a thousand ways, and never passes.

Only who rewrites tables, digests and counts so that they agree can make it pass: nothing signs them. Damage is named in
one line or repaired by computing again; it never ends in a traceback or, silently, in another result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.faults.corrupting import Job
from tests.bench.faults.runs import UNEXAMINED
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial
from tests.processes import fork_python

CODE = "from tests.bench.faults.corrupting import main; main()"
EXPECTED = "no pass, no other content"
CONSISTENT = "may pass"
DETECTION = ("spikes.parquet", "reference_scores.parquet", "text_null.parquet", "baseline.safetensors")
"""What detection writes and recovery leaves."""
TURNS = "show report show detect show audit report show show recover report show show localize show report".split()
"""The cheap ones more often."""


def try_corruption(toys: Toys, work: Path, seed: int, most: int) -> Iterator[Trial]:
    """Damage copies of the finished audit, with as many processes as die of it."""
    work.mkdir(parents=True, exist_ok=True)
    out, first, n_dead = work / "lines.jsonl", 0, 0
    out.unlink(missing_ok=True)
    commands = _commands(toys)
    base, other = str(toys.state("audited")), str(toys.state("sampled"))
    while True:
        job = Job(base, other, str(work / "copy"), seed, most, commands, TURNS, first, str(out))
        process = fork_python(CODE, json.dumps(job), environment=UNEXAMINED)
        while process.process.is_alive():
            process.process.join(timeout=2)
            read = _lines_of(out)[first:]
            first += len(read)
            yield from (_trial(json.loads(line), commands) for line in read)
        ended = process.wait()
        if ended.code == 0:
            return
        n_dead += 1
        assert n_dead < 20, ended
        yield Trial("corrupt", "any", f"mutation {first}", EXPECTED, f"{ended.code}", f"died: {ended.err[-300:]}")
        with out.open("a", encoding="utf-8") as lines:
            print("null", file=lines)
        first += 1


def _lines_of(out: Path) -> list[str]:
    """Read the lines that are complete."""
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _commands(toys: Toys) -> dict[str, list[str]]:
    recording = [str(word) for word in (*toys.recording(), "--fpr", 0.2, *toys.recovery())]
    recovery = [str(word) for word in toys.recovery()]
    localized = "--samples 2 --sample-steps 2 --seeds 1 --points 2 --controls 1 --no-again".split()
    return {
        "report": ["report", "run"],
        "show": ["show", "run", "dc43"],
        "detect": ["detect", "run", "--fpr", "0.2"],
        "audit": ["audit", *recording],
        "recover": ["recover", "run", *recovery],
        "localize": ["localize", "run", *localized],
    }


def _trial(line: list[Any], commands: dict[str, list[str]]) -> Trial:
    index, kind, name, is_consistent, is_setting, command, gate, second, after, differences = line
    problem = None
    answers = {"gate": gate, command: second} | ({f"gate after {command}": after} if after else {})
    for title, (code, words) in answers.items():
        if code == 0 and title.startswith("gate") and not is_consistent:
            problem = problem or f"{title} passes it"
        if code not in (0, 1, 2, 3):
            problem = problem or f"{title}: exit code {code}, {words}"
        if code in (2, 3) and not words:
            problem = problem or f"{title}: exit code {code} without a line"
    others = [words for words in differences if not _is_the_damage(words, name, command)]
    if others and not is_consistent and not is_setting:
        problem = problem or f"{command} ends well with other content: {'; '.join(others[:4])}"
    observed = f"{', '.join(f'{title} {answer[0]}' for title, answer in answers.items())}: {gate[1] or second[1]}"
    expected = CONSISTENT if is_consistent else EXPECTED
    return Trial("corrupt", kind, f"{name} (#{index})", expected, observed[:300], problem, command)


def _is_the_damage(difference: str, name: str, command: str) -> bool:
    """Whether a difference is the damaged file, which a command may leave, or a result that detection withdraws."""
    what, _, path = difference.partition(": run/")
    if command == "detect" and path not in DETECTION:
        return True
    is_damaged = path in name or path.startswith(f"{name}/")
    return is_damaged and (what == "other" or command not in ("audit", "recover"))
