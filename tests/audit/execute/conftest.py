"""What workers record in the tests of this folder, and its recording by one process."""

from pathlib import Path

import pytest
import torch

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.execute.recording import RecorderSpec
from flashbulb.audit.execute.unchanged_model import UnchangedModel
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.record.recorder import Plan
from flashbulb.audit.record.sets import record_set
from tests.audit.recordings import MANIFEST, SHARD_SIZE, one_process, prompts


@pytest.fixture(scope="session")
def spec(inputs) -> RecorderSpec:
    model = str(inputs.model)
    fingerprint = load_model(model, device="cpu", dtype=torch.float32, allow_pickle=False).fingerprint
    plan = Plan(run_seed=7, n_seeds=2, timestep=981, batch_size=2, shard_size=SHARD_SIZE)
    kinds = ("text_mlp", "cross_k", "feed_forward")
    unchanged = UnchangedModel(ChosenModel(model), fingerprint, "float32", "cpu", None)
    return RecorderSpec(unchanged, False, kinds, ("anisotropy", "nemo"), plan)


@pytest.fixture(scope="session")
def alone(spec, tmp_path_factory) -> Path:
    """The recording of one process. Read-only."""
    folder = tmp_path_factory.mktemp("alone")
    with one_process(spec) as recorder:
        record_set(recorder, prompts(), folder, MANIFEST, "alone")
    return folder
