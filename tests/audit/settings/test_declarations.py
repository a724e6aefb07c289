"""A setting is declared once, as a field: its option, variable, file key, help and identity follow from it."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from typer.main import get_command

from flashbulb.audit.cli import app
from flashbulb.audit.cli.app import errors_as_lines
from flashbulb.audit.cli.shell.command import NAME, CommandLine, Root
from flashbulb.audit.cli.shell.layers import option_name
from flashbulb.audit.cli.shell.options import chosen_settings, options_of, takes
from flashbulb.audit.settings import (
    MODELS,
    PANELS,
    AblateSettings,
    ActivationSettings,
    AuditSettings,
    DetectionSettings,
    DiscoverSettings,
    LocalizeSettings,
    Option,
    RecordingSettings,
    RecoverySettings,
    Settings,
    VerdictSettings,
)

BUILT: Any = get_command(app)
STAGES = (RecordingSettings, DetectionSettings, RecoverySettings, VerdictSettings)
FIELDS = {f"{model.__name__}.{name}": field for model in MODELS for name, field in model.model_fields.items()}
OPTIONS = {f"{model.__name__}.{name}": option for model in MODELS for name, option in model.options().items()}


class MoonSettings(DetectionSettings):
    """A stage with one more setting; nothing else knows the setting."""

    n_moons: Annotated[int, Field(ge=1, le=8, description="Moons to count, 1 to 8."), Option("Scores", "moons")] = 3


class Counted:
    """A command line whose command takes the settings of `MoonSettings` and keeps them."""

    def __init__(self) -> None:
        self.settings: MoonSettings | None = None
        self.app = CommandLine(name=NAME, cls=Root)

        @self.app.callback()
        def root(config: Path | None = None) -> None:
            """Count."""

        @self.app.command("count")
        @takes(options_of(MoonSettings))
        def count(**options: Any) -> None:
            """Count moons."""
            with errors_as_lines():
                self.settings = MoonSettings.model_validate(chosen_settings(options, MoonSettings))

    def run(self, *arguments: str) -> int:
        """Run the command and return its exit code."""
        with pytest.raises(SystemExit) as ended:
            get_command(self.app).main(["count", *arguments])
        return int(ended.value.code or 0)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    """A command line in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    return Counted()


LAYERS = {"typed": 4, "own variable": 5, "common variable": 6, "table": 7, "top of the file": 8, "default": 3}


@pytest.mark.parametrize("highest", LAYERS)
def test_a_new_field_is_set_by_every_layer(counted: Counted, monkeypatch: pytest.MonkeyPatch, highest: str) -> None:
    present = list(LAYERS)[list(LAYERS).index(highest) :]
    if "own variable" in present:
        monkeypatch.setenv("FLASHBULB_COUNT_MOONS", "5")
    if "common variable" in present:
        monkeypatch.setenv("FLASHBULB_MOONS", "6")
    lines = ["moons = 8"] * ("top of the file" in present) + ["[count]", "moons = 7"] * ("table" in present)
    Path("flashbulb.toml").write_text("\n".join(lines), encoding="utf-8")
    assert counted.run(*(["--moons", "4"] if "typed" in present else [])) == 0
    assert counted.settings is not None
    assert counted.settings.n_moons == LAYERS[highest]


