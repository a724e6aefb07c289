"""A recording that was interrupted, failed or overlapped leaves complete shards, and resumes to the same bytes."""

from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record import rows
from flashbulb.audit.record.sets import record_set
from flashbulb.hooks import (
    FingerprintMismatch,
    NonFiniteActivation,
    SiteDidNotFire,
    complete_shards,
    find_sites,
    write_shard,
)
from tests.audit.record.toy_recordings import MANIFEST, N_SEEDS, PROMPTS, TIMESTEP, make_recorder, record
from tests.hooks.edits import n_hooks
from tests.toy import build_toy_pipe


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_resumed_recording_equals_an_uninterrupted_one(tmp_path):
    pipe = build_toy_pipe()
    record(pipe, tmp_path / "uninterrupted", batch_size=3)
    recorder = make_recorder(pipe, batch_size=3)
    n_calls = 0

    def interrupt(*_):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 4:  # the second prompt of the second shard
            raise KeyboardInterrupt

    hook = pipe.unet.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        record_set(recorder, PROMPTS, tmp_path / "resumed", MANIFEST, "recording")
    hook.remove()
    assert n_hooks(pipe) == 0
    assert list(complete_shards(tmp_path / "resumed" / "step", "abc")) == [0]
    expected = contents(tmp_path / "uninterrupted")
    for path, content in contents(tmp_path / "resumed").items():
        assert content == expected[path]
    (tmp_path / "resumed" / "step" / "part-00000.json").unlink()  # killed between the halves of a shard
    record_set(recorder, PROMPTS, tmp_path / "resumed", MANIFEST, "recording")
    assert contents(tmp_path / "resumed") == expected


def test_a_finished_recording_is_not_repeated(tmp_path):
    pipe = build_toy_pipe()
    first = record(pipe, tmp_path)
    recorder = make_recorder(pipe)
    hook = pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("ran"))
    assert record_set(recorder, PROMPTS, tmp_path, MANIFEST, "recording") == first
    hook.remove()
    with pytest.raises(FingerprintMismatch, match="abc, this run has xyz"):
        record_set(recorder, PROMPTS, tmp_path, {"fingerprint": "xyz"}, "recording")


def test_a_site_that_does_not_fire_as_expected_fails_and_nothing_is_written(tmp_path):
    pipe = build_toy_pipe()
    for module in pipe.unet.modules():
        if isinstance(module, BasicTransformerBlock):
            module.set_chunk_feed_forward(8, dim=1)
    with pytest.raises(SiteDidNotFire, match="fired 2 times"):
        record(pipe, tmp_path)
    assert n_hooks(pipe) == 0
    assert contents(tmp_path) == {}


def spoil_step(pipe):
    sites = find_sites(pipe, ["feed_forward"])
    block = sites[-1].module_path.removesuffix("ff.net.2")
    pipe.unet.get_submodule(f"{block}ff.net.0.proj").weight.data[3] = torch.nan
    return f"{sites[-1].name}/abs_max.*prompt_id={PROMPTS[0].prompt_id}, seed_index=0"


def spoil_one_prompt(pipe):
    (token,) = pipe.tokenizer("q", add_special_tokens=False).input_ids  # in no word of the other prompt
    pipe.text_encoder.get_input_embeddings().weight.data[token] = torch.nan
    return rf"text_encoder\S+ is not finite in 1 of 2 rows, first at prompt_id={PROMPTS[1].prompt_id}"


def spoil_noise(pipe):
    pipe.unet.conv_out.weight.data[0, 0, 0, 0] = torch.nan
    return f"noise_pred_norm/mean.*prompt_id={PROMPTS[0].prompt_id}, seed_index=0"


@pytest.mark.parametrize("spoil", [spoil_step, spoil_one_prompt, spoil_noise])
def test_the_error_about_a_non_finite_activation_names_site_and_prompt(tmp_path, spoil):
    pipe = build_toy_pipe()
    message = spoil(pipe)
    prompts = [PROMPTS[0], Prompt(PROMPTS[1].prompt_id, "c q", "prompts.txt", 2, 1)]
    with pytest.raises(NonFiniteActivation, match=message):
        record(pipe, tmp_path, prompts=prompts)
    assert n_hooks(pipe) == 0
    assert contents(tmp_path) == {}


def record_plainly(pipe, folder: Path, batch_size: int, shard_size: int) -> None:
    """Record batch by batch and shard by shard, each complete before the next begins."""
    recorder = make_recorder(pipe, batch_size=batch_size)
    per_call = batch_size // N_SEEDS
    for index, start in enumerate(range(0, len(PROMPTS), shard_size)):
        prompts = PROMPTS[start : start + shard_size]
        halves, scores, cut = ([], []), [], []
        for first in range(0, len(prompts), per_call):
            activations, encoded = recorder.prompt_sites.read([p.text for p in prompts[first : first + per_call]])
            halves[0].append(activations)
            activations, step_scores = recorder.record_step_sites(encoded)
            halves[1].append(activations)
            scores.append(step_scores)
            cut += encoded.readings_of_cut()
        ids = [prompt.prompt_id for prompt in prompts]
        keys = {
            "prompt_id": [i for i in ids for _ in range(N_SEEDS)],
            "seed_index": list(range(N_SEEDS)) * len(ids),
            "timestep": [TIMESTEP] * (len(ids) * N_SEEDS),
            **{name: torch.cat([batch[name] for batch in scores]).tolist() for name in scores[0]},
        }
        counted = {"n_truncated": len(cut), "cut": cut, "n_evaluations": len(prompts) * N_SEEDS}
        counted |= {"batch_size": batch_size}
        for half, own_keys, parts in zip(("prompt", "step"), ({"prompt_id": ids}, keys), halves, strict=True):
            columns = {column: torch.cat([part[column] for part in parts]) for column in parts[0]}
            write_shard(folder / half, index, own_keys, columns, {**MANIFEST, **counted})


def test_what_overlaps_computing_changes_no_byte(tmp_path):
    pipe = build_toy_pipe()
    record_plainly(pipe, tmp_path / "plain", batch_size=3, shard_size=3)
    record(pipe, tmp_path / "overlapping", batch_size=3, shard_size=3)
    assert contents(tmp_path / "overlapping") == contents(tmp_path / "plain")


def test_an_error_while_a_shard_is_written_ends_the_recording(tmp_path, monkeypatch):
    write, n_calls = rows.write_shard, 0

    def fail_at_the_second_shard(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls > 2:
            raise OSError(28, "No space left on device", "part-00001.parquet")
        return write(*arguments)

    monkeypatch.setattr(rows, "write_shard", fail_at_the_second_shard)
    with pytest.raises(OSError, match=r"part-00001\.parquet"):
        record(build_toy_pipe(), tmp_path, shard_size=1)
    assert list(complete_shards(tmp_path / "step", "abc")) == [0]
    assert n_calls == 3
