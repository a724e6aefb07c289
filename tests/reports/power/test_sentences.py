"""A bound on a share is stated of what the frame allows: the prompts drawn from, prompts like these, or none."""

from dataclasses import replace

import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.power.sentences import found_sentences, power_text
from flashbulb.reports.tables.frame import Frame
from flashbulb.reports.tables.run_record import RunRecord
from tests.reports.runs import write_example


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return load_checked(write_example(tmp_path_factory.mktemp("power") / "run")).record


@pytest.mark.parametrize(
    ("frame", "bounded", "sampled"),
    [
        (Frame("random", 400, 400, 9000, None, ""), "the 9,000 prompts that these were drawn from", False),
        (Frame("census", 400, 400, 400, None, ""), "prompts like these", True),
        (Frame("targeted", 400, 400, None, None, ""), None, False),
        (None, "prompts like these", True),
    ],
)
def test_a_share_is_stated_of_what_the_frame_allows(
    run: RunRecord, frame: Frame | None, bounded: str | None, sampled: bool
) -> None:
    assert run.power is not None
    text, line = " ".join(found_sentences(replace(run, frame=frame))), power_text(run.power, frame)
    if bounded is None:
        assert "so no bound on a share follows" in text
        assert "95 % confidence" not in text
        assert line.startswith(f"at most {run.power.max_missed} more of these prompts")
    else:
        assert f"of {bounded} are extractable by this protocol" in text
        assert f"of {bounded} can be extractable" in line
    assert ("if these are a random sample of them" in text) == sampled
    assert f"Of these {run.power.n_prompts} prompts themselves" in text
