"""No output of the gate overwrites a file of the audit, an input file, or another output."""

from pathlib import Path

import pytest

from tests.audit.commands import digests, only_error_line, run_flashbulb
from tests.reports.run_files import seal_again
from tests.reports.runs import LEAKS, write_example

OPTIONS = {"--summary": "md", "--junit": "xml", "--sarif": "sarif", "--findings": "jsonl", "--model-card": "md"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An audit of a model that leaks, with two images."""
    run = write_example(tmp_path / "run", LEAKS)
    (run / "images" / "p0").mkdir(parents=True)
    (run / "images" / "p0" / "seed-0.png").write_bytes(b"PNG")
    (run / "evidence.png").write_bytes(b"PNG")
    seal_again(run)
    return run


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--findings", "scores.parquet"),
        ("--findings", "recoveries.parquet"),
        ("--findings", "spikes.parquet"),
        ("--findings", "new.parquet"),
        ("--summary", "run.json"),
        ("--summary", "evidence.md"),
        ("--summary", "seal.sig"),
        ("--sarif", "run.json"),
        ("--junit", "scores.parquet"),
        ("--model-card", "evidence.png"),
        ("--summary", "report.html"),
        ("--junit", "images/p0/seed-0.png"),
        ("--junit", "images/new.xml"),
        ("--junit", "images/../run.json"),
    ],
)
def test_results_of_an_audit_are_not_overwritten(run: Path, tmp_path: Path, option: str, name: str) -> None:
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
        assert "it belongs to the audit" in only_error_line(run_flashbulb("gate", *words))
        assert digests(run) == before
    assert run_flashbulb("gate", run).code == 1


def test_links_to_tables_are_not_followed(run: Path, tmp_path: Path) -> None:
    before = digests(run)
    (tmp_path / "findings.parquet").symlink_to(run / "scores.parquet")
    run_flashbulb("gate", run, "--findings", tmp_path / "findings.parquet")
    assert digests(run) == before


def test_linked_tables_are_not_overwritten(run: Path, tmp_path: Path) -> None:
    (run / "scores.parquet").rename(tmp_path / "scores.parquet")
    (run / "scores.parquet").symlink_to(tmp_path / "scores.parquet")
    assert run_flashbulb("gate", run).code == 1
    assert "it belongs to the audit" in only_error_line(
        run_flashbulb("gate", run, "--findings", tmp_path / "scores.parquet")
    )


@pytest.mark.parametrize("name", ["summary.md", "junit.xml", "results.sarif", "gate.md", "card.md"])
def test_verdict_files_may_be_written_to_the_run_directory(run: Path, name: str) -> None:
    option = {"junit.xml": "--junit", "results.sarif": "--sarif"}.get(name, "--summary")
    for _ in range(2):
        assert run_flashbulb("gate", run, option, run / name).code == 1
    assert run_flashbulb("gate", run).code == 1


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("other", ["--summary", "--findings"])
def test_two_outputs_never_share_a_file(run: Path, tmp_path: Path, option: str, other: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    places = (tmp_path / "folder" / "out.jsonl", tmp_path / "link" / "out.jsonl")
    if option == other and option != "--findings":  # the last value of a repeated option counts
        return
    assert "is another output" in only_error_line(run_flashbulb("gate", run, other, places[0], option, places[1]))
    assert not places[0].exists()


@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_that_is_read_is_not_overwritten(run: Path, tmp_path: Path, option: str) -> None:
    policy = tmp_path / f"policy.{OPTIONS[option]}"
    policy.write_text("max_high = 0\n", encoding="utf-8")
    for input_option in ("--policy", "--waivers"):
        policy.write_text("max_high = 0\n" if input_option == "--policy" else "", encoding="utf-8")
        before = policy.read_bytes()
        assert "it is read" in only_error_line(run_flashbulb("gate", run, input_option, policy, option, policy))
        assert policy.read_bytes() == before


@pytest.mark.parametrize("option", OPTIONS)
def test_devices_and_folders_are_not_replaced(run: Path, tmp_path: Path, option: str) -> None:
    place = tmp_path / f"place.{OPTIONS[option]}"
    place.symlink_to("/dev/null")
    assert "it is not a file" in only_error_line(run_flashbulb("gate", run, option, place))
    assert place.is_symlink()
    place.unlink()
    place.mkdir()
    assert "it is not a file" in only_error_line(run_flashbulb("gate", run, option, place))


def test_unwritable_step_summary_does_not_pass_the_gate(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    line = only_error_line(run_flashbulb("gate", run, "--exit-zero", "--junit", tmp_path / "junit.xml"))
    assert "the step summary cannot be written: Is a directory" in line


def test_an_untrusted_run_does_not_remove_its_own_tables(run: Path) -> None:
    """Outputs that cannot be written are deleted, but never a table of the audit that an option names."""
    (run / "run.json").write_text("{", encoding="utf-8")
    assert "it belongs to the audit" in only_error_line(
        run_flashbulb("gate", run, "--findings", run / "scores.parquet")
    )
    assert (run / "scores.parquet").is_file()
