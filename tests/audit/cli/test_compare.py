"""`flashbulb compare` samples a base and a fine-tune alike, measures what changed, and shows it."""

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import html5lib
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from flashbulb.audit.additions import chosen
from flashbulb.audit.images.distances import pairwise_distances, seed_agreement, tile_distances
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.settings import CompareSettings
from flashbulb.audit.stages import compare as stage
from tests.audit.commands import CANDIDATES, ODD, digests, edit_run_json, refused, run_flashbulb, run_json, text_file
from tests.audit.conftest import Finished, Inputs
from tests.audit.counting import counted_latents
from tests.audit.loras import load, lora_file, lora_weights, some_factors
from tests.browser import chromium, needs_chromium
from tests.toy import build_toy_pipe, build_toy_xl_pipe

QUICK = ("--samples", "2", "--sample-steps", "2")
HOSTILE = "<script>x</script> {{ 7*7 }}"


class Pair(NamedTuple):
    """A base, a LoRA of it, the same fine-tune with the LoRA fused, prompts, and an image that the fine-tune gives."""

    base: Path
    lora: str
    finetune: Path
    prompts: Path
    training: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        return ("compare", self.base, self.finetune, "--prompts", self.prompts, "--out", out, *QUICK, *more)


@pytest.fixture(scope="module")
def pair(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    factors = some_factors(load(inputs.model).pipe, ("unet", "text_encoder"))
    lora = f"{lora_file(folder / 'lora.safetensors', lora_weights(factors))}:24"
    pipe = load(inputs.model, lora).pipe
    pipe.save_pretrained(folder / "finetune")
    (folder / "training").mkdir()
    (image,) = sample_images(pipe, [CANDIDATES[2]], [1], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
    Image.fromarray(image).save(folder / "training" / "secret.png")
    prompts = text_file(folder / "prompts.txt", [*CANDIDATES[:3], HOSTILE])
    return Pair(inputs.model, lora, folder / "finetune", prompts, folder / "training")


@pytest.fixture(scope="module")
def done(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison with training images. Read-only."""
    out = tmp_path_factory.mktemp("compared") / "out"
    answer = run_flashbulb(*pair.options(out, "--train-images", pair.training))
    assert answer.code == 0, answer.err
    assert "at 1 of 4 prompts the fine-tune copies a training image and the base does not" in answer.out
    assert f"Read {out}/compare.html" in answer.out
    assert "in its scheduler" not in answer.err
    return out


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "compare.parquet").to_pylist()


def images(out: Path, side: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(out / row[f"image_path_{side}"])) for row in rows(out)])


def test_both_models_are_sampled_with_the_same_prompts_and_seeds(pair: Pair, done: Path) -> None:
    table = rows(done)
    assert [(row["prompt"], row["image_index"]) for row in table] == [
        (prompt, index) for prompt in (*CANDIDATES[:3], HOSTILE) for index in range(2)
    ]
    for side, model in (("base", pair.base), ("finetune", pair.finetune)):
        prompts, indices = zip(*((row["prompt"], row["image_index"]) for row in table), strict=True)
        plan = {"run_seed": 0, "num_inference_steps": 2, "guidance_scale": 3.0}
        assert np.array_equal(images(done, side), sample_images(load(model).pipe, prompts, indices, **plan))
    assert (images(done, "base") != images(done, "finetune")).any()


def test_numbers_are_computed_from_the_images(done: Path) -> None:
    table, base, finetune = rows(done), images(done, "base"), images(done, "finetune")
    for index, row in enumerate(table):
        assert row["tile_distance"] == pytest.approx(tile_distances(finetune[index : index + 1], base[index])[0])
        for side, sampled in (("base", base), ("finetune", finetune)):
            of_prompt = sampled[index // 2 * 2 : index // 2 * 2 + 2]
            assert row[f"seed_agreement_{side}"] == seed_agreement(of_prompt)
            assert row[f"seed_distance_{side}"] == pytest.approx(pairwise_distances(of_prompt)[0, 1])
            assert row[f"repeats_{side}"] == (row[f"seed_agreement_{side}"] == 1)
    assert [row["kind_finetune"] for row in table if row["prompt"] == CANDIDATES[2]][1] == "verbatim"
    assert {row["kind_base"] for row in table} == {None}


def test_prompts_and_images_are_named_in_markdown_and_not_if_they_are_redacted(
    pair: Pair, done: Path, tmp_path: Path
) -> None:
    text = (done / "compare.md").read_text(encoding="utf-8")
    assert "at 1 of 4 prompts the fine-tune copies a training image and the base does not" in text
    listed = [line for line in text.splitlines() if line.startswith("| `")]
    assert listed[0].startswith(f"| `{CANDIDATES[2]}` |")
    assert " | 0 → 1 of 2 |" in listed[0]
    assert all(prompt in text for prompt in CANDIDATES[:3])
    assert f"`{HOSTILE}`" in text
    copy = Path(shutil.copytree(done, tmp_path / "out"))
    answer = run_flashbulb(*pair.options(copy, "--train-images", pair.training, "--redact-prompts"))
    assert answer.code == 0, answer.err
    for name in ("compare.md", "compare.html"):
        redacted = (copy / name).read_text(encoding="utf-8")
        assert "prompts.txt, row 3" in redacted
        assert "secret.png" not in redacted
        assert not [prompt for prompt in (*CANDIDATES[:3], HOSTILE) if prompt in redacted]
    assert rows(copy) == rows(done)


def test_the_page_loads_nothing_escapes_prompts_and_begins_with_what_is_copied(done: Path) -> None:
    page = (done / "compare.html").read_text(encoding="utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    assert not list(tree.iter("script"))
    assert all(image.get("src").startswith("data:image/webp") for image in tree.iter("img"))
    cards = [card for card in tree.iter("li") if "card" in card.get("class", "").split()]
    titles = ["".join(card.find(".//h3").itertext()).strip() for card in cards]
    assert titles[0] == f"1{CANDIDATES[2]}"
    assert {title[1:] for title in titles} == {*CANDIDATES[:3], HOSTILE}
    badges = ["".join(badge.itertext()) for badge in cards[0].iter("span") if "badge" in badge.get("class", "")]
    assert "copied by the fine-tune only" in badges
    links = [link.get("href") for card in cards for link in card.iter("a")]
    assert len([link for link in links if (done / link).is_file()]) == len(links) >= 4 * 2 * 2


@needs_chromium
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_its_window_and_requests_nothing_else(done: Path, width: int) -> None:
    with chromium() as browser:
        browser.open(done / "compare.html", width)
        assert browser.requests() == [(done / "compare.html").as_uri()]
        assert browser.complaints() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_a_lora_is_compared_with_its_base_in_one_loading(pair: Pair, done: Path, tmp_path: Path, monkeypatch) -> None:
    loads: list[str] = []

    def load_model(model: str, **options: Any) -> Any:
        loads.append(model)
        return loading(model, **options)

    loading = chosen.load_model
    monkeypatch.setattr(chosen, "load_model", load_model)
    common = ("--lora", pair.lora, "--prompts", pair.prompts, *QUICK)
    (tmp_path / "link").symlink_to(pair.base)
    for spelled in (pair.base, tmp_path / "link"):
        answer = run_flashbulb("compare", spelled, pair.base, *common, "--out", tmp_path / f"out-{spelled.name}")
        assert answer.code == 0, answer.err
    assert len(loads) == 2
    shutil.copytree(pair.base, tmp_path / "copy")
    assert run_flashbulb("compare", tmp_path / "copy", pair.base, *common, "--out", tmp_path / "apart").code == 0
    assert len(loads) == 2 + 3
    assert run_flashbulb("compare", pair.base, *common, "--out", tmp_path / "alone").code == 0
    for out in ("out-link", "apart", "alone"):
        assert rows(tmp_path / out) == rows(tmp_path / f"out-{pair.base.name}")
        for name in ("base", "model"):
            own = run_json(tmp_path / out)[name]["fingerprint"]
            assert own == run_json(tmp_path / f"out-{pair.base.name}")[name]["fingerprint"]
    for side in ("base", "finetune"):
        assert np.array_equal(images(tmp_path / "alone", side), images(done, side))


def test_a_rerun_samples_nothing_and_an_interrupted_comparison_is_resumed(
    pair: Pair, done: Path, tmp_path: Path
) -> None:
    options = pair.options(tmp_path / "out", "--train-images", pair.training, "--batch-size", "2")
    with counted_latents(stop_after=4 * 8 + 12):  # all of the fine-tune, and one prompt of the base
        assert "run the same command again to resume" in refused(*options, code=130)
    assert run_json(tmp_path / "out")["status"] == "comparing"
    assert not (tmp_path / "out" / "compare.html").exists()
    with counted_latents() as count:
        assert run_flashbulb(*options).code == 0
    assert count.n_latents == 3 * 8
    before = digests(tmp_path / "out")
    with counted_latents() as count:
        assert run_flashbulb(*options).code == 0
    assert count.n_latents == 0
    assert digests(tmp_path / "out") == before


def test_one_model_is_in_memory_at_a_time(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[nn.Module]] = []
    held = []  # other models

    def open_denoiser(pipe: Any, *arguments: Any) -> Denoiser:
        gc.collect()
        held.append(len({id(unet) for reference in opened if (unet := reference()) not in (None, pipe.unet)}))
        opened.append(weakref.ref(pipe.unet))
        return opening(pipe, *arguments)

    opening = stage.open_denoiser
    monkeypatch.setattr(stage, "open_denoiser", open_denoiser)
    paths = {"base": str(pair.base), "finetune": str(pair.finetune), "prompts": str(pair.prompts)}
    quick = {"train_images": None, "n_samples": 2, "sample_steps": 2, "max_prompts": 1}
    stage.run_comparison(
        CompareSettings.model_validate({**paths, **quick, "out": tmp_path / "out", "examine": False}), force=False
    )
    assert held == [0, 0, 0, 0]  # the base to look at it, the fine-tune likewise and to sample it, the base


def test_prompts_beyond_the_limit_are_left_out_and_counted(pair: Pair, tmp_path: Path) -> None:
    answer = run_flashbulb(*pair.options(tmp_path / "out", "--max-prompts", "1", "--json"))
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert (document["status"], document["n_prompts"], document["n_left_out"]) == ("comparison", 1, 3)
    assert document["evaluations"] == {"base": 2 * 2 * 2, "finetune": 2 * 2 * 2}
    assert {row["prompt"] for row in rows(tmp_path / "out")} == {CANDIDATES[0]}
    assert "3 prompts beyond --max-prompts left out" in (tmp_path / "out" / "compare.html").read_text().lower()


def test_models_with_different_schedulers_are_named(pair: Pair, tmp_path: Path) -> None:
    """Their images differ without any training."""
    base = Path(shutil.copytree(pair.base, tmp_path / "base"))
    file = base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "set_alpha_to_one": True}))
    answer = run_flashbulb(*pair._replace(base=base).options(tmp_path / "out", "--max-prompts", "1"))
    assert answer.code == 0, answer.err
    assert f"{base} has set_alpha_to_one True in its scheduler, {pair.finetune} has False: they differ" in answer.err


def test_prompts_of_an_audit_come_with_their_scores_and_controls_are_marked(
    pair: Pair, finished: Finished, tmp_path: Path
) -> None:
    scores = {row["prompt"]: row for row in pq.read_table(finished.run / "scores.parquet").to_pylist()}
    answer = run_flashbulb("compare", pair.finetune, pair.base, "--run", finished.run, "--out", tmp_path / "o", *QUICK)
    assert answer.code == 0, answer.err
    table = rows(tmp_path / "o")
    assert {row["prompt"] for row in table if not row["is_control"]} == {p for p, s in scores.items() if s["flagged"]}
    controls = {row["prompt_id"] for row in table if row["is_control"]}
    tried = pq.read_table(finished.run / "recoveries.parquet").to_pylist()
    assert controls == {row["prompt_id"] for row in tried if row["is_control"]} != set()
    for row in table:
        assert all(row[name] == scores[row["prompt"]][name] for name in ("spike_score", "p_value", "severity"))
    audited = finished.run / "images" / scores[ODD]["prompt_id"] / "seed-1.png"
    mine = tmp_path / "o" / next(row["image_path_finetune"] for row in table if row["prompt"] == ODD)
    assert np.array_equal(Image.open(audited), Image.open(mine.with_name("seed-1.png")))
    assert ">control<" in (tmp_path / "o" / "compare.html").read_text(encoding="utf-8")
    line = refused("compare", pair.base, pair.finetune, "--run", finished.run, "--out", tmp_path / "other", *QUICK)
    assert "give the model that was audited" in line
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_compared_is_refused_before_anything_is_written(pair: Pair, tmp_path: Path) -> None:
    build_toy_pipe(latent_size=16).save_pretrained(tmp_path / "large")
    build_toy_xl_pipe().save_pretrained(tmp_path / "xl")
    prompts, out = ("--prompts", pair.prompts), ("--out", tmp_path / "out", *QUICK)
    for models, said in {
        (pair.base, pair.base): "are the same model",
        (pair.base, tmp_path / "large"): "gives images of 16 × 16",
        (tmp_path / "xl", pair.base): "is Stable Diffusion XL",
        (pair.base,): "Give the fine-tune after it, or with --lora",
    }.items():
        assert said in refused("compare", *models, *prompts, *out)
    for both in ((), (*prompts, "--run", tmp_path)):
        assert "--prompts with a file, or --run" in refused("compare", pair.base, pair.finetune, *both, *out)
    assert not (tmp_path / "out").exists()


def test_another_comparison_is_not_overwritten_without_force(pair: Pair, done: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(done, tmp_path / "out"))
    options = pair.options(out, "--train-images", pair.training, "--seed", "7")
    assert "settings.seed was 0, now 7" in refused(*options)
    assert digests(out) == digests(done)
    edit_run_json(out, "status", value="comparing")
    assert run_flashbulb(*options, "--force").code == 0
    assert (images(out, "base") != images(done, "base")).any()
