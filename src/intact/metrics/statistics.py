"""How sure a number is: intervals over patients, and corrections for asking many questions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True)
class Interval:
    """A measured value and the interval around it.

    Args:
        value: What the whole sample gives; usually, not always, between `low` and `high`.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float],
    *arrays: Shaped[np.ndarray, "n ..."],
    groups: Shaped[np.ndarray, "n"] | None = None,
    strata: Shaped[np.ndarray, "n"] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of `statistic(*arrays)`, drawing whole patients.

    Images of one patient resemble each other, so they are drawn together or not at all. With
    `strata` (pass the class labels) patients are drawn within each stratum: every resample keeps
    as many normal and abnormal patients as the sample has, and so never lacks a class. A patient
    with images in several strata belongs to a stratum of its own kind.

    Args:
        statistic: Takes arrays like `arrays`, returns a number.
        arrays: One row per image, all of one length.
        groups: The patient of each image; by default every image is its own.
        strata: The class of each image; by default all images are one stratum.
        resamples: How often to draw; 1000 or more for a 95 % interval.
        seed: Same seed, same interval.
        level: Share of the resampled values between the two ends.

    Raises:
        ValueError: The arrays differ in length or are empty, `resamples` is below 1, `level` is
            out of range, or `statistic` refuses a resample (pass `strata` if a class is missing).

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    _check_level(level)
    rows = _common_length([*arrays, *(a for a in (groups, strata) if a is not None)])
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; an interval needs draws, so ask for 1000")
    patients = _patients_by_stratum(
        np.arange(rows) if groups is None else groups, np.zeros(rows) if strata is None else strata
    )
    rng = np.random.default_rng(seed)
    values = [
        statistic(*(array[chosen] for array in arrays)) for chosen in _resamples(patients, resamples, rng)
    ]
    low, high = np.quantile(values, [(1.0 - level) / 2, (1.0 + level) / 2])
    return Interval(float(statistic(*arrays)), float(low), float(high))


def paired_bootstrap(
    statistic: Callable[..., float],
    first: Shaped[np.ndarray, "n ..."],
    second: Shaped[np.ndarray, "n ..."],
    *truth: Shaped[np.ndarray, "n ..."],
    groups: Shaped[np.ndarray, "n"] | None = None,
    strata: Shaped[np.ndarray, "n"] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of `statistic(first, *truth) - statistic(second, *truth)` on the same images.

    Both detectors see the same patients in every resample, so what makes a draw hard for both
    cancels. The difference is real at this level when the interval leaves out zero.

    Args:
        statistic: Takes scores and truth, returns a number, as `auroc` does.
        first: Scores or maps of one detector, one row per image.
        second: Those of the other detector on the same images in the same order.
        truth: Labels or masks, one row per image.
        groups: The patient of each image, as in `bootstrap`.
        strata: The class of each image, as in `bootstrap`.
        resamples: How often to draw.
        seed: Same seed, same interval.
        level: Share of the resampled differences between the two ends.

    Raises:
        ValueError: As `bootstrap`.
    """

    def difference(first: Any, second: Any, *truth: Any) -> float:
        return statistic(first, *truth) - statistic(second, *truth)

    return bootstrap(
        difference,
        first,
        second,
        *truth,
        groups=groups,
        strata=strata,
        resamples=resamples,
        seed=seed,
        level=level,
    )


def binomial_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a share, never narrower than `level` promises.

    Args:
        successes: How many of `n` trials succeeded.
        n: Number of trials, at least 1.
        level: Probability that the interval holds the true share, at least.

    Raises:
        ValueError: `successes` is not between 0 and `n`, `n` is below 1, or `level` is out of
            range.

    Source: Clopper and Pearson, Biometrika 26(4), 1934.
    """
    _check_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(
            f"{successes} successes in {n} trials; a share needs at least one trial and no more "
            "successes than trials, so check the counts"
        )
    tail = (1.0 - level) / 2
    failures = n - successes
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1.0 - tail) if failures else 1.0
    return Interval(successes / n, float(low), float(high))


def binomial_acceptance(p: float, n: int, level: float = 0.95) -> tuple[int, int]:
    """Counts that `n` independent trials of probability `p` give with probability `level`.

    Each tail outside holds at most (1 - level) / 2. For false alarms at a calibrated `alpha` use
    `false_alarm_acceptance`: a threshold from few normals makes the count vary more than this.

    Args:
        p: Probability of each trial, 0 to 1.
        n: Number of trials, at least 0.
        level: Central probability.

    Returns:
        Smallest and largest accepted count, both included.

    Raises:
        ValueError: `p` or `level` is out of range, or `n` is negative.
    """
    _check_level(level)
    if not 0.0 <= p <= 1.0 or n < 0:
        raise ValueError(
            f"p is {p:g} and n is {n}; no number of trials is negative and no probability leaves "
            "0 to 1, so check the arguments"
        )
    return _central_range(special.bdtr(np.arange(n + 1), n, p), level)


