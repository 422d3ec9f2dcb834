"""Tiles: as few squares of full strength as the classifier has to see, one sign each.

Ours, for changes that have to be stored to be undone: every square of a few pixels gets -epsilon, 0
or +epsilon, so a change is told in little more than a bit for each square that is used. Signs come
from momentum steps (as in MI-FGSM) on the squares' mean gradients; then squares are taken back, those
whose gradients were smallest first, for as long as the saved image is still misjudged with confidence.
Squares are used whole or not at all, and never where a pixel is so dark or bright that the change would
be cut off.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Bounded, Problem, Shown
from intact.protect.attack.steps import diverse

SMALLEST = 0.9  # side of the smallest copy, as a share of the image's

Levels = Float[Tensor, "b c y x"]  # of squares, from -1 to 1


@dataclass(eq=False)
class Tiles(Bounded):
    """Sparse signs of squares.

    Args:
        tile: Side of a square, in pixels.
        steps: To find the signs.
        decay: Share of the direction that the next step keeps.
        confidence: By how much the wrong class has to win, in logits, before squares are taken back.
        diversity: Chance that a step looks at the image smaller and elsewhere, as in DI.
    """

    tile: int = 2
    steps: int = 20
    decay: float = 1.0
    confidence: float = 1.0
    diversity: float = 0.5

    family: ClassVar[str] = "gradient"
    source: ClassVar[str] = "Intact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.tile, self.steps) < 1 or not self.decay >= 0 or self.confidence < 0:
            raise UsageError("tile and steps are 1 or more, decay and confidence 0 or more")

    def _search(self, problem: Problem) -> Shown:
        room = (problem.shown >= problem.budget) & (problem.shown <= 1 - problem.budget)
        free = problem.allowed * room.all(dim=1, keepdim=True)
        whole = -F.max_pool2d(-free, self.tile, ceil_mode=True)  # 0 for a square with any pixel that is not
        problem = dataclasses.replace(problem, allowed=self._spread(whole, problem))
        signs, pull = self._signs(problem)
        return self._drawn(problem, self._fewest(problem, signs, pull))

    def _signs(self, problem: Problem) -> tuple[Levels, Levels]:
        """Of each square the sign that misleads most, and how strongly gradients asked for it."""
        direction = torch.zeros_like(problem.shown)
        levels = self._pooled(direction)
        best, margin = levels, torch.full((len(levels),), -torch.inf)
        pull = levels
        for _ in range(self.steps):
            loss = diverse(problem, self.diversity, SMALLEST)
            slope = problem.gradient(self._drawn(problem, levels), loss)
            size = slope.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
            direction = self.decay * direction + slope / size
            pull = self._pooled(direction)
            levels = (levels + 4 / self.steps * pull.sign()).clamp(-1.0, 1.0)
            with torch.no_grad():
                now = problem.margin(problem.rounded(self._drawn(problem, levels.sign())))
            better = (now > margin)[:, None, None, None]
            best, margin = torch.where(better, levels.sign(), best), torch.maximum(now, margin)
        return best, pull.abs()

    @torch.no_grad()
    def _fewest(self, problem: Problem, signs: Levels, pull: Levels) -> Levels:
        """The signs of as few squares as are enough, 0 for the others; all of them where none are."""
        order = pull.flatten(1).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1).reshape(signs.shape)

        def first(count: Int[Tensor, "b"]) -> Levels:
            return signs * (rank < count[:, None, None, None])

        def wins(count: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            return problem.margin(problem.rounded(self._drawn(problem, first(count))))

        few = torch.zeros(len(signs), dtype=torch.int64)
        many = torch.full_like(few, signs[0].numel())
        enough = wins(many).clamp(0.0, self.confidence)  # what even all of them do not reach is not asked for
        while (many - few > 1).any():
            middle = (few + many) // 2
            done = wins(middle) >= enough.clamp_min(1e-6)
            many, few = torch.where(done, middle, many), torch.where(done, few, middle)
        return first(many)

    def _pooled(self, values: Tensor) -> Levels:
        """Means of squares; those at the far edges may be cut."""
        return F.avg_pool2d(values, self.tile, ceil_mode=True)

    def _spread(self, levels: Levels, problem: Problem) -> Tensor:
        """The level of each square for all of its pixels."""
        height, width = problem.shown.shape[-2:]
        return levels.repeat_interleave(self.tile, -2).repeat_interleave(self.tile, -1)[..., :height, :width]

    def _drawn(self, problem: Problem, levels: Levels) -> Shown:
        return problem.inside(problem.shown + problem.budget * self._spread(levels, problem))
