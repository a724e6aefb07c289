"""Keep a recorded reference, so that many audits of one model can be calibrated on it without recording it again.

A calibration belongs to a model, dtype, settings and site set: recorded with others, its neurons mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from audit.prompts import Prompt, PromptSet
from audit.recording import PROMPT_FOLDER, STEP_FOLDER, Recorded
from audit.rundir import leaves
from hooks import complete_shards, read_manifest
from reports.files import SCHEMA_VERSION, whole_file, write_text

_PROMPT_FIELDS = [field.name for field in fields(Prompt)]
CALIBRATION_FILE, PROMPTS_FILE = "calibration.json", "prompts.parquet"


class CalibrationError(ValueError):
    """A saved calibration cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SavedCalibration:
    """Reference prompts and where their recording lies; using it costs no UE."""

    prompts: PromptSet
    recorded: Recorded


def save_calibration(
    folder: Path, identity: Mapping[str, Any], prompts: PromptSet, recorded: Recorded, fingerprint: str
) -> None:
    """Write prompts.parquet and, as the mark that all is there, calibration.json beside the recorded shards."""
    with whole_file(folder / PROMPTS_FILE) as part:
        pd.DataFrame([asdict(prompt) for prompt in prompts.prompts]).to_parquet(part, index=False)
    described = {name: value for name, value in asdict(prompts).items() if name != "prompts"}
    content = {
        "schema_version": SCHEMA_VERSION,
        "identity": dict(identity),
        "prompts": described,
        "fingerprint": fingerprint,
        "shards": recorded.folder.relative_to(folder).as_posix(),
        "n_shards": recorded.n_shards,
        "n_truncated": recorded.n_truncated,
    }
    write_text(folder / CALIBRATION_FILE, json.dumps(content, indent=1, default=str) + "\n")


def open_calibration(folder: Path, identity: Mapping[str, Any]) -> SavedCalibration:
    """The calibration in `folder`, if it was recorded in the way that `identity` says.

    Raises:
        CalibrationError: there is none, it is damaged or newer, or was recorded otherwise; names both values.
    """
    path = folder / CALIBRATION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, held = int(content["schema_version"]), dict(content["identity"])
        table = pd.read_parquet(folder / PROMPTS_FILE)
        prompts = PromptSet(
            prompts=tuple(Prompt(*row) for row in table[_PROMPT_FIELDS].itertuples(index=False)), **content["prompts"]
        )
        recorded = Recorded(folder / content["shards"], int(content["n_shards"]), int(content["n_truncated"]), 0)
    except FileNotFoundError as error:
        raise CalibrationError(f"{folder} holds no finished calibration; make one with engram calibrate") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CalibrationError(f"{path} is damaged ({error}); calibrate again") from error
    if version > SCHEMA_VERSION:
        raise CalibrationError(f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; upgrade engram")
    _refuse_other(folder, held, identity)
    _check_shards(path, recorded, str(content["fingerprint"]), len(prompts.prompts))
    return SavedCalibration(prompts, recorded)


def _check_shards(path: Path, recorded: Recorded, fingerprint: str, n_prompts: int) -> None:
    """Every shard has to be there, whole, of this recording, and together they hold every prompt."""
    for half in (PROMPT_FOLDER, STEP_FOLDER):
        shards = complete_shards(recorded.folder / half, fingerprint)
        n_rows = sum(read_manifest(shard).n_rows for shard in shards.values())
        whole = sorted(shards) == list(range(recorded.n_shards)) and n_rows >= n_prompts > 0
        if not whole or n_rows % n_prompts or (half == PROMPT_FOLDER and n_rows != n_prompts):
            raise CalibrationError(
                f"{path} is damaged ({len(shards)} whole {half} shards with {n_rows} rows, "
                f"expected {recorded.n_shards} for {n_prompts} prompts); calibrate again"
            )


def _refuse_other(folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    was, now = leaves(held), leaves(json.loads(json.dumps(wanted, default=str)))
    different = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if different:
        key = different[0]
        raise CalibrationError(
            f"{folder} was calibrated with {key} {was.get(key)!r}, this audit has {now.get(key)!r}"
            f"{f' (and {len(different) - 1} more differ)' if len(different) > 1 else ''}; "
            "calibrate again, or give the audit the same settings"
        )