def test_errors_about_a_new_field_name_its_layer(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "Input should be less than or equal to 8, got 9\n"
    assert counted.run("--moons", "9") == 2
    assert capsys.readouterr().err == f"flashbulb: --moons: {reason}"
    Path("flashbulb.toml").write_text("[count]\nmoons = 9", encoding="utf-8")
    assert counted.run() == 2
    assert capsys.readouterr().err.endswith(f"flashbulb: flashbulb.toml: [count] moons: {reason}")
    monkeypatch.setenv("FLASHBULB_MOONS", "9")
    assert counted.run() == 2
    assert capsys.readouterr().err.endswith(f"flashbulb: FLASHBULB_MOONS: {reason}")


def test_help_shows_a_new_field(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    assert counted.run("--help") == 0
    page = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--moons <int> Moons to count, 1 to 8. [default: 3]" in page


def test_a_new_field_belongs_to_the_identity_of_its_stage_only() -> None:
    class Audit(AuditSettings, MoonSettings):
        """An audit whose detection has one more setting."""

    audit = Audit(model="m", prompts="p", reference=None, train_images=None, out=Path("out"), n_moons=5)
    usual = AuditSettings(model="m", prompts="p", reference=None, train_images=None, out=Path("out"))
    assert audit.identity(MoonSettings) == {**usual.identity(DetectionSettings), "n_moons": 5}
    assert [audit.identity(stage) for stage in STAGES] == [usual.identity(stage) for stage in STAGES]
    assert audit.model_dump() == {**usual.model_dump(), "n_moons": 5}


def test_only_options_that_differ_from_their_defaults_are_chosen() -> None:
    usual = AuditSettings(model="m", prompts="p", reference=None, train_images=None, out=Path("out"))
    assert usual.chosen_options() == {"model": "--model", "prompts": "--prompts", "out": "--out"}
    other = usual.model_copy(update={"n_seeds": 7, "redact_prompts": True, "images": False})
    added = {"n_seeds": "--seeds", "redact_prompts": "--redact-prompts", "images": "--images"}
    assert other.chosen_options() == usual.chosen_options() | added


def test_every_setting_of_an_audit_belongs_to_one_stage() -> None:
    names = [name for stage in STAGES for name in stage.model_fields]
    assert sorted(names) == sorted(AuditSettings.model_fields)


@pytest.mark.parametrize("model", MODELS)
def test_no_setting_is_declared_twice_in_the_classes_of_a_command(model: type[Settings]) -> None:
    declared = [
        name
        for parent in model.__mro__
        for name in vars(parent).get("__annotations__", {})
        if name in model.model_fields
    ]
    assert sorted(declared) == sorted({*declared})


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_panel_and_a_sentence_as_its_help(name: str) -> None:
    assert OPTIONS[name].panel in PANELS
    assert str(FIELDS[name].description).endswith(".")


def bounds_of(field: FieldInfo) -> list[float]:
    """Return the lower and the upper bound that a field has."""
    limits = [
        getattr(mark, name, None) for names in (("ge", "gt"), ("le", "lt")) for name in names for mark in field.metadata
    ]
    return [limit for limit in limits if limit is not None]


@pytest.mark.parametrize(
    "name", [name for name in OPTIONS if re.search(r"[\d.]+ to [\d.]+\.$", str(FIELDS[name].description))]
)
def test_bounds_in_the_help_are_those_of_the_field(name: str) -> None:
    shown = re.search(r"([\d.]+) to ([\d.]+)\.$", str(FIELDS[name].description))
    assert shown is not None
    assert [float(bound) for bound in shown.groups()] == bounds_of(FIELDS[name])


@pytest.mark.parametrize("model", MODELS)
def test_no_number_is_infinite_because_a_run_could_not_keep_it(model: type[Settings]) -> None:
    floats = {name for name, field in model.model_fields.items() if re.search(r"\bfloat\b", repr(field.annotation))}
    assert floats
    for value in (math.inf, -math.inf, math.nan, "inf"):
        with pytest.raises(ValidationError) as refused:
            model.model_validate(dict.fromkeys(floats, value))
        reasons = {error["loc"][0]: error["type"] for error in refused.value.errors()}
        assert {reasons.get(name) for name in floats} == {"finite_number"}


COMMANDS: dict[str, tuple[type[Settings], ...]] = {
    **dict.fromkeys(("audit", "validate"), (AuditSettings,)),
    "record": (RecordingSettings,),
    "calibrate": (ActivationSettings,),
    "detect": (DetectionSettings,),
    "recover": (RecoverySettings, VerdictSettings),
    "discover": (DiscoverSettings,),
    "localize": (LocalizeSettings,),
    "ablate": (AblateSettings,),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_one_option_for_every_setting_of_its_stage(name: str) -> None:
    params = Counter((param.name, option_name(param), param.help) for param in BUILT.commands[name].params)
    for model in COMMANDS[name]:
        for field, option in model.options().items():
            shown = (option.name or field).replace("_", "-")
            assert params[field, shown, model.model_fields[field].description] == 1


def test_a_prompt_to_ablate_that_is_given_twice_counts_once() -> None:
    """As in an audit, whose images it samples; counts and evaluations would be those of two."""
    given = {"model": "m", "neurons": "n.json", "out": "o", "prompt": ("a star", " a star ", "A star")}
    assert AblateSettings.model_validate(given).prompt == ("a star", "A star")
