"""The tables of a run follow their schemas, and every value is in the row it belongs to."""

from dataclasses import replace

import numpy as np
import pytest

from flashbulb.audit.prompts.held import HeldPrompts, Prompt
from flashbulb.audit.record.columns import Column
from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.outcome import JudgedAttempt, Outcome
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.stages.results.recovery_tables import memories_table, recoveries_table
from flashbulb.audit.stages.results.tables import TIER_RECOVER, TIER_STEP, scores_table, spikes_table
from flashbulb.audit.statistics.flags import Scored
from flashbulb.audit.statistics.spikes import PromptNeurons, Spike
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.hooks import Site
from flashbulb.reports.tables.schema import (
    MEMORIES_SCHEMA,
    RECOVERIES_SCHEMA,
    RECOVERY_VERDICTS,
    SEVERITIES,
    SPIKES_SCHEMA,
    read_table,
    scores_schema,
    spikes_schema,
    write_table,
)

PROMPTS = [Prompt(f"id{i}", f"prompt {i}", "p.csv", 2 * i + 2, i + 1) for i in range(3)]
NEAREST = Nearest(4, "secret.png", 0.05, False, "template")
BLACK = np.zeros((8, 8, 3), dtype=np.uint8)
NOTHING = JudgedAttempt("sample", 0, 100, Outcome(0, 0.5, None, None, "not_shown"), BLACK, None, 0.0, None)
CONFIRMED = Outcome(1, 1.0, NEAREST, 0.99, "confirmed")
ASCENT = JudgedAttempt(
    "ascend", 1, 400, CONFIRMED, BLACK, "images/id2/ascend-1.png", 0.5, "images/id2/ascend-1-fixed.png"
)
MEMORIES = [
    Memory("ascend", CONFIRMED, 0, 4, BLACK, "images/id2/ascend-1.png", None, 0),
    Memory("sample", replace(CONFIRMED, verdict="likely"), 1, 4, BLACK, "images/id2/seed-1.png", None, 3),
]
RECOVERED = [
    Recovered(2, False, [NOTHING, ASCENT], {"picture_agreement": -0.05}, MEMORIES),
    Recovered(0, True, [NOTHING], {"picture_agreement": float("nan")}, []),
]


@pytest.fixture
def scored() -> Scored:
    score = np.array([1.0, 2.0, 9.0])
    detectors = {"spikes_feed_forward": score, "text_conditional_noise": score[::-1].copy()}
    p = np.array([0.5, 0.25, 0.001])
    style = np.zeros(len(score), dtype=np.int64)
    return Scored(detectors, style, score, p, 2 * p, score > 5, (), score, style, p, ())


def test_scores_have_one_row_for_each_prompt_in_order(scored, tmp_path):
    table = scores_table(HeldPrompts.of(PROMPTS), scored, ["none", "none", "high"], RECOVERED, ["picture_agreement"])
    names = [*scored.detectors, "picture_agreement"]
    write_table(tmp_path / "s.parquet", table, scores_schema(names), {})
    rows = read_table(tmp_path / "s.parquet", scores_schema(names)).to_pylist()
    assert [row["picture_agreement"] for row in rows] == [None, None, -0.05]
    assert [row["prompt_id"] for row in rows] == ["id0", "id1", "id2"]
    assert [row["source_row"] for row in rows] == [2, 4, 6]
    assert [row["n_duplicates"] for row in rows] == [1, 2, 3]
    assert [row["tier"] for row in rows] == [TIER_RECOVER, TIER_STEP, TIER_RECOVER]
    assert [row["text_conditional_noise"] for row in rows] == [9.0, 2.0, 1.0]
    assert [row["flagged"] for row in rows] == [False, False, True]
    assert {row["severity"] for row in rows} <= set(SEVERITIES)


