"""Tiles: as few squares of full strength as the classifier has to see, one sign each.

Ours, for changes that have to be stored to be undone: every square of a few pixels gets -epsilon, 0
or +epsilon, so a change is told in little more than a bit for each square that is used. Signs come
from momentum steps (as in MI-FGSM) on the squares' mean gradients of the margin; of several classifiers
that is mostly the margin of the one fooled least. Then squares are taken back, those whose gradients
were smallest first, for as long as the saved image is still misjudged with confidence. Squares are used
whole or not at all, and never where a pixel is so dark or bright that the change would be cut off. Where
they mislead no classifier, squares of half the side are tried, which cost more bits.
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
        tile: Side of a square, in pixels as the classifier sees them; smaller ones it hardly sees.
        steps: To find the signs; 20 where several classifiers are attacked.
        decay: Share of the direction that the next step keeps.
        confidence: By how much the wrong class has to win, in logits, before squares are taken back.
        diversity: Chance that a step looks at the image smaller and elsewhere, as in DI.
    """

    tile: int = 2
    steps: int = 10
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
        side = max(1, round(self.tile * problem.step))
        found = self._with_squares(problem, side)
        while side > 1:
            with torch.no_grad():
                missed = (problem.margins(problem.rounded(found)) <= 0).all(0)
            if not missed.any():
                break
            side //= 2
            found[missed] = self._with_squares(problem.of(missed), side)
        return found

    def _with_squares(self, problem: Problem, side: int) -> Shown:
        """The images with as few squares of this side as are enough."""
        squares = Squares.of(problem, side)
        signs, pull = self._signs(squares)
        return squares.drawn(self._fewest(squares, signs, pull))

    def _signs(self, squares: Squares) -> tuple[Levels, Levels]:
        """Of each square the sign that misleads most, and how strongly gradients asked for it."""
        problem = dataclasses.replace(squares.problem, objective=squares.problem.soft_margin)
        direction = torch.zeros_like(problem.shown)
        levels = squares.pooled(direction)
        best, margin = levels, torch.full((len(levels),), -torch.inf)
        pull = levels
        for _ in range(self.steps):
            slope = diverse(problem, self.diversity, SMALLEST).gradient(squares.drawn(levels))
            size = slope.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
            direction = self.decay * direction + slope / size
            pull = squares.pooled(direction)
            levels = (levels + 4 / self.steps * pull.sign()).clamp(-1.0, 1.0)
            with torch.no_grad():
                now = problem.margin(problem.rounded(squares.drawn(levels.sign())))
            better = (now > margin)[:, None, None, None]
            best, margin = torch.where(better, levels.sign(), best), torch.maximum(now, margin)
        return best, pull.abs()

    @torch.no_grad()
    def _fewest(self, squares: Squares, signs: Levels, pull: Levels) -> Levels:
        """The signs of as few squares as are enough, 0 for the others; all of them where none are."""
        order = pull.flatten(1).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1).reshape(signs.shape)

        def first(count: Int[Tensor, "b"]) -> Levels:
            return signs * (rank < count[:, None, None, None])

        def wins(count: Int[Tensor, "b"]) -> Float[Tensor, "m b"]:
            return squares.problem.margins(squares.problem.rounded(squares.drawn(first(count))))

        few = torch.zeros(len(signs), dtype=torch.int64)
        many = torch.full_like(few, signs[0].numel())
        enough = self._enough(wins(many))
        while (many - few > 1).any():
            middle = (few + many) // 2
            done = (wins(middle) >= enough).all(0)
            many, few = torch.where(done, middle, many), torch.where(done, few, middle)
        return first(many)

    def _enough(self, most: Float[Tensor, "m b"]) -> Float[Tensor, "m b"]:
        """The margins to keep, given those of all squares: what these do not reach is not asked for.

        A classifier that even they do not fool is left out, unless they fool none.
        """
        fooled = most > 0
        wanted = most.clamp_max(self.confidence).clamp_min(1e-6)
        return wanted.masked_fill(~fooled & fooled.any(0), -torch.inf)


@dataclass(frozen=True, eq=False)
class Squares:
    """A problem whose pixels change in squares, from the first corner on; those at the far edges may be cut.

    Args:
        problem: Allowed are whole squares alone, without pixels near black or white.
        side: Of a square, in pixels.
    """

    problem: Problem
    side: int

    @classmethod
    def of(cls, problem: Problem, side: int) -> Squares:
        """The squares of a problem."""
        room = (problem.shown >= problem.budget) & (problem.shown <= 1 - problem.budget)
        free = problem.allowed * room.all(dim=1, keepdim=True)
        whole = -F.max_pool2d(-free, side, ceil_mode=True)  # 0 for a square with any pixel that is not
        every = cls(problem, side)
        return cls(dataclasses.replace(problem, allowed=every.spread(whole)), side)

    def pooled(self, values: Tensor) -> Levels:
        """The mean of each square."""
        return F.avg_pool2d(values, self.side, ceil_mode=True)

    def spread(self, levels: Levels) -> Tensor:
        """The level of each square for all of its pixels."""
        height, width = self.problem.shown.shape[-2:]
        return levels.repeat_interleave(self.side, -2).repeat_interleave(self.side, -1)[..., :height, :width]

    def drawn(self, levels: Levels) -> Shown:
        """The images with each square changed by its level."""
        return self.problem.inside(self.problem.shown + self.problem.budget * self.spread(levels))
