"""Build the text of `--help`: defaults of settings, examples and exit codes from docstrings, panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flashbulb.audit.settings import PANELS

CONTINUING_COMMANDS = (("detect",), ("recover",))
"""Commands whose options keep the run's values if they are not given."""

COMMAND_PANELS = {
    **dict.fromkeys(("audit", "demo", "validate", "discover", "pull", "sweep"), "Audit"),
    **dict.fromkeys(("record", "merge", "detect", "recover", "localize", "ablate"), "Single stages"),
    **dict.fromkeys(("gate", "verify", "diff", "waivers", "evaluate"), "Judge a finished audit"),
    **dict.fromkeys(("report", "index-runs", "show", "compare", "sites", "detectors"), "Inspect"),
    **dict.fromkeys(("reference", "calibrate", "index", "plant", "planted"), "Prepare"),
}
"""Panel of each command in `flashbulb --help`, in the order in which the commands are listed."""

HELP_ALL = "--help-all"
MAX_COMMON = 10
"""Options that `--help` shows of a command; `--help-all` shows every one."""
COMMON_OPTIONS = (
    *("model", "prompts", "reference", "train-images", "out", "fpr", "samples", "device", "policy", "gate"),
    *("baseline", "new-only", "waivers", "junit", "sarif", "findings", "summary", "strict"),
    *("controls", "budget", "max-false", "minutes", "neurons", "prompt", "by", "seeds", "force", "json"),
)
"""Options that most users need, the most common first; a command shows the first of them that it has."""

_EXAMPLES, _EXIT_CODES = ("Example: ", "Then: "), "Exit codes: "
_DEFAULT_EXIT_CODES = "0 success; 2 error in options, settings or files; 4 internal error; 130 interrupted."


def common_of(params: Sequence[Any]) -> list[Any]:
    """Return the parameters that `--help` shows: arguments, required options, and the most common others in order."""
    options = [param for param in params if param.param_type_name == "option"]
    if len(options) <= MAX_COMMON:
        return list(params)
    ranks = {name: rank for rank, name in enumerate(COMMON_OPTIONS)}
    ranked = {ranks.get(str(param.opts[0]).lstrip("-"), len(ranks)): param for param in options if not param.required}
    ranked.pop(len(ranks), None)
    shown = [*(param for param in options if param.required), *(ranked[rank] for rank in sorted(ranked))]
    return [*(param for param in params if param not in options), *shown[:MAX_COMMON]]


def name_help_all_(help_option: Any, n_options: int, n_shown: int) -> None:
    """Name `--help-all` beside `--help` where it shows more."""
    help_option.opts = [name for name in help_option.opts if name != HELP_ALL]
    help_option.metavar = ""
    if n_shown < n_options:
        help_option.help = f"Show this message and exit. {HELP_ALL} shows all {n_options} options."


def sort_into_panels_(params: list[Any]) -> list[Any]:
    """Sort the options of a command by panel if it has many, else list them in one. --help stays outside of panels."""
    options = [param for param in params if param.param_type_name == "option"]
    for param in params:
        if param not in options or len(options) <= MAX_COMMON:
            param.rich_help_panel = None
    return sorted(params, key=lambda param: PANELS.index(panel) if (panel := param.rich_help_panel) in PANELS else -1)


def show_choices_(params: Sequence[Any]) -> None:
    """Append an option's choices to its help. In the type column they would squeeze the help text; flags have none."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        if choices := param.type_descriptor.choices:
            param.metavar = "<word>"
            param.help = f"{param.help} One of {', '.join(choices)}."


def fold_negatives_(params: Sequence[Any]) -> None:
    """Name the `--no-…` form of a flag in its help. Its own column would truncate variables at 80 columns."""
    for param in params:
        if param.param_type_name == "option" and param.secondary_opts:
            param.help = f"{param.help} Off with {param.secondary_opts[0]}."
            param.secondary_opts = []
            if isinstance(param.default, bool):
                param.show_default = "on" if param.default else "off"


def show_defaults_(params: Sequence[Any], defaults: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Make the help of every optional option show its default.

    Args:
        defaults: of the settings that options set.
    """
    for param in params:
        if param.required or param.default is not None or isinstance(param.show_default, str):
            continue
        value = None if path in CONTINUING_COMMANDS else defaults.get(param.name)
        if value not in (None, ()):
            param.default = list(value) if isinstance(value, tuple) else value
        elif "by default" not in (param.help or ""):
            param.show_default = "the run's value" if path in CONTINUING_COMMANDS else "none"


def examples_of(text: str | None) -> list[str]:
    """Return the example command lines of a docstring."""
    return [line.split(": ", 1)[1] for line in (text or "").splitlines() if line.startswith(_EXAMPLES)]


def prose_of(text: str | None) -> str:
    """Return the paragraphs of a docstring other than examples and exit codes, each on one line."""
    return "\n\n".join(_escaped(" ".join(paragraph)) for paragraph in _paragraphs(text) if not _is_epilog(paragraph))


def epilog_of(text: str | None, path: Sequence[str]) -> str:
    """Return the end of a help page: examples, exit codes, and where else options can be set."""
    codes = [" ".join(paragraph) for paragraph in _paragraphs(text) if paragraph[0].startswith(_EXIT_CODES)]
    examples = "\n".join(f"  {example}" for example in examples_of(text))
    variable = "_".join(("FLASHBULB", *path)).upper().replace("-", "_")
    layers = (
        f"The command line overrides the environment ({variable}_OPTION for this command only), the environment "
        "overrides flashbulb.toml, and flashbulb.toml overrides the defaults."
    )
    codes = codes or [_EXIT_CODES + _DEFAULT_EXIT_CODES]
    parts = (f"Examples:\n{examples}" if examples else "", *codes, layers if path else "")
    return "\n\n".join(_escaped(part) for part in parts if part)


def _paragraphs(text: str | None) -> Iterator[list[str]]:
    for paragraph in (text or "").split("\n\n"):
        if lines := [line.strip() for line in paragraph.splitlines() if line.strip()]:
            yield lines


def _is_epilog(paragraph: Sequence[str]) -> bool:
    return paragraph[0].startswith((*_EXAMPLES, _EXIT_CODES))


def _escaped(text: str) -> str:
    """Escape brackets, which rich would read as markup."""
    return text.replace("[", r"\[")
