"""Discoveries of a toy pipeline as the command runs them, with a verifier that is told what images show."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from flashbulb.audit.additions.chosen import load_chosen
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import run_discovery
from flashbulb.audit.stages.results.words import words_search
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.words import WordsSearch
from flashbulb.reports.views.discovery import DiscoveryRecord, load_discovery
from tests.audit.commands import digests
from tests.audit.searches import Shown, ToldVerifier, evaluations_of, quick
from tests.audit.shared.networks import read_once

SHOWN = {(0, 1): 20, (1, 0): 90, (1, 1): 94, (2, 0): 160, (2, 1): 230}  # with a patience of 1 these take four rounds


class Searched(NamedTuple):
    """A run directory, the UE that the UNet computed, and whether Ctrl-C ended the search."""

    run: Path
    spent: int
    interrupted: bool

    @property
    def record(self) -> DiscoveryRecord:
        return load_discovery(self.run)

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.run / "recoveries.parquet")


def discover(
    model: Path, run: Path, interrupted_in: int | None = None, shown: Shown = SHOWN, **changes: Any
) -> Searched:
    """Search the model as the command does, with a verifier that is told what images show."""
    spent: list[list[int]] = []
    with read_once(), pytest.MonkeyPatch.context() as patch, ExitStack() as stack:

        def load(*args: Any) -> LoadedModel:
            loaded = load_chosen(*args)
            spent.append(stack.enter_context(evaluations_of(loaded.pipe.unet)))
            return loaded

        patch.setattr("flashbulb.audit.stages.discover.load_chosen", load)
        patch.setattr(
            "flashbulb.audit.stages.discover.Verifier",
            partial(ToldVerifier, shown=shown, interrupted_in=interrupted_in),
        )
        try:
            run_discovery(quick(model=str(model), out=run, **{"patience": 1, **changes}), force=False)
        except KeyboardInterrupt:
            return Searched(run, sum(spent[0]), True)
        return Searched(run, sum(spent[0]), False)


def copied(searched: Searched, folder: Path) -> Path:
    """Copy a run, to go on in the copy and compare it with the run."""
    return Path(shutil.copytree(searched.run, folder / "copied"))


def assert_same_results(actual: Searched, expected: Searched) -> None:
    assert actual.run != expected.run, "a run always equals itself"
    pd.testing.assert_frame_equal(actual.table, expected.table)
    names = (
        "evaluations",
        "findings",
        "unseen",
        "n_rounds",
        "n_starts",
        "n_confirmed",
        "n_likely",
        "stopped_because",
        "tables",
    )
    assert [getattr(actual.record, name) for name in names] == [getattr(expected.record, name) for name in names]
    assert digests(actual.run / "images") == digests(expected.run / "images")


def small_search(denoiser: Denoiser, training: TrainingImages | None, settings: DiscoverSettings) -> WordsSearch:
    """The search for words, so short that a finding takes a second."""
    usual = words_search(denoiser, training, settings)
    plan = replace(usual.plan, n_starts=4, n_stages=1, stage_evaluations=20, n_samples=4, sample_steps=2)
    return WordsSearch(denoiser, Verifier(denoiser, VerifyPlan(0, 2, 2, 8)), training, plan)
