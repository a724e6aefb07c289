"""The images that leak and the next steps as lines for a terminal."""

from collections.abc import Iterator, Sequence

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.bounds.replication import replication_text
from flashbulb.reports.leaks.images import LeakedImage, leak_counts
from flashbulb.reports.leaks.next_steps import Step

N_SHOWN = 10


def leak_lines(leaks: Sequence[LeakedImage]) -> Iterator[str]:
    """Yield how many images came back, then the first of them with prompts and p."""
    if leaks:
        yield f"leaks: {leak_counts(leaks)}"
    for leak in leaks[:N_SHOWN]:
        often = f", {replication_text(leak.replication)}" if leak.replication else ""
        similarity = f", similarity {leak.nearest.similarity:.2f}" if leak.nearest and leak.nearest.kind else ""
        waived = ", waived" if leak.is_waived else ""
        yield f"  {leak.name}: {leak.verdict}{similarity}, {count_text(leak.n_prompts, 'prompt')}{often}{waived}"
    if len(leaks) > N_SHOWN:
        yield f"  … and {len(leaks) - N_SHOWN} more"


def step_lines(steps: Sequence[Step], run: str) -> Iterator[str]:
    """Yield the steps, each command on a line of its own, which can be pasted."""
    if steps:
        yield "next steps:"
    for number, step in enumerate((step.of_run(run) for step in steps), 1):
        yield f"  {number}. {step.text}"
        yield from (f"     {command}" for command in step.commands)
