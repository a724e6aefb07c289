"""`make bench`: audit the planted models with default settings and hold the scores against the measured truth."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.detection.labelled import detection_table
from tests.bench.models import MODELS


def main() -> None:
    """Print one table a planted model: AUC and TPR of every detector column, by kind of negative."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, default=list(MODELS.values())[:2], help="planted model folders"
    )
    parser.add_argument("--self", action="store_true", help="without reference prompts")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as out:
            seconds = audit(folder, Path(out) / "run", with_reference=not arguments.self)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"\n{folder.name}: audited in {seconds:.0f} s, at most {peak:.2f} GiB of memory\n")
            print(detection_table(folder, Path(out) / "run"))


def audit(folder: Path, out: Path, *, with_reference: bool, options: Sequence[str] = ()) -> float:
    """Audit a planted model in a process of its own; returns the seconds it took."""
    command = [sys.executable, "-m", "flashbulb", "audit", "--model", str(folder / "model"), "--out", str(out)]
    command += ["--prompts", str(folder / "captions.csv"), "--train-images", str(folder / "pictures")]
    if with_reference:
        command += ["--reference", str(folder / "reference.csv")]
    command += options
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def detect(folder: Path, out: Path) -> None:
    """Record a planted model and score it with its reference, without recovery."""
    inputs = (
        "--model",
        folder / "model",
        "--prompts",
        folder / "captions.csv",
        "--reference",
        folder / "reference.csv",
    )
    for command in (("record", *inputs, "--out", out), ("detect", out)):
        subprocess.run([sys.executable, "-m", "flashbulb", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
