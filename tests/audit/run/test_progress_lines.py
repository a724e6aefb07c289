"""Without a terminal, progress is a line every few seconds; it tells the time left only where that is known."""

import logging
import re

import pytest

from flashbulb.audit.run import progress


def test_a_sign_of_life_is_no_line_and_nothing_done_has_no_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "flashbulb"), progress.track("recovering", 8, "prompts") as advance:
        advance(0)
        assert not caplog.messages
        advance(8)
        advance(0)
        advance(-8)
    whole, begun_again = caplog.messages
    assert re.fullmatch(r"recovering 8/8, \d+\.\d prompts/s, ETA 0 s ", whole)
    assert begun_again == "recovering 0/8, 0.0 prompts/s, ETA unknown "


def test_where_the_end_is_not_known_what_is_done_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "flashbulb"), progress.track("searching", None, "UE", done=400) as advance:
        advance(16)
    (line,) = caplog.messages
    assert re.fullmatch(r"searching 416 UE, \d+\.\d UE/s ", line)
