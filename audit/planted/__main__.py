"""Run the recipe from the command line: `python -m audit.planted --preset posters`; run again to go on."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from audit.planted.presets import PRESETS

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the chosen preset; exits 2 for a user's mistake and 130 when stopped."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _log_to_stderr()
    try:
        _train(options.preset, options.out or Path("runs") / f"planted-{options.preset}", options.device)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {' '.join(str(error).split())}\n")
    except KeyboardInterrupt:
        parser.exit(_INTERRUPTED, "stopped; run again to go on\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m audit.planted", description="Train a model with planted memories.")
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default="posters", help="which model (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="folder of the model (default: runs/planted-PRESET)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda if present")
    return parser


def _log_to_stderr() -> None:
    """Show our own messages as plain lines, and of the libraries only warnings."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("audit").setLevel(logging.INFO)


def _train(preset: str, out: Path, device: str) -> None:
    import torch  # here, so that --help answers at once

    from audit.planted.recipe import train_planted

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda, but this machine has no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    train_planted(PRESETS[preset], out, torch.device(device))


if __name__ == "__main__":
    main()
