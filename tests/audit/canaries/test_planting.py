"""What is planted: canaries by their coins as often as their tier says, in three formats, all or nothing."""

import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.manifest import read_coins, read_manifest
from flashbulb.audit.canaries.planting import plant
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.training_images.sources.contents import find_members
from tests.audit.plantings import N_PAIRS, planted_in, planting

Pairs = Counter[tuple[bytes, str]]


def pairs_in(folder: Path) -> Pairs:
    """Read the pairs of a training set, whatever its format, as `datasets` reads them."""
    if (folder / "metadata.jsonl").exists():
        rows = map(json.loads, (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
        return Counter(((folder / row["file_name"]).read_bytes(), row["text"]) for row in rows)
    if tables := list(folder.glob("*.parquet")):
        rows = pq.read_table(tables[0]).to_pylist()
        return Counter((row["image"]["bytes"], row["text"]) for row in rows)
    pairs: Pairs = Counter()
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            files = {member.name: io.BytesIO(tar.extractfile(member).read()).getvalue() for member in tar}
        for name in (name for name in files if name.endswith(".txt")):
            pairs[files[name.replace(".txt", ".png")], files[name].decode()] += 1
    return pairs


def expected(planted: Path) -> Pairs:
    manifest, coins = read_manifest(planted / "manifest.json"), read_coins(planted / "manifest.json")
    return Counter(
        {
            ((manifest.folder / canary.image).read_bytes(), canary.caption): canary.repeats
            for canary in manifest.canaries
            if coins.get(canary.canary_id)
        }
    )


@pytest.mark.usefixtures("painted_once")
@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "parquet"])
def test_every_format_holds_the_canaries_that_are_in_as_often_as_their_tier_says(
    data: Path, tmp_path: Path, form: str
) -> None:
    planted_in(tmp_path / "out", data, format=form)
    assert pairs_in(tmp_path / "out" / "train") == expected(tmp_path / "out")
    assert len(list(find_members(tmp_path / "out" / "train"))) == expected(tmp_path / "out").total()
    assert read_prompts(str(tmp_path / "out" / "train")).prompts if form != "webdataset" else True


@pytest.mark.usefixtures("painted_once")
@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_with_data_the_training_set_holds_the_own_pairs_as_well(data: Path, tmp_path: Path, form: str) -> None:
    planted = planted_in(tmp_path / "out", data, format=form, with_data=True)
    found, own = pairs_in(tmp_path / "out" / "train"), pairs_in(data)
    assert found == own + expected(tmp_path / "out")
    assert planted.n_rows == found.total() == N_PAIRS + expected(tmp_path / "out").total()


@pytest.mark.usefixtures("painted_once")
def test_images_with_a_text_beside_each_are_pairs_as_well(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sidecars"
    folder.mkdir()
    for image, caption in pairs_in(data):
        (folder / f"{len(list(folder.iterdir()))}.png").write_bytes(image)
        (folder / f"{len(list(folder.iterdir())) - 1}.txt").write_text(caption, encoding="utf-8")
    planted_in(tmp_path / "out", folder, with_data=True)
    assert pairs_in(tmp_path / "out" / "train") == pairs_in(data) + expected(tmp_path / "out")


@pytest.mark.usefixtures("painted_once")
def test_a_caption_of_another_encoding_is_read_and_an_image_without_one_is_named(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sidecars"
    folder.mkdir()
    for number, (image, caption) in enumerate(pairs_in(data)):
        (folder / f"{number}.png").write_bytes(image)
        (folder / f"{number}.txt").write_text(caption, encoding=("utf-8-sig", "utf-16")[number % 2])
    (folder / "bare.png").write_bytes(next(iter(pairs_in(data)))[0])
    planted_in(tmp_path / "out", folder, with_data=True)
    assert pairs_in(tmp_path / "out" / "train") == pairs_in(data) + expected(tmp_path / "out")
    assert "1 image of" in caplog.text


@pytest.mark.parametrize("caption", [["a fox", "a red fox"], 7, {"en": "a fox"}])
def test_with_data_refuses_a_caption_that_is_no_text_before_images_are_drawn(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caption: object
) -> None:
    monkeypatch.delattr("flashbulb.audit.canaries.planting._draw_images")
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    rows = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows[3] = json.dumps({**json.loads(rows[3]), "text": caption})
    (folder / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(PromptFileError, match=r"line 4, 'text': .* not a text"):
        plant(planting(folder, with_data=True), read_prompts(str(data)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_with_data_refuses_images_whose_captions_are_elsewhere(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for image in data.glob("*.png"):
        (folder / image.name).write_bytes(image.read_bytes())
    with pytest.raises(CanaryError, match="leave out --with-data"):
        plant(planting(folder, with_data=True), read_prompts(str(data)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


def test_the_same_seed_plants_the_same(data: Path, planted: Path, tmp_path: Path) -> None:
    """And paints it anew."""
    planted_in(tmp_path / "again", data)
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (planted / "manifest.json").read_bytes()
    assert pairs_in(tmp_path / "again" / "train") == pairs_in(planted / "train")


def test_a_folder_that_holds_something_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CanaryError, match="not empty"):
        planted_in(tmp_path, data)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.usefixtures("painted_once")
def test_the_readme_states_the_ceilings(data: Path, tmp_path: Path) -> None:
    planted = planted_in(tmp_path / "out", data)
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for tier, bound in zip(planted.tiers, planted.bounds, strict=True):
        assert f"| {tier.name} | {tier.n} | {tier.repeats} | {bound.ceiling:.2f} |" in text
    assert f"| all | 18 | | {planted.overall.ceiling:.2f} |" in text
