"""Findings of a discovery while it searches: the session, and a line and an image for each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from flashbulb.audit.discover.state import Discovery
from flashbulb.audit.images.png import save_image
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import track
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.results.recovery_tables import finding_id
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.words import Words
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.tables.files import IMAGES_DIRECTORY
from flashbulb.reports.views.discovery import Finding, FindingWords
from flashbulb.reports.views.discovery_terminal import print_finding, print_words


@dataclass(slots=True)
class DiscoverySession:
    """A loaded model that is searched, and where its results go.

    Args:
        texts: what starts are taken from beside random words.
        started: monotonic clock at the beginning of this run, in seconds.
        prepared: seconds from then until the model is loaded and its baseline fitted.
        on_closing, on_words: seconds that this run spent on closing looks and on words.
    """

    settings: DiscoverSettings
    loaded: LoadedModel
    denoiser: Denoiser
    training: TrainingImages | None
    texts: PromptSet | None
    run: RunDirectory
    console: Console
    started: float
    prepared: float = 0.0
    on_closing: float = 0.0
    on_words: float = 0.0

    @contextmanager
    def progress(self, stage: str, budget: int | None, spent: int) -> Iterator[None]:
        """Show the UE of a stage, of which `spent` are spent, while a part of it computes and prints nothing."""
        with track(stage, budget, "UE", done=spent, vanishes=True) as advance, self.denoiser.telling(advance):
            yield

    @property
    def is_over(self) -> bool:
        """True if the time limit is spent."""
        minutes = self.settings.minutes
        return minutes is not None and time.monotonic() - self.started > 60 * minutes


def kept_identity(identity: Mapping[str, Any], training: TrainingImages | None) -> str:
    """Hash what a part of a discovery depends on that is kept with verdicts.

    Training images decide what counts as found, and their files can change under one path.
    """
    return fingerprint_of(identity if training is None else {**identity, "training_images": training.identity})


def finding_of(discovery: Discovery, number: int, words: FindingWords | None = None) -> Finding:
    """Return what run.json and the terminal say of a finding."""
    outcome = discovery.outcome
    return Finding(
        finding_id(number),
        outcome.verdict,
        outcome.confidence,
        discovery.evaluations,
        None if outcome.nearest is None else outcome.nearest.name,
        words,
    )


def finding_words(session: DiscoverySession, number: int, words: Words, confirms: bool = False) -> FindingWords | None:
    """Return what run.json and the terminal say of its words; None if none were found."""
    if words.text is None:
        return None
    image_path = words_image_name(number) if session.settings.images else None
    return FindingWords(words.text, rate_of(words.hits, len(words.images)), words.verdict, image_path, confirms)


def image_name(number: int) -> str:
    """Return the path of the image of a finding, relative to the run."""
    return f"{IMAGES_DIRECTORY}/{finding_id(number)}.png"


def words_image_name(number: int) -> str:
    """Return the path of the image that a finding's words give, relative to the run."""
    return f"{IMAGES_DIRECTORY}/{finding_id(number)}-words.png"


def show_words(session: DiscoverySession, number: int, words: Words) -> None:
    """Print the line of a search for words."""
    print_words(session.console, finding_id(number), finding_words(session, number, words))


def show_finding(session: DiscoverySession, discovery: Discovery, number: int) -> None:
    """Print the line of a finding."""
    print_finding(session.console, finding_of(discovery, number))


def save_finding(session: DiscoverySession, discovery: Discovery, number: int) -> None:
    """Write the image of a finding as PNG, with how it was found in its metadata, if images are kept."""
    if session.settings.images:
        metadata = {
            "strategy": "discover",
            "round": discovery.round,
            "start": discovery.start,
            "run_seed": session.settings.seed,
            "evaluations": discovery.evaluations,
            "fingerprint": session.loaded.fingerprint,
        }
        save_image(session.run.path / image_name(number), discovery.image, metadata)


def remove_finding_image(session: DiscoverySession, number: int) -> None:
    """Remove the image of a finding that is none after all."""
    (session.run.path / image_name(number)).unlink(missing_ok=True)


def clear_findings(session: DiscoverySession) -> None:
    """Remove the images of findings, and of their words, that an earlier run kept; those that count are saved again."""
    for path in (session.run.path / IMAGES_DIRECTORY).glob("finding-*.png"):
        path.unlink()
