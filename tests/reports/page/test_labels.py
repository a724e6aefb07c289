"""Labels hide what they are told to hide."""

from pathlib import Path

import pytest

from flashbulb.reports.page.labels import Labels

LOCATION = "captions.csv, row 3"


@pytest.mark.parametrize("redact", [True, False])
def test_a_prompt_is_labelled_by_its_text_or_by_its_location(tmp_path: Path, redact: bool) -> None:
    labels = Labels(redact, tmp_path / "report.html")
    assert labels.prompt("a red fox", LOCATION) == (LOCATION if redact else "a red fox")
    assert labels.prompt("  ", LOCATION) == (LOCATION if redact else "(blank)")
    assert labels.prompt(None, "no prompt") == "found without a prompt"
    assert len(labels.prompt("fox " * 5000, LOCATION)) <= 400


def test_redacted_names_distinguish_images_and_reveal_nothing_else(tmp_path: Path) -> None:
    labels = Labels(True, tmp_path / "report.html")
    names = {labels.image(f"train/{name}.png") for name in ("Ann Secret", "Bob Secret", "Ann Secret")}
    assert len(names) == 2
    assert not any("Secret" in name for name in names)


def test_links_lead_to_files_of_the_run_only(tmp_path: Path) -> None:
    run = tmp_path / "run"
    image = run / "images" / "a b" / "seed-0.png"
    assert Labels(False, run / "report.html").link_to(image, run) == "images/a%20b/seed-0.png"
    assert Labels(False, tmp_path / "out" / "page.html").link_to(image, run) == "../run/images/a%20b/seed-0.png"
    assert Labels(False, run / "report.html").link_to(tmp_path / "elsewhere.png", run) is None
    assert Labels(True, run / "report.html").link_to(image, run) is None


def test_absolute_paths_of_settings_lose_their_folders(tmp_path: Path) -> None:
    labels = Labels(False, tmp_path / "report.html")
    assert labels.setting("/home/ann/data/captions.csv") == "…/captions.csv"
    assert labels.setting("data/captions.csv") == "data/captions.csv"
    assert labels.setting(0.01) == "0.01"
    assert labels.setting("/home/ann/base + /home/ann/x.safetensors:0.5") == "…/base + …/x.safetensors:0.5"
