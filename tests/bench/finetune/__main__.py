"""Fine-tune the embedded model, measure what each fine-tune memorized, record it and its base, and print the tables.

Plain spike score against difference from the base, for a full fine-tune and for LoRAs, three seeds each
(`make bench-finetune`). One small model and its world: it shows the mechanism and is no rate for other models. What is
finished in --out is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.planted.paths import MODEL
from flashbulb.audit.planted.presets import POSTERS
from flashbulb.audit.planted.truth import measure_truth
from tests.bench.finetune.pairs import new_pairs
from tests.bench.finetune.peers import record_peers
from tests.bench.finetune.runs import chosen_model, record, write_prompts
from tests.bench.finetune.scored import read_scores
from tests.bench.finetune.table import page
from tests.bench.finetune.training import KINDS, Kind, fine_tune

SEEDS = (0, 1, 2)


def train(kind: Kind, seed: int, folder: Path) -> None:
    """Train a fine-tune into `folder` and measure its truth, as far as that is not done."""
    collection, lora = new_pairs(seed), folder / "lora.safetensors"
    if not (lora.exists() or (folder / "model" / "model_index.json").exists()):
        fine_tune(collection, kind, seed).save(folder)
    if not (folder / "truth.parquet").exists():
        pipe = load_chosen(chosen_model(folder), "cpu", "float32").pipe
        measure_truth(pipe, collection, folder / "truth.parquet", POSTERS.truth_seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=tuple(KINDS), default=list(KINDS), help="kinds of fine-tune")
    parser.add_argument("--seeds", nargs="*", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/bench-finetune"), help="resumes what lies there")
    arguments = parser.parse_args()
    out, recorded = arguments.out, None
    out.mkdir(parents=True, exist_ok=True)
    write_prompts(out / "prompts.csv", SEEDS)
    base_peers = record_peers(ChosenModel(str(MODEL)), out / "prompts.csv", out / "base-peers")
    scores = []
    for name in arguments.only:
        for seed in arguments.seeds:
            folder = out / f"{name}-{seed}"
            train(KINDS[name], seed, folder)
            record(folder, out / "prompts.csv", recorded)
            recorded = folder / "run"
            peers = record_peers(chosen_model(folder), out / "prompts.csv", folder / "peers"), base_peers
            scores.append(read_scores(folder, name, seed, SEEDS, peers))
    print("\n".join(page(scores)))


if __name__ == "__main__":
    main()
