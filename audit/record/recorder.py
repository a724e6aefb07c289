"""Record activations of prompts into shards: prompt sites without the denoiser, step sites from one step at x_T."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import NoiseSeeds, Step
from flashbulb.audit.model.conditioning import EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import Prediction
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.prompt_sites import PromptSites
from flashbulb.audit.record.reduction import Reduction
from flashbulb.audit.record.rows import CUT, NOISE_NORM, ShardRows
from flashbulb.audit.run.behind import behind
from flashbulb.audit.run.progress import Advance
from flashbulb.audit.run.shortage import with_smaller_batches
from flashbulb.hooks import Site, over_space, record
from flashbulb.hooks.attention import observe_attention
from flashbulb.hooks.overlap import begin_transfer, beside, streams_aside
from flashbulb.reports.tables.files import PART_SUFFIX

_SHARDS_BEHIND_GPU = 3
"""Shards that are written at a time while a GPU computes the next: one thread encodes about 90 MB a second."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where the shards of one set are, and what the recording cost in evaluations of the denoiser of one latent (UE).

    Evaluations of the empty prompt at x_T serve every set. `Recorder.initial_evaluations` counts them, and
    `n_evaluations` does not.
    """

    folder: Path
    n_shards: int
    n_truncated: int
    n_evaluations: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How prompts are recorded; every field changes the result or its layout, and so enters the fingerprint."""

    run_seed: int
    n_seeds: int
    timestep: float  # the scheduler's t of x_T
    batch_size: int  # latents per call of the denoiser
    shard_size: int  # prompts per shard


@dataclass(frozen=True, slots=True)
class Shard:
    """Prompts that are recorded together, and where.

    Args:
        folder: of the set; the shard has a file in each of its two halves.
        manifest: written with the shard; its "fingerprint" identifies the recording.
        reduction: reduces the activations to what is written in their place; None to write all of them.
    """

    index: int
    prompts: tuple[Prompt, ...]
    folder: Path
    manifest: Mapping[str, Any]
    reduction: Reduction | None = None

    def __str__(self) -> str:
        return f"shard {self.index} of {self.folder}"

    def discard(self) -> None:
        """Delete the unfinished files of a process that was killed while it wrote the shard."""
        for left in self.folder.glob(f"*/part-{self.index:05d}.*{PART_SUFFIX}"):
            left.unlink(missing_ok=True)


