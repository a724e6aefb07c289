"""A run in a store belongs to one process at a time, and the store has all that was written when the block ends."""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flashbulb.audit.run.lock import DirectoryHeldError, hold_directory
from flashbulb.audit.stores import claims, sending, store
from flashbulb.audit.stores.fetching import fetch
from flashbulb.reports.tables.files import FORMER_FOLDER, write_text
from flashbulb.reports.tables.stores import StoreError, local_path
from tests.audit.commands import digests

URI = "s3://bucket/run"


@pytest.fixture(autouse=True)
def hasty(monkeypatch) -> None:
    """Look and renew many times a second."""
    monkeypatch.setattr(claims, "SECONDS_TO_DEATH", 1.0)
    monkeypatch.setattr(claims, "_SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(sending, "_SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(claims, "_SECONDS_BETWEEN_RENEWALS", 0.1)


@contextmanager
def held() -> Iterator[Path]:
    """Hold the run on this machine."""
    run = local_path(URI)
    assert run is not None
    run.mkdir(parents=True, exist_ok=True)
    with hold_directory(run):
        yield run


def names(s3) -> list[str]:
    return [key.removeprefix("run/") for key in s3.keys("run") if "/.claims/" not in key]


def wait_until(condition) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 20
        time.sleep(0.01)


def test_a_run_of_one_machine_is_continued_on_another(s3, on_machine):
    with held() as run:
        (run / "images").mkdir()
        for name in ("run.json", "images/a.png", "scores.parquet"):
            write_text(run / name, f"first {name}")
    assert names(s3) == ["images/a.png", "run.json", "scores.parquet"]
    with on_machine("there"), held() as run:
        assert (run / "images" / "a.png").read_text() == "first images/a.png"
        write_text(run / "run.json", "other run.json")  # of the same size
        (run / "images" / "a.png").unlink()
    assert names(s3) == ["run.json", "scores.parquet"]
    with held() as run:
        assert digests(run).keys() - {".lock"} == {"run.json", "scores.parquet"}
        assert (run / "run.json").read_text() == "other run.json"


def test_files_are_sent_while_the_block_runs_and_manifests_after_what_they_name(s3):
    with held() as run:
        for i in range(20):
            write_text(run / f"part-{i}.parquet", "shard")
            write_text(run / f"part-{i}.json", "manifest")
            write_text(run / "run.json", f"{i}")
            (run / f"part-{i}.parquet.0.part").write_text("half")
            time.sleep(0.01)
        wait_until(lambda: len(names(s3)) == 41)
    written = [call.path for call in s3.app.calls if call.method == "POST" and ".claims" not in call.path]
    first = {path: written.index(path) for path in written}
    last = {path: len(written) - 1 - written[::-1].index(path) for path in written}
    for i in range(20):
        assert last[f"/bucket/run/part-{i}.parquet"] < first[f"/bucket/run/part-{i}.json"]
    assert max(last, key=lambda path: last[path]) == "/bucket/run/run.json"
    assert not any(name.endswith(".part") for name in names(s3))


def test_too_many_open_files_for_a_moment_stop_neither_sending_nor_renewing(s3, monkeypatch, caplog):
    failed = set[str]()

    def fail_first(module, name: str) -> None:
        function = getattr(module, name)

        def call(*arguments):
            if name not in failed:
                failed.add(name)
                raise OSError(errno.EMFILE, "Too many open files")
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    with held() as run:
        fail_first(sending, "upload")
        fail_first(claims, "_write")
        write_text(run / "run.json", "content")
        wait_until(lambda: names(s3) == ["run.json"])
        wait_until(lambda: failed == {"upload", "_write"})
        n_renewed = sum(".claims" in call.path for call in s3.app.calls)
        wait_until(lambda: sum(".claims" in call.path for call in s3.app.calls) > n_renewed + 3)
    assert "Too many open files; the run goes on here" in caplog.text


def test_a_second_machine_is_refused_while_the_first_lives_and_takes_over_when_it_died(s3, on_machine):
    with held() as run, on_machine("there"):
        with pytest.raises(StoreError, match=rf"{URI} is held by process \d+ on .*; wait until it ends, or choose ano"):
            held().__enter__()
        assert not list((run.parents[3]).glob("**/there/**/run.json"))
    abandoned = claims.Claim(store.open_store(URI), URI)  # as of a process that was killed
    abandoned.write(claims.HOLDING)
    with on_machine("there"), held():
        pass


def test_of_machines_that_begin_at_once_exactly_one_holds_the_run(s3, monkeypatch):
    """Each has a name of its own; that of a cache is one variable for all threads."""
    at_once, inside, outcomes = threading.Barrier(4), list[str](), list[str]()

    def begin(name: str) -> None:
        claim = claims.Claim(store.open_store(URI), URI)
        claim._name = name
        at_once.wait()
        try:
            claim.wait_for_others()
        except StoreError:
            outcomes.append("refused")
            return
        claim.become_last()
        inside.append(name)
        outcomes.append("held")
        for _ in range(20):
            time.sleep(0.1)
            claim.renew()
            assert claim.lost is None
        claim.write(claims.RELEASED)

    threads = [threading.Thread(target=begin, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused", "refused", "refused"]


def test_a_second_process_of_the_same_machine_is_refused_by_name(s3):
    with held(), pytest.raises(DirectoryHeldError, match=rf"^{URI} is held by process"):
        held().__enter__()


def test_a_process_that_was_suspended_too_long_learns_that_it_lost_the_run(s3, on_machine, caplog):
    holding = held()
    run = holding.__enter__()
    with on_machine("there"):
        claims.Claim(store.open_store(URI), URI).write(claims.HOLDING)
    wait_until(lambda: "was taken over" in caplog.text)
    write_text(run / "late.json", "late")
    with pytest.raises(StoreError, match=f"{URI} was taken over by process .* for 1 s; nothing more is sent there"):
        holding.__exit__(None, None, None)
    assert names(s3) == []


def test_what_could_not_be_sent_is_sent_by_the_next_process_of_the_machine(s3, on_machine, monkeypatch, caplog):
    monkeypatch.setattr(store, "_WAITS", ())
    with held() as run:
        write_text(run / "run.json", "first")
    holding = held()
    run = holding.__enter__()
    s3.app.fails_every = 1
    write_text(run / "run.json", "other")
    with pytest.raises(StoreError, match=f"{URI}/.* cannot be .*; run the same command again to resume"):
        holding.__exit__(None, None, None)
    assert "nothing is lost" in caplog.text
    s3.app.fails_every = 0
    assert s3.read("run/run.json") == b"first"
    fetch(run)  # as `flashbulb gate` does
    assert (run / "run.json").read_text() == "other"
    with held():
        pass
    assert s3.read("run/run.json") == b"other"


def test_a_run_that_was_deleted_in_the_cache_is_fetched_again_and_not_deleted_in_the_store(s3):
    with held() as run:
        write_text(run / "run.json", "content")
    (run / "run.json").unlink()
    with held():
        assert (run / "run.json").read_text() == "content"


def test_a_run_that_was_deleted_in_the_store_is_gone(s3):
    with held() as run:
        write_text(run / "run.json", "content")
    s3.files.delete_dir_contents("bucket/run")
    fetch(run)
    assert not (run / "run.json").exists()


def test_a_store_that_fails_every_tenth_call_holds_the_same_run(s3, on_machine):
    s3.app.fails_every, n_failed = 10, s3.app.n_failed
    with held() as run:
        for i in range(8):
            write_text(run / f"part-{i}.parquet", "shard" * i)
            write_text(run / f"part-{i}.json", "manifest" * i)
    s3.app.fails_every = 0
    assert s3.app.n_failed - n_failed > 4
    with on_machine("there"), held() as there:
        assert {n: d for n, d in digests(there).items() if n != ".lock"} == digests(run)


def test_links_to_former_results_are_not_sent(tmp_path):
    for name in ("run.json", "images/a.png", f"{FORMER_FOLDER}/0", f"{FORMER_FOLDER}/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_text(tmp_path / name, "x")
    found = [name for is_json in (True, False) for name, _ in sending._files(tmp_path, is_json=is_json)]
    assert found == ["run.json", "images/a.png"]


def test_an_error_in_the_block_sends_what_is_there_and_is_raised(s3):
    holding = held()
    write_text(holding.__enter__() / "run.json", "interrupted")
    assert not holding.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert s3.read("run/run.json") == b"interrupted"
    [claim] = [key for key in s3.keys("run") if ".claims" in key]
    assert b'"released"' in s3.read(claim)
