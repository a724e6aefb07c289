"""Published detectors of one step on a fine-tune and on its base, recorded without neurons and without a reference."""

from __future__ import annotations

from pathlib import Path

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.detectors import StepDetector, find_detectors
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.sets import record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import AuditSettings

PEERS = (
    "text_conditional_noise",
    "one_step_agreement",
    "mean_one_step_agreement",
    "attention_entropy",
    "mean_attention_entropy",
    "anisotropy",
)
N_SEEDS, N_STEPS, BATCH_SIZE, SHARD_SIZE = (
    AuditSettings.model_fields[name].default for name in ("n_seeds", "num_inference_steps", "batch_size", "shard_size")
)


def record_peers(chosen: ChosenModel, prompts: Path, folder: Path) -> Shards:
    """Record every prompt of the file with the seeds and the timestep of an audit; resumes."""
    model, read = load_chosen(chosen, "cpu", "float32"), read_prompts(str(prompts))
    denoiser = open_denoiser(model.pipe)
    plan = Plan(0, N_SEEDS, denoiser.first_timestep(N_STEPS), BATCH_SIZE, SHARD_SIZE)
    detectors = [detector for name, detector in find_detectors().items() if name in PEERS]
    manifest = {"fingerprint": repr((plan, PEERS, model.fingerprint, read.sha256))}
    with computing():
        recorder = Recorder(denoiser, (), [d for d in detectors if isinstance(d, StepDetector)], plan)
        recorded = record_set(recorder, read.prompts, folder, manifest, f"recording detectors into {folder}")
    return Shards(folder, recorded.n_shards, N_SEEDS)
