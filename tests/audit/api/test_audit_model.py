"""`audit_model` audits files and pipeline objects alike, leaves objects as they were, and its result shows itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

import flashbulb
from flashbulb.audit.additions.lent import lent
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.settings import SettingsError
from tests.audit.commands import CANDIDATES, ODD, REFERENCE, text_file
from tests.toy import build_toy_pipe

QUICK: dict[str, Any] = {
    "examine": False,
    "n_seeds": 2,
    "n_samples": 2,
    "sample_steps": 2,
    "fpr": 0.2,
    "strategies": ("sample",),
}


@pytest.fixture(scope="module")
def result(pipe: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> flashbulb.AuditResult:
    """An audit of the object. Its one training image is what the model draws for the odd prompt."""
    folder = tmp_path_factory.mktemp("object")
    before = flashbulb.audit_model(pipe, CANDIDATES, reference=REFERENCE, out=folder / "before", **QUICK)
    prompt_id = before.scores.set_index("prompt").loc[ODD, "prompt_id"]
    (folder / "training").mkdir()
    Image.open(folder / "before" / "images" / prompt_id / "seed-1.png").save(folder / "training" / "<b>secret.png")
    options = {"reference": REFERENCE, "train_images": folder / "training", "out": folder / "run", **QUICK}
    return flashbulb.audit_model(pipe, pd.Series(CANDIDATES), **options)


def state_of(pipe: StableDiffusionPipeline) -> dict[str, object]:
    """Everything of a pipeline that an audit could change."""
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    state: dict[str, object] = {"components": {name: id(part) for name, part in pipe.components.items()}}
    state |= {name: (dict(vars(pipe)).keys(), dict(pipe.config)) for name in ("pipe",)}
    state["scheduler"] = (pipe.scheduler.timesteps.tolist(), dict(pipe.scheduler.config))
    for name, network in networks.items():
        for path, module in network.named_modules():
            hooks = [len(value) for key, value in vars(module).items() if key.endswith("_hooks")]
            state[f"{name}.{path}"] = (module.training, hooks, sorted(vars(module)), type(module))
        for path, weight in network.named_parameters():
            entry = (
                weight.requires_grad,
                weight.dtype,
                str(weight.device),
                weight.grad is None,
                float(weight.detach().sum()),
            )
            state[f"{name}:{path}"] = entry
    state["flush"] = torch.tensor(1e-40).item() * 2 > 0
    return state


def test_an_object_is_left_as_it_was(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    before = state_of(pipe)
    flashbulb.audit_model(pipe, CANDIDATES, reference=REFERENCE, out=tmp_path / "run", **QUICK)
    assert state_of(pipe) == before


def test_an_object_is_left_as_it_was_after_an_error(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    before = state_of(pipe)
    with pytest.raises(ValueError, match="at least 4 distinct prompts"):
        flashbulb.audit_model(pipe, CANDIDATES, reference=["a", "b"], out=tmp_path / "run", **QUICK)
    assert state_of(pipe) == before


@pytest.mark.parametrize("out", ["", ".", "../run", "sub/.."])
def test_prompts_lie_beside_a_run_whatever_its_path(
    pipe: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "run" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(ValueError, match="at least 4 distinct prompts"):
        flashbulb.audit_model(pipe, CANDIDATES, reference=["a", "b"], out=out, **QUICK)
    assert (tmp_path / "run-prompts.jsonl").is_file()


def test_an_object_gives_the_scores_of_its_folder(result: flashbulb.AuditResult, tmp_path: Path) -> None:
    build_toy_pipe().save_pretrained(tmp_path / "model")
    from_folder = flashbulb.audit_model(
        tmp_path / "model", CANDIDATES, reference=REFERENCE, out=tmp_path / "run", **QUICK
    )
    columns = ["prompt", "spike_score", "p_value", "flagged"]
    pd.testing.assert_frame_equal(from_folder.scores[columns], result.scores[columns])


def test_a_result_holds_verdict_and_tables(result: flashbulb.AuditResult) -> None:
    assert result.verdict.outcome == "fail"
    assert result.verdict.reasons
    assert set(result.scores["prompt"]) == set(CANDIDATES)
    assert result.findings["prompt"].iloc[0] == ODD
    assert set(result.findings["fingerprint"]) == {f.fingerprint for f in result.checked.findings}
    assert result.recoveries["verdict"].isin(["confirmed", "likely", "not_shown"]).all()
    assert "fail" in repr(result)


def test_images_of_a_finding_are_those_of_the_run(result: flashbulb.AuditResult) -> None:
    images = result.images(0)
    assert {"training", "recovered", "seed-0", "seed-1"} <= images.keys()
    assert all(image.mode == "RGB" for image in images.values())
    row = result.findings.iloc[0]
    assert result.images(row).keys() == result.images(row["fingerprint"]).keys() == images.keys()
    for wrong in (len(result.findings), -1, "0" * 16):
        with pytest.raises(KeyError, match="findings"):
            result.images(wrong)


def test_the_report_is_written_where_asked(result: flashbulb.AuditResult, tmp_path: Path) -> None:
    page = result.report(tmp_path / "page.html", redact_prompts=True)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert ODD not in page.read_text(encoding="utf-8")
    assert result.report() == result.run / "report.html"


def test_a_notebook_shows_escaped_texts_and_images(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> zzqx !!!! @@@@"
    alike = CANDIDATES[0].upper()
    shown = flashbulb.audit_model(
        pipe, [*CANDIDATES, alike, hostile], reference=REFERENCE, out=tmp_path / "run", **QUICK
    )
    html = shown._repr_html_()
    assert "<script>" not in html
    assert hostile in set(shown.findings["prompt"])
    assert "&lt;script&gt;" in html
    assert any(line.startswith("1 of the prompts differ from another") for line in shown.checked.record.warnings)


def test_a_notebook_shows_a_result_whose_images_are_gone(result: flashbulb.AuditResult, tmp_path: Path) -> None:
    shown = 'alt="recovered image"'
    assert shown in result._repr_html_()
    for image in (result.run / "images").rglob("*.png"):
        image.rename(image.with_suffix(".moved"))
    try:
        assert shown not in result._repr_html_()
        assert result.verdict.outcome in result._repr_html_()
    finally:
        for image in (result.run / "images").rglob("*.moved"):
            image.rename(image.with_suffix(".png"))


def test_mistakes_say_what_to_do(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    audit = flashbulb.audit_model
    for named, expected in (({"seeds": 2}, "did you mean n_seeds"), ({"nsamples": 2}, "did you mean n_samples")):
        with pytest.raises(SettingsError, match=expected):
            audit(pipe, CANDIDATES, out=tmp_path / "run", **named)
    with pytest.raises(SettingsError, match=r"^fpr: Input should be less than 0.5, got 2$"):
        audit(pipe, CANDIDATES, out=tmp_path / "run", fpr=2)
    with pytest.raises(SettingsError, match="device is a matter of the pipeline object"):
        audit(pipe, CANDIDATES, out=tmp_path / "run", device="cuda")
    with pytest.raises(SettingsError, match="workers load the model themselves; give the folder"):
        audit(pipe, CANDIDATES, out=tmp_path / "run", workers=2)
    with pytest.raises(SettingsError, match="model is a int"):
        audit(3, CANDIDATES)
    with pytest.raises(SettingsError, match="no model folder"):
        audit(tmp_path / "nowhere", CANDIDATES, out=tmp_path / "run")
    for nothing in (None, 3, b"captions.csv"):
        with pytest.raises(SettingsError, match="something other than texts"):
            audit(pipe, nothing, out=tmp_path / "run")
    with pytest.raises(ValueError, match="NUL character"):
        audit(pipe, "captions\0.csv", out=tmp_path / "run")
    with pytest.raises(SettingsError, match="something other than texts"):
        audit(pipe, ["a", None], out=tmp_path / "run")
    for table in (pd.DataFrame({"prompt": CANDIDATES}), dict.fromkeys(CANDIDATES, 1)):
        with pytest.raises(SettingsError, match="give its column of texts"):
            audit(pipe, table, out=tmp_path / "run")
    with pytest.raises(SettingsError, match="model is a type"):
        audit(StableDiffusionPipeline, CANDIDATES)
    (tmp_path / "file").touch()
    for prompts in (CANDIDATES, text_file(tmp_path / "prompts.txt", CANDIDATES)):
        with pytest.raises(ValueError, match=r"cannot be written: .* choose another "):
            audit(pipe, prompts, out=tmp_path / "file" / "run", **QUICK)


def test_other_prompts_leave_those_of_a_finished_audit_on_disk(result: flashbulb.AuditResult) -> None:
    source = result.checked.record.inputs["prompts"]["source"]
    before = Path(source).read_bytes()
    pipe = build_toy_pipe()
    with pytest.raises(SettingsError, match=r"holds an audit of the prompts in .* choose another out"):
        flashbulb.audit_model(pipe, ["other"], reference=REFERENCE, out=result.run, **QUICK)
    assert Path(source).read_bytes() == before


def test_a_number_of_numpy_names_a_finding(result: flashbulb.AuditResult) -> None:
    assert result.images(np.int64(0)).keys() == result.images(0).keys()


def test_a_pipeline_is_audited_by_one_thread_at_a_time() -> None:
    pipe = build_toy_pipe()
    sharing = StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    with lent(pipe):
        with pytest.raises(ModelError, match="another thread audits this pipeline"), lent(sharing):
            pass
        with lent(build_toy_pipe()):
            pass
    with lent(sharing):
        pass


def test_an_audit_does_not_depend_on_the_settings_of_torch(
    result: flashbulb.AuditResult, pipe: StableDiffusionPipeline, tmp_path: Path
) -> None:
    """With another default dtype other noise was drawn, and autocast changed the dtype of the model."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            again = flashbulb.audit_model(
                pipe,
                CANDIDATES,
                reference=REFERENCE,
                out=tmp_path / "run",
                **{**QUICK, "strategies": ("sample", "ascend")},
            )
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.scores["spike_score"].tolist() == result.scores["spike_score"].tolist()
