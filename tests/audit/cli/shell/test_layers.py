"""For every command, options > environment > flashbulb.toml > defaults."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flashbulb.audit.cli import app
from flashbulb.audit.cli.shell.command import Command
from flashbulb.audit.cli.shell.layers import is_layered, leaf_commands, option_name, variables_of
from flashbulb.audit.settings import AuditSettings
from flashbulb.reports.tables.verdict import Verdict
from tests.audit.cli.shell.conftest import INPUTS
from tests.audit.commands import ROOT, message_of, run_flashbulb, text_file

Resolve = Callable[..., AuditSettings]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Resolve:
    """Return a function that resolves the settings of `flashbulb audit`, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    seen: list[AuditSettings] = []

    def keep(settings: AuditSettings, **_: Any) -> Verdict:
        seen.append(settings)
        return Verdict("pass", 0, ())

    monkeypatch.setattr("flashbulb.audit.stages.audit.run_audit", keep)

    def run(*arguments: object) -> AuditSettings:
        answer = run_flashbulb("audit", *arguments)
        assert answer.code == 0, answer.err
        return seen[-1]

    return run


LAYERS = ("command line", "own variable", "common variable", "table", "top of the file")


@pytest.mark.parametrize("present", list(product([False, True], repeat=len(LAYERS))), ids=str)
def test_highest_layer_that_sets_an_option_counts(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch, present: tuple[bool, ...]
) -> None:
    typed, own, common, table, top = present
    if own:
        monkeypatch.setenv("FLASHBULB_AUDIT_SEEDS", "11")
    if common:
        monkeypatch.setenv("FLASHBULB_SEEDS", "12")
    text_file(Path("flashbulb.toml"), ["seeds = 14"] * top + ["[audit]", "seeds = 13"] * table)
    settings = resolve(*INPUTS, *(("--seeds", "10") if typed else ()))
    expected = [value for value, is_there in zip((10, 11, 12, 13, 14), present, strict=True) if is_there]
    assert settings.n_seeds == (expected or [AuditSettings.model_fields["n_seeds"].default])[0]


def test_flags_can_be_set_and_unset_in_every_layer(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("flashbulb.toml"), ["strict = true", "images = false"])
    settings = resolve(*INPUTS)
    assert (settings.strict, settings.images) == (True, False)
    monkeypatch.setenv("FLASHBULB_STRICT", "0")
    monkeypatch.setenv("FLASHBULB_AUDIT_IMAGES", "yes")
    settings = resolve(*INPUTS)
    assert (settings.strict, settings.images) == (False, True)
    settings = resolve(*INPUTS, "--strict", "--no-images")
    assert (settings.strict, settings.images) == (True, False)


def test_repeated_options_can_be_set_as_lists(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("flashbulb.toml"), ['sites = ["cross_v", "feed_forward"]', 'strategy = ["sample"]'])
    settings = resolve(*INPUTS)
    assert (settings.sites, settings.strategies) == (("cross_v", "feed_forward"), ("sample",))
    monkeypatch.setenv("FLASHBULB_SITES", "cross_k text_mlp")
    assert resolve(*INPUTS).sites == ("cross_k", "text_mlp")
    assert resolve(*INPUTS, "--sites", "cross_out").sites == ("cross_out",)


def test_prompts_in_the_environment_are_separated_by_line_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("flashbulb.audit.stages.ablate.run_ablation", lambda settings, **_: seen.append(settings))
    monkeypatch.setenv("FLASHBULB_PROMPT", "a red fox, twice\nжар-птица")
    assert run_flashbulb("ablate", "mine", "--neurons", "neurons.json", "--out", tmp_path / "out").code == 0
    assert seen[0].prompt == ("a red fox, twice", "жар-птица")


