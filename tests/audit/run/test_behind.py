"""Work handed over runs in order, one call behind, and its error reaches the caller."""

import threading

import pytest

from flashbulb.audit.run.behind import behind


def test_calls_run_in_order_in_another_thread():
    done, threads = [], set()

    def work(i: int) -> None:
        threads.add(threading.get_ident())
        done.append(i)

    with behind(1) as hand_over:
        for i in range(5):
            hand_over(lambda i=i: work(i))
    assert done == list(range(5))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_at_most_one_call_is_behind():
    may_end, handed = threading.Event(), []

    def hand_all() -> None:
        with behind(1) as hand_over:
            for i in range(3):
                hand_over(may_end.wait)
                handed.append(i)

    caller = threading.Thread(target=hand_all)
    caller.start()
    caller.join(timeout=0.2)
    assert handed == [0]
    may_end.set()
    caller.join()
    assert handed == [0, 1, 2]


@pytest.mark.parametrize("n_after", [0, 1])
def test_an_error_behind_ends_the_work(n_after):
    done = []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    def hand_all() -> None:
        with behind(1) as hand_over:
            hand_over(fail)
            for _ in range(n_after):
                hand_over(lambda: done.append(1))

    with pytest.raises(OSError, match="No space left"):
        hand_all()
    assert done == []


def test_several_calls_run_at_a_time_and_none_behind_runs_at_once():
    together = threading.Barrier(2, timeout=10)
    with behind(2) as hand_over:
        hand_over(together.wait)
        hand_over(together.wait)
    threads = []
    with behind(0) as hand_over:
        hand_over(lambda: threads.append(threading.get_ident()))
        assert threads == [threading.get_ident()]


def test_what_was_handed_over_is_finished_after_an_interruption():
    done = []

    def interrupted() -> None:
        with behind(1) as hand_over:
            hand_over(lambda: done.append(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1]
