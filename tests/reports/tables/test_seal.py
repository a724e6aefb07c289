"""A seal tells every change of a run: of its record, a table or an image; and it says of itself what it cannot tell."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.files import TABLE_FILES, RunFileError, RunIncompleteError, sha256_of
from flashbulb.reports.tables.seal import check_seal
from tests.audit.commands import edit_run_json, run_json
from tests.reports.pages import write_illustrated
from tests.reports.run_files import seal_again

IMAGE, OTHER_IMAGE = "images/p0/seed-0.png", "images/p1/seed-2.png"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with images; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("sealed") / "run")


@pytest.fixture
def run(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "run"))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, whose size and modification time stay."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(run: Path) -> None:
    first, second = (run / name for name in (IMAGE, OTHER_IMAGE))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


def replace_by_link(run: Path, name: str) -> None:
    """Move a file or folder out of the run, and leave a link to it."""
    target = run.parent / f"moved-{Path(name).name}"
    shutil.move(run / name, target)
    (run / name).symlink_to(target)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def grow(path: Path) -> None:
    """Make a file huge; it takes no space on the disk, but reading it would take an hour."""
    os.truncate(path, 1 << 40)


def edit_count(run: Path) -> None:
    edit_run_json(run, "counts", "n_truncated", value=3)


def edit_table_and_digest(run: Path) -> None:
    flip(run / "spikes.parquet")
    edit_run_json(run, "tables", "spikes.parquet", value=sha256_of(run / "spikes.parquet"))


def take_seal_of_another(run: Path) -> None:
    other = write_illustrated(run.parent / "other", prompts=tuple(f"another portrait {i}" for i in range(20)))
    edit_run_json(run, "seal", value=run_json(other)["seal"])


def copy_image(run: Path) -> None:
    shutil.copy(run / IMAGE, run / "images" / "p0" / "seed-9.png")


DAMAGES: dict[str, tuple[Change, str]] = {
    **{f"a bit of {name}": (lambda run, name=name: flip(run / name), f"{name} has changed") for name in TABLE_FILES},
    "a bit of an image": (lambda run: flip(run / IMAGE), f"{IMAGE} has changed"),
    "two images swapped": (swap, f"{IMAGE} has changed, nor do 1 more"),
    "an image deleted": (lambda run: (run / IMAGE).unlink(), f"{IMAGE} is missing"),
    "all images deleted": (lambda run: shutil.rmtree(run / "images"), "is missing, nor do"),
    "a table deleted": (lambda run: (run / TABLE_FILES[0]).unlink(), f"{TABLE_FILES[0]} is missing"),
    "an image added": (copy_image, "images/p0/seed-9.png is not sealed"),
    "an image behind a link": (lambda run: replace_by_link(run, IMAGE), f"{IMAGE} is a link or no file"),
    "a folder behind a link": (lambda run: replace_by_link(run, "images/p0"), "is missing, nor do"),
    "all images behind a link": (lambda run: replace_by_link(run, "images"), "is missing, nor do"),
    "an image that is a pipe": (lambda run: replace_by_pipe(run / IMAGE), f"{IMAGE} is a link or no file"),
    "a huge image": (lambda run: grow(run / IMAGE), f"{IMAGE} has changed"),
    "a huge table": (lambda run: grow(run / "spikes.parquet"), "spikes.parquet has changed"),
    "a count": (edit_count, "run.json has changed"),
    "a table and its digest": (edit_table_and_digest, "spikes.parquet has changed, nor do 1 more"),
    "no seal": (lambda run: edit_run_json(run, "seal", value=None), "has no seal"),
    "a seal without files": (lambda run: edit_run_json(run, "seal", "files", value={}), "is not sealed, nor do"),
    "a seal that is none": (lambda run: edit_run_json(run, "seal", value="sealed"), "run.json"),
    "the seal of another run": (take_seal_of_another, "has changed"),
    "another digest": (lambda run: edit_run_json(run, "seal", "digest", value="0" * 64), "run.json has changed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_change_of_a_sealed_run_is_told(run: Path, name: str) -> None:
    change, words = DAMAGES[name]
    check_seal(run)
    change(run)
    with pytest.raises(RunIncompleteError) as caught:
        check_seal(run)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", DAMAGES)
def test_what_the_gate_decides_on_is_as_it_was_sealed(run: Path, name: str) -> None:
    DAMAGES[name][0](run)
    with pytest.raises(RunFileError):
        load_checked(run)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all values of a JSON document that are no objects or lists."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def test_no_value_of_the_record_can_be_changed_alone(run: Path) -> None:
    content, text = run_json(run), (run / "run.json").read_text(encoding="utf-8")
    paths = [path for path in leaves(content) if path[0] != "schema_version"]
    assert len(paths) > 100
    for path in paths:
        changed = json.loads(text)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = f"{inner[path[-1]]} " if isinstance(inner[path[-1]], str) else 17.25
        (run / "run.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(RunIncompleteError):
            check_seal(run)


def test_the_digest_is_the_hash_that_is_documented(run: Path) -> None:
    content = run_json(run)
    digest = content["seal"].pop("digest")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(text.encode()).hexdigest() == check_seal(run).digest


def test_the_layout_of_the_record_does_not_matter(run: Path) -> None:
    before, content = check_seal(run).digest, run_json(run)
    (run / "run.json").write_text(json.dumps(dict(reversed(content.items())), indent=7), encoding="utf-8")
    assert check_seal(run).digest == before


def test_a_run_that_is_moved_or_has_a_linked_table_or_files_of_a_file_manager_still_fits(
    run: Path, tmp_path: Path
) -> None:
    before = check_seal(run).digest
    moved = Path(shutil.move(run, tmp_path / "elsewhere"))
    (moved / "images" / "p0" / ".DS_Store").write_bytes(b"\0")
    replace_by_link(moved, TABLE_FILES[0])
    (moved / "notes.txt").write_text("outputs and notes are not sealed")
    assert check_seal(moved).digest == before


def test_a_run_that_is_changed_and_sealed_again_fits_with_another_digest(run: Path) -> None:
    """What the seal cannot tell by itself, and why a digest is handed over."""
    before = check_seal(run).digest
    flip(run / IMAGE)
    edit_count(run)
    assert seal_again(run) == check_seal(run).digest != before


def test_a_seal_that_names_files_outside_of_the_run_makes_no_reader_open_them(run: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.parquet").write_bytes(b"secret")
    for name in ("../outside.parquet", str(tmp_path / "outside.parquet")):
        content = run_json(run)
        content["seal"]["files"][name] = {"n_bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
        content["tables"][name] = hashlib.sha256(b"secret").hexdigest()
        (run / "run.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(RunIncompleteError, match=r"outside\.parquet is missing"):
            check_seal(run)
