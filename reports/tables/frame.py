"""The sampling frame of an audit: how the prompts that it tried relate to those that it speaks about."""

from dataclasses import dataclass
from typing import Literal

from flashbulb.reports.tables.record_files import Count

FrameKind = Literal["census", "random", "targeted"]


@dataclass(frozen=True, slots=True)
class Frame:
    """How the audited prompts were chosen.

    Args:
        kind: `census`, every distinct prompt of the file; `random`, a random sample; `targeted`, chosen on suspicion,
            so that no share of any population follows.
        n_prompts: distinct prompts audited.
        n_file: distinct prompts of the prompt file.
        n_population: distinct prompts that a stated share is of; None if targeted.
        seed: of the draw from the file; None if all of the file was audited.
        sha256: of the prompt file, as in `inputs`.
    """

    kind: FrameKind
    n_prompts: Count
    n_file: Count
    n_population: Count | None
    seed: Count | None
    sha256: str

    @property
    def allows_shares(self) -> bool:
        """Whether a rate among the audited prompts says something about a share of the population."""
        return self.kind != "targeted"


def frame_of(n_prompts: int, n_file: int, sha256: str, *, seed: int, population: int | None, targeted: bool) -> Frame:
    """Return the frame of an audit of `n_prompts` of the `n_file` distinct prompts of a file.

    Args:
        seed: of the draw, if the prompts are fewer than the file has.
        population: distinct prompts that the file is a random sample of; None if the file is all there is to speak of.
        targeted: the prompts of the file were chosen on suspicion.
    """
    drawn_with = seed if n_prompts < n_file else None
    if targeted:
        return Frame("targeted", n_prompts, n_file, None, drawn_with, sha256)
    n_population = n_file if population is None else population
    kind: FrameKind = "census" if n_prompts == n_population else "random"
    return Frame(kind, n_prompts, n_file, n_population, drawn_with, sha256)


def frame_fault(frame: Frame, n_prompts: int, sha256: object) -> str | None:
    """Return what no audit of `n_prompts` of the file with this hash records; None if the frame is possible."""
    is_drawn, population = frame.seed is not None, frame.n_population
    if frame.sha256 != sha256:
        return "its prompt file is not that of the inputs"
    if frame.n_prompts != n_prompts or n_prompts > frame.n_file or is_drawn != (n_prompts < frame.n_file):
        return f"{frame.n_prompts} of {frame.n_file} prompts, the counts have {n_prompts}"
    if (population is None) != (frame.kind == "targeted") or (population is not None and population < frame.n_file):
        return f"a population of {population}, which its kind {frame.kind} or the file of {frame.n_file} contradicts"
    if (frame.kind == "census") != (population == n_prompts):
        return f"kind {frame.kind} for {n_prompts} of {population} prompts"
    return None


def bounded_prompts(frame: Frame | None) -> str | None:
    """Name the prompts that a bound on a share is of; None if they were chosen on suspicion, so that none follows."""
    if frame is not None and frame.kind == "random":
        return f"the {frame.n_population:,} prompts that these were drawn from"
    return "prompts like these" if frame is None or frame.allows_shares else None


def frame_sentence(frame: Frame | None) -> str:
    """Say how the prompts were chosen, and what a share among them speaks about."""
    if frame is None:
        return "How the prompts were chosen is not recorded: shares are of the audited prompts and of no others."
    tried = f"All {frame.n_file:,} distinct prompts of the prompt file were audited"
    if frame.seed is not None:
        tried = (
            f"{frame.n_prompts:,} of the {frame.n_file:,} distinct prompts of the prompt file were drawn at random "
            f"(seed {frame.seed}) and audited"
        )
    if frame.n_population is None:
        return (
            f"{tried}. They are stated to be targeted, chosen on suspicion: shares among them say nothing about the "
            "training captions as a whole."
        )
    if frame.n_population > frame.n_file:
        return (
            f"{tried}. The file is stated to be a random sample of {frame.n_population:,} prompts: shares, with their "
            "intervals, are of these."
        )
    shares = "Shares" if frame.seed is None else "Shares, with their intervals,"
    return f"{tried}. {shares} are of the {frame.n_file:,} prompts of the file and of no others."


def frame_line(frame: Frame) -> str | None:
    """Say in one line how the prompts were chosen; None if the file is all there is to speak of."""
    if frame.kind == "census":
        return None
    drawn = "" if frame.seed is None else f"{frame.n_prompts:,} of {frame.n_file:,} drawn at random (seed {frame.seed})"
    stated = "stated to be targeted" if frame.n_population is None else ""
    if frame.n_population is not None and frame.n_population > frame.n_file:
        stated = f"stated to be a random sample of {frame.n_population:,}"
    return ", ".join(part for part in (drawn, f"the file is {stated}" if stated else "") if part)
