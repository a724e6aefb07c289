"""Audits whose inputs and results lie in a store equal those of files; so do killed, resumed, divided recordings."""

import os
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

import flashbulb
from flashbulb.audit.stores import claims
from tests.audit.commands import CANDIDATES, QUICK, digests, run_flashbulb, run_json, shard_digests
from tests.audit.conftest import recording
from tests.processes import fork_python
from tests.services.object_store import S3

RUN = "s3://bucket/runs/mine"
SHARDS = ("--shard-size", "2")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
HASTY_SENDING = """
from flashbulb.audit.stores import sending
sending._SECONDS_BETWEEN_LOOKS = 0.01
from flashbulb.audit.__main__ import main
main()
"""
NAMED = ("source_file", "nearest_image")
"""Columns that name files."""
UNEQUAL = {"run.json", "report.html", "baseline.safetensors", "recording.json"}
"""Files with times of day, with pictures beside others, or with entries in no order."""


class Stored(NamedTuple):
    """URIs of the inputs of an audit."""

    model: str
    prompts: str
    reference: str
    training: str

    def texts(self, inputs, training: Path) -> dict[str, str]:
        """Return what names the same in files, by URI."""
        return dict(zip(self, map(str, (*inputs, training)), strict=True))


@pytest.fixture
def stored(s3: S3, inputs, finished) -> Stored:
    """The inputs of the finished audit."""
    files = (inputs.model, inputs.prompts, inputs.reference, finished.run.parent / "training")
    return Stored(*(s3.put(path, f"inputs/{path.name}") for path in files))


def contents(run: Path, names: dict[str, str]) -> dict[str, object]:
    """Return what a run says: hashes, rows and texts, in which URIs are replaced by the files that they stand for."""
    found: dict[str, object] = {**digests(run)}
    for name in found:
        path = run / name
        if path.suffix == ".parquet" and "/part-" not in name:
            table = pq.read_table(path)
            found[name] = table.drop([column for column in NAMED if column in table.column_names]).to_pylist()
        elif path.suffix in (".jsonl", ".md", ".xml", ".csv", ".sarif"):
            text = path.read_text("utf-8").replace("`", "")
            for uri, file in names.items():
                text = text.replace(uri, file)
            text = re.sub(r"sha256:[0-9a-f]{64}", "SEAL", text)
            found[name] = re.sub(r"(\| \w+ \| (?:\d+|–) \| )\d+\.\d", r"\1SECONDS", text)
    left_out = UNEQUAL | {".lock"}  # and evaluations, which other tests write into the run that all share
    return {n: content for n, content in found.items() if Path(n).name not in left_out and "evaluation" not in n}


def test_an_audit_in_a_store_equals_one_in_files_but_for_names(s3, on_machine, inputs, finished, stored, tmp_path):
    """And other machines judge, continue and replay it."""
    options = ("--model", stored.model, "--prompts", stored.prompts, "--reference", stored.reference)
    answer = run_flashbulb("audit", *options, "--train-images", stored.training, "--out", RUN, *QUICK)
    assert answer.code == 0, answer.err
    run, names = s3.get("runs/mine", tmp_path / "mine"), stored.texts(inputs, finished.run.parent / "training")
    names |= {f"out | {RUN}": f"out | {finished.run}", RUN: "run"}
    found, expected = contents(run, names), contents(finished.run, names)
    copies = {name for name in found if "/training-" in name}  # so that the run shows its training images anywhere
    assert found.keys() - copies == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()
    assert len(copies) == len(CANDIDATES)
    _says_nothing_of_this_machine(run, answer.out + answer.err, tmp_path)
    with on_machine("there"):
        judged = run_flashbulb("gate", RUN)
        assert judged.code == 1
        assert f"flashbulb diff {RUN}" in judged.out
        shown = run_flashbulb("show", RUN, "1")
        assert f"nearest training image {stored.training}/secret.png" in shown.out
        assert run_flashbulb("verify", RUN).code == 0
        for command in (("detect", RUN, "--fpr", "0.2"), ("recover", RUN), ("report", RUN), ("gate", RUN)):
            again = run_flashbulb(*command)
            assert again.code == (1 if command[0] == "gate" else 0), again.err
            assert "caches" not in again.out + again.err
    assert run_json(s3.get("runs/mine", tmp_path / "again"))["status"] == "complete"
    assert run_flashbulb("gate", RUN).code == 1  # the first machine sees what the second wrote
    with on_machine("elsewhere"):  # which fetches the inputs
        answer = run_flashbulb("audit", "--replay", RUN, "--out", "s3://bucket/runs/again")
        assert answer.code == 0, answer.err
        assert run_flashbulb("diff", RUN, "s3://bucket/runs/again").code == 0


