"""Write the results of a localization: neuron sets, images, tables, figures, the page, and a printed summary."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flashbulb.audit.images.png import save_image
from flashbulb.audit.localize.localizer import LocalizedMemory
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.settings import LocalizeSettings
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.hooks import Site, TokenClass, save_neurons
from flashbulb.reports.figures.localization import LocalizationRow, layer_map, localization_panel
from flashbulb.reports.tables.files import SCHEMA_VERSION, write_json, write_text
from flashbulb.reports.views.localization import (
    ATTRIBUTIONS_SCHEMA,
    LAYERS_FILE,
    LEVERS_SCHEMA,
    LOCALIZATION_CAVEAT,
    LOCALIZATION_PAGE,
    PANEL_FILE,
    SETTINGS_FILE,
    TOKENS_SCHEMA,
    LocalizationCounts,
    cost_line,
    count_localizations,
    localization_markdown,
    write_localization,
)
from flashbulb.reports.views.terminal import SummaryConsole


def write_localization_results(
    folder: Path,
    results: Sequence[LocalizedMemory],
    settings: LocalizeSettings,
    denoiser: Denoiser,
    fingerprint: str,
    shared_evaluations: int,
) -> LocalizationCounts:
    """Write the results into `folder` in the order of `results`, and print and return the counts.

    Args:
        shared_evaluations: UE that were spent once for all results.
    """
    sites = denoiser.sites([settings.kind])
    lever_rows = [_lever_row(localized, settings, sites) for localized in results]
    levers = pa.Table.from_pylist(lever_rows, schema=LEVERS_SCHEMA)
    token_rows = [row for localized in results for row in _token_rows(localized, denoiser)]
    tokens = pa.Table.from_pylist(token_rows, schema=TOKENS_SCHEMA)
    for name in (LOCALIZATION_PAGE, SETTINGS_FILE):  # they are written last and stand for all
        (folder / name).unlink(missing_ok=True)
    for name in ("neurons", "images"):  # files of an earlier selection
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "neurons").mkdir(parents=True)
    for localized in results:
        save_neurons(folder / _neurons_path(localized), localized.neurons)
        _save_images(folder, localized, settings)
    cost = cost_line(levers, shared_evaluations)
    write_localization(folder, levers, _attributions(results), tokens, fingerprint)
    localization_panel([_panel_row(localized) for localized in results], folder / PANEL_FILE)
    _draw_layers(folder / LAYERS_FILE, results, sites)
    write_text(folder / LOCALIZATION_PAGE, localization_markdown(levers, tokens, settings.show_prompts, cost))
    content = {
        "schema_version": SCHEMA_VERSION,
        "model_fingerprint": fingerprint,
        "shared_evaluations": shared_evaluations,
        "settings": settings.model_dump(mode="json", exclude={"run"}),  # the run directory that holds this file
        "versions": library_versions(),
    }
    write_json(folder / SETTINGS_FILE, content)
    counts = count_localizations(levers)
    console = SummaryConsole()
    for line in (*counts.lines, cost, LOCALIZATION_CAVEAT, f"Read {folder / LOCALIZATION_PAGE}"):
        console.print(line, highlight=False, markup=False)
    return counts


def _neurons_path(localized: LocalizedMemory) -> str:
    return f"neurons/{localized.memory.prompt_id}.json"


def _panel_row(localized: LocalizedMemory) -> LocalizationRow:
    memory = localized.memory
    return LocalizationRow(memory.prompt, localized.effect.is_erased, memory.image, localized.before, localized.after)


def _lever_row(localized: LocalizedMemory, settings: LocalizeSettings, sites: Sequence[Site]) -> dict[str, Any]:
    effect, controls = localized.effect, localized.controls
    return {
        "prompt_id": localized.memory.prompt_id,
        "finding_id": localized.memory.finding_id,
        "prompt": localized.memory.prompt,
        "kind": settings.kind,
        "replaced_by": settings.by,
        "n_neurons": localized.neurons.n_neurons,
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
        "n_patched": localized.n_patched,
        "n_recovered_again": localized.n_recovered_again,
        "evaluations": localized.evaluations,
        "neurons_path": _neurons_path(localized),
    }


def _token_rows(localized: LocalizedMemory, denoiser: Denoiser) -> list[dict[str, Any]]:
    """Return one row for each token position; `read` is the attribution of its cross-attention values at all sites."""
    encoded = denoiser.encode([localized.memory.prompt])
    names = denoiser.text.token_names(encoded.input_ids)
    by_site = [x.numpy() for name, x in sorted(localized.attribution.positions.items()) if name.endswith("to_v")]
    read = np.sum(by_site, axis=0) if by_site else None  # [site, position] -> [position]
    return [
        {
            "prompt_id": localized.memory.prompt_id,
            "position": i,
            "token": str(name).removesuffix("</w>").removeprefix("▁"),
            "token_class": TokenClass(int(encoded.main_classes[0, i])).name.lower(),
            "attribution": float(localized.attribution.tokens[i]),
            "read": None if read is None else float(read[i]),
        }
        for i, name in enumerate(names)
    ]


def _attributions(results: Sequence[LocalizedMemory]) -> pa.Table:
    parts = []
    for localized in results:
        for site, values in sorted(localized.attribution.neurons.items()):  # loaded results have another order
            is_lever = np.zeros(len(values), dtype=bool)
            is_lever[list(localized.neurons.neurons.get(site, ()))] = True
            columns = {
                "prompt_id": [localized.memory.prompt_id] * len(values),
                "site": [site] * len(values),
                "neuron": np.arange(len(values), dtype=np.int32),
                "attribution": values.double().numpy(),
                "excess": localized.excess[site].double().numpy()
                if site in localized.excess
                else pa.nulls(len(values), pa.float64()),
                "is_lever": is_lever,
            }
            parts.append(pa.table(columns, schema=ATTRIBUTIONS_SCHEMA))
    return pa.concat_tables(parts)


def _save_images(folder: Path, localized: LocalizedMemory, settings: LocalizeSettings) -> None:
    for name, images in (("before", localized.before), ("after", localized.after)):
        for i, image in enumerate(images):
            metadata = {
                "prompt": localized.memory.prompt,
                "image_index": settings.n_samples + i,
                "run_seed": settings.seed,
                "num_inference_steps": settings.sample_steps,
                "guidance_scale": settings.guidance_scale,
                "ablated": None if name == "before" else _neurons_path(localized),
                "replaced_by": None if name == "before" else settings.by,
                "fingerprint": localized.neurons.fingerprint,
            }
            save_image(folder / "images" / localized.memory.prompt_id / f"{name}-{i}.png", image, metadata)


def _draw_layers(path: Path, results: Sequence[LocalizedMemory], sites: Sequence[Site]) -> None:
    attributed = [[float(localized.attribution.neurons[site.name].sum()) for site in sites] for localized in results]
    positive = np.maximum(np.array(attributed), 0.0)  # [image, site]
    shares = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-30)
    layer_map(shares, [localized.memory.prompt for localized in results], [site.name for site in sites], path)
