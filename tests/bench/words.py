"""`make bench-words`: prompts in words for what a discovery found, and for images that were never trained on.

A discovery runs once on each model and is kept. Words are searched for every distinct image that it found and that the
model memorized, for findings that show no planted image, and for never-trained images, painted anew by the recipe of
the model. The limits were chosen on `gazette`; the other models judge.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from flashbulb.audit.discover.findings import findings_of
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.discover.store import SearchStore
from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.run.directory import fingerprint_of
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import run_discovery
from flashbulb.audit.stages.results.words import CONFIRMS_AT, LEAST_SCORE, WORDS_SAMPLES, words_search
from flashbulb.audit.words.words import Words
from flashbulb.reports.bounds.rates import rate_of, rate_text
from flashbulb.reports.tables.files import DISCOVERY_DIRECTORY, RUN_FILE
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.bench.models import MODELS
from tests.bench.outcomes import SEARCH, Truth
from tests.bench.pull import never_trained

Row = Mapping[str, Any]
GROUPS = ("memorized", "no planted image", "never trained, scenes", "never trained, titles")


class Target(NamedTuple):
    """An image that words are searched for; `name` is the planted image that it shows."""

    group: str
    key: str
    name: str | None
    image: RgbImage


def targets_of(
    folder: Path, found: Sequence[Discovery], truth: Truth, n_memorized: int, n_other: int, n_never: int
) -> list[Target]:
    """Return images of a discovery, each memorized one once, and never-trained ones, in random order."""
    memorized: dict[str, Target] = {}
    others = []
    for number, discovery in enumerate(found):
        name = truth.shown(discovery.images)
        if name in truth.memorized and name not in memorized:
            memorized[str(name)] = Target("memorized", f"finding {number}", name, discovery.image)
        elif name is None:
            others.append(Target("no planted image", f"finding {number}", None, discovery.image))
    never = [
        Target(f"never trained, {name.partition('-')[0]}s", name, None, image)
        for name, image in zip(*never_trained(folder, n_never), strict=True)
    ]
    targets = [*[*memorized.values()][:n_memorized], *others[:n_other], *never]
    return [targets[i] for i in np.random.default_rng(0).permutation(len(targets))]


def discover(folder: Path, run: Path, settings: DiscoverSettings) -> list[Discovery]:
    """Run the discovery, or read what is kept of it."""
    chosen = settings.model_copy(update={"model": str(folder / "model"), "out": run})
    run_discovery(chosen, force=False)
    identity = fingerprint_of(json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["identity"])
    store = SearchStore(run / DISCOVERY_DIRECTORY, identity)
    state = store.load(SearchState(torch.zeros(0), {}))
    return list(findings_of(state).values())


def measure(model: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Search words for every target; one row each, kept as they come."""
    folder, kept = MODELS[model], arguments.out / f"{model}.json"
    found = discover(folder, arguments.out / model, SEARCH.model_copy(update={"budget": arguments.budget}))
    torch.set_num_threads(1)
    denoiser = open_denoiser(
        load_model(str(folder / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    )
    truth, search = Truth(folder), words_search(denoiser, None, SEARCH)
    search.plan = replace(search.plan, least_score=-math.inf)  # the bar is drawn in the summary
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    targets = targets_of(folder, found, truth, arguments.memorized, arguments.others, arguments.never_trained)
    done = {row["key"] for row in rows}
    for target in (target for target in targets if target.key not in done):
        words = search.find(target.image, target.key)
        row = {"group": target.group, "key": target.key, "name": target.name, "text": words.text, "hits": words.hits}
        row["score"] = words.score
        rows.append(row | {"evaluations": words.evaluations, **_shown(words, truth, target)})
        kept.write_text(json.dumps(rows, indent=0), encoding="utf-8")
        print(f"  {row}", flush=True)
    return rows


def _shown(words: Words, truth: Truth, target: Target) -> dict[str, Any]:
    """Return how many samples of the words show the memorized image, which any show, and their plain verdict."""
    if words.text is None:
        return {"of_truth": 0, "shown": None, "verdict": None}
    n_shown = 0
    if target.name is not None:
        distances = tile_distances(words.images, truth.images[truth.names.index(target.name)])
        n_shown = int((distances <= REPLICATION_DISTANCE).sum())
    return {"of_truth": n_shown, "shown": truth.shown(words.images), "verdict": words.verdict}


def summarize(model: str, rows: Sequence[Row], n: int) -> None:
    """Print the shares that get words, and whether the verdict of plain samples is right about them."""
    print(f"\n{model}")
    for group in GROUPS:
        group_rows = [row for row in rows if row["group"] == group]
        has_words = [row["text"] is not None and row["score"] > LEAST_SCORE for row in group_rows]
        if not group_rows:
            continue
        spent = np.mean([row["evaluations"] for row in group_rows])
        print(f"{group}: {len(group_rows)} images, {spent:.0f} UE an image")
        counts = {
            "with words": has_words,
            "p >= 1/2 of what the words gave before": [2 * row["hits"] >= n for row in group_rows],
            "p >= 1/2 of the training image": [2 * row["of_truth"] >= n for row in group_rows],
            "confirmed by plain samples": [row["verdict"] == "confirmed" for row in group_rows],
        }
        for name, hits in counts.items():
            both = [has and hit for has, hit in zip(has_words, hits, strict=True)]
            print(f"  {name}: {rate_text(rate_of(sum(both), len(both)))}")
    for name, least in (("confirmed by plain samples", LEAST_SCORE), ("and able to confirm a finding", CONFIRMS_AT)):
        confirmed = [row for row in rows if row["verdict"] == "confirmed" and row["score"] > least]
        right = sum(row["shown"] is not None for row in confirmed)
        print(f"words {name}: show a planted image {rate_text(rate_of(right, len(confirmed)))}")


def main() -> None:
    """Search words on each model and print its rates; rows are kept in --out, so that it resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--budget", type=int, default=25_000, help="UE of each discovery")
    parser.add_argument("--memorized", type=int, default=24, help="distinct memorized images, at most")
    parser.add_argument("--others", type=int, default=8, help="findings that show no planted image, at most")
    parser.add_argument("--never-trained", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-words"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        started = time.process_time()
        with computing():
            rows = measure(model, arguments)
        print(f"{model}: {time.process_time() - started:.0f} CPU seconds", flush=True)
        summarize(model, rows, WORDS_SAMPLES)


if __name__ == "__main__":
    main()
