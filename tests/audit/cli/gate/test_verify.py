"""`flashbulb verify` compares a finished audit with its seal, and with a digest that was handed over."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.commands import digests, edit_run_json, refused, run_flashbulb, run_json
from tests.libraries import HEAVY
from tests.paths import ROOT
from tests.reports.pages import write_illustrated
from tests.reports.run_files import seal_again

IMAGE = "images/p0/seed-0.png"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with images; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("sealed") / "run")


@pytest.fixture
def run(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "run"))


def test_an_intact_run_is_said_to_be_intact_and_stays_as_it_is(run: Path) -> None:
    before, digest = digests(run), run_json(run)["seal"]["digest"]
    answer = run_flashbulb("verify", run)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "intact: run.json, 8 tables and 19 images are as they were sealed",
        f"seal: sha256:{digest}",
    ]
    assert json.loads(run_flashbulb("verify", run, "--json").out) == {
        "seal": digest,
        "n_tables": 8,
        "n_images": 19,
        "signature": None,
    }
    assert digests(run) == before


def test_gate_prints_the_digest_that_verify_takes(run: Path) -> None:
    printed = run_flashbulb("gate", run).out.splitlines()[-1].removeprefix("seal: ")
    assert run_flashbulb("verify", run, "--digest", printed).code == 0
    assert json.loads(run_flashbulb("gate", run, "--json").out)["seal"] == printed.removeprefix("sha256:")


def test_a_changed_image_is_told_in_one_line_by_verify_and_by_the_gate(run: Path) -> None:
    (run / IMAGE).write_bytes(b"another image")
    assert f"{IMAGE} has changed" in refused("verify", run, code=3)
    assert f"{IMAGE} has changed" in refused("gate", run, code=3)
    document = json.loads(run_flashbulb("verify", run, "--json").out)
    assert (document["outcome"], document["exit_code"]) == ("untrusted", 3)


def test_a_run_that_was_changed_and_sealed_again_does_not_fit_the_digest_from_before(run: Path) -> None:
    before = run_json(run)["seal"]["digest"]
    edit_run_json(run, "counts", "n_truncated", value=3)
    after = seal_again(run)
    assert run_flashbulb("verify", run).code == 0
    line = refused("verify", run, "--digest", before, code=3)
    assert before in line
    assert after in line


@pytest.mark.parametrize("digest", ["", "sha256:", "f" * 63, "g" * 64, "f" * 16, "md5:" + "f" * 64])
def test_a_digest_that_is_none_is_a_mistake(run: Path, digest: str) -> None:
    assert "64 hex digits" in refused("verify", run, f"--digest={digest}")


def test_a_run_of_an_older_release_is_refused_with_the_way_out(run: Path) -> None:
    edit_run_json(run, "schema_version", value=6)
    assert "run the audit again" in refused("verify", run)


def test_what_is_no_finished_audit_is_refused(run: Path, tmp_path: Path) -> None:
    assert "is not a directory" in refused("verify", tmp_path / "nowhere")
    edit_run_json(run, "status", value="interrupted")
    assert "run it again to finish it" in refused("verify", run, code=3)


def test_a_signature_without_a_key_is_a_mistake(run: Path) -> None:
    assert "--signature needs --key" in refused("verify", run, "--signature", run / "seal.sig")


def test_verify_reads_neither_tables_nor_models(sealed: Path) -> None:
    code = f"import sys; sys.argv = ['flashbulb', 'verify', {str(sealed)!r}]\n"
    code += (
        "from flashbulb.audit import cli\ntry:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
    )
    code += f"print(sorted({{'pyarrow', *{sorted(HEAVY)!r}}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
