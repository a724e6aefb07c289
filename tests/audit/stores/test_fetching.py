"""What lies in a store is fetched into the cache, only what is missing there, and arrives whole."""

import gzip
import os
import time
from datetime import timedelta
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import pytest
from moto.s3.models import s3_backends

from flashbulb.audit.stores.fetching import fetch, fetched
from flashbulb.reports.tables.stores import StoreError, as_uri, local_path, with_uris
from tests.audit.commands import digests
from tests.services.object_store import BUCKET, S3, Call

N_FILES = 40


def read_calls(s3: S3, key: str) -> list[str]:
    """Return the keys below `key` whose content was read since the last call."""
    found = [call.path for call in s3.app.calls if call.method == "GET" and call.path.startswith(f"/bucket/{key}")]
    s3.app.calls.clear()
    return sorted(path.removeprefix("/bucket/") for path in found)


def age(s3: S3, key: str) -> None:
    """Let an object have been written a minute ago."""
    for account in s3_backends.values():
        for backend in account.values():
            if BUCKET in backend.buckets:
                backend.get_object(BUCKET, key).last_modified -= timedelta(minutes=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files of all sizes, some of them empty or in folders."""
    for i in range(N_FILES):
        path = tmp_path / "folder" / f"{i % 3}" / f"image {i}é.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(i * 1000))
    return tmp_path / "folder"


def test_a_folder_arrives_whole_and_is_not_read_again(s3, folder):
    uri = s3.put(folder, "images")
    s3.app.calls.clear()
    assert digests(Path(fetched(uri))) == digests(folder)
    assert len(read_calls(s3, "images/")) == N_FILES - 1  # nothing is asked for an empty one
    fetch(local_path(uri))
    assert read_calls(s3, "images/") == []


def test_only_what_changed_or_was_lost_is_read_again(s3, folder):
    uri = s3.put(folder, "images")
    path = Path(fetched(uri))
    changed, lost, damaged, gone = (f"images/{i % 3}/image {i}é.png" for i in (7, 8, 9, 10))
    time.sleep(1.1 - time.time() % 1)  # times of objects are whole seconds
    s3.write(changed, bytes(7000))  # of the same size
    (path.parent / lost).unlink()
    (path.parent / damaged).write_bytes(bytes(9000))  # here, and of the same size
    s3.files.delete_file(f"bucket/{gone}")
    s3.app.calls.clear()
    fetch(path)
    assert read_calls(s3, "images/") == sorted([changed, lost, damaged])
    assert (path.parent / changed).read_bytes() == bytes(7000)
    assert (path.parent / lost).read_bytes() == (folder.parent / lost.replace("images", "folder")).read_bytes()
    assert not (path.parent / gone).exists()


def test_a_store_that_fails_every_tenth_call_gives_the_same_files(s3, folder):
    uri = s3.put(folder, "images")
    s3.app.fails_every, n_failed = 10, s3.app.n_failed
    path = Path(fetched(uri))
    s3.app.fails_every = 0
    assert digests(path) == digests(folder)
    assert s3.app.n_failed - n_failed >= 4


@pytest.mark.parametrize("size", [3 * 2**20, 4 * 2**20])
def test_an_object_that_is_replaced_while_it_is_read_is_read_anew(s3, size):
    """A mixture of both would be neither."""
    old, new = bytes(3 * 2**20), b"1" * size
    s3.write("large.bin", old)
    age(s3, "large.bin")
    n_read = count(1)

    def replace(call: Call) -> None:
        if call.method == "GET" and call.path == "/bucket/large.bin" and next(n_read) == 2:
            s3.write("large.bin", new)

    s3.app.on_call = replace
    path = Path(fetched("s3://bucket/large.bin"))
    assert path.read_bytes() == new


def test_compressed_files_stay_compressed(s3, tmp_path):
    (tmp_path / "captions.csv.gz").write_bytes(gzip.compress(b"prompt\na star\n"))
    uri = s3.put(tmp_path / "captions.csv.gz", "captions.csv.gz")
    assert Path(fetched(uri)).read_bytes() == (tmp_path / "captions.csv.gz").read_bytes()


def test_a_folder_to_leave_out_is_neither_read_nor_deleted(s3, tmp_path):
    for name in ("run/run.json", "run/activations/a/part", "run/scores.parquet"):
        s3.write(name, name.encode())
    path = local_path("s3://bucket/run")
    assert path is not None
    fetch(path, without=("activations",))
    assert digests(path).keys() == {"run.json", "scores.parquet"}
    fetch(path)
    fetch(path, without=("activations",))
    assert (path / "activations" / "a" / "part").exists()


@pytest.mark.parametrize("key", ["images/a//b.png", "images/../b.png", "images/./b.png"])
def test_a_key_that_is_no_path_is_refused(s3, key):
    put = HTTPConnection(s3.url.removeprefix("http://"))  # pyarrow writes no such keys
    put.request("PUT", f"/bucket/{key}", b"image")
    assert put.getresponse().status == 200
    with pytest.raises(StoreError, match="between its slashes, or a NUL character; rename it"):
        fetched("s3://bucket/images")
    with pytest.raises(StoreError, match="between its slashes, or a NUL character; rename it"):
        local_path(f"s3://bucket/{key}")


def test_an_object_called_like_a_folder_is_refused(s3):
    s3.write("images/a", b"image")
    s3.write("images/a/b", b"image")
    with pytest.raises(StoreError, match="images/a is an object and a folder of s3://bucket/images/a/b; rename"):
        fetched("s3://bucket/images")


def test_a_path_in_the_cache_has_one_uri_and_each_server_has_its_own_cache(s3, monkeypatch):
    uri = "s3://bucket/images/a b.png"
    path = local_path(uri)
    assert path is not None
    assert as_uri(path) == uri
    assert local_path(Path(uri)) == path  # pathlib drops a slash
    assert with_uris(f"no {path}, nor {path.parent}.") == f"no {uri}, nor s3://bucket/images."
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere:9000")
    assert local_path(uri) != path


@pytest.mark.parametrize(
    "place", ["runs/mine", "/runs/mine", "-", "owner/name", "a: b", "C:/x", Path("C:/x"), Path("a.b/x")]
)
def test_paths_of_this_machine_are_no_uris(s3, place):
    assert local_path(place) is None
    assert as_uri(place) == str(place)


def test_who_has_no_home_needs_a_cache_for_stores_and_for_nothing_else(s3, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user that the system does not know
    assert with_uris("no /path") == "no /path"
    with pytest.raises(StoreError, match=r"no home directory for a cache .* set XDG_CACHE_HOME to a folder"):
        local_path("s3://bucket/run")


def test_other_file_systems_are_read_with_fsspec(s3):
    from fsspec import filesystem

    memory = filesystem("memory")
    memory.pipe("/shelf/images/a.png", b"first")
    path = Path(fetched("memory://shelf/images"))
    assert (path / "a.png").read_bytes() == b"first"
    memory.pipe("/shelf/images/a.png", b"other")  # of the same size, and this store tells no times
    assert (Path(fetched("memory://shelf/images")) / "a.png").read_bytes() == b"other"
