"""Options > environment > engram.toml > defaults, for every command; an error names the layer it comes from."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from audit.cli import app
from audit.cli.command import Command
from audit.cli.layers import COMMAND_LINE_ONLY, is_layered, leaves_of, option_name, variables_of
from audit.config import AuditSettings
from reports.decide import Verdict
from tests.audit.commands import ROOT, Answer, engram, text_file
from tests.reports.runs import LEAKS, write_example

Resolve = Callable[..., AuditSettings]
MINE = ("--model", "mine", "--prompts", "captions.csv")


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Resolve:
    """The settings with which `engram audit` would start, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    seen: list[AuditSettings] = []

    def keep(settings: AuditSettings, **_: Any) -> Verdict:
        seen.append(settings)
        return Verdict("pass", 0, ())

    monkeypatch.setattr("audit.stages.run_audit", keep)

    def run(*arguments: object) -> AuditSettings:
        answer = engram("audit", *arguments)
        assert answer.code == 0, answer.err
        return seen[-1]

    return run


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A finished audit of a model that leaks, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return write_example(tmp_path / "run", LEAKS)


def refused(answer: Answer) -> str:
    """The one line of error that a command ends with."""
    assert answer.code == 2, answer
    assert len(answer.errors) == 1, answer.err
    assert "Traceback" not in answer.err
    return answer.errors[0].removeprefix("engram: ")


LAYERS = ("command line", "own variable", "common variable", "table", "top of the file")


@pytest.mark.parametrize("present", list(product([False, True], repeat=len(LAYERS))), ids=str)
def test_the_highest_layer_that_is_present_wins(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch, present: tuple[bool, ...]
) -> None:
    typed, own, common, table, top = present
    if own:
        monkeypatch.setenv("ENGRAM_AUDIT_SEEDS", "11")
    if common:
        monkeypatch.setenv("ENGRAM_SEEDS", "12")
    text_file(Path("engram.toml"), ["seeds = 14"] * top + ["[audit]", "seeds = 13"] * table)
    settings = resolve(*MINE, *(("--seeds", "10") if typed else ()))
    expected = [value for value, is_there in zip((10, 11, 12, 13, 14), present, strict=True) if is_there]
    assert settings.n_seeds == (expected or [AuditSettings.model_fields["n_seeds"].default])[0]


def test_flags_can_be_set_and_unset_in_every_layer(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("engram.toml"), ["strict = true", "images = false"])
    settings = resolve(*MINE)
    assert (settings.strict, settings.images) == (True, False)
    monkeypatch.setenv("ENGRAM_STRICT", "0")
    monkeypatch.setenv("ENGRAM_AUDIT_IMAGES", "yes")
    settings = resolve(*MINE)
    assert (settings.strict, settings.images) == (False, True)
    settings = resolve(*MINE, "--strict", "--no-images")
    assert (settings.strict, settings.images) == (True, False)


def test_repeated_options_come_as_lists(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("engram.toml"), ['sites = ["cross_v", "feed_forward"]', 'strategy = ["sample"]'])
    settings = resolve(*MINE)
    assert (settings.sites, settings.strategies) == (("cross_v", "feed_forward"), ("sample",))
    monkeypatch.setenv("ENGRAM_SITES", "cross_k text_mlp")
    assert resolve(*MINE).sites == ("cross_k", "text_mlp")
    assert resolve(*MINE, "--sites", "cross_out").sites == ("cross_out",)


def test_prompts_in_the_environment_are_one_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("audit.ablating.run_ablation", lambda settings, **_: seen.append(settings))
    monkeypatch.setenv("ENGRAM_PROMPT", "a red fox, twice\nжар-птица")
    assert engram("ablate", "mine", "--neurons", "levers.json", "--out", tmp_path / "out").code == 0
    assert seen[0].prompt == ("a red fox, twice", "жар-птица")


def test_outputs_of_the_gate_come_from_a_file(example: Path) -> None:
    text_file(Path("engram.toml"), ["[gate]", 'findings = ["f.jsonl", "f.parquet"]', 'junit = "j.xml"'])
    assert engram("gate", example).code == 1
    assert {path.name for path in Path().iterdir()} >= {"f.jsonl", "f.parquet", "j.xml"}


def test_a_required_option_may_come_from_a_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("audit.stages.run_calibration", lambda settings, **_: settings.prompts)
    line = refused(engram("calibrate", "--out", "c"))
    assert line == "--reference is missing; give it, set ENGRAM_REFERENCE, or write it in engram.toml"
    text_file(Path("engram.toml"), ["[calibrate]", 'reference = "clean.txt"'])
    assert engram("calibrate", "--out", "c").out == "calibration in clean.txt\n"


def test_the_embedded_model_stays_the_default_and_a_file_replaces_it(resolve: Resolve) -> None:
    assert resolve().model.endswith("embedded/model")
    text_file(Path("engram.toml"), ['model = "mine"', 'prompts = "captions.csv"', 'out = "there"'])
    settings = resolve()
    assert (settings.model, settings.prompts, settings.reference) == ("mine", "captions.csv", None)
    assert settings.out == Path("there")  # as after --out: from the current directory