def test_outputs_of_the_gate_can_be_set_in_the_file(example: Path) -> None:
    text_file(Path("flashbulb.toml"), ["[gate]", 'findings = ["f.jsonl", "f.parquet"]', 'junit = "j.xml"'])
    assert run_flashbulb("gate", example).code == 1
    assert {path.name for path in Path().iterdir()} >= {"f.jsonl", "f.parquet", "j.xml"}


def test_file_can_name_the_model(resolve: Resolve) -> None:
    assert "--model is missing" in message_of(run_flashbulb("audit"))
    text_file(Path("flashbulb.toml"), ['model = "mine"', 'prompts = "captions.csv"', 'out = "there"'])
    settings = resolve()
    assert (settings.model, settings.prompts, settings.reference) == ("mine", "captions.csv", None)
    assert settings.out == Path("there")  # relative to the current directory, like --out


@pytest.mark.parametrize("dash", ["-", "_"])
def test_keys_are_spelled_with_dashes_or_underscores(resolve: Resolve, dash: str) -> None:
    text_file(Path("flashbulb.toml"), [f"batch{dash}size = 7"])
    assert resolve(*INPUTS).batch_size == 7


def test_another_file_is_selected_by_option_or_variable(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(Path("flashbulb.toml"), ["seeds = 1"])
    text_file(Path("other.toml"), ["seeds = 2"])
    monkeypatch.setenv("FLASHBULB_CONFIG", "other.toml")
    assert resolve(*INPUTS).n_seeds == 2
    answer = run_flashbulb("--config", "flashbulb.toml", "audit", *INPUTS)
    assert "--seeds from flashbulb.toml: seeds" in answer.err
    assert message_of(run_flashbulb("--config", "none.toml", "gate", "run")).startswith(
        "none.toml cannot be read: No such file"
    )


LAYER_RANKS = {"typed": 2, "variable": 1, "file": 0}


@pytest.mark.parametrize(("reference_layer", "calibration_layer"), list(product(LAYER_RANKS, repeat=2)))
def test_reference_of_the_higher_layer_counts_and_two_in_one_layer_are_refused(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch, reference_layer: str, calibration_layer: str
) -> None:
    typed, lines = [], []
    for name, layer in (("reference", reference_layer), ("calibration", calibration_layer)):
        typed += [f"--{name}", "x"] * (layer == "typed")
        lines += [f'{name} = "x"'] * (layer == "file")
        if layer == "variable":
            monkeypatch.setenv(f"FLASHBULB_{name.upper()}", "x")
    text_file(Path("flashbulb.toml"), lines)
    if reference_layer == calibration_layer:
        line = message_of(run_flashbulb("audit", *INPUTS, *typed))
        assert "exclude each other; give one of them" in line
        assert ("comes from" in line) == (reference_layer != "typed")
        return
    settings = resolve(*INPUTS, *typed)
    is_reference = LAYER_RANKS[reference_layer] > LAYER_RANKS[calibration_layer]
    assert (settings.reference, settings.calibration) == (("x", None) if is_reference else (None, Path("x")))


def test_documented_file_is_accepted(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    (content,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text_file(Path("flashbulb.toml"), [content])
    settings = resolve()
    assert (settings.model, settings.device, settings.strict) == ("path/to/pipeline", "cuda", True)
    assert settings.sites == ("cross_v", "feed_forward")


def test_every_command_is_layered_and_every_variable_sets_one_option() -> None:
    meanings: dict[str, set[str]] = {}
    for leaf in leaf_commands(get_command(app)):
        assert isinstance(leaf.command, Command), (
            f"flashbulb {' '.join(leaf.path)} is made by typer.Typer: use CommandLine"
        )
        for param in filter(is_layered, leaf.command.params):
            own, common = variables_of(leaf.path, option_name(param))
            meanings.setdefault(common, set()).add(option_name(param))
            meanings.setdefault(own, set()).add(f"{option_name(param)} of {leaf.path}")
    assert not {variable: options for variable, options in meanings.items() if len(options) > 1}
