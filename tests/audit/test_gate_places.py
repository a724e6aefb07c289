"""No output of the gate takes the place of another file: the audit's, one that is read, or another output."""

from pathlib import Path

import pytest

from tests.audit.commands import digests, engram
from tests.audit.test_gate_command import refused
from tests.reports.runs import LEAKS, write_example

OPTIONS = {"--summary": "md", "--junit": "xml", "--sarif": "sarif", "--findings": "jsonl", "--model-card": "md"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An audit that leaks, with a picture and a recording."""
    run = write_example(tmp_path / "run", LEAKS)
    (run / "images" / "p0").mkdir(parents=True)
    (run / "images" / "p0" / "seed-0.png").write_bytes(b"PNG")
    (run / "evidence.png").write_bytes(b"PNG")
    return run


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--findings", "scores.parquet"),
        ("--findings", "recoveries.parquet"),
        ("--findings", "spikes.parquet"),
        ("--findings", "new.parquet"),
        ("--summary", "run.json"),
        ("--sarif", "run.json"),
        ("--junit", "scores.parquet"),
        ("--model-card", "evidence.png"),
        ("--summary", "report.html"),
        ("--junit", "images/p0/seed-0.png"),
        ("--junit", "images/new.xml"),
        ("--junit", "images/../run.json"),
    ],
)
def test_what_an_audit_found_is_not_overwritten(run: Path, tmp_path: Path, option: str, name: str) -> None:
    before = digests(run)
    link = tmp_path / "link"
    link.symlink_to(run)
    other = write_example(tmp_path / "other", LEAKS)
    for words in (
        (run, option, run / name),
        (link, option, run / name),
        (run, option, link / name),
        (other, "--baseline", run, option, run / name),
    ):
        assert "it is the audit's own" in refused(engram("gate", *words))
        assert digests(run) == before
    assert engram("gate", run).code == 1


def test_a_link_to_a_table_is_not_written_through(run: Path, tmp_path: Path) -> None:
    before = digests(run)
    (tmp_path / "findings.parquet").symlink_to(run / "scores.parquet")
    engram("gate", run, "--findings", tmp_path / "findings.parquet")
    assert digests(run) == before


def test_tables_that_lie_elsewhere_are_not_overwritten_either(run: Path, tmp_path: Path) -> None:
    (run / "scores.parquet").rename(tmp_path / "scores.parquet")
    (run / "scores.parquet").symlink_to(tmp_path / "scores.parquet")
    assert engram("gate", run).code == 1
    assert "the audit's own" in refused(engram("gate", run, "--findings", tmp_path / "scores.parquet"))


@pytest.mark.parametrize("name", ["summary.md", "junit.xml", "results.sarif", "gate.md", "card.md"])
def test_the_verdict_may_stand_in_the_run_directory(run: Path, name: str) -> None:
    option = {"junit.xml": "--junit", "results.sarif": "--sarif"}.get(name, "--summary")
    for _ in range(2):
        assert engram("gate", run, option, run / name).code == 1
    assert engram("gate", run).code == 1


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("other", ["--summary", "--findings"])
def test_two_outputs_never_share_a_place(run: Path, tmp_path: Path, option: str, other: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    places = (tmp_path / "folder" / "out.jsonl", tmp_path / "link" / "out.jsonl")
    if option == other and option != "--findings":  # given twice, the last one counts
        return
    assert "is another output" in refused(engram("gate", run, other, places[0], option, places[1]))
    assert not places[0].exists()


@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_that_is_read_is_not_overwritten(run: Path, tmp_path: Path, option: str) -> None:
    policy = tmp_path / f"policy.{OPTIONS[option]}"
    policy.write_text("max_high = 0\n", encoding="utf-8")
    for given in ("--policy", "--waivers"):
        policy.write_text("max_high = 0\n" if given == "--policy" else "", encoding="utf-8")
        before = policy.read_bytes()
        assert "it is read" in refused(engram("gate", run, given, policy, option, policy))
        assert policy.read_bytes() == before


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_no_file_is_not_replaced(run: Path, tmp_path: Path, option: str) -> None:
    place = tmp_path / f"place.{OPTIONS[option]}"
    place.symlink_to("/dev/null")
    assert "it is no file" in refused(engram("gate", run, option, place))
    assert place.is_symlink()
    place.unlink()
    place.mkdir()
    assert "it is no file" in refused(engram("gate", run, option, place))


def test_a_step_summary_that_cannot_be_written_is_no_pass(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    line = refused(engram("gate", run, "--exit-zero", "--junit", tmp_path / "junit.xml"))
    assert "the step summary cannot be written: Is a directory" in line


def test_an_untrusted_run_does_not_remove_its_own_tables(run: Path) -> None:
    """Outputs that cannot be made are removed; a table that is named as one must not be."""
    (run / "run.json").write_text("{", encoding="utf-8")
    assert "the audit's own" in refused(engram("gate", run, "--findings", run / "scores.parquet"))
    assert (run / "scores.parquet").is_file()
