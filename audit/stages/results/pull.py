"""Write the results of a pull: a row for each image, the images that are out, the page and run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.images.png import save_image
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.pull.evidence import Threshold, is_out, p_value, score_of, threshold_of
from flashbulb.audit.pull.store import Pulled
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.settings import PullSettings
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.reports.bounds.rates import count_text, percent, rate_of
from flashbulb.reports.figures.panels import PanelRow, evidence_panel
from flashbulb.reports.pull.markdown import pull_markdown
from flashbulb.reports.pull.record import NOT_OUT, NOT_TRIED, OUT, PULL_FILE, PULL_PAGE, PULL_SCHEMA, PullRecord
from flashbulb.reports.pull.terminal import print_pull
from flashbulb.reports.tables.files import EVIDENCE_FILE, IMAGES_DIRECTORY, SCHEMA_VERSION, sha256_of, write_text
from flashbulb.reports.tables.run_record import PULL, ModelIdentity
from flashbulb.reports.tables.schema import write_table
from flashbulb.reports.tables.stores import as_uri
from flashbulb.reports.views.passed_over import passed_over_warnings


@dataclass(slots=True)
class GivenImages:
    """A set of images that is ranked: the user's, or the controls.

    Args:
        rows: of `training`, one for each image.
        keys: of the pixels of each image.
        familiarity: [image].
        pulled: what the pulls showed, by the index of the image.
        n_unpaid: images that rank high enough to be pulled at, which the budget did not pay for.
    """

    training: TrainingImages
    rows: Sequence[int]
    keys: Sequence[str]
    familiarity: npt.NDArray[np.float64]
    pulled: dict[int, Pulled] = field(default_factory=dict)
    n_unpaid: int = 0

    def distinct(self) -> GivenImages:
        """Return the set with each image once: controls that are copies of one another count as one."""
        first = sorted(np.unique(self.keys, return_index=True)[1].tolist())
        chosen = [self.rows[i] for i in first], [self.keys[i] for i in first]
        return GivenImages(self.training, *chosen, self.familiarity[first])

    def count_copies_(self, chosen: Sequence[int]) -> None:
        """Let the pull at an image count for its copies among `chosen`, at no further cost."""
        by_key = {self.keys[i]: replace(pulled, evaluations=0) for i, pulled in self.pulled.items()}
        copies = [i for i in chosen if i not in self.pulled and self.keys[i] in by_key]
        self.pulled |= {i: by_key[self.keys[i]] for i in copies}

    def order(self) -> list[int]:
        """Return the indices of the images, the most familiar first."""
        return [int(i) for i in np.argsort(-self.familiarity, kind="stable")]

    def score(self, index: int, min_copies: int) -> float:
        """Return the score that decides on an image; minus infinity if it was not pulled at."""
        pulled = self.pulled.get(index)
        return -inf if pulled is None else score_of(float(self.familiarity[index]), pulled.evidence, min_copies)


@dataclass(frozen=True, slots=True)
class PullSession:
    """A loaded model whose images are pulled at, and where the results go.

    Args:
        seconds: time by part.
        rank_cost: UE that ranking takes.
    """

    settings: PullSettings
    loaded: LoadedModel
    images: GivenImages
    controls: GivenImages | None
    run: RunDirectory
    console: Console
    seconds: Mapping[str, float]
    rank_cost: int


def write_pull_results(session: PullSession) -> PullRecord:
    """Write the results of a finished pull, run.json last, and print a summary."""
    run, controls = session.run.path, session.controls
    least = session.settings.min_copies
    scores = [] if controls is None else [controls.score(i, least) for i in range(len(controls.keys))]
    threshold = threshold_of(scores, session.settings.max_false, session.settings.planted_threshold)
    rows = _rows(session, session.images, threshold, scores, is_control=False)
    if controls is not None:
        rows += _rows(session, controls, threshold, scores, is_control=True)
    table = pa.Table.from_pylist(rows, schema=PULL_SCHEMA)
    write_table(run / PULL_FILE, table, PULL_SCHEMA, {"model_fingerprint": session.loaded.fingerprint})
    record = _record(session, threshold, rows)
    write_text(run / PULL_PAGE, pull_markdown(record, table))
    (run / EVIDENCE_FILE).unlink(missing_ok=True)
    out = [row for row in rows if row["verdict"] == OUT and not row["is_control"]]
    if out:
        evidence_panel([_panel_row(session, row) for row in out], run / EVIDENCE_FILE)
    session.run.update(**asdict(record))
    print_pull(session.console, record, table, run)
    return record


def _rows(
    session: PullSession, given: GivenImages, threshold: Threshold, controls: Sequence[float], *, is_control: bool
) -> list[dict[str, Any]]:
    """Return a row for each image of a set, the most familiar first."""
    rows = []
    for rank, i in enumerate(given.order(), start=1):
        pulled, score = given.pulled.get(i), given.score(i, session.settings.min_copies)
        row: dict[str, Any] = {
            "image_id": given.keys[i],
            "path": as_uri(given.training.paths[given.rows[i]]),
            "is_control": is_control,
            "rank": rank,
            "familiarity": float(given.familiarity[i]),
            "verdict": NOT_TRIED,
            "evaluations": 0,
        }
        if pulled is not None:
            evidence = pulled.evidence
            shown = is_out(score, threshold)
            row |= {
                "verdict": OUT if shown else NOT_OUT,
                "evaluations": pulled.evaluations,
                "n_samples": evidence.n_samples,
                "n_copies": evidence.n_copies,
                "closeness": evidence.closeness,
                "score": row["familiarity"] + evidence.closeness,
                "p_value": None if is_control else p_value(score, controls),
                "sample_path": _save_sample(session, given.keys[i], row["path"], pulled) if shown else None,
            }
        rows.append(row)
    return rows


def _save_sample(session: PullSession, key: str, path: str, pulled: Pulled) -> str:
    """Write the sample nearest to an image that is out, and return its path in the run."""
    name = f"{IMAGES_DIRECTORY}/{key}.png"
    metadata = {
        "training_image": path,
        "strategy": "pull",
        "run_seed": session.settings.seed,
        "evaluations": pulled.evaluations,
        "fingerprint": session.loaded.fingerprint,
    }
    save_image(session.run.path / name, pulled.sample, metadata)
    return name


def _panel_row(session: PullSession, row: Mapping[str, Any]) -> PanelRow:
    given_images, run = session.images, session.run.path
    index = given_images.rows[given_images.keys.index(row["image_id"])]
    given = run / IMAGES_DIRECTORY / f"{row['image_id']}-given.png"
    save_image(given, given_images.training.image(index), {"training_image": row["path"]})
    return PanelRow(
        prompt=given_images.training.paths[index].name,
        verdict=row["verdict"],
        strategy="pull",
        spike_score=None,
        q_value=None,
        confidence=None,
        evaluations=row["evaluations"],
        training_image=given,
        samples=(),
        recovered=run / row["sample_path"],
        mask=None,
    )


def _record(session: PullSession, threshold: Threshold, rows: Sequence[Mapping[str, Any]]) -> PullRecord:
    settings = session.settings
    images, controls = ([row for row in rows if row["is_control"] == is_control] for is_control in (False, True))
    tried = [row for row in images if row["verdict"] != NOT_TRIED]
    return PullRecord(
        schema_version=SCHEMA_VERSION,
        status=PULL,
        model=ModelIdentity(model_name(settings), session.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={
            "source": as_uri(settings.source),
            "controls": as_uri(settings.controls) if settings.controls else None,
        },
        threshold=threshold.value,
        is_shown=threshold.is_shown,
        n_images=len(images),
        n_tried=len(tried),
        n_out=sum(row["verdict"] == OUT for row in images),
        controls_out=rate_of(sum(row["verdict"] == OUT for row in controls), len(controls)),
        evaluations={"rank": session.rank_cost, "pull": sum(row["evaluations"] for row in rows)},
        timings=dict(session.seconds),
        versions=library_versions(),
        tables={PULL_FILE: sha256_of(session.run.path / PULL_FILE)},
        warnings=_warnings(session, threshold),
        n_unpaid=session.images.n_unpaid,
    )


def _warnings(session: PullSession, threshold: Threshold) -> tuple[str, ...]:
    settings, warnings = session.settings, []
    if threshold.n_controls == 0:
        warnings.append(
            "no controls: the threshold was chosen on planted models and is not calibrated for this one; "
            "give images that it was never trained on with --controls"
        )
    elif not threshold.is_shown:
        warnings.append(
            f"{threshold.n_controls} controls cannot show that at most {percent(settings.max_false)} of never-trained "
            f"images come out; give at least {round(1 / settings.max_false) - 1}"
        )
    if n := session.images.n_unpaid:
        warnings.append(
            f"--budget {settings.budget} paid for no pull at {count_text(n, 'image')} that rank high enough"
        )
    for given in (session.images, session.controls):
        if given is not None:
            warnings += passed_over_warnings(given.training.passed_over)
    return tuple(warnings)
