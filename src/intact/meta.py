"""Learn a start: weights from which few images of a new organ or scanner teach a detector.

Reptile: Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018,
https://arxiv.org/abs/1803.02999. Again and again a task is drawn, and a few of its images; a copy
of the detector is trained on them for a few steps; and the start moves a share of the way to where
the copy came to: start + epsilon (copy - start). Epsilon falls from 1 linearly to 0.

A task here is a folder of normal images of one organ or scanner; what is minimised is the method's
own loss.

Differs from the paper: one task a round (its experiments on images average five); few tasks that
come again and again, where theirs are drawn from thousands; inside a task the optimiser is the
method's own, made anew each time (there Adam without momentum). Running means of batch norms move
like weights.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from intact import progress
from intact.anomaly import METHODS
from intact.configure import configure
from intact.data.cache import PlaneCache
from intact.data.transforms import Preparation, choose_preparation
from intact.errors import InputError, TooFewNormalsError, UsageError
from intact.fit import BATCH, check_volumes, sample_of, suit_to_machine
from intact.image import Image
from intact.io import Rejected, Unit, index, read_unit
from intact.model import seen_of
from intact.start import KIND, Start, Task
from intact.store import check_place, is_written, load_folder

SAVE_EVERY = 30.0  # seconds: what a run that was stopped loses at most


@dataclass(frozen=True)
class LearnedStart:
    """What learning a start gave.

    Args:
        start: Ready to fit from.
        rejected: Files that could not be used, and why.
        notes: What was chosen for the user, in words.
    """

    start: Start
    rejected: list[Rejected]
    notes: list[str]


def learn_start(
    tasks: Sequence[str | Path],
    *,
    method: str = "ae",
    fields: Mapping[str, Any] | None = None,
    rounds: int = 200,
    images: int = 10,
    inner_steps: int = 10,
    seed: int = 0,
    out: str | Path | None = None,
) -> LearnedStart:
    """Learn where training should begin, from normal images of several organs or scanners.

    All images are prepared alike: grey ones with one channel between their percentiles, CT too, as
    not all tasks have HU.

    Args:
        tasks: At least two folders or zip archives, each of normal images of one kind only.
        method: Key in `intact.anomaly.METHODS` of a method that trains.
        fields: Hyper-parameters that differ from the method's defaults.
        rounds: How often a task is drawn.
        images: Images (of volumes, planes unless whole ones are seen) drawn of it each time, at least 2.
        inner_steps: Training steps on them, in place of the method's `steps`.
        seed: Decides the draws and everything random in the method.
        out: Folder to write the start to, now and then while it is learned: the same call goes on
            from there. By default it is only given back.

    Raises:
        UsageError: Fewer than two tasks, a method that does not train, a number out of range, a
            mixture of grey and colour tasks, single planes for a detector of whole volumes, or `out`
            holds something else.
        InputError: A task holds no image that can be read.
        TooFewNormalsError: A task has fewer planes than a round draws.
        OutputError: `out` cannot be written.
    """
    _check(tasks, method, rounds, images, inner_steps)
    suited, notes = suit_to_machine(method, dict(fields or {}))
    detector = configure(METHODS, method, {"seed": seed, **suited})
    settings = {name: value for name, value in detector.fields().items() if name != "seed"}
    if out is not None:
        _check_out(Path(out))
    found = [index([Path(task)]) for task in tasks]
    rejected = [entry for of_task in found for entry in of_task if isinstance(entry, Rejected)]
    units = [[entry for entry in of_task if isinstance(entry, Unit)] for of_task in found]
    samples = [sample_of(of_task, seed, [task], rejected) for task, of_task in zip(tasks, units, strict=True)]
    preparation = replace(_prepared_alike(tasks, samples, detector.size), whole=detector.volumes)
    for sample in samples:
        check_volumes(preparation, sample, "")
    with PlaneCache(preparation.channels, preparation.size, preparation.axes) as cache:
        told, members = _read_tasks(tasks, units, preparation, cache, rejected)
        _check_enough(told, images)
        start = Start(method, settings, preparation, tuple(told), rounds, images, inner_steps, seed, 0, {})
        start = _gone_on(start, out)
        saved = time.monotonic()
        while start.done < rounds:
            start = _one_round(start, members, cache)
            progress.report("learning a start", start.done, rounds)
            if out is not None and (start.done == rounds or time.monotonic() - saved >= SAVE_EVERY):
                start.save(out)
                saved = time.monotonic()
    return LearnedStart(start, rejected, notes)


def epsilon(done: int, rounds: int) -> float:
    """The share of the way that the start moves after so many rounds: 1 at first, in the end nearly 0."""
    return 1.0 - done / rounds


def moved(start: Mapping[str, Tensor], learned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The outer step: start + share (learned - start); whole numbers, which count steps, as learned."""
    return {
        name: torch.lerp(before, learned[name], share) if before.is_floating_point() else learned[name]
        for name, before in start.items()
    }