@pytest.mark.parametrize("dash", ["-", "_"])
def test_keys_are_spelled_with_dashes_or_underscores(resolve: Resolve, dash: str) -> None:
    text_file(Path("engram.toml"), [f"batch{dash}size = 7"])
    assert resolve(*MINE).batch_size == 7


def test_another_file_is_given_by_option_or_variable(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("engram.toml"), ["seeds = 1"])
    text_file(Path("other.toml"), ["seeds = 2"])
    monkeypatch.setenv("ENGRAM_CONFIG", "other.toml")
    assert resolve(*MINE).n_seeds == 2
    answer = engram("--config", "engram.toml", "audit", *MINE)
    assert "--seeds from engram.toml: seeds" in answer.err
    assert refused(engram("--config", "none.toml", "gate", "run")).startswith("none.toml cannot be read: No such file")


REFERENCES = {"typed": 2, "variable": 1, "file": 0}


@pytest.mark.parametrize(("of_reference", "of_calibration"), list(product(REFERENCES, repeat=2)))
def test_of_two_references_the_higher_layer_counts_and_equals_are_refused(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch, of_reference: str, of_calibration: str
) -> None:
    typed, lines = [], []
    for name, layer in (("reference", of_reference), ("calibration", of_calibration)):
        typed += [f"--{name}", "x"] * (layer == "typed")
        lines += [f'{name} = "x"'] * (layer == "file")
        if layer == "variable":
            monkeypatch.setenv(f"ENGRAM_{name.upper()}", "x")
    text_file(Path("engram.toml"), lines)
    if of_reference == of_calibration:
        line = refused(engram("audit", *MINE, *typed))
        assert "are two references; give one of them" in line
        assert ("comes from" in line) == (of_reference != "typed")
        return
    settings = resolve(*MINE, *typed)
    is_reference = REFERENCES[of_reference] > REFERENCES[of_calibration]
    assert (settings.reference, settings.calibration) == (("x", None) if is_reference else (None, Path("x")))


