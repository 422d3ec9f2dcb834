"""Whether the frames of a film follow one another: none left out, put in, repeated or looped.

Repeated frames and loops are told by noise, which never repeats. Frames that were left out or put in are
told by motion: the temporal consistency error (`intact.metrics.video`) of their transition is high, or
the flow jumps there and not beside. A beating heart and a valve move fast as well, but for several
frames, or again in the next beat; a cut takes one transition. Contrast that flows in changes brightness,
so that frames are normalised locally first.

Differs from the plain error: changes of the flow count too, as a good flow follows the motion over
frames that are missing; outliers must stand out from their neighbours in time and from the same phase
of other cycles. Nothing is said of films of fewer than eight frames.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.forensics.base import Finding, Severity
from intact.metrics.video import (
    Flow,
    backward_flow,
    locally_normalised,
    normalised,
    robust_z,
    temporal_consistency,
)

FEWEST = 8  # frames
NARROWEST = 16  # pixels
SIDE = 256  # pixels, to which larger frames are reduced for their motion
FINE = 1.0  # sigma of the blur whose difference to a frame is its noise, in pixels
SAMPLES = 65536  # pixels of a frame whose noise is compared
LOUD = 4.0  # times the median size of noise: what differs more is an edge
COPY = 0.95  # correlation of noise above which frames are one measurement,
EXACT = 0.998  # and in films that
SMOOTH = 0.6  # average neighbours, as ultrasound does
CONVERTED = 0.15  # of all frames repeat the one before, where a film's rate was converted
SPIKE = 12.0  # robust standard deviations
SHARP = 1.8  # times its neighbours in time, and times all but the few highest
FEW_HIGH = 4  # transitions that may be cuts at once
SAME_PHASE = 0.7  # of a spike, one period away, makes it the film's own motion
ALIKE = 0.9  # of the difference to frames put in, is that of the frames around them, at most
CYCLIC = 0.5  # correlation of a film with itself, a period later
LEAST_CHANGE = 0.05  # pixels per frame, added to all, as steady motion has no relative change

Film = Float[ndarray, "n h w"]
Curve = Float[ndarray, "n"]


def examine_cine(frames: Film, name: str) -> list[Finding]:
    """What of a film does not follow.

    Args:
        frames: In their order in time, grey, in any unit.
        name: Of the file.

    Returns:
        Findings under the key TCE; none for fewer than eight frames, or narrower than 16 pixels.
    """
    frames = np.nan_to_num(np.asarray(frames, np.float32), posinf=0.0, neginf=0.0)
    if len(frames) < FEWEST or min(frames.shape[1:]) < NARROWEST or not np.ptp(frames):
        return []
    exact = np.array([np.array_equal(one, other) for one, other in pairwise(frames)])
    found = _repeated(exact, name)
    distinct = np.append(True, ~exact)
    if distinct.sum() < FEWEST:
        return found
    numbers = np.flatnonzero(distinct)
    looped = _copies(frames[numbers], numbers, name)
    return [*found, *looped, *_jumps(frames[numbers], numbers, name)]


def _repeated(exact: ndarray, name: str) -> list[Finding]:
    """Frames equal to the one before to the last bit."""
    if not exact.any() or exact.all():
        return []
    places = np.flatnonzero(exact) + 2
    listed = ", ".join(str(at) for at in places[:8]) + (" and others" if len(places) > 8 else "")
    if exact.mean() > CONVERTED or exact[-1]:
        said = f"Frame {listed} repeats the one before: the rate of the film was converted, or it was frozen."
        return [Finding("TCE", Severity.BENIGN, "", said, (name,))]
    said = f"To the last bit, noise included, frame {listed} repeats the one before: it was put in."
    return [Finding("TCE", Severity.IMPOSSIBLE, "", said, (name,))]


def _copies(frames: Film, numbers: ndarray, name: str) -> list[Finding]:
    """Runs of frames whose noise is that of earlier ones: loops and frames put in again."""
    alike = _noise_likeness(frames)
    limit = COPY if np.median(np.diagonal(alike, 1)) < SMOOTH else EXACT
    pairs = {(int(one), int(other)) for one, other in np.argwhere(np.triu(alike, 1) > limit)}
    found = []
    for one, other in sorted(pairs):
        if (one - 1, other - 1) in pairs:
            continue
        length = 1
        while (one + length, other + length) in pairs:
            length += 1
        first, again = int(numbers[one]) + 1, int(numbers[other]) + 1
        what = f"Frames {again} to {again + length - 1} have" if length > 1 else f"Frame {again} has"
        whose = f"frames {first} to {first + length - 1}" if length > 1 else f"frame {first}"
        said = f"{what} the noise of {whose} (correlation {alike[one, other]:.3f}): the film was looped."
        found.append(Finding("TCE", Severity.IMPOSSIBLE, "", said, (name,)))
    return found


def _noise_likeness(frames: Film) -> Float[ndarray, "n n"]:
    """Correlations of the noise of all pairs of frames, without what stands still in the film."""
    noise = np.stack([one - cv2.GaussianBlur(one, (0, 0), FINE) for one in frames])
    noise -= noise.mean(axis=0)
    # A part of the picture will do, whole rows as they are stored.
    flat = noise.reshape(len(noise), -1)
    busy = np.flatnonzero(flat.any(axis=0))
    flat = flat[:, busy[:: max(1, busy.size // SAMPLES)]]
    usual = np.median(np.abs(flat[flat != 0])) if flat.any() else 0.0
    flat = np.clip(flat, -LOUD * usual, LOUD * usual)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = flat / np.where(length > 0, length, 1)
    return np.asarray(flat @ flat.T)


def _jumps(frames: Film, numbers: ndarray, name: str) -> list[Finding]:
    """Transitions at which the motion breaks."""
    small = normalised(_reduced(frames))
    flow, trusted = backward_flow(small)
    errors = temporal_consistency(locally_normalised(small), flow, trusted)
    # What the flow does not explain, it does not trust either.
    errors = errors * (1 + (1 - trusted.mean(axis=(1, 2))))
    change = _changes(flow)
    period = _period(small)
    found = []
    for first, last in _runs(sorted({*_spikes(errors, period), *_spikes(change, period)})):
        times = np.maximum(errors / np.median(errors), change / np.median(change))
        if last > first and _put_in(small, first, last):
            before, after = int(numbers[first]) + 1, int(numbers[last + 1]) + 1
            inside = f"frame {before + 1}" if after == before + 2 else f"frames {before + 1} to {after - 1}"
            said = f"The picture jumps on both sides of {inside}: put in from elsewhere, or out of order."
        else:
            at = first + int(times[first : last + 1].argmax())
            said = (
                f"Between frames {int(numbers[at]) + 1} and {int(numbers[at + 1]) + 1} the picture jumps "
                f"({times[at]:.0f} times what is usual) and not beside: frames are missing there, or another "
                "film begins."
            )
        found.append(Finding("TCE", Severity.UNUSUAL, "", said, (name,)))
    return found


def _put_in(frames: Film, first: int, last: int) -> bool:
    """Whether the frames around some are more like each other than like these."""
    inside = [float(np.abs(frames[at] - frames[at + 1]).mean()) for at in (first, last)]
    across = float(np.abs(frames[first] - frames[last + 1]).mean())
    return across < ALIKE * min(inside)


def _changes(flow: Flow) -> Curve:
    """How much the motion of each transition differs from the mean of those before and after it."""
    padded = np.concatenate([flow[:1], flow, flow[-1:]])
    change = flow - (padded[:-2] + padded[2:]) / 2
    return np.asarray(np.hypot(change[..., 0], change[..., 1]).mean(axis=(1, 2)) + LEAST_CHANGE)


def _times(errors: Curve, speed: Curve, at: int) -> float:
    return float(max(errors[at] / np.median(errors), speed[at] / np.median(speed)))


def _spikes(curve: Curve, period: int) -> list[int]:
    """Transitions high above all others, their neighbours in time, and the same phase of other cycles."""
    high = robust_z(curve) > SPIKE
    usual_top = np.sort(curve)[-min(len(curve), FEW_HIGH + 1)]
    found = []
    for at in np.flatnonzero(high & (curve > SHARP * usual_top)):
        beside = _beside(curve, int(at))
        if curve[at] <= SHARP * beside:
            continue
        if period and any(
            curve[max(0, at + way - 1) : at + way + 2].max(initial=0) > SAME_PHASE * curve[at]
            for way in (-period, period)
            if 0 <= at + way < len(curve)
        ):
            continue
        found.append(int(at))
    return found


def _beside(curve: Curve, at: int) -> float:
    """The higher neighbour in time, past one that jumps as well: a frame put in has two jumps."""
    around = []
    for way in (-1, 1):
        values = [curve[at + way * step] for step in (1, 2) if 0 <= at + way * step < len(curve)]
        if values:
            around.append(min(values))
    return float(max(around))


def _runs(spikes: list[int]) -> list[tuple[int, int]]:
    """Jumps that follow one another at once belong together."""
    runs: list[tuple[int, int]] = []
    for at in spikes:
        if runs and at - runs[-1][1] == 1:
            runs[-1] = runs[-1][0], at
        else:
            runs.append((at, at))
    return runs


def _period(frames: Film) -> int:
    """Frames of a cycle of breath or heart, after which a film is most like itself; 0 where it has none."""
    coarse = np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_AREA).ravel() for one in frames])
    coarse = coarse - coarse.mean(axis=0)
    power = float((coarse**2).sum(axis=1).mean())
    if not power:
        return 0
    lags = range(1, len(frames) // 2 + 1)
    like = np.array([float((coarse[lag:] * coarse[:-lag]).sum(axis=1).mean()) / power for lag in lags])
    falls = np.flatnonzero(like < 0)
    if not falls.size:
        return 0
    best = int(falls[0] + like[falls[0] :].argmax())
    return best + 1 if like[best] > CYCLIC else 0


def _reduced(frames: Film) -> Film:
    """Frames of no more than 256 pixels a side."""
    factor = max(frames.shape[1:]) / SIDE
    if factor <= 1:
        return frames
    height, width = (max(NARROWEST, round(n / factor)) for n in frames.shape[1:])
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in frames])