def false_alarm_acceptance(alpha: float, calibration: int, n: int, level: float = 0.95) -> tuple[int, int]:
    """False alarms among `n` normal images that agree with a conformal p-value at `alpha`.

    All `n` images share one threshold, learned from `calibration` normals, so the count is not
    binomial: with k = floor(alpha * (calibration + 1)), the false-alarm rate of the threshold
    follows Beta(k, calibration + 1 - k), and the count the beta-binomial law that results.
    Assumes images that are independent and scores without ties (ties give fewer alarms).

    Args:
        alpha: False-alarm rate in use, above 0 and below 1.
        calibration: Number of normal images that set the threshold.
        n: Number of other normal images that were screened.
        level: Central probability.

    Returns:
        Smallest and largest count to be expected, both included.

    Raises:
        ValueError: `alpha` or `level` is out of range, or a count is negative.

    Source: Vovk, "Conditional validity of inductive conformal predictors", ACML 2012.
    """
    _check_level(level)
    if not 0.0 < alpha < 1.0 or calibration < 0 or n < 0:
        raise ValueError(
            f"alpha is {alpha:g} with {calibration} calibration and {n} screened images; alpha "
            "lies strictly between 0 and 1 and no count is negative, so check the arguments"
        )
    # The slack keeps 0.05 * 20 = 1 from rounding down to 0.
    a = int(alpha * (calibration + 1) + 1e-9)
    if a == 0:
        return 0, 0  # too few normals for this alpha: the p-value can never reach it
    b = calibration + 1 - a
    k = np.arange(n + 1)
    log_choose = -np.log(n + 1.0) - special.betaln(k + 1, n - k + 1)
    probability = np.exp(log_choose + special.betaln(k + a, n - k + b) - special.betaln(a, b))
    return _central_range(np.cumsum(probability), level)


def benjamini_hochberg(p_values: Float[np.ndarray, "n"], q: float) -> Bool[np.ndarray, "n"]:
    """Choose discoveries so that at most a share `q` of them is false, in expectation.

    Holds for independent p-values and for positively dependent ones.

    Args:
        p_values: One per hypothesis, 0 to 1, in any order.
        q: Accepted share of false discoveries, above 0 and at most 1.

    Returns:
        True where the hypothesis is rejected (the image is called a finding).

    Raises:
        ValueError: A p-value or `q` is out of range.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57(1), 1995.
    """
    if not 0.0 < q <= 1.0 or not ((p_values >= 0.0) & (p_values <= 1.0)).all():
        raise ValueError(
            f"q is {q:g} and p-values span {p_values.min(initial=1.0):g} to "
            f"{p_values.max(initial=0.0):g}; both are probabilities, so pass 0 < q <= 1 and "
            "p-values from 0 to 1"
        )
    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= q * np.arange(1, p_values.size + 1) / p_values.size)
    if not passed.size:
        return np.zeros(p_values.shape, bool)
    return np.asarray(p_values <= ordered[passed[-1]])


def _patients_by_stratum(groups: NDArray[Any], strata: NDArray[Any]) -> list[list[NDArray[Any]]]:
    """Row numbers of each patient, sorted into lists of patients of the same kind."""
    _, stratum = np.unique(strata, return_inverse=True)
    _, patient = np.unique(groups, return_inverse=True)
    order = np.argsort(patient, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(patient[order])) + 1)
    kinds: dict[tuple[int, ...], list[NDArray[Any]]] = {}
    for rows in members:
        kinds.setdefault(tuple(sorted(set(stratum[rows].tolist()))), []).append(rows)
    return list(kinds.values())


def _resamples(
    patients: list[list[NDArray[Any]]], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    for _ in range(resamples):
        yield np.concatenate([kind[i] for kind in patients for i in rng.integers(len(kind), size=len(kind))])


def _central_range(cumulative: NDArray[np.float64], level: float) -> tuple[int, int]:
    """Smallest counts whose cumulative probability reaches the lower and the upper tail."""
    tail = (1.0 - level) / 2
    last = len(cumulative) - 1
    low, high = np.searchsorted(cumulative, [tail, 1.0 - tail], side="left")
    return min(int(low), last), min(int(high), last)


def _common_length(arrays: list[NDArray[Any]]) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"arrays have lengths {[len(array) for array in arrays]}; every image needs a row in "
            "each, so pass arrays of one length above 0"
        )
    return lengths.pop()


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(
            f"level is {level:g}; an interval holds a share strictly between 0 and 1, so give "
            "for example 0.95"
        )
