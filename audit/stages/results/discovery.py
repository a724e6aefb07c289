"""Write the results of a discovery: a line and an image for each finding, the tables, the page and run.json."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
from rich.console import Console

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.discover.findings import findings_of
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.images.png import save_image
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.loading import LoadedModel
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.recover.climbing import training_image_file
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.results.account import describe_prompts, library_versions
from flashbulb.audit.stages.results.recovery_tables import finding_id, recovery_row
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.words import Words
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.bounds.unseen import estimate_unseen
from flashbulb.reports.figures.curves import discovery_curves
from flashbulb.reports.figures.panels import PanelRow, evidence_panel
from flashbulb.reports.tables.files import (
    CURVE_FILE,
    EVIDENCE_FILE,
    IMAGES_DIRECTORY,
    RECOVERIES_FILE,
    SCHEMA_VERSION,
    SUMMARY_FILE,
    sha256_of,
    write_text,
)
from flashbulb.reports.tables.run_record import DISCOVERY, ModelIdentity
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, write_table
from flashbulb.reports.tables.stores import as_uri
from flashbulb.reports.views.discovery import ClosingCounts, DiscoveryRecord, Finding, FindingWords, StopReason
from flashbulb.reports.views.discovery_markdown import discovery_markdown
from flashbulb.reports.views.discovery_terminal import print_discovery, print_finding, print_words
from flashbulb.reports.views.passed_over import passed_over_warnings


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


def _finding(discovery: Discovery, number: int, words: FindingWords | None = None) -> Finding:
    outcome = discovery.outcome
    return Finding(
        finding_id(number),
        outcome.verdict,
        outcome.confidence,
        discovery.evaluations,
        None if outcome.nearest is None else outcome.nearest.name,
        words,
    )


def _finding_words(session: DiscoverySession, number: int, words: Words, confirms: bool = False) -> FindingWords | None:
    if words.text is None:
        return None
    image_path = words_image_name(number) if session.settings.images else None
    return FindingWords(words.text, rate_of(words.hits, len(words.images)), words.verdict, image_path, confirms)


def _image_name(number: int) -> str:
    return f"{IMAGES_DIRECTORY}/{finding_id(number)}.png"


def words_image_name(number: int) -> str:
    """Return the path of the image that a finding's words give, relative to the run."""
    return f"{IMAGES_DIRECTORY}/{finding_id(number)}-words.png"


def show_words(session: DiscoverySession, number: int, words: Words) -> None:
    """Print the line of a search for words."""
    print_words(session.console, finding_id(number), _finding_words(session, number, words))


def show_finding(session: DiscoverySession, discovery: Discovery, number: int) -> None:
    """Print the line of a finding."""
    print_finding(session.console, _finding(discovery, number))


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
        save_image(session.run.path / _image_name(number), discovery.image, metadata)


def remove_finding_image(session: DiscoverySession, number: int) -> None:
    """Remove the image of a finding that is none after all."""
    (session.run.path / _image_name(number)).unlink(missing_ok=True)


def clear_findings(session: DiscoverySession) -> None:
    """Remove the images of findings that an earlier run kept; the images that words gave stay."""
    for path in (session.run.path / IMAGES_DIRECTORY).glob("finding-*.png"):
        if not path.stem.endswith("-words"):
            path.unlink()


def write_discovery_results(
    session: DiscoverySession,
    state: SearchState,
    stopped: StopReason,
    closing: ClosingCounts,
    words: Mapping[int, Words],
    raised: Collection[int],
) -> DiscoveryRecord:
    """Write the results of a finished search, run.json last, and print a summary.

    Args:
        words: prompts that were searched for, by number of the finding.
        raised: findings that their words confirm.
    """
    run, images = session.run.path, session.settings.images
    recoveries = write_recoveries(session, state)
    shown = {i: _finding_words(session, i, found, i in raised) for i, found in words.items()}
    spent_on_words = sum(found.evaluations for found in words.values())
    record = _record(session, state, stopped, closing, shown, spent_on_words)
    write_text(run / SUMMARY_FILE, discovery_markdown(record, recoveries))
    discovery_curves({"discover": list(record.curve)}, None, run / CURVE_FILE)
    (run / EVIDENCE_FILE).unlink(missing_ok=True)
    if images and findings_of(state):
        rows = [_panel_row(session, discovery, i) for i, discovery in findings_of(state).items()]
        evidence_panel(rows, run / EVIDENCE_FILE)
    session.run.update(**asdict(record))
    print_discovery(session.console, record, run)
    return record


def write_recoveries(session: DiscoverySession, state: SearchState) -> pa.Table:
    """Write recoveries.parquet with the findings so far, and return it."""
    images = session.settings.images
    rows = [
        {
            **recovery_row(discovery.outcome),
            "finding_id": finding_id(i),
            "prompt_id": None,
            "is_control": False,
            "strategy": "discover",
            "restart": discovery.round,
            "evaluations": discovery.cost,
            "image_path": _image_name(i) if images else None,
            "mask_path": None,
            "fixed_share": None,
        }
        for i, discovery in findings_of(state).items()
    ]
    table = pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)
    footer = {"model_fingerprint": session.loaded.fingerprint}
    write_table(session.run.path / RECOVERIES_FILE, table, RECOVERIES_SCHEMA, footer)
    return table


def _panel_row(session: DiscoverySession, discovery: Discovery, number: int) -> PanelRow:
    outcome, run = discovery.outcome, session.run.path
    return PanelRow(
        prompt=None,
        verdict=outcome.verdict,
        strategy="discover",
        spike_score=None,
        q_value=None,
        confidence=outcome.confidence,
        evaluations=discovery.evaluations,
        training_image=training_image_file(session.training, outcome.nearest, run / IMAGES_DIRECTORY),
        samples=(),
        recovered=run / _image_name(number),
        mask=None,
    )


def _record(
    session: DiscoverySession,
    state: SearchState,
    stopped: StopReason,
    closing: ClosingCounts,
    words: Mapping[int, FindingWords | None],
    words_evaluations: int,
) -> DiscoveryRecord:
    """Build run.json; its timing `search` adds up the rounds of all runs, the others are of this run."""
    settings, run = session.settings, session.run.path
    verdicts = [discovery.outcome.verdict for discovery in findings_of(state).values()]
    return DiscoveryRecord(
        schema_version=SCHEMA_VERSION,
        status=DISCOVERY,
        model=ModelIdentity(model_name(settings), session.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={
            "train_images": as_uri(settings.train_images) if settings.train_images else None,
            "starts_from": describe_prompts(session.texts) if session.texts is not None else None,
        },
        budget=settings.budget,
        evaluations=dict(state.spent),
        n_rounds=state.n_rounds,
        n_starts=state.n_starts,
        n_confirmed=verdicts.count("confirmed"),
        n_likely=verdicts.count("likely"),
        findings=tuple(
            replace(_finding(discovery, i, words.get(i)), times_found=max(1, state.times_found[i]))
            for i, discovery in findings_of(state).items()
        ),
        stopped_because=stopped,
        timings={
            "prepare": round(session.prepared, 3),
            "search": round(state.seconds, 3),
            **({"close": round(session.on_closing, 3)} if settings.closing_looks else {}),
            **({"words": round(session.on_words, 3)} if words else {}),
        },
        versions=library_versions(),
        tables={RECOVERIES_FILE: sha256_of(run / RECOVERIES_FILE)},
        warnings=passed_over_warnings(session.training.passed_over) if session.training is not None else (),
        n_words_searched=len(words),
        words_evaluations=words_evaluations,
        unseen=estimate_unseen([n for n in state.times_found if n]),
        closing=closing,
    )
