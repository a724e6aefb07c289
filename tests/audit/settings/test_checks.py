"""Settings that contradict each other are refused before anything runs."""

from pathlib import Path

import pytest

from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.settings.checks import check_training_images


def test_a_run_among_the_training_images_is_refused(tmp_path: Path) -> None:
    def check(out: Path) -> None:
        check_training_images(
            AuditSettings(model="m", prompts="p", reference=None, train_images=tmp_path / "images", out=out)
        )

    (tmp_path / "images").mkdir()
    check(tmp_path / "images-run")
    for out in (tmp_path / "images" / "run", tmp_path / "images"):
        with pytest.raises(SettingsError, match="its samples would count as training images"):
            check(out)
