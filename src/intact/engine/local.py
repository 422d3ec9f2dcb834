"""Worker processes on this machine that may die without taking the run with them.

Native decoders crash on bad files, and `concurrent.futures` then loses all pending work. Here
each worker owns one batch at a time: when it dies or hangs, its batch is tried again item by item
in fresh workers, and only the item that kills its worker alone is given up.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing as mp
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
READY = "ready"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT, MAPPED_FROM = 256 * 2**20, 32 * 2**20  # bytes
Step = Callable[[Sequence[Item]], list[Result]]
Timeout = float | Callable[[Item], float]


@dataclass
class Job(Generic[Item, Result]):
    """One batch on its way: the items still to do, in order, and the results so far."""

    number: int
    pending: deque[list[Item]]
    results: list[Result] = field(default_factory=list)


class Worker(Generic[Item, Result]):
    """A process that runs `step` on what comes through its pipe."""

    def __init__(self, step: Step[Item, Result]) -> None:
        context = mp.get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(step, theirs, dict(os.environ)), daemon=True)
        with _interrupts_held():  # Ctrl-C is the supervisor's business, from the child's first moment
            self.process.start()
        theirs.close()
        self.job: Job[Item, Result] | None = None
        self.ready = False  # importing may take longer than an item is allowed
        self.allowed = 0.0
        self.deadline = math.inf

    def give(self, job: Job[Item, Result], timeout: Timeout[Item]) -> None:
        """Send the next items of `job`."""
        self.job = job
        self.allowed = sum(timeout(item) if callable(timeout) else timeout for item in job.pending[0])
        self.deadline = time.monotonic() + self.allowed if self.ready else math.inf
        with suppress(BrokenPipeError):  # it died idle: the sentinel tells
            self.pipe.send(job.pending[0])

    def starts_now(self) -> None:
        """The process has come up: its time runs from here."""
        self.ready = True
        self.deadline = time.monotonic() + self.allowed

    def stop(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(
    step: Step[Item, Result],
    batches: Iterable[Sequence[Item]],
    lost: Callable[[Item, str], Result],
    *,
    workers: int,
    timeout: Timeout[Item],
) -> Iterator[list[Result]]:
    """Apply `step` to each batch in worker processes; yield results in the batches' order.

    Args:
        step: Picklable; given items, returns one result each. Called in the workers.
        batches: Read only as far ahead as there are workers to feed.
        lost: Makes the result of an item whose worker died or overran, given the reason.
        workers: Processes; 0 runs `step` here, without protection.
        timeout: Seconds that one item may take, for all or by item.

    Raises:
        Exception: Whatever `step` raises is a fault of the program, not of an item.
    """
    if workers == 0:
        for batch in batches:
            yield step(list(batch))
        return
    source: Iterator[tuple[int, Sequence[Item]]] = enumerate(batches)
    _start_server()
    crew = [Worker(step) for _ in range(workers)]
    done: dict[int, list[Result]] = {}
    following = 0
    try:
        exhausted = False
        while True:
            for worker in crew:
                # The window bounds how far results may run ahead of the slowest batch.
                while worker.job is None and not exhausted and len(done) < 4 * workers:
                    if (upcoming := next(source, None)) is None:
                        exhausted = True
                        break
                    number, batch = upcoming
                    if batch:
                        worker.give(Job(number, deque([list(batch)])), timeout)
                    else:
                        done[number] = []
            while following in done:
                yield done.pop(following)
                following += 1
            if exhausted and all(worker.job is None for worker in crew):
                return
            _sleep_until_news(crew)
            for i, worker in enumerate(crew):
                if worker.job is not None and (outcome := _outcome(worker)) is not None:
                    crew[i] = _settle(worker, outcome, step, lost, timeout, done)
    finally:
        for worker in crew:
            worker.stop()


def _start_server() -> None:
    """Start the process that workers are forked from, once; it imports and then waits.

    Forking this process, which may run OpenMP threads, can hang, and a new one takes seconds to import.
    """
    with _interrupts_held():
        mp.get_context("forkserver").set_forkserver_preload(["intact"])
        forkserver.ensure_running()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block SIGINT; a process started meanwhile inherits the block."""
    resource_tracker.ensure_running()  # starting it later would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(step: Step[Item, Result], pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.clear()  # what the server inherited, perhaps for another run
    os.environ.update(environment)
    settle_for_long_work()
    parent = os.getppid()
    with suppress(BrokenPipeError):  # the supervisor is gone: nobody waits for an answer
        pipe.send(READY)
        while True:
            while not pipe.poll(5.0):
                if os.getppid() != parent:  # it was killed: do not linger
                    return
            try:
                items = pipe.recv()
            except EOFError:
                return
            try:
                outcome: object = step(items)
            except Exception as error:
                outcome = error
            pipe.send(outcome)


def settle_for_long_work() -> None:
    """Spare a process that does the same thing thousands of times what it need not do again.

    glibc hands the memory of every large array back to the system, which then clears it page by
    page for the next one: keeping it makes convolutions a third faster. And the garbage collector
    need not look through the imported modules over and over.
    """
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
    gc.freeze()


def _outcome(worker: Worker[Item, Result]) -> list[Result] | Exception | str | None:
    """Results, the error of `step`, the reason why the worker is lost, or None while it works."""
    try:
        while worker.pipe.poll():
            message = worker.pipe.recv()
            if message != READY:
                return message
            worker.starts_now()
    except (EOFError, OSError):
        worker.process.join(5.0)
    if not worker.process.is_alive():
        code = worker.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process reading it died ({how}): the file crashes a decoder or needs too much memory"
    if time.monotonic() > worker.deadline:
        return "it took longer than the time limit and was given up"
    return None


def _settle(
    worker: Worker[Item, Result],
    outcome: list[Result] | Exception | str,
    step: Step[Item, Result],
    lost: Callable[[Item, str], Result],
    timeout: Timeout[Item],
    done: dict[int, list[Result]],
) -> Worker[Item, Result]:
    """Book an outcome and return the worker, or its successor, free or with what is left to do."""
    job = worker.job
    assert job is not None
    if isinstance(outcome, Exception):
        raise outcome
    items = job.pending.popleft()
    if isinstance(outcome, str):
        worker.stop()
        worker = Worker(step)
        if len(items) == 1:
            job.results.append(lost(items[0], outcome))
        else:
            job.pending.extendleft([item] for item in reversed(items))
    else:
        job.results.extend(outcome)
    if job.pending:
        worker.give(job, timeout)
    else:
        done[job.number] = job.results
        worker.job = None
    return worker


def _sleep_until_news(crew: list[Worker[Item, Result]]) -> None:
    busy = [w for w in crew if w.job is not None]
    if busy:
        nearest = min(w.deadline for w in busy) - time.monotonic()
        handles = [h for w in busy for h in (w.pipe, w.process.sentinel)]
        wait(handles, timeout=max(0.0, min(nearest + 0.01, 60.0)))
