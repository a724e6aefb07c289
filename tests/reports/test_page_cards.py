"""Cards find the files that belong to them, and the words of the page hide what they are told to hide."""

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reports.page_cards import training_file
from reports.page_words import Words
from tests.reports.pages import save_picture

PLACE = "captions.csv, row 3"


def stated(path: Path, training_image: str) -> Path:
    info = PngInfo()
    info.add_itxt("engram", json.dumps({"training_image": training_image}))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_a_training_image_inside_an_archive_is_found_by_what_its_copy_states(tmp_path: Path) -> None:
    stated(tmp_path / "training-1.png", "shards/a.tar/one.png")
    copy = stated(tmp_path / "training-2.png", "shards/a.tar/two.png")
    (tmp_path / "training-0.png").write_bytes(b"torn")
    assert training_file("shards/a.tar/two.png", tmp_path) == copy
    assert training_file("shards/a.tar/three.png", tmp_path) is None


def test_a_training_image_on_disk_is_taken_from_there(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "here.png", 0)
    assert training_file(str(path), tmp_path / "nowhere") == path


@pytest.mark.parametrize("redact", [True, False])
def test_a_prompt_is_its_words_or_its_place(tmp_path: Path, redact: bool) -> None:
    words = Words(redact, tmp_path / "report.html")
    assert words.of_prompt("a red fox", PLACE) == (PLACE if redact else "a red fox")
    assert words.of_prompt("  ", PLACE) == (PLACE if redact else "(blank)")
    assert words.of_prompt(None, "no prompt") == "found without a prompt"
    assert len(words.of_prompt("fox " * 5000, PLACE)) <= 400


def test_a_redacted_name_tells_pictures_apart_and_nothing_else(tmp_path: Path) -> None:
    words = Words(True, tmp_path / "report.html")
    names = {words.of_image(f"train/{name}.png") for name in ("Ann Secret", "Bob Secret", "Ann Secret")}
    assert len(names) == 2
    assert not any("Secret" in name for name in names)


def test_links_lead_from_the_page_to_files_of_the_run_and_nowhere_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    picture = run / "images" / "a b" / "seed-0.png"
    assert Words(False, run / "report.html").link_to(picture, run) == "images/a%20b/seed-0.png"
    assert Words(False, tmp_path / "out" / "page.html").link_to(picture, run) == "../run/images/a%20b/seed-0.png"
    assert Words(False, run / "report.html").link_to(tmp_path / "elsewhere.png", run) is None
    assert Words(True, run / "report.html").link_to(picture, run) is None


def test_folders_of_settings_stay_at_home(tmp_path: Path) -> None:
    words = Words(False, tmp_path / "report.html")
    assert words.of_file("/home/ann/data/captions.csv") == "…/captions.csv"
    assert words.of_file("data/captions.csv") == "data/captions.csv"
    assert words.of_file(0.01) == "0.01"
