"""A store that cannot be used ends a command with one line that names the URI and the way out, and loses nothing."""

import re

import pytest

from flashbulb.audit.stores import store
from tests.audit.commands import QUICK, REFERENCE, only_error_line, refused, run_flashbulb
from tests.services.object_store import S3

OPTIONS = ("--sample-steps", "1")


@pytest.fixture
def reference(s3: S3) -> str:
    s3.write("clean.txt", "\n".join(REFERENCE).encode())
    return "s3://bucket/clean.txt"


def test_a_missing_bucket_is_named(s3):
    line = refused("gate", "s3://no-bucket/run")
    assert line == (
        "flashbulb: s3://no-bucket/run cannot be read: there is no such bucket; create it, or correct its name"
    )


def test_a_missing_run_and_a_missing_input_are_named_by_their_uris(s3, inputs):
    assert "s3://bucket/run" in refused("gate", "s3://bucket/run")
    line = refused("audit", "--model", inputs.model, "--prompts", "s3://bucket/missing.csv", "--out", "s3://bucket/run")
    assert line == "flashbulb: s3://bucket/missing.csv: No such file or directory; give a readable prompt file"
    line = refused("audit", "--model", inputs.model, "--prompts", inputs.prompts, "--train-images", "s3://bucket/none")
    assert "no s3://bucket/none; give --train-images a folder" in line


def test_a_run_that_may_be_read_but_not_written_is_refused(s3, inputs):
    s3.app.refuses = lambda environ: environ["REQUEST_METHOD"] in ("PUT", "POST")
    line = refused("record", *inputs.options("s3://bucket/run")[:-8], "--seeds", "2")
    assert re.fullmatch(
        r"flashbulb: s3://bucket/run/\S+ cannot be written: permission denied; give credentials that may, .*", line
    )


def test_missing_credentials_are_asked_for(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # no machine of EC2, whose server has credentials
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    store._open.cache_clear()
    s3.app.refuses = lambda environ: "HTTP_AUTHORIZATION" not in environ
    line = refused("gate", "s3://bucket/run")
    store._open.cache_clear()
    assert "s3://bucket/run cannot be read: permission denied; give credentials that may, in AWS_ACCESS_KEY_ID" in line


def test_a_wrong_endpoint_is_named_at_once(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    line = refused("gate", "s3://bucket/run")
    assert line == (
        "flashbulb: s3://bucket/run cannot be read: its host refuses the connection at http://127.0.0.1:1; check the "
        "network and AWS_ENDPOINT_URL, and run the same command again"
    )


def test_credentials_in_the_endpoint_are_refused(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:topsecret@127.0.0.1:1")
    line = refused("gate", "s3://bucket/run")
    assert "AWS_ENDPOINT_URL holds credentials" in line
    assert "topsecret" not in line


def test_a_store_that_nothing_reads_is_refused(s3):
    assert "shelf://bucket cannot be opened: " in refused("gate", "shelf://bucket/run")


@pytest.mark.parametrize(
    "uri", ["s3://AKID:topsecret@bucket/run", "s3://bucket/run?secret_key=topsecret", "s3://bucket/run#topsecret"]
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(s3, inputs, uri):
    for words in (("gate", uri), ("audit", *inputs.options(uri)), ("validate", "--prompts", uri, "--model", "x")):
        answer = run_flashbulb(*words)
        assert answer.code == 2
        assert "credentials" in answer.err or "holds a query" in answer.err
        assert "topsecret" not in answer.out + answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("index", "images", "s3://bucket/index"),
        ("gate", "run", "--junit", "s3://bucket/junit.xml"),
        ("report", "run", "--out", "s3://bucket/report.html"),
        ("index-runs", "s3://bucket/runs"),
        ("verify", "run", "--sign", "s3://bucket/key.pem"),
        ("audit", "--model", "m", "--prompts", "p", "--lora", "s3://bucket/lora.safetensors:0.5"),
    ],
)
def test_what_no_store_takes_is_refused_and_nothing_is_written_here(s3, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    line = only_error_line(run_flashbulb(*words)) if words[0] != "audit" else refused(*words)
    assert "takes no object store; give " in line
    assert not (tmp_path / "s3:").exists()


def test_an_outage_after_the_start_ends_with_one_line_and_the_next_command_loses_nothing(s3, inputs, monkeypatch):
    monkeypatch.setattr(store, "_WAITS", ())
    n_written = 0

    def count(call) -> None:
        nonlocal n_written
        n_written += call.method == "PUT" and "/.claims/" not in call.path
        s3.app.fails_every = 1 if n_written > 4 else 0

    s3.app.on_call = count
    options = ("--model", inputs.model, "--prompts", inputs.prompts, "--reference", inputs.reference)
    command = ("record", *options, "--out", "s3://bucket/run", *QUICK[:2])
    line = refused(*command)
    assert re.match(r"flashbulb: s3://bucket/run/\S+ cannot be (written|read): .*; run the same command again", line)
    s3.app.on_call, s3.app.fails_every = lambda call: None, 0
    answer = run_flashbulb(*command)
    assert answer.code == 0
    assert "is already recorded" in answer.err
    assert "recording " not in answer.err
    assert "run/run.json" in s3.keys("run")
