"""Many tasks make light work: find five kinds of synthetic anomalies, in images or in whole volumes.

Baugh, Tan, Müller, Dombrowski, Batten, Kainz, "Many tasks make light work: Learning to localise medical
anomalies from multiple synthetic tasks", MICCAI 2023, https://arxiv.org/abs/2307.00899. Network, labels,
loss and numbers are those of the authors' code (matt-baugh/many-tasks-make-light-work); the paper was not
at hand.

Differs from that code: by default one network, of whose five tasks one is only used to tell when it is best,
instead of an ensemble in which every task is left out once (`left_out` with all five gives it); a smaller
and shallower network and 1,000 steps instead of some ten thousand; places as channels without Fourier
features; the task left out is seen in images that are learned from, too; no reflections; changes count
from 0.05 of the range, where theirs count from a fifth of the deviation. See also the maker of the
anomalies, `intact.forge.synthetic.many_tasks`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice, check_halvings
from intact.anomaly.pooling import POOLINGS
from intact.errors import UsageError
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.many_tasks import TASKS, make_many
from intact.nets.unet_any import PlacedUNet
from intact.scores import Scores
from intact.train import descend, take_steps

LATER = 0.05  # of the learning rate is left at the end


@dataclass(eq=False)
class ManyTasks(Detector):
    """How much a network thinks each pixel was changed, in whatever way.

    With `dims=3` it sees whole volumes: cubes of `size` pixels a side.
    """

    size: int = 64  # side of the image or cube in pixels, a multiple of 8
    dims: int = 2  # 2 for planes, 3 for volumes
    left_out: tuple[str, ...] = ("source",)  # a network each, trained on the other tasks
    scale: float = 0.05  # change of brightness that counts as large
    width: int = 16  # channels at full resolution, 32 there
    depth: int = 4  # resolutions, 5 there
    batch: int = 8  # most images in a step
    checks: int = 10  # how often the task left out tells whether the network is the best so far
    pooling: str = "top"  # mean, max or top
    steps: int = 1000
    lr: float = 1e-3
    seed: int = 0

    family: ClassVar[str] = "synthesis"
    source: ClassVar[str] = "Baugh et al., MICCAI 2023 (many tasks)"

    def __post_init__(self) -> None:
        check_halvings(self.size, self.depth - 1)
        check_choice("pooling", self.pooling, POOLINGS)
        for task in self.left_out:
            check_choice("task", task, TASKS)
        if self.dims not in (2, 3) or not self.left_out:
            raise UsageError("dims is 2 or 3, and left_out names at least one task")

    @property
    def volumes(self) -> bool:
        """Whether it sees whole volumes."""
        return self.dims == 3

    def _build(self, channels: int) -> None:
        self.nets = nn.ModuleList(
            PlacedUNet(self.dims, channels, self.width, self.depth) for _ in self.left_out
        )

    def _fit(self, batches: Batches) -> None:
        for number, (net, task) in enumerate(zip(self.nets, self.left_out, strict=True)):
            self._train(net, task, batches, np.random.default_rng([self.seed, number]))

    def _train(self, net: nn.Module, left_out: str, batches: Batches, rng: np.random.Generator) -> None:
        """Learn the other tasks, and keep the weights that do best on this one."""
        others = [task for task in TASKS if task != left_out]
        normal = next(iter(batches))[: self.batch]
        changed = make_many(normal, rng, [left_out], self.scale)
        nothing = torch.zeros_like(changed.labels)
        unseen = Made(torch.cat([normal, changed.images]), torch.cat([nothing, changed.labels]))
        optimiser = torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=0)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, LATER ** (1 / max(1, self.steps)))
        best, kept, done = float("inf"), copy.deepcopy(net.state_dict()), 0

        def step(images: Tensor) -> None:
            nonlocal best, kept, done
            descend(_miss(net, make_many(images[: self.batch], rng, others, self.scale)), optimiser)
            schedule.step()
            done += 1
            if done % max(1, self.steps // self.checks) == 0:
                with torch.no_grad():
                    now = float(_miss(net, unseen))
                if now < best:
                    best, kept = now, copy.deepcopy(net.state_dict())

        take_steps([net], step, batches, steps=self.steps)
        net.load_state_dict(kept)

    def _score(self, images: Images) -> Scores:
        pixel = torch.stack([net(images) for net in self.nets]).mean(dim=0)
        return Scores(image=POOLINGS[self.pooling](pixel), pixel=pixel)


def _miss(net: nn.Module, made: Made) -> Float[Tensor, ""]:
    return F.mse_loss(net(made.images), made.labels)
