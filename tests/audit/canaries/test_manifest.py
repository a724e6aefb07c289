"""A manifest is read as it was written, or refused: edited, of another version, of another data set, without images."""

import json
import shutil
from pathlib import Path

import pytest

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.manifest import check_data_set, read_coins, read_manifest
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.hooks.files import sealed, unsealed
from tests.audit.commands import text_file


@pytest.fixture
def manifest(planted: Path, tmp_path: Path) -> Path:
    shutil.copytree(planted, tmp_path / "copy")
    return tmp_path / "copy" / "manifest.json"


def test_the_captions_of_a_manifest_are_prompts_in_the_order_of_its_canaries(manifest: Path) -> None:
    read = read_manifest(manifest)
    assert [prompt.text for prompt in read.prompts().prompts] == [canary.caption for canary in read.canaries]
    assert len(read.canaries) == 36
    assert read_coins(manifest).keys() == {canary.canary_id for canary in read.canaries if not canary.is_twin}


@pytest.mark.parametrize("edit", ["coins", "canaries", "delta"])
def test_an_edited_manifest_is_refused(manifest: Path, edit: str) -> None:
    content = json.loads(manifest.read_text(encoding="utf-8"))
    if edit == "coins":
        name = next(iter(content["coins"]))
        content["coins"][name] = not content["coins"][name]
    elif edit == "canaries":
        content["canaries"][0]["caption"] += "!"
    else:
        content["delta"] = 0.0
    manifest.write_text(json.dumps(content), encoding="utf-8")
    for read in (read_manifest, read_coins):
        with pytest.raises(CanaryError, match="edited"):
            read(manifest)


def test_a_manifest_of_another_version_is_refused(manifest: Path) -> None:
    manifest.write_text(sealed({**unsealed(manifest), "flashbulb_canaries": 99}), encoding="utf-8")
    with pytest.raises(CanaryError, match="version 99"):
        read_manifest(manifest)


def test_a_sealed_file_that_is_no_manifest_is_refused(manifest: Path) -> None:
    manifest.write_text(sealed({"flashbulb_canaries": 1}), encoding="utf-8")
    with pytest.raises(CanaryError, match="no manifest of canaries"):
        read_manifest(manifest)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CanaryError, match="no manifest"):
        read_manifest(tmp_path / "manifest.json")


def test_a_missing_or_changed_image_is_refused_by_its_canary(manifest: Path) -> None:
    image = manifest.parent / "canaries" / "0003.png"
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(CanaryError, match="is not the image of"):
        read_manifest(manifest)
    image.unlink()
    with pytest.raises(CanaryError, match="is missing"):
        read_manifest(manifest)


def test_a_manifest_belongs_to_the_captions_that_it_was_planted_in(manifest: Path, data: Path, tmp_path: Path) -> None:
    read = read_manifest(manifest)
    check_data_set(read, read_prompts(str(data)))
    texts = [prompt.text for prompt in read_prompts(str(data)).prompts]
    check_data_set(read, read_prompts(str(text_file(tmp_path / "part.txt", texts[:20]))))
    other = read_prompts(str(text_file(tmp_path / "other.txt", [f"another caption {i}" for i in range(20)])))
    with pytest.raises(CanaryError, match="another data set"):
        check_data_set(read, other)


def test_few_prompts_of_a_large_data_set_may_miss_the_captions_that_a_manifest_states(
    manifest: Path, tmp_path: Path
) -> None:
    few = read_prompts(str(text_file(tmp_path / "few.txt", ["one more caption", "and another one"])))
    check_data_set(read_manifest(manifest), few)  # fewer than five matches are expected