def test_spikes_have_site_neuron_and_token_class():
    text = Site("text_encoder.layers.0.mlp.fc2", "text_encoder", "layers.0.mlp.fc2", "text_mlp", 64, "input")
    step = Site("unet.mid_block.ff.net.2", "unet", "mid_block.ff.net.2", "feed_forward", 256, "input")
    step_spike = Spike(Column(step, "abs_max"), 7, 4.5, 9.0, 0.5)
    spikes = [step_spike, Spike(Column(text, "end_mean"), 3, -1.0, -8.0, 0.25)]
    table = spikes_table(PROMPTS, {2: PromptNeurons(spikes, [], []), 1: PromptNeurons([], [], [])}, has_base=False)
    assert table.schema.equals(SPIKES_SCHEMA)
    rows = table.to_pylist()
    assert [(row["prompt_id"], row["site"], row["neuron"]) for row in rows] == [
        ("id2", step.name, 7),
        ("id2", text.name, 3),
    ]
    assert [row["token_class"] for row in rows] == ["all", "end"]
    assert [row["z"] for row in rows] == [9.0, -8.0]


def test_spikes_of_a_fine_tune_have_the_z_of_both_models():
    step = Site("unet.mid_block.ff.net.2", "unet", "mid_block.ff.net.2", "feed_forward", 256, "input")
    spike = Spike(Column(step, "abs_max"), 7, 4.5, 9.0, 0.5, base_z=11.5)
    table = spikes_table(PROMPTS, {2: PromptNeurons([spike], [], [])}, has_base=True)
    assert table.schema.equals(spikes_schema(has_base=True))
    assert [(row["z"], row["z_finetune"], row["z_base"]) for row in table.to_pylist()] == [(-2.5, 9.0, 11.5)]


def test_recoveries_have_one_row_for_each_attempt_in_order():
    rows = recoveries_table(PROMPTS, RECOVERED).to_pylist()
    assert [(r["prompt_id"], r["strategy"], r["restart"], r["evaluations"]) for r in rows] == [
        ("id2", "sample", 0, 100),
        ("id2", "ascend", 1, 400),
        ("id0", "sample", 0, 100),
    ]


def test_recoveries_mark_controls_and_name_each_finding_once():
    table = recoveries_table(PROMPTS, RECOVERED)
    assert table.schema.equals(RECOVERIES_SCHEMA)
    tried, found, control = table.to_pylist()
    assert (found["finding_id"], found["kind"], found["nearest_image"]) == ("finding-001", "template", "secret.png")
    assert (found["similarity"], found["confidence"]) == (NEAREST.similarity, 0.99)
    assert (found["mask_path"], found["fixed_share"]) == ("images/id2/ascend-1-fixed.png", 0.5)
    assert [row["is_control"] for row in (tried, found, control)] == [False, False, True]
    nothing = ("finding_id", "image_path", "mask_path", "nearest_image", "similarity", "confidence", "kind")
    assert all(row[name] is None for name in nothing for row in (tried, control))
    assert {row["verdict"] for row in (tried, found, control)} <= set(RECOVERY_VERDICTS)


def test_without_findings_the_tables_are_empty():
    assert spikes_table(PROMPTS, {}, has_base=False).num_rows == 0
    assert recoveries_table(PROMPTS, []).num_rows == 0
    assert recoveries_table(PROMPTS, []).schema.equals(RECOVERIES_SCHEMA)


def test_memories_have_one_row_for_each_image_of_a_prompt():
    table = memories_table(PROMPTS, RECOVERED)
    assert table.schema.equals(MEMORIES_SCHEMA)
    first, second = table.to_pylist()
    assert (first["finding_id"], second["finding_id"]) == ("finding-001", "finding-004")
    assert (first["evidence"], first["verdict"], second["verdict"]) == ("part", "confirmed", "likely")
    assert (first["p_hits"], first["p_samples"], first["p_low"]) == (0, 4, 0.0)
    assert second["p_low"] < 1 / 4 < second["p_high"]