def _says_nothing_of_this_machine(run: Path, printed: str, tmp_path: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
            assert b"topsecret" not in path.read_bytes()
    assert str(tmp_path / "caches") not in printed
    assert "topsecret" not in printed
    assert run_json(run)["settings"]["train_images"] == "s3://bucket/inputs/training"


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> Path:
    """The recording of one process, in files. Read-only."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_flashbulb("record", *recording(inputs, run, *SHARDS)).code == 0
    return run


def test_a_recording_that_was_killed_is_finished_on_another_machine(
    s3, on_machine, inputs, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "SECONDS_TO_DEATH", 1.0)
    words = ("record", *recording(inputs, RUN, *SHARDS))
    n_sent, killed = 0, None

    def kill(call) -> None:
        nonlocal n_sent
        completes = call.method == "POST" and "uploadId" in call.query
        n_sent += completes and call.path.endswith(".json") and "/part-" in call.path
        if n_sent > 2 and killed is not None:
            killed.send_signal(signal.SIGKILL)

    s3.app.on_call = kill
    environment = {**os.environ, **ONE_THREAD}
    killed = fork_python(HASTY_SENDING, *words, environment=environment)
    assert killed.wait().code == -signal.SIGKILL
    s3.app.on_call = lambda call: None
    left = len([key for key in s3.keys("runs") if re.search(r"/part-\d+\.json", key)])
    assert 0 < left < len([name for name in shard_digests(whole) if name.endswith(".json")])
    with on_machine("there"):
        answer = run_flashbulb(*words)
    assert answer.code == 0, answer.err
    assert "is claimed by process" in answer.err
    assert shard_digests(s3.get("runs/mine", tmp_path / "mine")) == shard_digests(whole)


@pytest.mark.slow  # ranks merge parts in a store as well
def test_parts_of_machines_that_share_only_the_store_are_merged(s3, on_machine, inputs, whole, tmp_path):
    for number in ("2", "1"):
        with on_machine(f"machine {number}"):
            answer = run_flashbulb("record", *recording(inputs, RUN, *SHARDS, "--shard", f"{number}/2"))
            assert answer.code == 0, answer.err
            assert f"shard recorded in {RUN}.shards/{number}-of-2; when all are" in answer.out
    answer = run_flashbulb("merge", RUN)
    assert answer.code == 0, answer.err
    assert shard_digests(s3.get("runs/mine", tmp_path / "mine")) == shard_digests(whole)
    with on_machine("there"):
        assert run_flashbulb("detect", RUN, "--fpr", "0.2").code == 0


def test_parts_of_machines_that_share_only_the_store_agree_on_a_batch_size(s3, on_machine, inputs, monkeypatch):
    for number, found in (("1", 8), ("2", 32)):
        monkeypatch.setattr("flashbulb.audit.stages.opening.session.find_batch_size", lambda *_, found=found: found)
        with on_machine(f"machine {number}"):
            options = recording(inputs, RUN, *SHARDS, "--batch-size", "auto", "--shard", f"{number}/2")
            answer = run_flashbulb("record", *options)
            assert answer.code == 0, answer.err
    with on_machine("machine 1"):
        assert run_flashbulb("merge", RUN).code == 0


def test_the_first_of_ranks_waits_for_machines_that_share_only_the_store(s3, on_machine, inputs, whole, tmp_path):
    words = ("record", *recording(inputs, RUN, *SHARDS, "--shard", "ranks"))
    ranks = []
    for rank in "01":
        with on_machine(f"machine {rank}"):
            environment = {**os.environ, **ONE_THREAD, "RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
            ranks.append(fork_python(HASTY_SENDING, *words, environment=environment))
    for rank in ranks:
        ended = rank.wait()
        assert ended.code == 0, ended.err
    assert shard_digests(s3.get("runs/mine", tmp_path / "mine")) == shard_digests(whole)


def test_an_audit_through_a_store_that_fails_every_tenth_call_equals_one_in_files(s3, inputs, whole, tmp_path):
    s3.app.fails_every, n_failed = 10, s3.app.n_failed
    answer = run_flashbulb("record", *recording(inputs, RUN, *SHARDS))
    assert answer.code == 0, answer.err
    assert s3.app.n_failed - n_failed > 5
    s3.app.fails_every = 0
    assert shard_digests(s3.get("runs/mine", tmp_path / "mine")) == shard_digests(whole)


def test_an_index_of_training_images_in_a_store_finds_them_on_another_machine(s3, on_machine, stored, tmp_path):
    answer = run_flashbulb("index", stored.training, tmp_path / "index")
    assert answer.code == 0, answer.err
    with on_machine("there"):
        options = ("--model", stored.model, "--prompts", stored.prompts, "--reference", stored.reference)
        images = ("--train-images", tmp_path / "index", "--out", tmp_path / "run")
        answer = run_flashbulb("audit", *options, *images, *QUICK)
        assert answer.code == 0, answer.err
        assert (
            "nearest training image s3://bucket/inputs/training/secret.png"
            in run_flashbulb("show", tmp_path / "run", "1").out
        )


def test_the_function_takes_uris_as_the_command_does(s3, on_machine, stored):
    settings = {"n_seeds": 2, "n_samples": 2, "sample_steps": 2, "fpr": 0.2, "strategies": ("sample",)}
    files = {"reference": stored.reference, "train_images": stored.training, "out": RUN}
    result = flashbulb.audit_model(stored.model, CANDIDATES, **files, **settings, examine=False)
    assert result.verdict.exit_code in (0, 1)
    assert "runs/mine/run.json" in s3.keys("runs")
    assert s3.read("runs/mine-prompts.jsonl").count(b"\n") == len(CANDIDATES)
    with on_machine("there"):
        assert run_flashbulb("gate", RUN).code == result.verdict.exit_code
