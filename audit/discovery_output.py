"""What a discovery writes: a picture and a line for each finding, tables, pages, and its record."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import pyarrow as pa
from rich.console import Console

from audit.account import display_name, library_versions
from audit.config import DiscoverSettings
from audit.denoiser import Denoiser
from audit.loading import LoadedModel
from audit.recover.discover import Discovery, SearchState
from audit.recover.sample import save_picture
from audit.recovering import training_picture
from audit.rundir import RunDirectory
from audit.tables import finding_id, recovery_row
from audit.training_images import TrainingImages
from reports.curves import discovery_curves
from reports.discovery import DiscoveryRecord, Finding, StopReason
from reports.discovery_markdown import discovery_markdown
from reports.discovery_terminal import print_discovery, print_finding
from reports.files import (
    CURVE_FILE,
    EVIDENCE_FILE,
    IMAGES_DIRECTORY,
    RECOVERIES_FILE,
    SCHEMA_VERSION,
    SUMMARY_FILE,
    sha256_of,
    write_text,
)
from reports.panels import PanelRow, evidence_panel
from reports.run_record import DISCOVERY, ModelIdentity
from reports.schema import RECOVERIES_SCHEMA, write_table


@dataclass(slots=True)
class DiscoverySession:
    """A loaded model that is searched, and where its results go.

    Args:
        started: monotonic seconds when this run began.
        prepared: seconds it then took to load the model and to learn its neurons' baseline.
    """

    settings: DiscoverSettings
    loaded: LoadedModel
    denoiser: Denoiser
    training: TrainingImages | None
    run: RunDirectory
    console: Console
    started: float
    prepared: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether no new round may begin."""
        minutes = self.settings.minutes
        return minutes is not None and time.monotonic() - self.started > 60 * minutes


def _finding(discovery: Discovery, number: int) -> Finding:
    outcome = discovery.outcome
    return Finding(
        finding_id(number),
        outcome.verdict,
        outcome.confidence,
        discovery.evaluations,
        None if outcome.nearest is None else str(outcome.nearest.path),
    )


def _image_name(number: int) -> str:
    return f"{IMAGES_DIRECTORY}/{finding_id(number)}.png"


def show_finding(session: DiscoverySession, discovery: Discovery, number: int) -> None:
    """Print one line."""
    print_finding(session.console, _finding(discovery, number))


def save_finding(session: DiscoverySession, discovery: Discovery, number: int) -> None:
    """Write one PNG of a finding and what gave it, if pictures are kept."""
    if session.settings.images:
        stated = {
            "strategy": "discover",
            "round": discovery.round,
            "start": discovery.start,
            "run_seed": session.settings.seed,
            "evaluations": discovery.evaluations,
            "fingerprint": session.loaded.fingerprint,
        }
        save_picture(session.run.path / _image_name(number), discovery.picture, stated)


def write_discovery_results(session: DiscoverySession, state: SearchState, stopped: StopReason) -> DiscoveryRecord:
    """Write everything that a finished search leaves, its run.json last, and print how it went."""
    run, images = session.run.path, session.settings.images
    recoveries = write_recoveries(session, state)
    record = _record(session, state, stopped)
    write_text(run / SUMMARY_FILE, discovery_markdown(record, recoveries))
    discovery_curves({"discover": list(record.curve)}, None, run / CURVE_FILE)
    (run / EVIDENCE_FILE).unlink(missing_ok=True)
    if images and state.discoveries:
        rows = [_panel_row(session, discovery, i) for i, discovery in enumerate(state.discoveries)]
        evidence_panel(rows, run / EVIDENCE_FILE)
    session.run.update(**asdict(record))
    print_discovery(session.console, record, run)
    return record


def write_recoveries(session: DiscoverySession, state: SearchState) -> pa.Table:
    """Write the recoveries found so far."""
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
        for i, discovery in enumerate(state.discoveries)
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
        training_image=training_picture(session.training, outcome.nearest, run / IMAGES_DIRECTORY),
        samples=(),
        recovered=run / _image_name(number),
        mask=None,
    )


def _record(session: DiscoverySession, state: SearchState, stopped: StopReason) -> DiscoveryRecord:
    """What run.json states; `search` are the seconds of all rounds, whichever run made them, `prepare` of this one."""
    settings, run = session.settings, session.run.path
    verdicts = [discovery.outcome.verdict for discovery in state.discoveries]
    return DiscoveryRecord(
        schema_version=SCHEMA_VERSION,
        status=DISCOVERY,
        model=ModelIdentity(display_name(settings.model), session.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={"train_images": str(settings.train_images) if settings.train_images else None},
        budget=settings.budget,
        evaluations=dict(state.spent),
        n_rounds=state.n_rounds,
        n_starts=state.n_starts,
        n_confirmed=verdicts.count("confirmed"),
        n_likely=verdicts.count("likely"),
        findings=tuple(_finding(discovery, i) for i, discovery in enumerate(state.discoveries)),
        stopped_because=stopped,
        timings={"prepare": round(session.prepared, 3), "search": round(state.seconds, 3)},
        versions=library_versions(),
        tables={RECOVERIES_FILE: sha256_of(run / RECOVERIES_FILE)},
        warnings=(),
    )
