"""The result of an audit: verdict, tables and images of a run directory."""

from __future__ import annotations

import os
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashbulb.reports.tables.files import FINDINGS_TABLE_FILE, IMAGES_DIRECTORY, RECOVERIES_FILE, SCORES_FILE

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from flashbulb.reports.checks.run import CheckedRun
    from flashbulb.reports.tables.verdict import Verdict


class AuditResult:
    """A finished audit, read from its run directory; a notebook shows verdict and findings.

    Args:
        run: the run directory.

    Raises:
        RunFileError: `run` holds no finished audit.
        RunIncompleteError: its files do not agree with each other.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        from flashbulb.reports.checks.run import load_checked

        self.run = Path(run)
        self.checked: CheckedRun = load_checked(self.run)

    @property
    def verdict(self) -> Verdict:
        """Outcome ("pass", "inconclusive" or "fail"), exit code and reasons."""
        verdict = self.checked.record.verdict
        assert verdict is not None, "a checked audit has a verdict"
        return verdict

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per prompt: scores, p-value, flag, and the verdict of its recovery."""
        return _read(self.run / SCORES_FILE)

    @cached_property
    def recoveries(self) -> pd.DataFrame:
        """One row per attempt to recover an image."""
        return _read(self.run / RECOVERIES_FILE)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per flagged prompt, most severe first, with the text of the prompt."""
        found = _read(self.run / FINDINGS_TABLE_FILE)
        texts = dict(zip(self.scores["prompt_id"], self.scores["prompt"], strict=True))
        return found.assign(prompt=found["prompt_id"].map(texts))

    def images(self, finding: Any) -> dict[str, Image]:
        """Return the images of a finding: "training" and "recovered" where there are any, and its samples by file name.

        Args:
            finding: its position in `findings`, a row of them, or its fingerprint.

        Raises:
            KeyError: there is no such finding.
        """
        return {name: _open(path) for name, path in self.image_paths(finding).items()}

    def image_paths(self, finding: Any) -> dict[str, Path]:
        """Return where the images of `images` lie; images that were not kept are left out."""
        from flashbulb.reports.page.training_files import find_training_file
        from flashbulb.reports.tables.recoveries import best_rows

        row = self._row(finding)
        attempts = [attempt for attempt in self.checked.tables.recoveries.to_pylist() if not attempt["is_control"]]
        best = best_rows(attempts).get(row["prompt_id"])
        folder = f"{IMAGES_DIRECTORY}/{row['prompt_id']}"
        found: dict[str, Path | None] = {}
        if best is not None and best["nearest_image"]:
            source = self.checked.record.settings.get("train_images")
            found["training"] = find_training_file(best["nearest_image"], self.run, folder, source)
        if best is not None and best["image_path"]:
            found["recovered"] = self.run / best["image_path"]
        found |= {path.stem: path for path in sorted((self.run / folder).glob("seed-*.png"))}
        return {name: path for name, path in found.items() if path is not None and path.is_file()}

    def _row(self, finding: Any) -> Any:
        if hasattr(finding, "__index__"):  # an integer, also of numpy
            if not 0 <= (position := index(finding)) < len(self.findings):
                raise KeyError(f"there are {len(self.findings)} findings, no number {position}")
            return self.findings.iloc[position]
        fingerprint = finding if isinstance(finding, str) else finding["fingerprint"]
        rows = self.findings[self.findings["fingerprint"] == fingerprint]
        if rows.empty:
            raise KeyError(f"no finding {fingerprint}; result.findings lists them")
        return rows.iloc[0]

    def report(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        redact_prompts: bool | None = None,
        blur: bool | None = None,
    ) -> Path:
        """Write the report page and return its path, by default report.html in the run directory.

        Args:
            redact_prompts: name prompts by file and row, and leave out links to files; by default as the audit did.
            blur: blur images beyond recognition, likewise.
        """
        from flashbulb.reports.gate.judgement import judge
        from flashbulb.reports.gate.policy import Policy
        from flashbulb.reports.gate.waivers import read_waivers, today_in_utc
        from flashbulb.reports.page.report import page_options, write_report
        from flashbulb.reports.tables.files import REPORT_FILE

        record, path = self.checked.record, Path(out) if out is not None else self.run / REPORT_FILE
        waivers = record.settings.get("waivers")
        waived = read_waivers(Path(str(waivers)) if waivers else None)
        limits = Policy.model_validate(record.policy)
        judged = judge(self.checked, limits, waived, None, new_only=False, today=today_in_utc())
        shown = page_options(self.checked, None, redact_prompts=redact_prompts, show_images=True, blur=blur)
        write_report(path, self.run, self.checked, judged, shown)
        return path

    def __repr__(self) -> str:
        counts = self.checked.record.counts
        return (
            f"AuditResult({str(self.run)!r}): {self.verdict.outcome}, {counts.n_flagged} of {counts.n_scored} prompts "
            f"flagged, {len(self.findings)} findings"
        )

    def _repr_html_(self) -> str:
        from flashbulb.audit.api.notebook_page import result_html

        return result_html(self)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


def _open(path: Path) -> Image:
    from flashbulb.reports.figures.image_files import open_image

    with open_image(path) as opened:
        return opened.convert("RGB")
