import os
import signal
import time

import pytest

from intact.engine.local import run

BATCHES = [[1, 2, 3], [4, 5], [], [6], [7, 8, 9]]
EXPECTED = [[10, 20, 30], [40, 50], [], [60], [70, 80, 90]]


def times_ten(items):
    return [10 * item for item in items]


def killed_by_five(items):
    if 5 in items:
        os.kill(os.getpid(), signal.SIGSEGV)
    return times_ten(items)


def hanging_on_five(items):
    if 5 in items:
        time.sleep(600)
    return times_ten(items)


def slow_first(items):
    if 1 in items:
        time.sleep(0.5)
    return times_ten(items)


def raising(items):
    raise RuntimeError("a fault of the program")


def the_variable(items):
    return [os.environ.get("SET_LATER") for _ in items]


def lost(item, reason):
    return f"{item}: {reason}"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_batches(workers):
    assert list(run(times_ten, BATCHES, lost, workers=workers, timeout=60)) == EXPECTED


def test_a_slow_batch_does_not_change_the_order():
    assert list(run(slow_first, BATCHES, lost, workers=2, timeout=60)) == EXPECTED


def test_workers_have_the_environment_of_their_own_run(monkeypatch):
    assert list(run(the_variable, [[1]], lost, workers=1, timeout=60)) == [[None]]
    monkeypatch.setenv("SET_LATER", "yes")
    assert list(run(the_variable, [[1]], lost, workers=1, timeout=60)) == [["yes"]]


def test_an_item_that_kills_its_worker_is_lost_alone():
    results = list(run(killed_by_five, BATCHES, lost, workers=2, timeout=60))
    assert results[0] == [10, 20, 30] and results[3:] == [[60], [70, 80, 90]]
    assert results[1][0] == 40 and results[1][1].startswith("5: ") and "SIGSEGV" in results[1][1]


def test_an_item_that_hangs_is_lost_alone():
    results = list(run(hanging_on_five, BATCHES, lost, workers=2, timeout=1.5))
    assert results[1][0] == 40 and "time limit" in results[1][1]
    assert results[4] == [70, 80, 90]


def test_an_error_of_the_step_is_not_hidden():
    with pytest.raises(RuntimeError, match="a fault of the program"):
        list(run(raising, BATCHES, lost, workers=1, timeout=60))


def test_batches_are_read_only_a_little_ahead():
    read = []

    def source():
        for i in range(100):
            read.append(i)
            yield [i]

    results = run(times_ten, source(), lost, workers=2, timeout=60)
    for _ in range(3):
        next(results)
    assert len(read) < 20
    results.close()
