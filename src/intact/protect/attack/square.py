"""Square: random squares as bright or dark as is allowed, kept where the classifier gets less sure.

Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box adversarial
attack via random search", ECCV 2020, for the largest change of a value. It begins with vertical
stripes; the squares' share of the image falls in the paper's steps, stretched over the queries.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import torch

from intact.errors import UsageError
from intact.protect.attack.base import Bounded, Problem, Shown

HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


@dataclass(eq=False)
class Square(Bounded):
    """The square attack.

    Args:
        queries: Of each image, at most; one that is misjudged is left alone from then on.
        share: Of the image that the first squares take; p in the paper.
    """

    queries: int = 1000
    share: float = 0.8

    family: ClassVar[str] = "query"
    source: ClassVar[str] = "Andriushchenko et al., ECCV 2020"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or not 0 < self.share <= 1:
            raise UsageError(f"queries={self.queries}, share={self.share:g}: give 1 or more, up to 1")

    @torch.no_grad()
    def _search(self, problem: Problem) -> Shown:
        _, channels, height, width = problem.shown.shape
        best = problem.inside(problem.shown + problem.budget * self._signs(problem, (channels, 1, width)))
        margin = problem.margin(best)
        for query in range(1, self.queries):
            share = self.share / 2 ** bisect_left(HALVED, query / self.queries * 10_000)
            side = min(max(1, round((share * height * width) ** 0.5)), height, width)
            top, left = (int(torch.randint(n - side + 1, (), generator=problem.rng)) for n in (height, width))
            signs = self._signs(problem, (channels, 1, 1))
            unsure = margin <= 0
            if not unsure.any():
                break
            part = problem.of(unsure)
            tried = best[unsure].clone()
            box = (..., slice(top, top + side), slice(left, left + side))
            tried[box] = part.shown[box] + part.budget * signs
            tried = part.inside(tried)
            now = part.margin(tried)
            better = now > margin[unsure]
            chosen = unsure.nonzero().ravel()[better]
            best[chosen], margin[chosen] = tried[better], now[better]
        return best

    def _signs(self, problem: Problem, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(2, shape, generator=problem.rng).float() * 2 - 1
