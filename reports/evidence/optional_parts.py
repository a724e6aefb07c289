"""The parts of run.json that not every audit has, as rows of a table: sampling frame, propensity, power, canaries.

They are read as they stand there, so that a value that this page does not know is shown and not dropped.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flashbulb.reports.bounds.rates import Rate, rate_text
from flashbulb.reports.evidence.document import Block, Quoted, Table
from flashbulb.reports.tables.record_files import read_content

FRAME, PROPENSITY, POWER, CANARIES, MACHINE = "frame", "propensity", "power", "canaries", "machine"

_ABSENT = {
    FRAME: "How the prompts were chosen is not recorded. Without a random sample of the training captions, no rate "
    "below holds for captions that were not tried.",
    PROPENSITY: "Not measured. What ordinary prompts bring out by themselves was not sampled.",
    POWER: "Not computed. Which share of extractable images this audit would have found is not known.",
    CANARIES: "None planted. No image that is known to be in the training data of this model was looked for, so the "
    "sensitivity of this audit on this model is not known.",
}
_RATE_KEYS = frozenset(Rate.__slots__)


def read_parts(directory: Path) -> Mapping[str, Any]:
    """Return the optional parts that the run.json of a checked run has, and the machine that its identity names."""
    content = read_content(directory, "audit")
    parts = {name: content[name] for name in _ABSENT if content.get(name) is not None}
    identity = content.get("identity")
    recording = identity.get("recording") if isinstance(identity, Mapping) else None
    return {**parts, MACHINE: recording if isinstance(recording, Mapping) else {}}


def blocks_of(parts: Mapping[str, Any], name: str) -> tuple[Block, ...]:
    """Return a part as a table, or what its absence means."""
    if name not in parts:
        return (_ABSENT[name],)
    return (Table((), tuple((Quoted(key), value) for key, value in _rows(parts[name], ""))),)


def _rows(value: Any, prefix: str) -> Iterator[tuple[str, str | Quoted]]:
    """Yield every leaf by its path; an object with the keys of a rate is one leaf."""
    if isinstance(value, Mapping) and value.keys() == _RATE_KEYS and _is_rate(value):
        yield prefix, rate_text(Rate(**value))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _rows(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _rows(inner, f"{prefix}[{index}]")
    elif value is None:
        yield prefix or "value", "not stated"
    else:
        yield prefix or "value", Quoted(f"{value:.4g}" if isinstance(value, float) else str(value))


def _is_rate(value: Mapping[str, Any]) -> bool:
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in value.values())
