"""The text of `--help`: defaults from the settings models, panels, examples and exit codes from the docstring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from audit.config import AblateSettings, AuditSettings, DiscoverSettings, LocalizeSettings

SETTINGS: Mapping[tuple[str, ...], type[BaseModel]] = {
    **dict.fromkeys((("audit",), ("record",), ("validate",)), AuditSettings),
    ("calibrate",): AuditSettings,
    ("discover",): DiscoverSettings,
    ("localize",): LocalizeSettings,
    ("ablate",): AblateSettings,
}
"""The settings that a command's options fill, whose defaults its help states."""

GOING_ON = (("detect",), ("recover",))
"""Commands that take what is not given from their run directory."""

ROOT_ORDER = {
    **dict.fromkeys(("audit", "validate", "discover"), "Audit"),
    **dict.fromkeys(("record", "detect", "recover", "localize", "ablate"), "Stages, one by one"),
    **dict.fromkeys(("gate", "diff", "waivers", "evaluate"), "Judge"),
    **dict.fromkeys(("report", "show", "sites", "detectors"), "Look"),
    **dict.fromkeys(("calibrate", "index", "planted"), "Make"),
}
"""Panel of each command in the help of all, in the order in which they are listed."""

_PANELS = {
    "Inputs": "model prompts reference train_images descriptor descriptor_weights descriptor_sha256 calibration "
    "text_column reference_column neurons prompt replay",
    "Neurons": "sites detectors n_seeds kind share minimal n_checks by engine n_controls n_points",
    "Scores": "fpr max_style_shift tiers screened_share strict",
    "Search": "budget minutes n_starts steps learning_rate radius patience",
    "Pictures": "max_sampled n_samples sample_steps guidance_scale strategies again",
    "Ascents": "ascend_restarts ascend_steps ascend_rate ascend_radius ascend_neurons ascend_kind ascend_variable "
    "checkpointing",
    "Judgement": "policy waivers baseline new_only exit_zero",
    "Machine": "seed batch_size shard_size max_store_gib dtype device allow_pickle",
    "Output": "out images show_prompts redact_prompts blur summary junit sarif findings model_card gate as_json force",
}
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names.split()}
_MOST_WITHOUT_PANELS = 8  # options that still read well as one list
_EXAMPLES, _EXIT_CODES = ("Example: ", "Then: "), "Exit codes: "
_USUAL_CODES = "0 done; 2 a mistake in options, settings or files; 4 internal error; 130 interrupted."


def sorted_into_panels(params: list[Any]) -> list[Any]:
    """Group the options of a command that has many; what no panel names stays with --help."""
    if sum(param.param_type_name == "option" for param in params) <= _MOST_WITHOUT_PANELS:
        return params
    for param in params:
        if param.param_type_name == "option":
            param.rich_help_panel = _PANEL_OF.get(param.name)
    panels = list(_PANELS)
    return sorted(params, key=lambda param: panels.index(panel) if (panel := param.rich_help_panel) in panels else -1)


def state_choices(params: Sequence[Any]) -> None:
    """Name an option's choices in its help: as its type they would leave no room for it."""
    for param in params:
        if choices := param.type_descriptor.choices:
            param.metavar = "<word>"
            param.help = f"{param.help} One of {', '.join(choices)}."


def state_defaults(params: Sequence[Any], path: tuple[str, ...]) -> None:
    """Let the help of every option that may be left out state what it then is."""
    defaults = _defaults(SETTINGS[path]) if path in SETTINGS else {}
    for param in params:
        if param.required or param.default is not None:
            continue
        value = defaults.get(param.name)
        if value not in (None, ()):
            param.default = list(value) if isinstance(value, tuple) else value
        elif "by default" not in (param.help or ""):
            param.show_default = "as RUN has it" if path in GOING_ON else "none"


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Defaults of the fields that have one; a factory is given those of the fields before it."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            found[name] = field.get_default(call_default_factory=True, validated_data=found)
    return found


def examples_of(text: str | None) -> list[str]:
    """The command lines that a docstring gives as examples."""
    return [line.split(": ", 1)[1] for line in (text or "").splitlines() if line.startswith(_EXAMPLES)]


def prose_of(text: str | None) -> str:
    """The paragraphs of a docstring that are neither examples nor exit codes, each on one line."""
    return "\n\n".join(_escaped(" ".join(paragraph)) for paragraph in _paragraphs(text) if not _is_appended(paragraph))


def epilog_of(text: str | None, path: Sequence[str]) -> str:
    """Examples, exit codes and how else options may be given."""
    codes = [" ".join(paragraph) for paragraph in _paragraphs(text) if paragraph[0].startswith(_EXIT_CODES)]
    examples = "\n".join(f"  {example}" for example in examples_of(text))
    variable = "_".join(("ENGRAM", *path)).upper().replace("-", "_")
    layers = (
        f"What is typed comes first, then the environment ({variable}_OPTION is for this command alone), then "
        "engram.toml, then defaults."
    )
    codes = codes or [_EXIT_CODES + _USUAL_CODES]
    parts = (f"Examples:\n{examples}" if examples else "", *codes, layers if path else "")
    return "\n\n".join(_escaped(part) for part in parts if part)


def _paragraphs(text: str | None) -> Iterator[list[str]]:
    for paragraph in (text or "").split("\n\n"):
        if lines := [line.strip() for line in paragraph.splitlines() if line.strip()]:
            yield lines


def _is_appended(paragraph: Sequence[str]) -> bool:
    return paragraph[0].startswith((*_EXAMPLES, _EXIT_CODES))


def _escaped(text: str) -> str:
    """Text in which a bracket is a bracket and no markup of rich."""
    return text.replace("[", r"\[")
