"""Write the results of a discovery: the table of its findings, the figures, the page and run.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace

import pyarrow as pa

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.discover.findings import findings_of
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.recover.climbing import training_image_file
from flashbulb.audit.stages.results.account import describe_prompts, library_versions
from flashbulb.audit.stages.results.findings import DiscoverySession, finding_of, finding_words, image_name
from flashbulb.audit.stages.results.recovery_tables import finding_id, recovery_row
from flashbulb.audit.words.words import Words
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
from flashbulb.reports.views.discovery import ClosingCounts, DiscoveryRecord, FindingWords, StopReason
from flashbulb.reports.views.discovery_markdown import discovery_markdown
from flashbulb.reports.views.discovery_terminal import print_discovery
from flashbulb.reports.views.passed_over import passed_over_warnings


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
    shown = {i: finding_words(session, i, found, i in raised) for i, found in words.items()}
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
            "image_path": image_name(i) if images else None,
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
        recovered=run / image_name(number),
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
            replace(finding_of(discovery, i, words.get(i)), times_found=max(1, state.times_found[i]))
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
        n_text_starts=settings.text_starts * state.n_starts if state.spent["glance"] else 0,
        n_words_searched=len(words),
        words_evaluations=words_evaluations,
        unseen=estimate_unseen([n for n in state.times_found if n]),
        closing=closing,
    )
