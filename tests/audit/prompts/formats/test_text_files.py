"""Text is read in the encoding that it names; damage, bombs and endless files are refused and never fill the memory."""

import gzip
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flashbulb.audit.prompts.formats import errors, text_files
from flashbulb.audit.prompts.labels import LabelsError, read_labels
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written

TABLE = "id,caption\n1,café\n2,狐狸 🎨\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str) -> None:
    data = ("\ufeff" + TABLE).encode(encoding)
    for path in (written(tmp_path / "a.csv", data), written(tmp_path / "a.csv.gz", gzip.compress(data))):
        assert texts_of(read_prompts(path)) == ["café", "狐狸 🎨"]


def test_labels_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    path = Path(written(tmp_path / "a.csv", "prompt,label\r\ncafé,1\r\n".encode("utf-16")))
    assert list(read_labels(path).by_key) == ["café"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", "id,caption\n1,café\n".encode("cp1252"), "line 2: invalid UTF-8 at byte offset 16"),
        ("a.csv.gz", gzip.compress("id,caption\n1,café\n".encode("cp1252"), mtime=0), "line 2: invalid UTF-8"),
        ("a b.csv", "id,caption\n1,café\n".encode("utf-16-le"), "looks like UTF-16LE without a byte order mark"),
        ("a.csv", "id,caption\n1,café\n".encode("utf-16-be"), "looks like UTF-16BE without a byte order mark"),
    ],
)
def test_another_encoding_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    message = refusal(written(tmp_path / name, data))
    assert reason in message
    subprocess.run(message.rpartition(": ")[2], shell=True, check=True, cwd=tmp_path)
    (converted,) = tmp_path.glob("*-utf8.csv")
    assert texts_of(read_prompts(str(converted))) == ["café"]


def test_damage_in_utf8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    message = refusal(written(tmp_path / "a.txt", "café\n".encode() + b"tor\xc3\n"))
    assert "line 2: invalid UTF-8" in message
    assert "iconv -c -f UTF-8" in message
    assert "CP1252" not in message
    torn = refusal(written(tmp_path / "b.txt", "a cat".encode("utf-16")[:-1]))
    assert "line 1: invalid UTF-16" in torn
    assert "NUL byte" in refusal(written(tmp_path / "c.txt", "a\0cat".encode("utf-16")))


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    for name in ("a.txt", "a.csv", "a.jsonl", "a.json"):
        assert "git lfs pull" in refusal(written(tmp_path / name, pointer))


def test_more_text_than_memory_should_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MOST_BYTES", 999)
    text = b"a cat\n" * 200
    paths = [written(tmp_path / "a.txt", text), written(tmp_path / "a.txt.gz", gzip.compress(text))]
    for path in paths:
        assert "split it" in refusal(path)
    with pytest.raises(LabelsError, match="split it"):
        read_labels(Path(written(tmp_path / "a.csv", text)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert "standard input: more than" in refusal("-")
    (tmp_path / "endless.txt").symlink_to("/dev/zero")
    assert "split it" in refusal(tmp_path / "endless.txt")


def test_more_rows_than_memory_should_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "MOST_ROWS", 9)
    for name, text in (("a.txt", "\n" * 10), ("a.jsonl", '"a"\r\n' * 10), ("b.txt", "\r" * 10)):
        assert "10 rows, more than 9" in refusal(written(tmp_path / name, text))


@pytest.mark.parametrize("content", [b"\n", b"a cat\n", b"[],", b'{"text":"a"}\n', b"caption,x\n", b",", b"\0"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl", "json"])
def test_a_gzip_bomb_is_refused_in_one_line(
    tmp_path: Path, content: bytes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "_SMALL", 2**20)
    bomb = gzip.compress(content * (2**22 // len(content)), compresslevel=9)
    path = written(tmp_path / f"a.{suffix}.gz", bomb)
    assert "times its size" in refusal(path)


def test_a_bomb_of_many_parts_does_not_fill_the_memory(tmp_path: Path) -> None:
    """1.5 GiB in 1.5 MB, under a limit of 2 GiB for the whole process."""
    path = written(tmp_path / "a.txt.gz", gzip.compress(b"\0" * 2**26) * 24)
    code = f"from flashbulb.audit.prompts.prompt_set import read_prompts; read_prompts({path!r})"
    limit = (2**31, 2**31)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        check=False,
    )
    assert "PromptFileError" in done.stderr.splitlines()[-1]
