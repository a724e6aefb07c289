"""The page of all trials: a table of kinds and outcomes for each section, and every problem by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.bench.faults.trials import Trial, problems_of

PROBLEMS = "Problems"
_HEAD = ("| kind | tried | problems | expected | observed |", "| --- | --- | --- | --- | --- |")
SHOWN = 4
"""Different outcomes that a row names."""
INTRODUCTION = """\
# Faults, tried

Written by `make bench-faults`: what breaks audits in the field, made up on a small scale and tried on the command
line. Models are toys of random weights, which are not examined, but for the kinds of section 1 and the prediction
types, which run on planted models. All draws have fixed seeds. *Problems* counts the trials whose outcome is not the
expected one; a traceback, an exit code of 4, and anything but one line of error are always problems. Numbers in
*observed* are exit codes: 0 done or passed, 1 the gate failed, 2 usage, 3 not to be trusted, negative if a signal
ended the process.
"""
SECTIONS = {
    "kinds": """\
One input of each kind. The number is the section of the list that they come from: 1 models that do not run as they
were trained, 3 captions, 4 training images, 5 runs on a disk. Kinds of section 2 are under *hostile*.""",
    "kills": """\
Each command that writes is ended by SIGKILL, SIGTERM or SIGINT: at its first writes to the disk (opening, renaming,
making and removing files, flushing), at writes spread over the run, and at moments in time. Then the same command
runs again. Every file must then equal that of an undisturbed run, but for dates and durations; tables and images are
compared byte by byte. Incomplete files that a kill left are counted as *.part left*. After the earliest
kills `--force` is tried as well, in a copy.""",
    "workers": """\
Three jobs are shared by several processes: a recording of 80 prompts, a recovery of 16, and a whole audit of 24 drawn
at random (`--sample`), with ordinary prompts (`--propensity`). Some of these processes are killed: workers of
`--workers 2` on this machine and on Ray (several in one run, each counted, whose outcome is one), the command that
hands out to them, and both of two ranks. Every file must equal that of one process, bit for bit, but for times,
settings and the pages that state them; and `gate` must answer 3 on what a killed command leaves. `merge` is
among the commands of *kills*.""",
    "stores": """\
Runs and inputs lie in an object store (a local S3 server). Each command is ended by SIGKILL at a call of the store,
spread over all of its calls, and the same command runs again: in turn with the cache that the kill left, and on another
machine that shares only the store. Or the store fails every tenth call: with an error, a request to slow down, or a
lost connection. All files of the run in the store must equal those of an undisturbed run, as in *kills*.""",
    "disk": """\
From one write on, or at one write, the operating system answers with an error; or no file may exceed a size, which
libraries that write past Python meet too. Expected are exit code 2 or 3, one line and no verdict; then the same command
runs again without the fault, and every file must equal that of an undisturbed run.""",
    "corrupt": """\
A finished audit that fails the gate is damaged or edited, judged by `gate`, given to one more command, and judged
again if that writes. *Other content* means that a command ended with 0 and left a file that differs from what it
leaves of the undamaged audit, apart from the damaged file itself.""",
    "hostile": """\
Each folder is opened by three commands with "y" on standard input. Its code would leave a file. A folder must be
refused in one line, or opened because nothing reads the code.""",
    "readings": """\
