"""A command that is interrupted ends, wherever the signal meets it."""

import signal
import sys
import threading

import pytest

from flashbulb.audit.cli.shell import signals


class Finalized:
    """An object in whose finalizer, from which Python lets no exception out, a signal comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def wait_for_an_interrupt() -> None:
    with signals.terminated_as_interrupted():
        Finalized()
        threading.Event().wait(60)


def test_a_signal_in_a_finalizer_interrupts_after_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "_received", [])
    with pytest.raises(KeyboardInterrupt):
        wait_for_an_interrupt()
    assert signals.interrupt_code() == 143
    assert "ignored" not in capsys.readouterr().err


def test_other_errors_of_finalizers_are_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    shown: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: shown.append(str(ignored.exc_value)))
    with signals.terminated_as_interrupted():
        Broken()
    assert shown == ["broken"]
