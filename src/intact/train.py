"""The training loop, all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
) -> None:
    """Take `steps` optimiser steps on `loss(images)`, then leave `net` in evaluation mode.

    Raises:
        FloatingPointError: The loss is no longer a number.
        ValueError: `batches` is empty.
    """
    device = next(net.parameters()).device
    net.train()
    for step, images in zip(range(steps), forever(batches), strict=False):
        value = loss(images.to(device))
        if not value.isfinite():
            raise FloatingPointError(
                f"the loss became {value.item()} at step {step} of {steps}: lower the learning rate"
            )
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        progress.report("training", step + 1, steps)
    net.eval()


def forever(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Epoch after epoch; unlike itertools.cycle each epoch may come in a new order."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("there are no training images: the batches are empty")