`validate` and `audit --gate` on the four planted models, with the prediction type they were trained with and with the
others. The audits are short: four memorized captions among twelve clean ones, 60 reference captions, two seeds, the
strategy `sample`, a false-positive rate of 5 %, and the training images.""",
}


def page(trials: Sequence[Trial]) -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines(trials)) + "\n"


def with_sections(text: str, trials: Sequence[Trial]) -> str:
    """Return a page that was written before, with the sections of these trials in place of its own."""
    before, after = _chunks(text), _chunks(page(trials))
    chunks = {**before, **{name: chunk for name, chunk in after.items() if name}}
    tried = {f"- {trial.section}" for trial in trials}
    kept = [line for line in before.get(PROBLEMS, "").splitlines() if line and line.split(",")[0] not in tried]
    found = [line for line in after.get(PROBLEMS, "").splitlines() if line]
    chunks[PROBLEMS] = "\n".join(["", *kept, *found, ""])
    rows = {row.split(" | ")[0]: row for row in (*_rows(before[""]), *_rows(after[""]))}
    order = ["", *(name for name in SECTIONS if name in chunks), *([PROBLEMS] if kept or found else [])]
    head = before[""].partition("| section |")[0]
    table = [rows[f"| {name}"] for name in SECTIONS if f"| {name}" in rows]
    summary = ["| section | tried | problems |", "| --- | --- | --- |", *table]
    chunks[""] = head + "\n".join(summary) + "\n"
    return "\n## ".join(f"{name}\n{chunks[name]}" if name else chunks[name] for name in order)


def with_rows(text: str, trials: Sequence[Trial]) -> str:
    """Return a page that was written before, with the rows of these trials in place of its own, or added to them."""
    chunks, new = _chunks(text), _chunks(page(trials))
    counts = {row.split(" | ")[0]: row for row in _rows(chunks[""])}
    for name in dict.fromkeys(trial.section for trial in trials):
        intro = chunks[name].partition("| kind |")[0]
        rows = {row.split(" | ")[0]: row for chunk in (chunks, new) for row in _rows(chunk[name])}
        chunks[name] = intro + "\n".join([*_HEAD, *rows.values()]) + "\n"
        cells = [row.split(" | ") for row in rows.values()]
        tried, problems = (sum(int(row[column].replace(",", "")) for row in cells) for column in (1, 2))
        counts[f"| {name}"] = f"| {name} | {tried:,} | {problems} |"
    summary = ["| section | tried | problems |", "| --- | --- | --- |", *counts.values()]
    chunks[""] = chunks[""].partition("| section |")[0] + "\n".join(summary) + "\n"
    tried_again = tuple({f"- {trial.section}, {trial.kind}: " for trial in trials})
    lines = [line for line in chunks.pop(PROBLEMS, "").splitlines() if line and not line.startswith(tried_again)]
    if lines := lines + [line for line in new.get(PROBLEMS, "").splitlines() if line]:
        chunks[PROBLEMS] = "\n" + "\n".join(lines) + "\n"
    return "\n## ".join(f"{name}\n{chunk}" if name else chunk for name, chunk in chunks.items())


def _chunks(text: str) -> dict[str, str]:
    """Return the text below each heading by the heading; "" for what stands above the first."""
    head, *others = text.split("\n## ")
    return {"": head, **dict(chunk.split("\n", 1) for chunk in others)}


def _rows(head: str) -> list[str]:
    return [line for line in head.splitlines() if line.startswith("| ")][2:]


def _lines(trials: Sequence[Trial]) -> Iterator[str]:
    sections = {name: [t for t in trials if t.section == name] for name in dict.fromkeys(t.section for t in trials)}
    yield INTRODUCTION
    yield from ("| section | tried | problems |", "| --- | --- | --- |")
    for name, rows in sections.items():
        yield f"| {name} | {len(rows):,} | {len(problems_of(rows))} |"
    for name, rows in sections.items():
        yield from ("", f"## {name}", "", SECTIONS[name], "", *_table(rows))
    if problems := problems_of(trials):
        yield from ("", f"## {PROBLEMS}", "")
        for trial in problems:
            yield f"- {trial.section}, {trial.kind}: {trial.tried}: {' '.join(str(trial.problem).split())}"


def _table(trials: Sequence[Trial]) -> Iterator[str]:
    yield from _HEAD
    for kind in dict.fromkeys(trial.kind for trial in trials):
        rows = [trial for trial in trials if trial.kind == kind]
        expected = "; ".join(dict.fromkeys(trial.expected for trial in rows))
        counted = Counter(trial.observed.partition(":")[0] for trial in rows).most_common()
        observed = [f"{outcome} ({n})" if n > 1 else outcome for outcome, n in counted[:SHOWN]]
        more = len(counted) - SHOWN
        cells = [kind, str(len(rows)), str(len(problems_of(rows))), expected]
        yield (
            f"| {' | '.join(cell.replace('|', ' ') for cell in cells)} | "
            + "; ".join(observed + ([f"{more} others"] if more > 0 else []))
            + " |"
        )
