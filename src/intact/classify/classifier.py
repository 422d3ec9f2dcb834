"""`Classifier`: tells which of some classes an image belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from intact.classify.networks import NETWORKS
from intact.data.transforms import Placement, Preparation
from intact.errors import NotFittedError, UsageError
from intact.image import Image
from intact.model import planes_of
from intact.precision import best_precision
from intact.train import train

C = TypeVar("C", bound="Classifier")

# Of an image, at random, as patients and exposures differ.
TURN, ZOOM, SHIFT, GAMMA = 0.15, 0.12, 0.06, 0.25  # radians; shares of the size; of its logarithm


@dataclass(eq=False)
class Classifier:
    """A network that learns classes from examples of each.

    Args:
        network: Key in `NETWORKS`.
        size: Side of the square that it sees, in pixels.
        steps: Optimiser steps, of AdamW, its rate falling to nothing along a cosine.
        batch: Images in a step; each class is drawn as often as the others.
        rate: The first learning rate.
        noise: Largest standard deviation of the noise that images get in learning, as a share of black to
            white. Networks that learn without are misled by a few grey levels of it; those that are to
            see such traces have to.
        seed: Decides the first weights, the order and the variations of images.

    Raises:
        UsageError: Unknown network, or noise below 0.
    """

    network: str = "resnet18"
    size: int = 224
    steps: int = 600
    batch: int = 16
    rate: float = 3e-4
    noise: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise UsageError(f"unknown network {self.network!r}; choose one of {', '.join(NETWORKS)}")
        if not self.noise >= 0:
            raise UsageError(f"noise={self.noise:g}: give 0 or more")

    def fields(self) -> dict[str, Any]:
        """The parameters, as plain values."""
        return dataclasses.asdict(self)

    def fit(
        self: C,
        planes: Float[ndarray, "n c size size"],
        labels: Int[ndarray, "n"],
        classes: Sequence[str],
        preparation: Preparation,
    ) -> C:
        """Learn from prepared planes; a second call forgets the first.

        Args:
            planes: As `preparation` makes them; may be mapped from a file.
            labels: The class of each, an index into `classes`; below 0 for those not to learn from.
            classes: Their names.
            preparation: How an image becomes such planes.

        Raises:
            ValueError: A class has no image.
        """
        members = [np.flatnonzero(labels == number) for number in range(len(classes))]
        if len(classes) < 2 or not all(map(len, members)):
            raise ValueError("a classifier needs two classes or more, each with images")
        self.classes_, self.preparation_ = tuple(classes), preparation
        self._build()
        truth, rng = torch.from_numpy(np.asarray(labels, np.int64)), torch.Generator().manual_seed(self.seed)

        def loss(chosen: Tensor) -> Tensor:
            device = chosen.device
            images = torch.from_numpy(planes[chosen.cpu().numpy()])
            images = varied(images, self.noise, rng).to(device, memory_format=torch.channels_last)
            fast = device.type == "cuda" or best_precision() == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                logits = self.net(images)
            return F.cross_entropy(logits.float(), truth[chosen.cpu()].to(device))

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=self.rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        batches = self._batches(members)
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)
        return self.load(self.state(), self.learned())

    @torch.no_grad()
    def probabilities(self, image: Image) -> dict[str, float]:
        """How likely an image belongs to each class; of a volume the mean of its planes.

        Raises:
            NotFittedError: Nothing was learned yet.
        """
        self._fitted()
        planes = torch.stack([plane for plane, _ in planes_of(image, self.preparation_)])
        return dict(zip(self.classes_, self.tell(planes).mean(0).tolist(), strict=True))

    @torch.no_grad()
    def tell(self, prepared: Float[Tensor, "n c size size"]) -> Float[Tensor, "n classes"]:
        """How likely prepared planes belong to each class."""
        return torch.cat([self.net(part).softmax(1) for part in prepared.split(self.batch)])

    def view(self, image: Image) -> View:
        """The classifier as it sees planes like this one, for attacks.

        Raises:
            NotFittedError: Nothing was learned yet.
            UsageError: Stored and physical values of the image are not on one rising line.
        """
        self._fitted()
        return View(self, image)

    def state(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor, by name."""
        return self.net.state_dict()

    def learned(self) -> dict[str, Any]:
        """Everything learned that is plain data."""
        return {"classes": self.classes_, "preparation": dataclasses.asdict(self.preparation_)}

    def load(self: C, tensors: dict[str, Tensor], learned: Mapping[str, Any]) -> C:
        """Take over what another classifier with the same fields has learned."""
        self.classes_ = tuple(learned["classes"])
        given = dict(learned["preparation"])
        given["windows"] = tuple(tuple(window) for window in given["windows"])
        given["percentiles"] = tuple(given["percentiles"])
        self.preparation_ = Preparation(**given)
        self._build()
        self.net.load_state_dict(tensors)
        self.net.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        return self

    def _fitted(self) -> None:
        if not hasattr(self, "classes_"):
            raise NotFittedError("the classifier has learned nothing yet: call fit() or load a model")

    def _build(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = NETWORKS[self.network](len(self.classes_))

    def _batches(self, members: Sequence[Int[ndarray, "m"]]) -> Iterator[Int[Tensor, "batch"]]:
        rng = np.random.default_rng(self.seed)
        while True:
            classes = rng.permutation(np.arange(self.batch) % len(members))
            yield torch.from_numpy(np.array([rng.choice(members[number]) for number in classes]))


class View(nn.Module):
    """A classifier as it sees planes of one shape, spacing and range: differentiable, in evaluation mode.

    It repeats what `Preparation` does, on values between 0 and 1 that stand for `window`.

    Args:
        classifier: Fitted.
        image: Of the kind; its limits are used for all.
    """

    def __init__(self, classifier: Classifier, image: Image) -> None:
        super().__init__()
        preparation, scale = classifier.preparation_, image.scale
        slope, intercept = np.asarray(scale.slope, float), np.asarray(scale.intercept, float)
        if scale.table is not None or slope.size > 1 or intercept.size > 1 or float(slope) <= 0:
            raise UsageError(
                f"{image.identity.path or 'the image'}: its stored values are not on one rising line with "
                "physical ones, so no change of them can be planned"
            )
        self.net, self.inverted = classifier.net, image.photometric == "MONOCHROME1"
        self.size = preparation.size
        self.placement: Placement = preparation.place(image.shape[-2:], image.spacing)
        self.step = image.shape[-1] / self.placement.columns  # pixels of the image in one that is seen
        ranges = [(centre - width / 2, centre + width / 2) for centre, width in preparation.windows] or [
            preparation.limits(image)
        ]
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        self.window = (float((low - intercept) / slope), float((high - intercept) / slope))
        self.cuts = [((a - low) / (high - low), (b - low) / (high - low)) for a, b in ranges]

    def forward(self, shown: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """Logits."""
        channels = [((shown - a) / (b - a)).clamp(0.0, 1.0) for a, b in self.cuts]
        x = torch.cat(channels, dim=1)
        at = self.placement
        x = F.interpolate(
            1.0 - x if self.inverted else x, (at.rows, at.columns), mode="bilinear", antialias=True
        )
        right, below = self.size - at.left - at.columns, self.size - at.top - at.rows
        return self.net(F.pad(x, (at.left, right, at.top, below)))


def varied(images: Float[Tensor, "n c h w"], noise: float, rng: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Turned, scaled, shifted, of another contrast and noisy, each by itself."""
    count = len(images)
    turn, zoom, right, down, bend, grain = (torch.rand(6, count, generator=rng) * 2 - 1).unbind(0)
    scale = 1 + ZOOM * zoom
    cos, sin = torch.cos(TURN * turn) * scale, torch.sin(TURN * turn) * scale
    rows = [torch.stack([cos, -sin, SHIFT * right], 1), torch.stack([sin, cos, SHIFT * down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    bent = moved.clamp(0.0, 1.0) ** torch.exp(GAMMA * bend)[:, None, None, None]
    drawn = torch.randn(bent.shape, generator=rng)
    return (bent + noise * grain.abs()[:, None, None, None] * drawn).clamp(0.0, 1.0)
