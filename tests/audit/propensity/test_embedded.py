"""On the embedded model planted captions copy at their only sample, and reference captions do not."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.paths import FOLDER, IMAGES, MODEL, REFERENCE
from flashbulb.audit.prompts.drawing import draw
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.propensity.ordinary import sample_ordinary
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.tasks import Here
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.training_images.storage import open_training_images
from tests.audit.samplings import sampling_recovery

N = 40
pytestmark = pytest.mark.slow


def test_memorized_captions_copy_at_one_sample_and_reference_captions_do_not(tmp_path: Path) -> None:
    denoiser = open_denoiser(load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe)
    truth = pd.read_parquet(FOLDER / "truth.parquet")
    memorized = [
        Prompt(f"m{row}", text, "", row, 1) for row, text in enumerate(truth[truth.label == "memorized"].prompt)
    ]
    clean = read_prompts(str(REFERENCE)).prompts
    training = open_training_images(IMAGES, *denoiser.image_size, None)
    plan, how = SamplePlan(0, 1, 25, 3.0), {"keep_images": False, "batch_size": 32, "training": training}
    recovery = sampling_recovery(denoiser, tmp_path, plan, **how)
    with computing():
        copies = [
            sum(s.nearest.kind == "verbatim" for s in sample_ordinary(recovery, Here(recovery), prompts, {}))
            for prompts in (draw(memorized, N, 0, "propensity"), draw(clean, N, 0, "propensity"))
        ]
    assert copies[0] >= 0.95 * N
    assert copies[1] <= 1
