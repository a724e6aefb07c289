"""Write a localization: neuron sets, tables, pictures, the page, and its figures on the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from audit.account import library_versions
from audit.config import LocalizeSettings
from audit.denoiser import Denoiser
from audit.localize.localizer import Localized
from audit.recover.sample import save_picture
from hooks import Site, TokenClass, find_sites, save_neurons
from reports.console import SummaryConsole
from reports.files import SCHEMA_VERSION, write_json, write_text
from reports.lever_pictures import LeverRow, layer_map, lever_panel
from reports.localization import (
    ATTRIBUTIONS_SCHEMA,
    LAYERS_FILE,
    LEVERS_SCHEMA,
    LOCALIZATION_PAGE,
    PANEL_FILE,
    SETTINGS_FILE,
    TOKENS_SCHEMA,
    WITNESSES_AND_LEVERS,
    LocalizationCounts,
    count_levers,
    localization_markdown,
    write_localization,
)


def write_results(
    folder: Path, found: Sequence[Localized], settings: LocalizeSettings, denoiser: Denoiser, fingerprint: str
) -> LocalizationCounts:
    """Write all of it into `folder`, worst memory first, and print the counts."""
    sites = find_sites(denoiser.pipe, [settings.kind])
    levers = pa.Table.from_pylist([_lever_row(one, settings, sites) for one in found], schema=LEVERS_SCHEMA)
    tokens = pa.Table.from_pylist([row for one in found for row in _token_rows(one, denoiser)], schema=TOKENS_SCHEMA)
    for name in ("neurons", "images"):  # of another selection; what is kept makes them again
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "neurons").mkdir(parents=True)
    for one in found:
        save_neurons(folder / _neurons_path(one), one.neurons)
        _save_pictures(folder, one, settings)
    write_localization(folder, levers, _attributions(found), tokens, fingerprint)
    lever_panel(
        [LeverRow(one.memory.prompt, one.effect.is_erased, one.memory.picture, one.before, one.after) for one in found],
        folder / PANEL_FILE,
    )
    _draw_layers(folder / LAYERS_FILE, found, sites)
    write_text(folder / LOCALIZATION_PAGE, localization_markdown(levers, tokens, settings.show_prompts))
    stated = {
        "schema_version": SCHEMA_VERSION,
        "model_fingerprint": fingerprint,
        "settings": settings.model_dump(mode="json", exclude={"run"}),  # in which this lies
        "versions": library_versions(),
    }
    write_json(folder / SETTINGS_FILE, stated)
    counts = count_levers(levers)
    console = SummaryConsole()
    for line in (*counts.lines, WITNESSES_AND_LEVERS, f"Read {folder / LOCALIZATION_PAGE}"):
        console.print(line, highlight=False, markup=False)
    return counts


def _neurons_path(one: Localized) -> str:
    return f"neurons/{one.memory.prompt_id}.json"


def _lever_row(one: Localized, settings: LocalizeSettings, sites: Sequence[Site]) -> dict[str, Any]:
    effect, controls = one.effect, one.controls
    return {
        "prompt_id": one.memory.prompt_id,
        "finding_id": one.memory.finding_id,
        "prompt": one.memory.prompt,
        "kind": settings.kind,
        "replaced_by": settings.by,
        "n_neurons": one.neurons.n_neurons,
        "n_neurons_of_kind": sum(site.n_neurons for site in sites),
        "erased": effect.is_erased,
        "n_samples": effect.n_samples,
        "n_replicating_before": effect.n_replicating[0],
        "n_replicating_after": effect.n_replicating[1],
        "distance_before": effect.distance[0],
        "distance_after": effect.distance[1],
        "diversity_before": effect.diversity[0],
        "diversity_after": effect.diversity[1],
        "response": effect.response,
        "n_controls": len(controls),
        "n_controls_changed": sum(control.is_changed for control in controls),
        "control_change": float(np.mean([control.change for control in controls])) if controls else None,
        "n_patched": one.n_patched,
        "n_recovered_again": one.n_recovered_again,
        "evaluations": one.evaluations,
        "neurons_path": _neurons_path(one),
    }


def _token_rows(one: Localized, denoiser: Denoiser) -> list[dict[str, Any]]:
    """A row a position; `read` is what the cross-attention values of that position carry."""
    tokens = denoiser.tokenize([one.memory.prompt])
    names = denoiser.pipe.tokenizer.convert_ids_to_tokens(tokens.input_ids[0].tolist())
    of_values = [x for name, x in sorted(one.attribution.positions.items()) if name.endswith("to_v")]
    read = np.sum([x.numpy() for x in of_values], axis=0) if of_values else None
    return [
        {
            "prompt_id": one.memory.prompt_id,
            "position": i,
            "token": str(name).removesuffix("</w>").removeprefix("▁"),
            "token_class": TokenClass(int(tokens.classes[0, i])).name.lower(),
            "attribution": float(one.attribution.tokens[i]),
            "read": None if read is None else float(read[i]),
        }
        for i, name in enumerate(names)
    ]


def _attributions(found: Sequence[Localized]) -> pa.Table:
    parts = []
    for one in found:
        for site, values in sorted(one.attribution.neurons.items()):  # kept ones come back in another order
            is_lever = np.zeros(len(values), dtype=bool)
            is_lever[list(one.neurons.neurons.get(site, ()))] = True
            columns = {
                "prompt_id": [one.memory.prompt_id] * len(values),
                "site": [site] * len(values),
                "neuron": np.arange(len(values), dtype=np.int32),
                "attribution": values.double().numpy(),
                "excess": one.excess[site].double().numpy()
                if site in one.excess
                else pa.nulls(len(values), pa.float64()),
                "is_lever": is_lever,
            }
            parts.append(pa.table(columns, schema=ATTRIBUTIONS_SCHEMA))
    return pa.concat_tables(parts)


def _save_pictures(folder: Path, one: Localized, settings: LocalizeSettings) -> None:
    for name, pictures in (("before", one.before), ("after", one.after)):
        for i, picture in enumerate(pictures):
            stated = {
                "prompt": one.memory.prompt,
                "image_index": settings.n_samples + i,
                "run_seed": settings.seed,
                "num_inference_steps": settings.sample_steps,
                "guidance_scale": settings.guidance_scale,
                "ablated": None if name == "before" else _neurons_path(one),
                "replaced_by": None if name == "before" else settings.by,
                "fingerprint": one.neurons.fingerprint,
            }
            save_picture(folder / "images" / one.memory.prompt_id / f"{name}-{i}.png", picture, stated)


def _draw_layers(path: Path, found: Sequence[Localized], sites: Sequence[Site]) -> None:
    carried = np.array([[max(float(one.attribution.neurons[s.name].sum()), 0.0) for s in sites] for one in found])
    shares = carried / np.maximum(carried.sum(axis=1, keepdims=True), 1e-30)
    layer_map(shares, [one.memory.prompt for one in found], [site.name for site in sites], path)
