"""A localization that was interrupted, asked for more or changed recomputes what changed and nothing else."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flashbulb.audit.images.png import read_image, save_image
from flashbulb.hooks import ablate, find_sites, load_neurons
from tests.audit.cli.localize.conftest import id_of, localize, rows
from tests.audit.commands import ODD, digests, error_line
from tests.audit.counting import counted_latents
from tests.reports.run_files import seal_again
from tests.toy import build_toy_pipe


@pytest.fixture
def fresh(audited, tmp_path) -> Path:
    """A copy of the audit without its localization."""
    return Path(shutil.copytree(audited.run, tmp_path / "run", ignore=shutil.ignore_patterns("localization")))


def test_rerun_computes_nothing_and_writes_the_same(audited, copied):
    before = digests(copied)
    with counted_latents() as count:
        assert localize(copied).code == 0
    assert count.n_latents == 0
    assert digests(copied) == before


def test_localized_prompts_are_kept_when_more_are_asked_for(fresh, audited):
    assert localize(fresh, "--max-prompts", "1").code == 0
    assert [row["prompt"] for row in rows(fresh)] == [ODD]
    first = digests(fresh)[f"localization/kept/{id_of(ODD)}.safetensors"]
    with counted_latents() as count:
        assert localize(fresh).code == 0
    assert 0 < count.n_latents < audited.n_latents
    assert digests(fresh)[f"localization/kept/{id_of(ODD)}.safetensors"] == first
    assert rows(fresh) == rows(audited.run)


def test_interrupted_localization_resumes_to_the_same_result(fresh, audited):
    with counted_latents(stop_after=audited.n_latents - 4):
        answer = localize(fresh)
    assert error_line(answer, 130).endswith("interrupted; run the same command again to resume")
    kept = [path.stem for path in (fresh / "localization" / "kept").iterdir()]
    assert kept == [id_of(ODD)]
    with counted_latents() as count:
        assert localize(fresh).code == 0
    assert count.n_latents < audited.n_latents
    assert rows(fresh) == rows(audited.run)


def test_damaged_kept_file_is_recomputed(copied, audited):
    kept = copied / "localization" / "kept" / f"{id_of(ODD)}.safetensors"
    kept.write_bytes(kept.read_bytes()[:-7])
    with counted_latents() as count:
        assert localize(copied).code == 0
    assert count.n_latents > 0
    assert rows(copied) == rows(audited.run)


def test_another_image_of_the_same_prompt_is_localized_anew(copied):
    (path,) = {
        copied / row["image_path"]
        for row in pq.read_table(copied / "recoveries.parquet").to_pylist()
        if row["prompt_id"] == id_of(ODD) and row["finding_id"] and not row["is_control"]
    }
    other = read_image(path)
    save_image(path, other.pixels[::-1], other.metadata)
    seal_again(copied)
    before = rows(copied)
    with counted_latents() as count:
        assert localize(copied).code == 0
    assert count.n_latents > 0
    after = rows(copied)
    assert after[1] == before[1]
    assert after[0] != before[0]


@pytest.mark.parametrize("option", [("--by", "mean"), ("--kind", "text_mlp")])
def test_other_settings_recompute(copied, option):
    with counted_latents() as count:
        assert localize(copied, "--max-prompts", "1", *option).code == 0
    assert count.n_latents > 0
    (row,) = rows(copied)
    assert {"--by": row["replaced_by"], "--kind": row["kind"]}[option[0]] == option[1]
    neurons = load_neurons(copied / "localization" / row["neurons_path"])
    assert (neurons.means is not None) == (option == ("--by", "mean"))
    pipe = build_toy_pipe()
    assert set(neurons.neurons) <= {site.name for site in find_sites(pipe, [row["kind"]])}
    with ablate(pipe, neurons, row["replaced_by"]):
        pipe(ODD, num_inference_steps=1, output_type="latent")


def test_showing_prompts_changes_the_page_and_computes_nothing(copied):
    with counted_latents() as count:
        assert localize(copied, "--show-prompts").code == 0
    page = (copied / "localization" / "localization.md").read_text(encoding="utf-8")
    assert ODD in page
    assert "tokens with most attribution" in page
    assert count.n_latents == 0
