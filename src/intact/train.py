"""The training loop, all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from intact import progress


def train(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    *,
    steps: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    max_norm: float = 1.0,
) -> None:
    """Take `steps` optimiser steps on `loss(images)`, then leave `net` in evaluation mode.

    Gradients longer than `max_norm` are shortened to it.

    Raises:
        FloatingPointError: The loss is no longer a number.
        ValueError: `batches` is empty.
    """

    def step(images: Tensor) -> None:
        descend(loss(images), optimiser, max_norm)
        if schedule is not None:
            schedule.step()

    take_steps([net], step, batches, steps=steps)


def take_steps(
    nets: Sequence[nn.Module], step: Callable[[Tensor], None], batches: Iterable[Tensor], *, steps: int
) -> None:
    """Call `step(images)` so many times with `nets` in training mode, then leave them in evaluation mode.

    For methods whose step is more than one descent, such as adversarial ones.
    """
    device = next(nets[0].parameters()).device
    for net in nets:
        net.train()
    for done, images in zip(range(steps), forever(batches), strict=False):
        step(images.to(device))
        progress.report("training", done + 1, steps)
    for net in nets:
        net.eval()


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, max_norm: float = 1.0) -> None:
    """One step of `optimiser` down the gradient of `loss`, which is shortened to `max_norm`.

    Raises:
        FloatingPointError: The loss is no longer a number.
    """
    if not loss.isfinite():
        raise FloatingPointError(f"the loss became {loss.item()} while training: lower the learning rate")
    optimiser.zero_grad()  # what another loss left behind
    loss.backward()
    nn.utils.clip_grad_norm_((p for group in optimiser.param_groups for p in group["params"]), max_norm)
    optimiser.step()
    optimiser.zero_grad()  # so that the next forward pass finds their memory free


def forever(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Epoch after epoch; unlike itertools.cycle each epoch may come in a new order."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("there are no training images: the batches are empty")
