"""`svm`: a support vector machine on statistics of windows, as forgeries were told before networks.

Shi, Chen, Chen, "A natural image model approach to splicing detection", ACM Multimedia and Security Workshop
2007 (a machine with radial basis functions on moments and on transition probabilities of differences of
cosine coefficients); Pevný, Bas, Fridrich, "Steganalysis by subtractive pixel adjacency matrix" (SPAM), IEEE
TIFS 5(2), 2010; with the noise level that Mahdian & Saic, Image and Vision Computing 27(10), 2009, compare.
Statistics of a window, 220 in all:

- 98: SPAM of first order. Differences of neighbours, cut at 3 either way; how often each follows each along a
  row, a column (averaged over four directions) and the diagonals (over the other four).
- 98: The same transition probabilities of the sizes of cosine coefficients of 8 x 8 blocks, laid out as the
  blocks are, along rows and along columns (Shi et al.).
- 14: Logarithm of the mean size of these coefficients, for each sum of both frequencies.
- 6: Logarithms of the mean and of the median size of three SRM residuals: the local noise level.
- 4: Of the values, logarithm of the standard deviation, skewness, kurtosis, correlation with the next pixel.

All are standardised. The machine has C = 10 and the kernel exp(-|x - y|² / 220), both common choices, which
papers search instead. Three quarters of the windows teach it; on the others its answers are turned into
logits (Platt, "Probabilistic outputs for support vector machines", 1999).

The papers count grey levels of bytes. Here a plane of at most 256 evenly spaced values is counted in its
grey levels, any other in halves of the standard deviation of its noise (a choice made here).

Differs from the papers: windows instead of whole images; SPAM of first order alone, without the second, which
has more statistics than a window could fill; blocks of one size instead of several, whose corners are the
window's and not those of a JPEG grid; no moments of wavelet bands; differences of coefficients are cut at 3
as in SPAM. The last three kinds of statistics, and the set as a whole, are a choice made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from intact import progress
from intact.forensics.jpeg.blocks import SIDE, block_coefficients
from intact.forensics.learned.base import LearnedExaminer, Lessons, top_mean
from intact.forensics.learned.crops import Crops
from intact.forensics.learned.grey_levels import Plane, in_units
from intact.forensics.learned.window_network import FORGED_FROM, window_map
from intact.nets.noise_filters import SRMFilters

CUT = 3  # units: where differences are cut
STATES = 2 * CUT + 1
TINY = 1e-3  # units
BATCH = 32  # windows drawn at once
HELD_OUT = 4  # one window in so many is not learned from
FEWEST = 8  # forged and genuine windows

Windows = Float[Tensor, "n s s"]


@dataclass(eq=False)
class SVM(LearnedExaminer):
    """How likely a support vector machine finds the statistics of a window forged.

    Windows lie every `stride` pixels; in between answers are interpolated. The score of an image is the mean
    of the highest thousandth of that map.

    Args:
        window: Side of a window, in pixels. An image that is smaller is mirrored at its border.
        stride: From one window to the next.
        windows: That are learned from.
        C: What a window on the wrong side costs.
    """

    window: int = 64
    stride: int = 16
    windows: int = 8000
    C: float = 10.0

    source: ClassVar[str] = "Shi et al., MM&Sec 2007; Pevný et al., IEEE TIFS 2010"

    def _fit(self, lessons: Lessons) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC

        found, forged = self._drawn(lessons)
        order = np.random.default_rng(self.seed).permutation(len(found))
        held, kept = np.split(order, [len(order) // HELD_OUT])
        if min(np.bincount(forged[part], minlength=2).min() for part in (held, kept)) < FEWEST // HELD_OUT:
            raise ValueError(
                f"hardly any of the {len(found)} windows of {self.window} pixels holds enough of a forgery, "
                "or hardly any none: choose smaller windows or give more images"
            )
        self.mean_, self.spread_ = found[kept].mean(0), found[kept].std(0).clamp(min=TINY)
        scaled = ((found - self.mean_) / self.spread_).numpy()
        machine = SVC(C=self.C, gamma=1 / scaled.shape[1], class_weight="balanced")
        machine.fit(scaled[kept], forged[kept])
        self.support_ = torch.from_numpy(machine.support_vectors_).float()
        self.weights_ = torch.from_numpy(machine.dual_coef_[0]).float()
        self.bias_ = torch.from_numpy(machine.intercept_).float()
        answers = machine.decision_function(scaled[held])
        platt = LogisticRegression().fit(answers[:, None], forged[held])
        self.slope_, self.offset_ = (
            torch.from_numpy(each).float().flatten() for each in (platt.coef_, platt.intercept_)
        )

    def _drawn(self, lessons: Lessons) -> tuple[Float[Tensor, "n f"], Bool[ndarray, "n"]]:
        """Statistics of windows, and which of these were forged."""
        parts, truth = [], []
        with Crops(lessons, self.window, BATCH, self.seed, change=self._seen) as crops:
            count = -(-self.windows // BATCH)
            for done, batch in enumerate(islice(crops.batches(), count)):
                target = batch[:, 1].flatten(1)
                share, known = (target > 0).float().mean(1), (target >= 0).float().mean(1)
                counts = ((share >= FORGED_FROM) | (share == 0)) & (known > 0.5)
                parts.append(statistics(batch[counts, 0]))
                truth.append(share[counts] > 0)
                progress.report("training", done + 1, count)
        return torch.cat(parts), torch.cat(truth).numpy()

    def _seen(self, plane: Plane) -> Plane:
        return in_units(plane)

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = window_map(seen, self.window, self.stride, lambda windows: self._logits(statistics(windows)))
        return top_mean(logits), torch.sigmoid(logits).numpy().astype(np.float32)

    def _logits(self, found: Float[Tensor, "n f"]) -> Float[Tensor, "n"]:
        scaled = (found - self.mean_) / self.spread_
        answers = machine_answers(scaled, self.support_, self.weights_, self.bias_)
        return self.slope_ * answers + self.offset_


def machine_answers(
    found: Float[Tensor, "n f"],
    support: Float[Tensor, "s f"],
    weights: Float[Tensor, "s"],
    bias: Float[Tensor, "1"],
) -> Float[Tensor, "n"]:
    """On which side of its border a machine sees each, and how far; its kernel is exp(-|x - y|² / f)."""
    return torch.exp(-torch.cdist(found, support).square() / found.shape[1]) @ weights + bias


def statistics(windows: Windows) -> Float[Tensor, "n 220"]:
    """What is told of each window, in units."""
    side = windows.shape[-1] // SIDE * SIDE
    stacked = windows[:, :side, :side].reshape(-1, side).numpy()  # blocks of one stay those of another
    sizes = torch.from_numpy(np.abs(block_coefficients(stacked, (0, 0)))).unflatten(0, (len(windows), -1))
    return torch.cat(
        [
            adjacencies(windows),
            _block_transitions(sizes),
            _band_sizes(sizes),
            _noise_levels(windows),
            _shape_of_values(windows),
        ],
        dim=1,
    )


def adjacencies(windows: Windows) -> Float[Tensor, "n 98"]:
    """SPAM of first order: along rows and columns, and along diagonals."""
    whole = windows.round()
    straight = [whole[:, :, :-1] - whole[:, :, 1:], whole[:, :-1] - whole[:, 1:]]
    diagonal = [whole[:, :-1, :-1] - whole[:, 1:, 1:], whole[:, :-1, 1:] - whole[:, 1:, :-1]]
    steps = [(0, 1), (1, 0), (1, 1), (1, -1)]
    counts = [_followers(d, step) for d, step in zip(straight + diagonal, steps, strict=True)]
    # Read backwards, differences change their signs and follow each other the other way round.
    both = [_rates(count) + _rates(count.mT.flip(1, 2)) for count in counts]
    return torch.cat([(both[0] + both[1]) / 4, (both[2] + both[3]) / 4], dim=1).flatten(1)


def _block_transitions(sizes: Float[Tensor, "n r c 8 8"]) -> Float[Tensor, "n 98"]:
    """Which difference of the sizes of coefficients follows which, along rows and along columns."""
    laid = sizes.round().transpose(2, 3).flatten(3, 4).flatten(1, 2)
    across, down = laid[:, :, :-1] - laid[:, :, 1:], laid[:, :-1] - laid[:, 1:]
    rates = [_rates(_followers(across, (0, 1))), _rates(_followers(down, (1, 0)))]
    return torch.cat(rates, dim=1).flatten(1)


def _followers(differences: Windows, step: tuple[int, int]) -> Float[Tensor, "n 7 7"]:
    """How often each cut difference is followed by each, one step on."""
    states = (differences.clamp(-CUT, CUT) + CUT).long()
    down, across = step
    if across < 0:
        states, across = states.flip(2), -across
    height, width = states.shape[1] - down, states.shape[2] - across
    pairs = STATES * states[:, :height, :width] + states[:, down:, across:]
    numbers: Int[Tensor, "n h w"] = pairs + STATES**2 * torch.arange(len(states))[:, None, None]
    counts = torch.bincount(numbers.flatten(), minlength=len(states) * STATES**2)
    return counts.view(-1, STATES, STATES).float()


def _rates(counts: Float[Tensor, "n 7 7"]) -> Float[Tensor, "n 7 7"]:
    return counts / counts.sum(dim=2, keepdim=True).clamp(min=1)


def _band_sizes(sizes: Float[Tensor, "n r c 8 8"]) -> Float[Tensor, "n 14"]:
    mean = sizes.mean((1, 2))
    band = torch.arange(SIDE)[:, None] + torch.arange(SIDE)
    bands = [mean[:, band == number].mean(1) for number in range(1, 2 * SIDE - 1)]
    return torch.log(torch.stack(bands, dim=1) + TINY)


def _noise_levels(windows: Windows) -> Float[Tensor, "n 6"]:
    sizes = SRMFilters()(windows[:, None]).abs().flatten(2)
    return torch.log(torch.cat([sizes.mean(2), sizes.median(2).values], dim=1) + TINY)


def _shape_of_values(windows: Windows) -> Float[Tensor, "n 4"]:
    off = windows - windows.mean((1, 2), keepdim=True)
    spread = off.square().mean((1, 2)).sqrt() + TINY
    unit = off / spread[:, None, None]
    skewness, kurtosis = unit.pow(3).mean((1, 2)), unit.pow(4).mean((1, 2))
    following = (unit[:, :, :-1] * unit[:, :, 1:]).mean((1, 2))
    # The tails of heavy-tailed windows would outweigh all others.
    return torch.stack([spread.log(), torch.asinh(skewness), torch.log1p(kurtosis), following], dim=1)