class Recorder:
    """Record batches of prompts on one loaded model; the empty prompt is evaluated once per seed."""

    def __init__(
        self, denoiser: Denoiser, sites: Sequence[Site], detectors: Sequence[StepDetector], plan: Plan
    ) -> None:
        self.denoiser, self.detectors, self.plan = denoiser, tuple(detectors), plan
        self.prompt_sites = PromptSites(denoiser, sites)
        self._step_sites = [site for site in sites if not site.is_prompt_site]
        self._modules: Mapping[str, nn.Module] = denoiser.modules(self._step_sites)
        layers = denoiser.attention_layers()
        read = {layer for d in detectors if d.reads_attention for layer in d.reads_attention(layers)}
        self._attention_layers = {path: layer for path, layer in layers.items() if path in read}
        self._is_on_gpu = denoiser.device.type == "cuda"
        self._encodes_aside = self._is_on_gpu and denoiser.is_resident
        latents = denoiser.initial_latents(plan.run_seed, range(plan.n_seeds))
        self.seeds = NoiseSeeds(denoiser, latents, plan.batch_size)
        for timestep in _empty_timesteps(detectors, plan):
            self.seeds.unconditional(timestep)
        self.initial_evaluations = count_initial_evaluations(detectors, plan)
        """UE of the empty prompt at x_T, shared by all prompts."""

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        """Record one shard after the other in this process; where memory runs out, in smaller batches.

        Shards are written while the next ones are computed. A GPU computes while the next prompts are encoded and
        while its rows come to the host.
        """
        with behind(_SHARDS_BEHIND_GPU if self._is_on_gpu else 1) as write_behind:
            for shard in shards:
                rows = self._record(shard, advance)
                first = shard.index * self.plan.shard_size
                write_behind(partial(rows.write, shard.folder, shard.index, first))

    def _record(self, shard: Shard, advance: Advance) -> ShardRows:
        n_done = 0

        def counted(n: int = 1, remark: str = "") -> None:
            nonlocal n_done
            n_done += n
            advance(n, remark)

        def use(batch_size: int) -> None:
            counted(-n_done)  # all of the shard is recorded in batches of one size
            self.plan = replace(self.plan, batch_size=batch_size)
            self.seeds.batch_size = batch_size

        read = partial(self._read, shard, counted)
        return with_smaller_batches(read, self.plan.batch_size, use, str(shard))

    def _read(self, shard: Shard, advance: Advance) -> ShardRows:
        plan, n_before, cut = self.plan, self.denoiser.evaluations, list[int]()
        texts, aside = [prompt.text for prompt in shard.prompts], self._stream_aside()
        n_per_call = max(1, plan.batch_size // plan.n_seeds)
        # A call for few prompts costs almost as much as for many: about as many are encoded at a time as latents.
        n_encoded = max(1, plan.batch_size // n_per_call) * n_per_call
        prompt_batches: list[Mapping[str, Tensor]] = []
        step_batches: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []

        def finish(
            step: Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]],
            read: EncodedPrompts,
            moved: Callable[[], dict[str, Tensor]] | None,
        ) -> None:
            if moved is not None:
                prompt_batches.append(moved())
            step_batches.append(step())  # `read` is held until here
            advance(len(read))

        with behind(1 if self._is_on_gpu else 0) as finish_behind:
            for start in range(0, len(texts), n_encoded):
                with beside(aside):
                    prompt_rows, encoded = self.prompt_sites.read_on_device(texts[start : start + n_encoded])
                    moved = begin_transfer(prompt_rows)
                    cut += encoded.readings_of_cut()
                for first in range(0, len(encoded), n_per_call):
                    read = encoded.rows(slice(first, first + n_per_call))
                    finish_behind(partial(finish, self._begin_step(read), read, moved if first == 0 else None))
        n_evaluations = self.denoiser.evaluations - n_before
        counted = {"n_truncated": len(cut), CUT: cut, "n_evaluations": n_evaluations, "batch_size": plan.batch_size}
        return ShardRows(
            prompt_ids=[prompt.prompt_id for prompt in shard.prompts],
            n_seeds=plan.n_seeds,
            timestep=plan.timestep,
            prompt=prompt_batches,
            step=[rows for rows, _ in step_batches],
            scores=[scores for _, scores in step_batches],
            entries={**shard.manifest, **counted},
            reduction=shard.reduction,
        )

    def _stream_aside(self) -> torch.cuda.Stream | None:
        """Return a stream that sees the weights as they are now; None where encoding cannot run beside predictions."""
        return streams_aside(self.denoiser.device, 1)[0] if self._encodes_aside else None

    def record_step_sites(self, encoded: EncodedPrompts) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the reductions of the step sites over space at x_T, and the scores of the step detectors.

        Returns:
            [prompt × seed, neuron] by column, prompts outermost, and float64 [prompt × seed] by detector. The norm of
            the prediction is under NOISE_NORM.
        """
        return self._begin_step(encoded)()

    @torch.no_grad()
    def _begin_step(self, encoded: EncodedPrompts) -> Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Issue the evaluations at x_T; returns what waits for their rows and scores."""
        shape, device = (len(encoded), self.plan.n_seeds), self.seeds.latents.device
        pairs = torch.cartesian_prod(*(torch.arange(n, device=device) for n in shape))  # [prompt × seed, 2]
        chunks = torch.split(pairs, self.plan.batch_size)
        predictions: list[Prediction] = []

        def run() -> None:
            for chunk in chunks:
                prompt, seed = chunk.unbind(dim=1)
                conditioning = encoded.conditioning.rows(prompt)
                predictions.append(self.denoiser.predict(self.seeds.latents[seed], self.plan.timestep, conditioning))

        with self._attention() as attention:
            rows = record(self._modules, self._step_sites, run, over_space, expected_firings=len(chunks))
        native, pull = (
            torch.cat(parts).reshape(*shape, *self.seeds.latents.shape[1:])
            for parts in ([prediction.native for prediction in predictions], [p.pull for p in predictions])
        )
        step = Step(
            seeds=self.seeds,
            timestep=self.plan.timestep,
            conditioning=encoded.conditioning,
            native=native,
            pull=pull,
            levels=predictions[0].levels,
            attention={layer: torch.cat(means).reshape(*shape, -1) for layer, means in attention.items()},
        )
        measured = {detector.name: detector.measure(step) for detector in self.detectors}
        measured[NOISE_NORM] = step.native.float().flatten(2).norm(dim=2)
        columns = {name: values.double().reshape(-1, 1) for name, values in measured.items()}
        moved_rows, moved_scores = begin_transfer(rows), begin_transfer(columns, exact=True)
        return lambda: (moved_rows(), {name: values.flatten() for name, values in moved_scores().items()})

    @contextmanager
    def _attention(self) -> Iterator[dict[str, list[Tensor]]]:
        """Collect the attention that detectors read, averaged over heads and pixels: [latent, position] by layer."""
        means: dict[str, list[Tensor]] = {}

        def keep(layer: str, probabilities: Tensor) -> None:
            means.setdefault(layer, []).append(probabilities.mean(dim=(1, 2)))

        with observe_attention(self._attention_layers, keep):
            yield means


def count_initial_evaluations(detectors: Sequence[StepDetector], plan: Plan) -> int:
    """Return the UE of the empty prompt at x_T, which a recorder spends once for all prompts."""
    return plan.n_seeds * len(_empty_timesteps(detectors, plan))


def _empty_timesteps(detectors: Sequence[StepDetector], plan: Plan) -> list[float]:
    """Return the timesteps at which the empty prompt is evaluated, so that no shard pays for the others."""
    others = (timestep for detector in detectors for timestep in detector.empty_timesteps)
    return list(dict.fromkeys((plan.timestep, *others)))
