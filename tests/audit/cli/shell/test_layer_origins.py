"""An error, a warning and a printed option name the layer that set the value."""

from pathlib import Path

import pytest

from flashbulb.audit.cli.shell.layers import COMMAND_LINE_ONLY, variables_of
from tests.audit.cli.shell.conftest import INPUTS
from tests.audit.commands import message_of, run_flashbulb, text_file


def test_required_option_may_come_from_any_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flashbulb.audit.stages.calibrate.run_calibration", lambda settings, **_: settings.prompts)
    line = message_of(run_flashbulb("calibrate", "--out", "c"))
    assert line == "--reference is missing; pass it, set FLASHBULB_REFERENCE, or add it to flashbulb.toml"
    text_file(Path("flashbulb.toml"), ['model = "mine"', "[calibrate]", 'reference = "clean.txt"'])
    assert run_flashbulb("calibrate", "--out", "c").out == "calibration in clean.txt\n"


@pytest.mark.parametrize("option", sorted(COMMAND_LINE_ONLY - {"replay"}))
def test_dangerous_options_are_accepted_on_the_command_line_only(
    example: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    name = option.replace("_", "-")
    command = ("gate", example) if option == "exit_zero" else ("audit", *INPUTS)
    text_file(Path("flashbulb.toml"), [f"{name} = true"])
    assert (
        message_of(run_flashbulb(*command))
        == f"flashbulb.toml: {name} can only be set on the command line; remove the key"
    )
    Path("flashbulb.toml").unlink()
    for variable in variables_of([str(command[0])], name):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            assert message_of(
                run_flashbulb(*command)
            ) == f"{variable} is set, but --{name} can only be set on the command line; " + ("unset it")
    assert run_flashbulb("gate", example, "--exit-zero").code == 0


def test_gate_prints_options_that_are_not_from_the_command_line(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("lax.toml"), ["max_high = 1000", "max_confirmed = 1000", "max_extractable_share = 1.0"])
    text_file(Path("flashbulb.toml"), ["[gate]", 'policy = "lax.toml"'])
    monkeypatch.setenv("FLASHBULB_SHOW_PROMPTS", "true")
    answer = run_flashbulb("gate", example)
    assert answer.code == 0
    assert (
        answer.err
        == "settings: --policy from flashbulb.toml: [gate] policy, --show-prompts from FLASHBULB_SHOW_PROMPTS\n"
    )
    assert run_flashbulb("--config", "lax.toml", "gate", example).code == 2
    Path("flashbulb.toml").unlink()
    monkeypatch.delenv("FLASHBULB_SHOW_PROMPTS")
    assert run_flashbulb("gate", example).err == ""


ERRORS = {
    "typed": (("--fpr", "2"), {}, "", "--fpr: Input should be less than 0.5, got 2.0"),
    "variable": ((), {"FLASHBULB_FPR": "2"}, "", "FLASHBULB_FPR: Input should be less than 0.5, got 2.0"),
    "own variable": (
        (),
        {"FLASHBULB_AUDIT_FPR": "2", "FLASHBULB_FPR": "0.1"},
        "",
        "FLASHBULB_AUDIT_FPR: Input should be",
    ),
    "file": ((), {}, "fpr = 2", "flashbulb.toml: fpr: Input should be less than 0.5, got 2.0"),
    "table": ((), {}, "fpr = 0.1\n[audit]\nfpr = 2", "flashbulb.toml: [audit] fpr: Input should be less than 0.5"),
    "unreadable variable": ((), {"FLASHBULB_SEEDS": "many"}, "", "FLASHBULB_SEEDS: 'many' is not a whole number"),
    "unreadable flag": ((), {"FLASHBULB_STRICT": "maybe"}, "", "FLASHBULB_STRICT: Input should be a valid boolean"),
    "choice": ((), {"FLASHBULB_TIERS": "half"}, "", "FLASHBULB_TIERS: 'half' is not one of 'full', 'screened'"),
    "site": ((), {"FLASHBULB_SITES": "cross_v x"}, "", "FLASHBULB_SITES: Input should be 'text_mlp', "),
    "site in a file": ((), {}, 'sites = ["x"]', "flashbulb.toml: sites: Input should be 'text_mlp', "),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_names_the_layer_that_set_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    typed, variables, content, line = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    text_file(Path("flashbulb.toml"), [content])
    assert message_of(run_flashbulb("audit", *INPUTS, *typed)).startswith(line)


def test_error_about_two_options_names_the_origin_of_the_inherited_option(example: Path) -> None:
    text_file(Path("flashbulb.toml"), ["new_only = true"])
    line = message_of(run_flashbulb("gate", example))
    assert line.endswith("of an older audit (--new-only comes from flashbulb.toml: new_only)")


def test_misspelled_variables_are_reported(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = {
        "FLASHBULB_BATCHSIZE": "; did you mean FLASHBULB_BATCH_SIZE?",
        "FLASHBULB_XYZ": "",
        "flashbulb_seeds": "; did you mean FLASHBULB_SEEDS?",
    }
    for variable in (*nearest, "FLASHBULB_BATCH_SIZE", "FLASHBULB_AUDIT_MODEL"):
        monkeypatch.setenv(variable, "3")
    answer = run_flashbulb("gate", example)
    assert answer.code == 1
    expected = [f"{name} is set, but matches no option of any command{hint}" for name, hint in nearest.items()]
    assert answer.err.splitlines() == expected
