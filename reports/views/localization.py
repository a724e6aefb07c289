"""The results of a localization: the tables and the page in a run's `localization` folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flashbulb.reports.bounds.rates import rate_of, rate_text
from flashbulb.reports.tables.schema import TableRow, required_column, write_table
from flashbulb.reports.views.markdown_parts import code, page, table

LOCALIZATION_DIRECTORY = "localization"
LEVERS_FILE, ATTRIBUTIONS_FILE, TOKENS_FILE = "levers.parquet", "attributions.parquet", "tokens.parquet"
LOCALIZATION_PAGE, LAYERS_FILE, PANEL_FILE = "localization.md", "layers.png", "localization.png"
SETTINGS_FILE = "settings.json"

LOCALIZATION_CAVEAT = (
    "Neurons that spike are evidence of recall, and localized neurons erase an image when their activations are "
    "replaced. Neither is the place where the image is stored: other inputs can still recall it (Finding Dori, "
    "arXiv 2507.16880)."
)

LEVERS_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("finding_id", pa.string()),
        required_column("prompt", pa.string()),
        required_column("kind", pa.string()),
        required_column("replaced_by", pa.string()),
        required_column("n_neurons", pa.int32()),
        required_column("n_neurons_of_kind", pa.int32()),
        required_column("erased", pa.bool_()),
        required_column("n_samples", pa.int32()),
        required_column("n_replicating_before", pa.int32()),
        required_column("n_replicating_after", pa.int32()),
        required_column("distance_before", pa.float64()),
        required_column("distance_after", pa.float64()),
        required_column("diversity_before", pa.float64()),
        required_column("diversity_after", pa.float64()),
        required_column("response", pa.float64()),
        required_column("n_controls", pa.int32()),
        required_column("n_controls_changed", pa.int32()),
        pa.field("control_change", pa.float64()),
        pa.field("n_patched", pa.int32()),
        pa.field("n_recovered_again", pa.int32()),
        required_column("evaluations", pa.int64()),
        required_column("neurons_path", pa.string()),
    ]
)
ATTRIBUTIONS_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("site", pa.string()),
        required_column("neuron", pa.int32()),
        required_column("attribution", pa.float64()),
        pa.field("excess", pa.float64()),
        required_column("is_lever", pa.bool_()),
    ]
)
TOKENS_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("position", pa.int32()),
        required_column("token", pa.string()),
        required_column("token_class", pa.string()),
        required_column("attribution", pa.float64()),
        pa.field("read", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class LocalizationCounts:
    """The counts at the top of the page, from `levers.parquet`."""

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
        """The counts in sentences: erased, recovered again from the ablated model, controls changed, patched."""
        again = (
            f"Memorized images recovered from the ablated model, by a short ascent on the prompt's embedding: "
            f"{rate_text(rate_of(self.n_recovered_again, self.n_tried_again))}."
            if self.n_tried_again
            else "Recovery from the ablated model was not tried (--no-again)."
        )
        left_out = f" {self.n_not_shown} more did not appear in these samples." if self.n_not_shown else ""
        erased = rate_text(rate_of(self.n_erased, self.n_memories))
        return (
            f"Memorized images erased by replacing their localized neurons: {erased}.{left_out}",
            again,
            f"Clean prompts that the same edit changes more than another seed does: "
            f"{rate_text(rate_of(self.n_controls_changed, self.n_controls))}.",
            f"Memorized images that appear when their localized neurons' activations are patched into a clean prompt: "
            f"{rate_text(rate_of(self.n_patched, self.n_patched_into))}.",
        )


def count_localizations(levers: pa.Table) -> LocalizationCounts:
    """Count the rows of `levers.parquet`, one per memorized image.

    An image counts as shown, recovered or patched if at least half of the samples replicate it. Images that the samples
    do not show before the ablation are counted only in `n_not_shown`.
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


def cost_line(levers: pa.Table, shared_evaluations: int) -> str:
    """Say what localizing cost, in evaluations of the denoiser for one latent (UE), tests included.

    Args:
        shared_evaluations: UE that were spent once for all images.
    """
    spent = sum(levers["evaluations"].to_pylist())
    mean = round(spent / max(levers.num_rows, 1))
    return (
        f"Cost: {mean:,} UE for each image, selection and tests, and {shared_evaluations:,} UE once for all; "
        f"{spent + shared_evaluations:,} UE together."
    )


def write_localization(
    folder: Path, levers: pa.Table, attributions: pa.Table, tokens: pa.Table, fingerprint: str
) -> None:
    """Write the three tables, each atomically; their footer records the fingerprint of the model."""
    footer = {"model_fingerprint": fingerprint}
    write_table(folder / LEVERS_FILE, levers, LEVERS_SCHEMA, footer)
    write_table(folder / ATTRIBUTIONS_FILE, attributions, ATTRIBUTIONS_SCHEMA, footer)
    write_table(folder / TOKENS_FILE, tokens, TOKENS_SCHEMA, footer)


def localization_markdown(levers: pa.Table, tokens: pa.Table, show_prompts: bool, cost: str) -> str:
    """Render the page: the effect of the localized neurons on each memorized image, and the tokens they respond to.

    Args:
        cost: what it cost, see `cost_line`.
    """
    tokens_by_prompt: dict[str, list[TableRow]] = {}
    for token in tokens.to_pylist():
        tokens_by_prompt.setdefault(token["prompt_id"], []).append(token)
    rows = [_cells(row, tokens_by_prompt[row["prompt_id"]], show_prompts) for row in levers.to_pylist()]
    header = ["finding", "prompt", "neurons replaced", "samples that replicate", "distance", "diversity of seeds"]
    header += ["recovered again", "clean prompts changed", "read at"]
    header += ["tokens with most attribution"] if show_prompts else []
    return page(
        ["# Localized neurons"],
        [f"- {line}" for line in (*count_localizations(levers).lines, cost)],
        [LOCALIZATION_CAVEAT],
        [f"![images before and after]({PANEL_FILE})"],
        [f"![share of the response by site]({LAYERS_FILE})"],
        [
            "## Memorized images",
            "",
            "Before → after; distance and diversity are medians over samples.",
            "",
            *table(header, rows),
        ],
    )


def _cells(row: TableRow, tokens: Sequence[TableRow], show_prompts: bool) -> list[str]:
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
    return [*cells, _top_tokens(tokens)] if show_prompts else cells


def _read_at(tokens: Sequence[TableRow]) -> str:
    """Share what cross-attention reads among the positions of the prompt's words, the end token and the padding."""
    read = dict.fromkeys(("prompt", "end", "padding"), 0.0)
    for token in tokens:
        if token["token_class"] in read:
            read[token["token_class"]] += max(token["read"] or 0.0, 0.0)
    total = sum(read.values())
    if not total:
        return "unknown"
    return ", ".join(f"{'words' if name == 'prompt' else name} {value / total:.0%}" for name, value in read.items())


def _top_tokens(tokens: Sequence[TableRow]) -> str:
    """Name the three tokens with the highest attribution, with their shares of the total."""
    total = sum(abs(token["attribution"]) for token in tokens) or 1.0
    top = sorted(tokens, key=lambda token: -token["attribution"])[:3]
    return ", ".join(f"{code(token['token'])} {token['attribution'] / total:.0%}" for token in top)
