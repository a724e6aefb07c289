"""Ctrl-C leaves a run that says so, is not trusted, and goes on to the result of an uninterrupted one."""

import signal
import subprocess
from pathlib import Path

import pandas as pd

from tests.audit.commands import engram, run_json, scores_of, shards, start, text_file


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        try:
            process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {process.returncode} before {path}: {process.communicate()[1]}")


def test_interrupted_audit_is_distrusted_and_goes_on_to_the_same_result(inputs, tmp_path):
    many = text_file(tmp_path / "many.txt", [f"a star over the sea, number {i}" for i in range(80)])
    given = inputs._replace(reference=many)
    run, whole = tmp_path / "run", tmp_path / "whole"
    process = start("audit", *given.options(run), "--shard-size", "1")
    wait_for(run / "activations" / "reference" / "step" / "part-00000.json", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert [line for line in err.splitlines() if line.startswith("engram: ")] == [
        "engram: interrupted; run the same command again to go on where it stopped"
    ]
    assert "Traceback" not in err
    assert run_json(run)["status"] == "interrupted"
    assert engram("gate", run).code == 3
    before = shards(run)
    assert 0 < len(before) < 4 * 80

    assert engram("audit", *given.options(run), "--shard-size", "1").code == 0
    assert engram("audit", *given.options(whole), "--shard-size", "1").code == 0
    after = shards(run)
    kept = [name for name in before if name.endswith("part-00000.parquet")]
    assert kept
    assert all(after[name] == before[name] for name in kept)
    # two processes may round a float16 activation differently, so scores agree closely, not to the bit
    pd.testing.assert_frame_equal(scores_of(run), scores_of(whole), rtol=1e-3)
    assert engram("gate", run).code == engram("gate", whole).code == run_json(whole)["verdict"]["exit_code"]
