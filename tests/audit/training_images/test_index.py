"""An index finds what comparing with every hash finds, is written completely or not at all, and explains its errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.training_images import index as image_index
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, SAMPLE_WINDOWS, WHOLE, Window, window_hashes
from flashbulb.audit.training_images.index import (
    HASHES_FILE,
    Entry,
    count_bits,
    index_in_memory,
    is_index,
    open_index,
    write_index,
)
from flashbulb.audit.training_images.manifest import MANIFEST_FILE
from flashbulb.audit.training_images.sources.members import Member, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import Tally

N = 300


def entries(n: int = N) -> list[Entry]:
    hashes = np.random.default_rng(0).integers(0, 1 << 64, (n, len(IMAGE_WINDOWS)), dtype=np.uint64)
    return [Entry(Member("", f"{i}.jpg", i, 10), row, Image.new("RGB", (1, 1))) for i, row in enumerate(hashes)]


def smooth(seed: int, width: int = 48, height: int = 48) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def new_folder(parent: Path) -> Path:
    folder = parent / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    assert write_index(tmp_path, new_folder(tmp_path), 1.0, iter(entries()), Tally()) == N
    return tmp_path / "index"


def test_shortlist_equals_comparing_with_every_hash(monkeypatch):
    monkeypatch.setattr(image_index, "_ROWS_AT_ONCE", 7)
    index = index_in_memory(Path("x"), 1.0, entries(), Tally())
    queries = np.random.default_rng(1).integers(0, 1 << 64, 5, dtype=np.uint64)
    distances = np.array([[[bin(int(h) ^ int(q)).count("1") for h in row] for q in queries] for row in index.hashes])
    hits = index.shortlist(queries, 20)
    assert [h.bits for h in hits] == sorted(distances.min(axis=(1, 2)).tolist())[:20]
    assert [h.index for h in hits] == np.argsort(distances.min(axis=(1, 2)), kind="stable")[:20].tolist()
    assert all(distances[h.index, h.query, h.window] == h.bits for h in hits)


def test_the_shortlist_of_a_small_set_is_the_complete_set():
    assert sorted(
        h.index for h in index_in_memory(Path("x"), 1.0, entries(3), Tally()).shortlist(np.zeros(1, np.uint64), 9)
    ) == [0, 1, 2]


def test_bits_are_counted_equally_without_numpy_2(monkeypatch):
    values = entries()[0].hashes.reshape(2, 2)
    counted = count_bits(values)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(count_bits(values), counted)
    np.testing.assert_array_equal(counted, [[bin(int(v)).count("1") for v in row] for row in values])


def test_a_written_index_equals_the_index_in_memory(written):
    index, held = open_index(written, 1.0), index_in_memory(written.parent, 1.0, entries(), Tally())
    assert isinstance(index.hashes, np.memmap)
    np.testing.assert_array_equal(index.hashes, held.hashes)
    assert [index.member(i) for i in (0, 7, -1)] == [held.member(i) for i in (0, 7, N - 1)]
    assert len(index) == N
    assert index.path(3) == written.parent.resolve() / "3.jpg"


def test_interrupted_writing_leaves_no_index(tmp_path):
    def broken():
        yield from entries(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_index(tmp_path, new_folder(tmp_path), 1.0, broken(), Tally())
    assert not is_index(tmp_path / "index")
    assert list((tmp_path / "index").iterdir()) == []


def test_an_index_without_images_is_refused(tmp_path):
    with pytest.raises(TrainingImagesError, match="no training image that can be read"):
        write_index(tmp_path, new_folder(tmp_path), 1.0, iter([]), Tally())
    assert not is_index(tmp_path / "index")


def test_a_folder_with_a_file_named_like_a_manifest_is_no_index(tmp_path):
    (tmp_path / MANIFEST_FILE).write_text('{"shards": []}')
    assert not is_index(tmp_path)


def change_manifest(index: Path, **entries: object) -> None:
    manifest = json.loads((index / MANIFEST_FILE).read_text())
    (index / MANIFEST_FILE).write_text(json.dumps({**manifest, **entries}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 1}, "schema version 1, but this Flashbulb reads 2; build the index again"),
        ({"schema_version": 99}, "schema version 99, newer than 2; upgrade"),
        ({"hash_kind": "other"}, "hashes 'other'.*build it again"),
        ({"source": "/nowhere/at/all"}, "/nowhere/at/all, which is not there"),
        ({"aspect": 1.5}, "width/height 1.5.*aspect=1"),
        ({"count": N + 1}, "missing or cut short"),
        ({"count": "many"}, "damaged"),
        ({"passed_over": ["many"]}, "damaged"),
    ],
)
def test_an_unusable_index_is_refused_with_the_reason(written, change, reason):
    change_manifest(written, **change)
    with pytest.raises(TrainingImagesError, match=reason) as error:
        open_index(written, 1.0)
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused(written):
    (written / HASHES_FILE).write_bytes(b"short")
    with pytest.raises(TrainingImagesError, match=f"{HASHES_FILE} is missing or cut short"):
        open_index(written, 1.0)
    (written / MANIFEST_FILE).write_text("{")
    with pytest.raises(TrainingImagesError, match="damaged"):
        open_index(written, 1.0)


def test_windows_lie_in_the_image_and_have_the_shape_of_the_model():
    for size in ((48, 48), (90, 40), (40, 90)):
        for window in (*IMAGE_WINDOWS, *SAMPLE_WINDOWS):
            left, top, right, bottom = window.box(size, 1.5)
            assert min(left, top) >= 0
            assert right <= size[0] + 1e-9
            assert bottom <= size[1] + 1e-9
            assert (right - left) / (bottom - top) == pytest.approx(1.5)


@pytest.mark.parametrize("side", [32, 64, 512])
def test_hashes_hardly_depend_on_resolution_and_distinguish_images(side):
    (small,), (large,) = (window_hashes(smooth(1, s, s), (WHOLE,), 1.0) for s in (48, side))
    (other,) = window_hashes(smooth(2), (WHOLE,), 1.0)
    assert count_bits(np.array([small ^ large]))[0] <= 6
    assert count_bits(np.array([small ^ other]))[0] >= 16


def test_the_hash_of_a_window_is_the_hash_of_that_crop():
    image = smooth(3, 100, 100)
    window = Window(0.5, 0.0, 1.0)
    (crop,) = window_hashes(image.crop((0, 50, 50, 100)), (WHOLE,), 1.0)
    (hashed,) = window_hashes(image, (window,), 1.0)
    assert count_bits(np.array([crop ^ hashed]))[0] <= 2


def test_flat_images_have_empty_hashes_whatever_their_noise():
    noise = np.random.default_rng(0).integers(127, 130, (32, 32, 3), dtype=np.uint8)
    assert count_bits(window_hashes(Image.fromarray(noise), (WHOLE,), 1.0))[0] == 0