@pytest.mark.parametrize("option", sorted(COMMAND_LINE_ONLY - {"replay"}))
def test_what_deletes_hides_or_runs_strange_code_is_typed(
    example: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    name = option.replace("_", "-")
    command = ("gate", example) if option == "exit_zero" else ("audit", *MINE)
    text_file(Path("engram.toml"), [f"{name} = true"])
    assert refused(engram(*command)) == f"engram.toml: {name} counts on the command line only; remove the key"
    Path("engram.toml").unlink()
    for variable in variables_of([str(command[0])], name):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            assert refused(engram(*command)) == f"{variable} is set, but --{name} counts on the command line only; " + (
                "unset it"
            )
    assert engram("gate", example, "--exit-zero").code == 0


def test_a_gate_says_what_it_did_not_get_from_the_command_line(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("lax.toml"), ["max_high = 1000", "max_confirmed = 1000"])
    text_file(Path("engram.toml"), ["[gate]", 'policy = "lax.toml"'])
    monkeypatch.setenv("ENGRAM_SHOW_PROMPTS", "true")
    answer = engram("gate", example)
    assert answer.code == 0
    assert answer.err == "settings: --policy from engram.toml: [gate] policy, --show-prompts from ENGRAM_SHOW_PROMPTS\n"
    assert engram("--config", "lax.toml", "gate", example).code == 2
    Path("engram.toml").unlink()
    monkeypatch.delenv("ENGRAM_SHOW_PROMPTS")
    assert engram("gate", example).err == ""


ERRORS = {
    "typed": (("--fpr", "2"), {}, "", "--fpr: Input should be less than 0.5, got 2.0"),
    "variable": ((), {"ENGRAM_FPR": "2"}, "", "ENGRAM_FPR: Input should be less than 0.5, got 2.0"),
    "own variable": ((), {"ENGRAM_AUDIT_FPR": "2", "ENGRAM_FPR": "0.1"}, "", "ENGRAM_AUDIT_FPR: Input should be"),
    "file": ((), {}, "fpr = 2", "engram.toml: fpr: Input should be less than 0.5, got 2.0"),
    "table": ((), {}, "fpr = 0.1\n[audit]\nfpr = 2", "engram.toml: [audit] fpr: Input should be less than 0.5"),
    "unreadable variable": ((), {"ENGRAM_SEEDS": "many"}, "", "ENGRAM_SEEDS: Input should be a valid integer"),
    "unreadable flag": ((), {"ENGRAM_STRICT": "maybe"}, "", "ENGRAM_STRICT: Input should be a valid boolean"),
    "choice": ((), {"ENGRAM_TIERS": "half"}, "", "ENGRAM_TIERS: 'half' is not one of 'full', 'screened'"),
    "site": ((), {"ENGRAM_SITES": "cross_v x"}, "", "ENGRAM_SITES: Input should be 'text_mlp', "),
    "site in a file": ((), {}, 'sites = ["x"]', "engram.toml: sites: Input should be 'text_mlp', "),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_layer_that_gave_the_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    typed, variables, content, line = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    text_file(Path("engram.toml"), [content])
    assert refused(engram("audit", *MINE, *typed)).startswith(line)


def test_an_error_about_two_options_says_where_the_one_not_typed_comes_from(example: Path) -> None:
    text_file(Path("engram.toml"), ["new_only = true"])
    line = refused(engram("gate", example))
    assert line.endswith("of the older audit (--new-only comes from engram.toml: new_only)")


FILES = {
    "unknown key": ("sed = 1", "engram.toml: sed is no option of any command; did you mean seed?"),
    "key of another command": ("[gate]\nseeds = 1", "engram.toml: [gate] seeds is no option of engram gate; remove it"),
    "field instead of option": ("n_seeds = 1", "engram.toml: n_seeds is no option of any command; did you mean seeds?"),
    "unknown table": ("[adit]\nseeds = 1", "engram.toml: [adit] is no command; did you mean [audit]?"),
    "unknown subtable": ("[waivers.chek]", "engram.toml: [waivers.chek] is no command; did you mean [waivers.check]?"),
    "command as key": ("audit = 1", "engram.toml: audit is a command; write its options in a table [audit]"),
    "list of tables": ("[[audit]]", "engram.toml: audit is a command; write its options in a table [audit]"),
    "both spellings": ("batch_size = 1\nbatch-size = 1", "engram.toml: batch-size is given as batch_size, too; keep"),
    "text for a number": ('seeds = "2"', "engram.toml: seeds: Input should be a valid integer, got '2'; `engram "),
    "number for a flag": ("strict = 1", "engram.toml: strict: Input should be a valid boolean, got 1"),
    "flag for a number": ("seeds = true", "engram.toml: seeds: Input should be a valid integer, got True"),
    "fraction for a count": ("seeds = 1.5", "engram.toml: seeds: Input should be a valid integer"),
    "number for a path": ("[gate]\njunit = 1", "engram.toml: [gate] junit: "),
    "text for a list": ('sites = "cross_v"', "engram.toml: sites: Input should be a valid array, got 'cross_v'"),
    "nothing in a list": ("sites = []", "engram.toml: sites is an empty list; give it a value, or leave the key out"),
    "no choice": ('tiers = "half"', "engram.toml: tiers: Input should be 'full' or 'screened', got 'half'"),
    "argument": ('[gate]\nrun = "x"', "engram.toml: [gate] run counts on the command line only; remove the key"),
    "no TOML": ("a =", "engram.toml is not TOML ("),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("command", [("gate", "run"), ("waivers", "check", "w.toml")], ids=" ".join)
def test_the_whole_file_is_checked_whatever_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, command: tuple[str, ...]
) -> None:
    content, line = FILES[case]
    monkeypatch.chdir(tmp_path)
    text_file(Path("engram.toml"), [content])
    assert refused(engram(*command)).startswith(line)


def test_the_file_in_the_documentation_is_taken(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    (content,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text_file(Path("engram.toml"), [content])
    settings = resolve()
    assert (settings.model, settings.device, settings.strict) == ("path/to/pipeline", "cuda", True)
    assert settings.sites == ("cross_v", "feed_forward")


def test_a_spoilt_file_does_not_keep_help_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text_file(Path("engram.toml"), ["sed = 1"])
    assert engram("gate", "--help").code == engram("--help").code == 0


def test_bytes_that_are_no_text_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("engram.toml").write_bytes(b"model = '\xff'")
    assert refused(engram("gate", "run")).startswith("engram.toml is not TOML (")
    Path("engram.toml").unlink()
    Path("engram.toml").mkdir()
    assert refused(engram("--config", "engram.toml", "gate", "run")).startswith("engram.toml cannot be read: ")


def test_a_misspelled_variable_is_said(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ENGRAM_BATCHSIZE", "ENGRAM_GATE_RUN", "ENGRAM_BATCH_SIZE", "ENGRAM_AUDIT_MODEL"):
        monkeypatch.setenv(variable, "3")
    answer = engram("gate", example)
    assert answer.code == 1
    said = [
        f"{name} is set, but no option of any command has that name" for name in ("ENGRAM_BATCHSIZE", "ENGRAM_GATE_RUN")
    ]
    assert answer.err.splitlines() == said


def test_every_command_is_layered_and_no_variable_means_two_options() -> None:
    meanings: dict[str, set[str]] = {}
    for leaf in leaves_of(get_command(app)):
        assert isinstance(leaf.command, Command), (
            f"engram {' '.join(leaf.path)} is made by typer.Typer: use CommandLine"
        )
        for param in filter(is_layered, leaf.command.params):
            own, common = variables_of(leaf.path, option_name(param))
            meanings.setdefault(common, set()).add(option_name(param))
            meanings.setdefault(own, set()).add(f"{option_name(param)} of {leaf.path}")
    assert not {variable: options for variable, options in meanings.items() if len(options) > 1}
