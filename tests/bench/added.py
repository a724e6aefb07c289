"""What recovery brings back of a fine-tune (`make bench-added`): the ladder, extrapolation and both, against the truth.

The fine-tunes are those of `make bench-finetune`, each audited against the embedded model. Every strategy is tried on
the same flagged prompts and controls, without and with the images that the fine-tune was trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.planted.paths import FOLDER
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_record
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.opening.session import reload_session
from flashbulb.audit.stages.recover import collect_targets, prepare_recovery
from flashbulb.reports.bounds.rates import exact_interval
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.bench.finetune.pairs import new_pairs

LADDER = ("sample", "ascend", "cyclic")
TRIED = {
    "sample": ("sample",),
    "ascend": ("ascend",),
    "extrapolate": ("extrapolate",),
    "default ladder": LADDER,
    "default ladder, extrapolate": (*LADDER, "extrapolate"),
}
HEADER = (
    "| fine-tune | training images | tried | memorized | other duplicated | memorized, likely too "
    "| flagged: own, another's, the base's, none | controls: own, another's, the base's, none | false, controls "
    "| precision | UE |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)
OWN, ANOTHER, BASE, NONE = "own", "another's", "the base's", "none"
"""What a recovered image replicates: the prompt's own training image, that of another prompt, one of the base's."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The images of a fine-tune by name, the duplicated ones, those of them that are memorized, and the image of each
    caption; and the images of its base."""

    images: Mapping[str, RgbImage]
    duplicated: frozenset[str]
    memorized: frozenset[str]
    own: Mapping[str, str]
    base_images: Sequence[RgbImage]

    def shown(self, image: RgbImage) -> str:
        """Name what a recovered image replicates: an image of the fine-tune, `BASE` or `NONE`."""
        distances = tile_distances(np.stack([*self.images.values(), *self.base_images]), image)
        nearest = int(distances.argmin())
        if distances[nearest] > REPLICATION_DISTANCE:
            return NONE
        return [*self.images][nearest] if nearest < len(self.images) else BASE


def read_truth(fine_tune: Path, seed: int, work: Path) -> Truth:
    """Read what a fine-tune was trained on and what it memorized; save its images as files for the audit."""
    pairs, truth = new_pairs(seed), pd.read_parquet(fine_tune / "truth.parquet")
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    for name, image in pairs.images.items():
        Image.fromarray(image).save(work / "pictures" / f"{name}.png")
    old = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((FOLDER / "pictures").rglob("*.png"))]
    duplicated = truth[truth["kind"].str.startswith("planted")]
    return Truth(
        pairs.images,
        frozenset(duplicated["picture"]),
        frozenset(duplicated.loc[duplicated["label"] == "memorized", "picture"]),
        {entry.prompt: entry.image for entry in pairs.entries},
        old,
    )


def settings_of(fine_tune: Path, truth: Truth, folder: Path) -> AuditSettings:
    """Return the settings of the audit: all new captions, and those of the base, clean ones among them."""
    old = pd.read_csv(FOLDER / "captions.csv")["prompt"].tolist()
    pd.DataFrame({"prompt": [*truth.own, *old]}).to_csv(folder / "prompts.csv", index=False)
    is_lora, base = (fine_tune / "lora.safetensors").exists(), str(FOLDER / "model")
    return AuditSettings.model_validate(
        {
            "model": base if is_lora else str(fine_tune / "model"),
            "lora": [str(fine_tune / "lora.safetensors")] if is_lora else [],
            "baseline_model": base,
            "prompts": str(folder / "prompts.csv"),
            "reference": str(FOLDER / "reference.csv"),
            "train_images": None,
            "out": folder / "run",
            "examine": False,
        }
    )


def rows_of(settings: AuditSettings, truth: Truth, images: Path) -> Iterator[tuple[str, str, str]]:
    """Yield whether training images are given, what is tried, and the other cells, after the audit's first stages."""
    run_record(settings, force=False)
    recorded = open_recorded(settings.out, settings)
    session = reload_session(recorded.inputs)
    with RunDirectory.reopen(settings.out) as run:
        detection = detect_spikes(recorded, run, Stopwatch(), writes_scores=True)
        group = next(g for g in detection.detected.scored.groups if g.kind == settings.ascend_kind)
        prompts = recorded.inputs.candidates.prompts
        captions = [prompt.text for prompt in prompts]
        targets = collect_targets(group, prompts, detection)
        for given, source in (("not given", None), ("given", images)):
            for name, strategies in TRIED.items():
                changed = settings.model_copy(update={"strategies": strategies, "train_images": source})
                inputs = replace(recorded.inputs, settings=changed)
                here = prepare_recovery(session, replace(recorded, inputs=inputs), detection, run, group, samples=True)
                recovered = recover_all(here.recovery, prompts, detection.chosen, targets)
                yield given, name, row_of(recovered, captions, truth)


def row_of(recovered: Sequence[Recovered], captions: Sequence[str], truth: Truth) -> str:
    """Return the cells of one row."""
    rows = pd.DataFrame(
        {
            "is_control": prompt.is_control,
            "verdict": prompt.best.outcome.verdict,
            "shown": truth.shown(prompt.best.image),
            "own": truth.own.get(captions[prompt.position]),
            "evaluations": sum(attempt.evaluations for attempt in prompt.attempts),
        }
        for prompt in recovered
    )
    rows["what"] = [
        OWN if s == o else s if s in (BASE, NONE) else ANOTHER for s, o in zip(rows.shown, rows.own, strict=True)
    ]
    confirmed, is_shown = rows[rows.verdict == "confirmed"], rows.verdict != "not_shown"
    flagged, controls = confirmed[~confirmed.is_control], confirmed[confirmed.is_control]
    others, likely = truth.duplicated - truth.memorized, set(rows.shown[is_shown & ~rows.is_control])
    cells = [
        rate(len(truth.memorized & set(flagged.shown)), len(truth.memorized)),
        rate(len(others & set(flagged.shown)), len(others)),
        f"{len(truth.memorized & likely)}",
        *(
            ", ".join(str((part.what == what).sum()) for what in (OWN, ANOTHER, BASE, NONE))
            for part in (flagged, controls)
        ),
        rate(int((controls.what != OWN).sum()), int(rows.is_control.sum())),
        rate(int(confirmed.shown.isin(list(truth.images)).sum()), len(confirmed)),
        f"{rows.evaluations.mean():,.0f}",
    ]
    return " | ".join(cells)


def rate(n: int, of: int) -> str:
    """Format a rate with its exact 95 % interval (Clopper and Pearson), in percent."""
    if of == 0:
        return "none"
    low, high = exact_interval(n, of)
    return f"{n} of {of} ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    """Print the table, a row for each fine-tune, kind of audit and set of strategies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("runs/bench-finetune"), help="folder of KIND-SEED folders")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-added"))
    parser.add_argument("fine_tunes", nargs="*", help="such as full-0 or lora32-1; by default all")
    arguments = parser.parse_args()
    names = arguments.fine_tunes or sorted(path.parent.name for path in arguments.models.glob("*-*/truth.parquet"))
    print(HEADER, flush=True)
    for name in names:
        model, work = arguments.models / name, arguments.work / name
        truth = read_truth(model, int(name.rpartition("-")[2]), work)
        settings = settings_of(model, truth, work)
        with computing():
            for given, tried, cells in rows_of(settings, truth, work / "pictures"):
                print(f"| {name} | {given} | {tried} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
