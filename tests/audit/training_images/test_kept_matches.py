"""What samples match is kept, and used again only while samples, images, code and the kept file are what they were."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.training_images import kept_matches
from flashbulb.audit.training_images.descriptors import Descriptor
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.storage import build_index, open_training_images
from tests.audit.training_images.random_images import SIZE, detailed

COUNTED = "flashbulb.audit.training_images.nearest.TrainingImages._nearest"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training images as BMP files, whose size in bytes does not depend on what they show."""
    (tmp_path / "set").mkdir()
    for number, image in enumerate(detailed(9, seed=0)):
        Image.fromarray(image).save(tmp_path / "set" / f"{number}.bmp")
    return tmp_path / "set"


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> Path:
    build_index(folder, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def samples() -> np.ndarray:
    """A copy, a shifted copy that only an alignment finds, a mirrored copy, and an image of nothing."""
    images = detailed(9, seed=0)
    cut = np.asarray(Image.fromarray(images[4][3:29, 3:29]).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return np.stack([images[2], cut, images[5][:, ::-1], detailed(1, seed=7)[0]])


@pytest.fixture
def n_matched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how many samples were matched since the last question."""
    search, counts = TrainingImages._nearest, [0]

    def counted(self: TrainingImages, sample: np.ndarray) -> Nearest:
        counts[0] += 1
        return search(self, sample)

    def since() -> int:
        n, counts[0] = counts[0], 0
        return n

    monkeypatch.setattr(COUNTED, counted)
    return since


def opened(source: Path, kept: Path, **how: object) -> TrainingImages:
    images = open_training_images(source, SIZE, SIZE, **how)
    images.keep_matches(kept)
    return images


def the_file(kept: Path) -> Path:
    (path,) = kept.iterdir()
    return path


def test_a_second_process_finds_what_the_first_found_and_matches_nothing(folder, index, samples, tmp_path, n_matched):
    for source, kept in ((folder, tmp_path / "a"), (index, tmp_path / "b")):
        plain = open_training_images(source, SIZE, SIZE).nearest(samples)
        assert n_matched() == 4
        assert opened(source, kept).nearest(samples) == plain
        assert n_matched() == 4
        again = opened(source, kept).nearest(samples)
        assert (again, n_matched()) == (plain, 0)
        assert [repr(nearest) for nearest in again] == [repr(nearest) for nearest in plain]
    assert {nearest.kind for nearest in plain} == {"verbatim", None}
    assert any(nearest.box is not None for nearest in plain)


def test_other_samples_are_matched(folder, samples, tmp_path, n_matched):
    opened(folder, tmp_path / "kept").nearest(samples)
    n_matched()
    changed = samples.copy()
    changed[0, 0, 0, 0] ^= 1
    for others in (changed, samples[:3], samples[::-1]):
        opened(folder, tmp_path / "kept").nearest(others)
        assert n_matched() == len(others)


def test_a_set_that_lies_elsewhere_is_the_same_set_and_paths_are_the_new_ones(folder, samples, tmp_path, n_matched):
    opened(folder, tmp_path / "kept").nearest(samples)
    n_matched()
    moved = folder.rename(tmp_path / "moved")
    found = opened(moved, tmp_path / "kept").nearest(samples)
    assert (n_matched(), found[0].path) == (0, moved / "2.bmp")


def test_another_set_is_matched_with(folder, samples, tmp_path, n_matched):
    opened(folder, tmp_path / "kept").nearest(samples)
    (folder / "2.bmp").unlink()
    n_matched()
    found = opened(folder, tmp_path / "kept").nearest(samples)
    assert n_matched() == 4
    assert found == open_training_images(folder, SIZE, SIZE).nearest(samples)
    assert found[0].kind is None


def test_an_image_that_changed_behind_an_index_is_matched_again(folder, index, samples, tmp_path, n_matched):
    before = opened(index, tmp_path / "kept").nearest(samples)
    n_matched()
    was = (folder / "2.bmp").stat()
    Image.fromarray(detailed(1, seed=3)[0]).save(folder / "2.bmp")
    os.utime(folder / "2.bmp", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (folder / "2.bmp").stat().st_size == was.st_size
    found = opened(index, tmp_path / "kept").nearest(samples)
    assert n_matched() == 4
    assert found == open_training_images(index, SIZE, SIZE).nearest(samples)
    assert (before[0].kind, found[0].kind) == ("verbatim", None)


@pytest.mark.parametrize("change", ["missing", "longer"])
def test_an_image_that_is_gone_or_of_another_size_is_an_error(folder, index, samples, tmp_path, change):
    opened(index, tmp_path / "kept").nearest(samples)
    if change == "missing":
        (folder / "2.bmp").unlink()
    else:
        (folder / "2.bmp").write_bytes((folder / "2.bmp").read_bytes() + b"0")
    with pytest.raises(TrainingImagesError, match=r"2\.bmp changed during the audit or since it was indexed"):
        opened(index, tmp_path / "kept").nearest(samples)


def test_an_image_that_changes_between_two_looks_is_an_error(folder, tmp_path):
    images = opened(folder, tmp_path / "kept")
    images.image(2)
    Image.fromarray(detailed(1, seed=3)[0]).save(folder / "2.bmp")
    with pytest.raises(TrainingImagesError, match=r"2\.bmp changed during the audit"):
        images.nearest(detailed(2, seed=5))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "garbage", "of another call"])
def test_damaged_or_foreign_files_are_matched_again_and_written_anew(folder, samples, tmp_path, n_matched, damage):
    kept = tmp_path / "kept"
    expected = opened(folder, kept).nearest(samples)
    path, whole = the_file(kept), the_file(kept).read_bytes()
    if damage == "of another call":
        opened(folder, tmp_path / "other").nearest(detailed(4, seed=9))
        shutil.copy(the_file(tmp_path / "other"), path)
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes({"cut": whole[:-9], "flipped": bytes(flipped), "empty": b"", "garbage": b"x" * 99}[damage])
    n_matched()
    assert opened(folder, kept).nearest(samples) == expected
    assert n_matched() == 4
    assert path.read_bytes() == whole


def test_other_code_libraries_descriptors_and_sizes_match_again(folder, samples, tmp_path, n_matched, monkeypatch):
    kept = tmp_path / "kept"
    opened(folder, kept).nearest(samples)

    def descriptor(sha256: str, scale: float = 1.0) -> Descriptor:
        return Descriptor("sscd-disc-large", sha256, lambda batch: (batch * scale + 0.01).flatten(1)[:, :64])

    def matches_again(**how: object) -> bool:
        n_matched()
        opened(folder, kept, **how).nearest(samples)
        return n_matched() == 4

    assert not matches_again()
    for how in ({"descriptor": descriptor("a")}, {"descriptor": descriptor("b")}, {"descriptor": descriptor("b", -1)}):
        assert matches_again(**how)
        assert not matches_again(**how)
    for name, value in (("__version__", "0.0"), ("_code_sha256", lambda: "other"), ("version", lambda name: "0")):
        with monkeypatch.context() as patch:
            assert matches_again()
            patch.setattr(kept_matches, name, value)
            assert matches_again()
    assert matches_again()
    assert not matches_again()


def test_nothing_is_kept_unless_asked_for(folder, samples, tmp_path, n_matched):
    images, before = open_training_images(folder, SIZE, SIZE), sorted(tmp_path.rglob("*"))
    images.nearest(samples)
    images.nearest(samples)
    assert (n_matched(), sorted(tmp_path.rglob("*"))) == (8, before)
