"""Imitations of disease: normal images with something in them that does not belong there.

They stand in for abnormal images where there are none: how well a method tells them from the untouched
images decides whether it suits (`intact.choose`). Every task is a kind of `intact forge`, at the images'
own resolution and depth, with places and sizes drawn as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact import progress
from intact.errors import UsageError
from intact.forge import Forger
from intact.forge.copy_move import CopyMove
from intact.forge.lesion import Inject
from intact.forge.process import Blur, Contrast, Noise
from intact.forge.splice import Splice
from intact.image import Image
from intact.model import Model

UNTOUCHED = "untouched"
TASKS: dict[str, Forger] = {
    "nodule": Inject(),
    "foreign": Splice(blend="poisson"),
    "displaced": CopyMove(blend="feather"),
    "smooth": Blur(sigma=2.0),
    "grainy": Noise(strength=2.0),
    "pale": Contrast(gain=0.5),
}
CLOUD = "cloud"  # a large, faint lesion, whose size depends on the image's
CLOUDED = 1 / 3  # of the shorter side
FAINT = 0.1  # of the range of values; in CT, as faint as nodules in soft tissue are


@dataclass(frozen=True, eq=False)
class Imitation:
    """A normal image that was changed.

    Args:
        task: What was done to it: a key in `TASKS`, or `CLOUD`.
        original: Which of the images it was.
        image: What was made of it.
    """

    task: str
    original: int
    image: Image


def imitate(images: Sequence[Image], seed: int = 0) -> Iterator[Imitation]:
    """Each image changed once for every task; one without room for it is passed over.

    Args:
        images: Normal ones, at least two: foreign tissue comes from the next one.
        seed: Decides places, sizes and shapes.
    """
    for number, image in enumerate(images):
        for task, forger in {**TASKS, CLOUD: _cloud(image)}.items():
            donor = images[(number + 1) % len(images)] if forger.needs_donor else None
            try:
                made = forger.forge(image, seed=seed + number, donor=donor).image
            except UsageError:
                continue
            yield Imitation(task, number, made)


def score_imitations(model: Model, images: Sequence[Image], seed: int = 0) -> dict[str, Float[ndarray, "n"]]:
    """By task, and as `UNTOUCHED`: the scores of normal images, changed or not.

    Args:
        model: It must not have learned from these images.
        images: At least two.
        seed: Of the imitations.

    Returns:
        float64 per image; nan where one had no room for the task.
    """
    scores = {task: np.full(len(images), np.nan) for task in (UNTOUCHED, *TASKS, CLOUD)}
    scores[UNTOUCHED][:] = [reading.score for reading in model.read(images)]
    made = list(imitate(images, seed))
    readings = model.read([one.image for one in made])
    for one, reading in zip(made, progress.track(readings, "imitations", len(made)), strict=True):
        scores[one.task][one.original] = reading.score
    return scores


def _cloud(image: Image) -> Forger:
    steps = image.spacing or (1.0,) * len(image.shape)
    edge = min(n * step for n, step in zip(image.shape, steps, strict=True))
    return Inject(diameter=CLOUDED * edge, contrast=0.0 if image.scale.unit == "HU" else FAINT)
