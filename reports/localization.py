"""What localization found: the tables of a run's `localization` folder, and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from reports.markdown_parts import code, page, table
from reports.rates import rate_of, rate_text
from reports.schema import write_table

LOCALIZATION_DIRECTORY = "localization"
LEVERS_FILE, ATTRIBUTIONS_FILE, TOKENS_FILE = "levers.parquet", "attributions.parquet", "tokens.parquet"
LOCALIZATION_PAGE, LAYERS_FILE, PANEL_FILE = "localization.md", "layers.png", "localization.png"
SETTINGS_FILE = "settings.json"

WITNESSES_AND_LEVERS = (
    "Neurons that spike are witnesses of recall, neurons that erase a picture when they are replaced are levers. "
    "Neither is the place where the picture is stored: other ways to it can stay open (Finding Dori, 2507.16880)."
)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


LEVERS_SCHEMA = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("finding_id", pa.string()),
        _required("prompt", pa.string()),
        _required("kind", pa.string()),
        _required("replaced_by", pa.string()),
        _required("n_neurons", pa.int32()),
        _required("n_neurons_of_kind", pa.int32()),
        _required("erased", pa.bool_()),
        _required("n_samples", pa.int32()),
        _required("n_replicating_before", pa.int32()),
        _required("n_replicating_after", pa.int32()),
        _required("distance_before", pa.float64()),
        _required("distance_after", pa.float64()),
        _required("diversity_before", pa.float64()),
        _required("diversity_after", pa.float64()),
        _required("response", pa.float64()),
        _required("n_controls", pa.int32()),
        _required("n_controls_changed", pa.int32()),
        pa.field("control_change", pa.float64()),
        pa.field("n_patched", pa.int32()),
        pa.field("n_recovered_again", pa.int32()),
        _required("evaluations", pa.int64()),
        _required("neurons_path", pa.string()),
    ]
)
ATTRIBUTIONS_SCHEMA = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("site", pa.string()),
        _required("neuron", pa.int32()),
        _required("attribution", pa.float64()),
        pa.field("excess", pa.float64()),
        _required("is_lever", pa.bool_()),
    ]
)
TOKENS_SCHEMA = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("position", pa.int32()),
        _required("token", pa.string()),
        _required("token_class", pa.string()),
        _required("attribution", pa.float64()),
        pa.field("read", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class LocalizationCounts:
    """What stands at the head of the page, counted from `levers.parquet`."""

    n_not_shown: int
    n_memories: int
    n_erased: int
    n_controls: int
    n_controls_changed: int
    n_tried_again: int
    n_recovered_again: int
    n_patched_into: int
    n_patched: int

    @property
    def lines(self) -> tuple[str, ...]:
        """One sentence a figure, the one after the ablation beside it."""
        again = (
            f"Recovered again from the ablated model, by 50 steps on the prompt's embedding: "
            f"{rate_text(rate_of(self.n_recovered_again, self.n_tried_again))}."
            if self.n_tried_again
            else "Recovery from the ablated model was not tried (--no-again)."
        )
        left_out = f" {self.n_not_shown} more did not show in these samples." if self.n_not_shown else ""
        erased = rate_text(rate_of(self.n_erased, self.n_memories))
        return (
            f"Memories erased by replacing their levers: {erased}.{left_out}",
            again,
            f"Clean prompts that the same edit changed more than another seed does: "
            f"{rate_text(rate_of(self.n_controls_changed, self.n_controls))}.",
            f"Memories that came back when their levers' activations were put into a clean prompt: "
            f"{rate_text(rate_of(self.n_patched, self.n_patched_into))}.",
        )


def count_levers(levers: pa.Table) -> LocalizationCounts:
    """Count the rows of `levers.parquet`; a memory counts as shown, or as back, when half of the samples replicate it.

    Memories that the samples did not show before the ablation are left out.
    """
    rows = [row for row in levers.to_pylist() if 2 * row["n_replicating_before"] >= row["n_samples"]]
    again = [row for row in rows if row["n_recovered_again"] is not None]
    patched = [row for row in rows if row["n_patched"] is not None]
    return LocalizationCounts(
        n_not_shown=levers.num_rows - len(rows),
        n_memories=len(rows),
        n_erased=sum(row["erased"] for row in rows),
        n_controls=sum(row["n_controls"] for row in rows),
        n_controls_changed=sum(row["n_controls_changed"] for row in rows),
        n_tried_again=len(again),
        n_recovered_again=sum(2 * row["n_recovered_again"] >= row["n_samples"] for row in again),
        n_patched_into=len(patched),
        n_patched=sum(2 * row["n_patched"] >= row["n_samples"] for row in patched),
    )


def write_localization(
    folder: Path, levers: pa.Table, attributions: pa.Table, tokens: pa.Table, fingerprint: str
) -> None:
    """Write the tables, each whole or not at all."""
    footer = {"model_fingerprint": fingerprint}
    write_table(folder / LEVERS_FILE, levers, LEVERS_SCHEMA, footer)
    write_table(folder / ATTRIBUTIONS_FILE, attributions, ATTRIBUTIONS_SCHEMA, footer)
    write_table(folder / TOKENS_FILE, tokens, TOKENS_SCHEMA, footer)


def localization_markdown(levers: pa.Table, tokens: pa.Table, show_prompts: bool) -> str:
    """The page: what the levers do, memory by memory, and which words they answer to."""
    words: dict[str, list[dict[str, object]]] = {}
    for token in tokens.to_pylist():
        words.setdefault(token["prompt_id"], []).append(token)
    rows = [_row(row, words[row["prompt_id"]], show_prompts) for row in levers.to_pylist()]
    header = ["finding", "prompt", "neurons replaced", "samples that replicate", "distance", "diversity of seeds"]
    header += ["recovered again", "clean prompts changed", "read at"]
    header += ["words that carry most"] if show_prompts else []
    return page(
        ["# Levers of recall"],
        [f"- {line}" for line in count_levers(levers).lines],
        [WITNESSES_AND_LEVERS],
        [f"![pictures before and after]({PANEL_FILE})"],
        [f"![where the response is made]({LAYERS_FILE})"],
        ["## Memory by memory", "", "Before → after, as medians over samples.", "", *table(header, rows)],
    )


def _row(row: Mapping[str, Any], tokens: Sequence[Mapping[str, Any]], show_prompts: bool) -> list[str]:
    again, n = row["n_recovered_again"], row["n_samples"]
    cells = [
        code(row["finding_id"]),
        code(row["prompt"] if show_prompts else row["prompt_id"]),
        f"{row['n_neurons']} of {row['n_neurons_of_kind']} {code(row['kind'])}",
        f"{row['n_replicating_before']} → {row['n_replicating_after']} of {n}",
        f"{row['distance_before']:.2f} → {row['distance_after']:.2f}",
        f"{row['diversity_before']:.2f} → {row['diversity_after']:.2f}",
        "not tried" if again is None else f"{again} of {n}",
        f"{row['n_controls_changed']} of {row['n_controls']}",
        _read_at(tokens),
    ]
    return [*cells, _words(tokens)] if show_prompts else cells


def _read_at(tokens: Sequence[Mapping[str, Any]]) -> str:
    """Through which positions cross-attention reads the memory: words, or the padding behind them."""
    read = dict.fromkeys(("prompt", "end", "padding"), 0.0)
    for token in tokens:
        if token["token_class"] in read:
            read[token["token_class"]] += max(token["read"] or 0.0, 0.0)
    total = sum(read.values())
    if not total:
        return "unknown"
    return ", ".join(f"{'words' if name == 'prompt' else name} {value / total:.0%}" for name, value in read.items())


def _words(tokens: Sequence[Mapping[str, Any]], n: int = 3) -> str:
    """The tokens of the highest attribution, with their share of the whole."""
    total = sum(abs(token["attribution"]) for token in tokens) or 1.0
    best = sorted(tokens, key=lambda token: -token["attribution"])[:n]
    return ", ".join(f"{code(token['token'])} {token['attribution'] / total:.0%}" for token in best)
