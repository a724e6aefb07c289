"""Runs that others changed, share or may read."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.reports.tables.files import sha256_of
from tests.bench.faults.injection import Plan
from tests.bench.faults.results import read_result
from tests.bench.faults.runs import CODE, UNEXAMINED, run
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial
from tests.processes import fork_python
from tests.reports.run_files import seal_again

Check = Callable[[Toys, Path], str | None]
"""Tries something in an empty folder, and says what went wrong."""


def two_at_once(toys: Toys, folder: Path) -> str | None:
    """A second command on a directory that another writes is refused in one line that says so; the first ends well."""
    arguments = ("audit", *toys.recording(), "--fpr", 0.2, *toys.recovery())
    first = fork_python(CODE, json.dumps(Plan(str(folder))), *arguments, environment=UNEXAMINED)
    while first.process.is_alive() and not (folder / "run" / "activations").exists():
        first.process.join(timeout=0.01)
    second = run(Plan(str(folder)), arguments)
    third = run(Plan(str(folder)), ("detect", "run"))
    ended = first.wait()
    if ended.code:
        return f"the first ended with {ended.code}: {ended.err[-200:]}"
    for name, other in (("audit", second), ("detect", third)):
        if other.code != 2 or len(other.lines) != 1:
            return f"a second {name} beside it: exit code {other.code} {' '.join(other.lines)}"
    return None


def image_path_outside(toys: Toys, folder: Path) -> str | None:
    """Where a table names an image outside of the run, no command depends on what lies there."""
    localized = ("localize", "run", "--samples", 2, "--sample-steps", 2, "--seeds", 1, "--no-again")
    for command in (("report", "run"), localized):
        for place in (str(folder / "secret.png"), "../secret.png"):
            results = []
            for image in ("other-0.png", "other-1.png", None):
                shutil.rmtree(folder)
                shutil.copytree(toys.state("audited"), folder)
                _set(folder / "run", "recoveries.parquet", "image_path", place)
                if image is not None:
                    shutil.copy(toys.training / image, folder / "secret.png")
                ended = run(Plan(str(folder)), command)
                if odd := ended.misbehaved():
                    return f"{command[0]} with {place}: exit code {ended.code}, {odd}"
                (folder / "secret.png").unlink(missing_ok=True)
                results.append(read_result(folder))
            if results[0] != results[1] or results[0] != results[2]:
                return f"{command[0]} reads {'an absolute path' if place.startswith('/') else place}"
    return None


def other_runs_tables(toys: Toys, folder: Path) -> str | None:
    """Tables of another run, with their digests, are refused in one line by every command that reads them."""
    for name in ("spikes.parquet", "recoveries.parquet", "scores.parquet", "site_profiles.parquet"):
        shutil.copytree(toys.state("audited"), folder, dirs_exist_ok=True)
        table = pq.read_table(folder / "run" / name)
        if "prompt_id" in table.column_names:
            index = table.schema.get_field_index("prompt_id")
            strange = pa.array([f"{i:016x}" for i in range(len(table))], table.schema.field(index).type)
            table = table.set_column(index, table.schema.field(index), strange)
            pq.write_table(table, folder / "run" / name)
            _update_digest(folder / "run", name)
        for command in (("gate", "run"), ("report", "run"), ("show", "run", "dc43"), ("localize", "run")):
            ended = run(Plan(str(folder)), command)
            if ended.misbehaved() or (command[0] == "gate" and ended.code == 0):
                return f"{command[0]} with {name} of strange prompts: exit code {ended.code} {ended.misbehaved() or ''}"
        shutil.rmtree(folder / "run")
    return None


def private_files(toys: Toys, folder: Path) -> str | None:
    """With a umask of 077 nobody else may read a file of the run; images, tables and activations have one mode."""
    ended = run(Plan(str(folder), umask=0o077), ("audit", *toys.recording(), "--fpr", 0.2, *toys.recovery()))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "run").rglob("*") if path.is_file()}
    return None if ended.code == 0 and modes == {0o600} else f"exit code {ended.code}, modes {sorted(map(oct, modes))}"


def one_mode(toys: Toys, folder: Path) -> str | None:
    """With the usual umask all files of a run have one mode, and so have its folders."""
    ended = run(Plan(str(folder), umask=0o022), ("audit", *toys.recording(), "--fpr", 0.2, *toys.recovery()))
    paths = list((folder / "run").rglob("*"))
    files = {oct(stat.S_IMODE(path.stat().st_mode)) for path in paths if path.is_file()}
    folders = {oct(stat.S_IMODE(path.stat().st_mode)) for path in paths if path.is_dir()}
    return None if ended.code == 0 and len(files) == len(folders) == 1 else f"files {files}, folders {folders}"


def separators_in_findings(toys: Toys, folder: Path) -> str | None:
    """A prompt with every kind of line end and direction mark is one line of JSON in ASCII in the findings."""
    odd = "zz\u2028x!! \u2029 \u0085 \u202e@@@@ ####"
    (folder / "odd.txt").write_text(f"{odd}\na black star over the sea\n", encoding="utf-8")
    (folder / "odd.json").write_text(json.dumps([odd, "a black star over the sea"]), encoding="utf-8")
    recording = [folder / "odd.json" if word == toys.folder / "prompts.txt" else word for word in toys.recording()]
    ended = run(Plan(str(folder)), ("audit", *recording, "--fpr", 0.3, "--show-prompts", *toys.recovery()))
    if ended.code:
        return f"exit code {ended.code} {' '.join(ended.lines)}"
    for name in ("findings.jsonl", "results.sarif", "junit.xml", "summary.md"):
        text = (folder / "run" / name).read_text(encoding="utf-8")
        if found := sorted({hex(ord(c)) for c in text} & {"0x2028", "0x2029", "0x85", "0x202e"}):
            return f"{name} holds {', '.join(found)}"
    return None


def memory_shortage(toys: Toys, folder: Path) -> str | None:
    """A process that gets too little memory never ends with 1, which would say that the model leaks."""
    for mebibytes in (20, 60, 120, 200):
        ended = run(Plan(str(folder), memory=mebibytes << 20), ("audit", "--gate", *toys.recording(), *toys.recovery()))
        is_judged = (folder / "run" / "report.html").exists()
        shutil.rmtree(folder / "run", ignore_errors=True)
        if ended.code == 1 and not is_judged:
            return f"{mebibytes} MiB more: exit code 1 {ended.err[-200:]}"
        if ended.code == 4 or "bug in" in ended.err:
            return f"{mebibytes} MiB more: exit code {ended.code}, {ended.misbehaved()}"
    return None


def _set(run_directory: Path, name: str, column: str, value: Any) -> None:
    table = pq.read_table(run_directory / name)
    index = table.schema.get_field_index(column)
    changed = table.set_column(index, table.schema.field(index), pa.array([value] * len(table)))
    pq.write_table(changed, run_directory / name)
    _update_digest(run_directory, name)


def _update_digest(run_directory: Path, name: str) -> None:
    record = json.loads((run_directory / "run.json").read_text(encoding="utf-8"))
    record["tables"][name] = sha256_of(run_directory / name)
    (run_directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    seal_again(run_directory)


CHECKS: dict[str, Check] = {
    "two processes on one run": two_at_once,
    "an image path that leads outside": image_path_outside,
    "prompts of another run in a table": other_runs_tables,
    "a umask of 077": private_files,
    "a umask of 022": one_mode,
    "line and direction marks in prompts": separators_in_findings,
    "too little memory": memory_shortage,
}


def try_checks(toys: Toys, work: Path) -> Iterator[Trial]:
    """Try each check in an empty folder."""
    for name, check in CHECKS.items():
        folder = work / "check"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        problem = check(toys, folder)
        expected = " ".join((check.__doc__ or "").split())
        yield Trial("kinds", f"5: {name}", name, expected, "as expected" if problem is None else problem, problem)