def _one_round(start: Start, members: Sequence[Int[ndarray, "m"]], cache: PlaneCache) -> Start:
    """Draw a task and images, train a copy on them, and move towards it."""
    # Of seed and round alone, so that a run that was stopped goes on as if it had not been.
    rng = np.random.default_rng([start.seed, start.done])
    drawn = rng.choice(members[int(rng.integers(len(members)))], start.images, replace=False)
    own = int(rng.integers(2**31))
    copy = configure(METHODS, start.method, start.fields | {"steps": start.inner_steps, "seed": own})
    with progress.showing(_silent):  # a bar for each round would only flicker
        copy.fit(cache.batches(drawn, BATCH, own), start.weights or None)
    # The first round moves all the way, so it needs no weights to move from.
    share = epsilon(start.done, start.rounds)
    weights = moved(start.weights, copy.weights(), share) if start.done else copy.weights()
    return replace(start, weights=weights, done=start.done + 1)


def _check(tasks: Sequence[str | Path], method: str, rounds: int, images: int, inner_steps: int) -> None:
    if len({Path(task).resolve() for task in tasks}) < max(2, len(tasks)):
        raise UsageError(
            f"{', '.join(map(str, tasks)) or 'nothing'}: a start is learned from at least two tasks, each "
            "given once: name a folder of normal images for each organ or scanner"
        )
    if method in METHODS and not METHODS[method].trains:
        able = ", ".join(name for name, kind in METHODS.items() if kind.trains)
        raise UsageError(
            f"{method} trains no network, so there is nothing to start from: choose one of {able}"
        )
    if rounds < 1 or images < 2 or inner_steps < 1:
        raise UsageError(
            f"{rounds} rounds, {images} images and {inner_steps} steps are too few: give at least 1 round, "
            "2 images and 1 step"
        )


def _check_out(out: Path) -> None:
    check_place(out)
    if is_written(out) and load_folder(out)[1].get("kind") != KIND:
        raise UsageError(f"{out} is a model, which a start would replace: choose another name for the start")


def _check_enough(tasks: Sequence[Task], images: int) -> None:
    for task in tasks:
        if task.planes < images:
            raise TooFewNormalsError(
                f"{task.name} gives {task.planes} images, but each round draws {images}: give more, or let "
                "it draw fewer"
            )


def _prepared_alike(tasks: Sequence[str | Path], samples: Sequence[list[Image]], size: int) -> Preparation:
    """One preparation for all tasks, from some images of each."""
    choices = [choose_preparation(sample, size) for sample in samples]
    colour = [str(task) for task, choice in zip(tasks, choices, strict=True) if choice.colour]
    if not colour:
        return Preparation(size)
    if len(colour) < len(tasks):
        raise UsageError(
            f"{', '.join(colour)}: colour images cannot be learned from beside the grey ones of the other "
            "tasks: turn them grey, or leave them out"
        )
    return choices[0]


def _read_tasks(
    names: Sequence[str | Path],
    units: Sequence[list[Unit]],
    preparation: Preparation,
    cache: PlaneCache,
    rejected: list[Rejected],
) -> tuple[list[Task], list[Int[ndarray, "m"]]]:
    """Keep the prepared planes of all tasks in the cache: what each has, and which planes are its own."""
    read = [0 for _ in units]
    members: list[list[int]] = [[] for _ in units]
    digests = [hashlib.sha256() for _ in units]
    everything = [(task, unit) for task, of_task in enumerate(units) for unit in of_task]
    for task, unit in progress.track(everything, "reading", len(everything)):
        try:
            image = read_unit(unit)
        except InputError as error:
            rejected.append(Rejected(error.name, error.reason, unit.folder))
            continue
        read[task] += 1
        for plane, _ in seen_of(image, preparation):
            members[task].append(len(cache))
            digests[task].update(plane.numpy().tobytes())
            cache.append(plane)
    told = [
        Task(str(name), count, len(own), digest.hexdigest())
        for name, count, own, digest in zip(names, read, members, digests, strict=True)
    ]
    return told, [np.array(own) for own in members]


def _gone_on(fresh: Start, out: str | Path | None) -> Start:
    """What an earlier call with the same images and settings came to; else `fresh`."""
    if out is None or not is_written(out):
        return fresh
    earlier = Start.load(out)
    return earlier if earlier.describe() | {"done": 0} == fresh.describe() else fresh


def _silent(what: str, done: int, total: int) -> None:
    return
