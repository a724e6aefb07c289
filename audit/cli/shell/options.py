"""Make the options of commands from the fields of settings; the options of a few commands that are no settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flashbulb.audit.settings import Option, Panel, Settings
from flashbulb.audit.settings.shared import BatchSize, WorkerCount
from flashbulb.reports.gate.formats import OUTPUT_FORMATS, OutputFormat


def in_panel(panel: Panel, text: str, *names: str, **limits: Any) -> Any:
    """Declare an option that is no setting: the panel that lists it, its help, and the `min` and `max` of a number."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **limits)


Force = Annotated[bool, in_panel("Output", "Delete the contents of the run directory and start over.")]
ForceFolder = Annotated[bool, in_panel("Output", "Delete the contents of the folder and start over.")]
Gate = Annotated[bool, in_panel("Output", "Exit with the verdict: 0 pass or inconclusive, 1 fail, 3 untrusted.")]
Json = Annotated[bool, in_panel("Output", "Print one JSON document; by default text.", "--json")]


class SettingOption(NamedTuple):
    """The option of a setting as a parameter of a command, and the default of the setting; None if it has none."""

    parameter: inspect.Parameter
    default: Any


def takes(*groups: list[SettingOption]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of settings to a command, in this order. The command receives them in its `**options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        options = [option for group in groups for option in group]
        arguments = [parameter for parameter in own if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        flags = [parameter for parameter in own if parameter.kind is parameter.KEYWORD_ONLY]
        parameters = [*arguments, *(option.parameter for option in options), *flags]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(command)["setting_defaults"] = {option.parameter.name: option.default for option in options}
        return command

    return decorate


def options_of(model: type[Settings], *names: str) -> list[SettingOption]:
    """Return the options of the settings of these names; of all, if there are no names."""
    defaults = defaults_of(model)
    return [
        SettingOption(_parameter(name, model.model_fields[name], option), defaults.get(name))
        for name, option in model.options().items()
        if not names or name in names
    ]


def format_options() -> list[SettingOption]:
    """Return an option for each format in which a judgement is written."""
    return [SettingOption(_format_parameter(form), None) for form in OUTPUT_FORMATS]


def _format_parameter(form: OutputFormat) -> inspect.Parameter:
    kind: Any = list[Path] if form.is_repeatable else Path
    info = typer.Option(None, help=form.description, rich_help_panel="Output")
    return inspect.Parameter(form.name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind | None)


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the default of each optional field. Default factories receive the defaults of earlier fields."""
    defaults: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            defaults[name] = field.get_default(call_default_factory=True, validated_data=defaults)
    return defaults


def help_of(model: type[Settings], name: str) -> str:
    """Return the help of a setting, for a command whose parameter is not the setting itself."""
    return str(model.model_fields[name].description)


def chosen_settings(options: Mapping[str, Any], model: type[Settings]) -> dict[str, Any]:
    """Return the fields of `model` that the options set. A value that is repeated counts once."""
    chosen = {name: options[name] for name in model.model_fields if options.get(name) not in (None, (), [])}
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else value
        for name, value in chosen.items()
    }


def _parameter(name: str, field: FieldInfo, option: Option) -> inspect.Parameter:
    """Return a parameter that is None if the option is not given."""
    kind: Any = list[str] if get_origin(field.annotation) is tuple else field.annotation
    is_required = field.is_required() and not option.is_optional and NoneType not in get_args(kind)
    default: Any = ... if is_required else None
    texts: dict[str, Any] = {"help": field.description, "rich_help_panel": option.panel}
    if kind in (BatchSize, WorkerCount):  # else its own name
        texts["metavar"] = "<int|auto>"
    if option.can_run_code:  # never taken from a run, so its own default is shown
        default, texts["show_default"] = field.default, field.default is not None or "none"
    if option.is_argument:
        info = typer.Argument(default, **texts)
    else:
        names = (f"--{option.name}",) if option.name else ()
        info = typer.Option(default, *names, **texts, autocompletion=option.words or _choices(field))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind if is_required else kind | None
    )


def _choices(field: FieldInfo) -> Callable[[], tuple[str, ...]] | None:
    """Return the words of a repeated option whose type lists them; typer finds those of other options itself."""
    (item, *_) = get_args(field.annotation) or (None,)
    return (lambda: get_args(item)) if get_origin(item) is Literal else None
