"""Coresets: a few vectors that stand for many, found in one streamed pass with bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from intact import progress


def greedy_k_center(
    points: Float[Tensor, "n d"], count: int, generator: torch.Generator
) -> Int[Tensor, "count"]:
    """Indices of `count` points such that every point is near one of them.

    Farthest-point traversal: start anywhere, keep that start, then always add the point farthest
    from the chosen ones; at most twice the best possible covering radius.

    Source: Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985; Sener,
    Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018.
    """
    n = len(points)
    if count >= n:
        return torch.arange(n)
    chosen = torch.empty(count, dtype=torch.long)
    chosen[0] = torch.randint(n, (1,), generator=generator)
    squares = points.square().sum(dim=1)
    nearest = torch.full((n,), torch.inf)
    for i in range(1, count):
        last = points[chosen[i - 1]]
        # |a - b|² = |a|² + |b|² - 2ab: one matrix-vector product per step, nothing of size n x d made.
        distance = squares + last.square().sum() - 2.0 * (points @ last)
        nearest = torch.minimum(nearest, distance)
        nearest[chosen[i - 1]] = -torch.inf  # rounding must not let a point be chosen twice
        chosen[i] = nearest.argmax()
        progress.report("choosing the coreset", i + 1, count)
    return chosen


def random_projection(dimension: int, target: int, generator: torch.Generator) -> Float[Tensor, "d t"]:
    """A Gaussian Johnson-Lindenstrauss projection that keeps distances on average."""
    return torch.randn(dimension, target, generator=generator) / target**0.5


def stream_coreset(
    blocks: Iterable[Float[Tensor, "_ d"]],
    count: int,
    *,
    block_size: int,
    projection: int,
    generator: torch.Generator,
) -> Float[Tensor, "count d"]:
    """A coreset of a stream of any length, merge-and-reduce: thin, append, thin again.

    Never holds more than `block_size + count` vectors. When a block is full it is thinned to
    `count` vectors together with what was kept so far; distances are measured after a random
    projection to `projection` dimensions.
    """
    kept: Tensor | None = None
    waiting: list[Tensor] = []
    matrix: Tensor | None = None

    def thin(points: Tensor) -> Tensor:
        nonlocal matrix
        if len(points) <= count:
            return points
        if matrix is None:
            target = min(projection, points.shape[1])
            matrix = random_projection(points.shape[1], target, generator)
        return points[greedy_k_center(points @ matrix, count, generator)]

    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= block_size:
            kept = thin(torch.cat(waiting if kept is None else [kept, *waiting]))
            waiting = []
    if waiting:
        kept = thin(torch.cat(waiting if kept is None else [kept, *waiting]))
    if kept is None:
        raise ValueError("there is nothing to choose a coreset from: the stream is empty")
    return kept
