"""Recorded sets of made-up neurons: clean prompts between two styles, some with planted spikes."""

import numpy as np
import torch

from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.spikes import Kept, read_neurons
from flashbulb.hooks import Site, write_shard

N_CANDIDATES, N_REFERENCE, N_NEURONS, N_COMPONENTS = 100, 80, 96, 5
SPIKED, N_SPIKES = 41, 4
TEXT = Site("text_encoder.mlp.fc2", "text_encoder", "mlp.fc2", "text_mlp", 8, "input")
FIRST = Site("unet.a.ff.net.2", "unet", "a.ff.net.2", "feed_forward", 32, "input")
SECOND = Site("unet.b.ff.net.2", "unet", "b.ff.net.2", "feed_forward", 64, "input")
SITES = (TEXT, FIRST, SECOND)
MODES = {  # how baselines are fitted: is there a reference, is it of another style, are candidates pooled
    "reference": (True, False, False),
    "no reference": (False, False, True),
    "pooled": (True, False, True),
    "reference of another style": (True, True, True),
}


def storable(values: np.ndarray) -> np.ndarray:
    """Round to values that float16 holds up to 64: shards then return exactly what was written."""
    return (np.round(values * 32) / 32).astype(np.float32)


def noise(n: int, seed: int, n_neurons: int = N_NEURONS) -> np.ndarray:
    """Make activations of clean prompts between two styles."""
    rng = np.random.default_rng(seed)
    style = np.random.default_rng(99).normal(size=n_neurons)
    return storable(4 + rng.normal(size=(n, n_neurons)) + rng.normal(size=(n, 1)) * style)


def spiked(activations: np.ndarray, prompts, *, by: float = 12.0) -> np.ndarray:
    """Raise a few neurons, different ones in each of `prompts`."""
    activations = activations.copy()
    for prompt in np.atleast_1d(prompts):
        neurons = np.random.default_rng(int(prompt)).choice(activations.shape[1], N_SPIKES, replace=False)
        activations[prompt, neurons] += by
    return activations


def other_style(activations: np.ndarray) -> np.ndarray:
    """Shift half of the neurons by more than anything else about a prompt."""
    shift = np.where(np.arange(activations.shape[1]) % 2, 6.0, 0.0)
    return activations + shift.astype(np.float32)


def write_set(folder, step: np.ndarray, text: np.ndarray | None = None, *, shard_size: int = 1000, n_seeds: int = 1):
    """Write the shards of a set whose feed-forward neurons are `step`, [prompt, neuron] or [prompt, seed, neuron]."""
    step = np.repeat(step[:, None], n_seeds, axis=1) if step.ndim == 2 else step
    text = noise(len(step), 7, 2 * TEXT.n_neurons) if text is None else text
    n_seeds = step.shape[1]
    starts = range(0, len(step), shard_size)
    for index, start in enumerate(starts):
        part, text_part = step[start : start + shard_size], text[start : start + shard_size]
        ids = [f"{start + i:016x}" for i in range(len(part))]
        rows = torch.from_numpy(part.reshape(-1, part.shape[2]))
        columns = {f"{FIRST.name}/abs_max": rows[:, : FIRST.n_neurons], f"{SECOND.name}/abs_max": rows[:, -64:]}
        keys = {"prompt_id": np.repeat(ids, n_seeds).tolist(), "seed_index": list(range(n_seeds)) * len(ids)}
        keys["nice"] = np.arange(start * n_seeds, start * n_seeds + len(rows), dtype=np.float64).tolist()
        write_shard(folder / "step", index, keys, columns, {"fingerprint": "abc"})
        halves = {
            f"{TEXT.name}/prompt_mean": torch.from_numpy(text_part[:, : TEXT.n_neurons]),
            f"{TEXT.name}/end_mean": torch.from_numpy(text_part[:, TEXT.n_neurons :]),
        }
        write_shard(folder / "prompt", index, {"prompt_id": ids}, halves, {"fingerprint": "abc"})
    return Shards(folder, len(starts), n_seeds)


def sets_of(mode: str, candidates: np.ndarray):
    """Return the arguments of `score` in one of MODES."""
    has_reference, is_other_style, pooled = MODES[mode]
    reference = noise(N_REFERENCE, 1) if has_reference else None
    return candidates, other_style(reference) if is_other_style else reference, pooled


def spikes_of(groups, shards, positions, n):
    """Return the `n` neurons farthest from their baseline over all groups, by position."""
    neurons = read_neurons(groups, shards, positions, Kept(n, "feed_forward", 0))
    return {position: prompt.spikes for position, prompt in neurons.items()}
