"""Findings that tests start from or draw at random."""

from typing import Any

from hypothesis import strategies as st

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.findings import IMAGE, NOT_TRIED, SPIKE, Finding, FoundImage, Nearest


def finding(prompt_id: str = "p0", severity: str = "high", verdict: str = "confirmed", **changes: Any) -> Finding:
    """A finding of one prompt, with `changes`."""
    shown = verdict in ("confirmed", "likely")
    values: dict[str, Any] = {
        "kind": IMAGE if shown else SPIKE,
        "subject": prompt_id,
        "prompt_id": prompt_id,
        "prompt": "a star over the sea",
        "source_file": "data/captions.csv",
        "source_row": 7,
        "severity": severity,
        "spike_score": 1.5,
        "p_value": 0.001,
        "q_value": 0.01,
        "verdict": verdict,
        "strategy": None if verdict == NOT_TRIED else "sample",
        "image": f"f-{prompt_id}" if shown else None,
        "confidence": None,
        "similarity": None,
        "nearest": None,
    }
    values |= changes
    images = (
        (FoundImage(values["image"], verdict, replication_of(6, 16), values["nearest"], 1),) if values["image"] else ()
    )
    return Finding(**({"images": images} | values))


def giving(*files: str, verdict: str = "confirmed") -> Finding:
    """A finding whose prompt gives an image of each file; those called `?` copy no training image."""
    nearest = [Nearest(file, 0.9, None if file == "?" else "verbatim") for file in files]
    images = (FoundImage(f"f-{number}", verdict, replication_of(6, 16), near, 1) for number, near in enumerate(nearest))
    return finding("p0", "high", verdict, nearest=nearest[0], images=tuple(images))


STATES = [("high", "confirmed"), ("high", "likely"), ("medium", "not_shown"), ("low", "not_shown"), ("low", NOT_TRIED)]


@st.composite
def findings(draw: st.DrawFn) -> list[Finding]:
    """Draw findings of up to seven distinct prompts."""
    ids = draw(st.lists(st.integers(0, 6), unique=True))
    return [finding(f"p{i}", *draw(st.sampled_from(STATES))) for i in ids]
