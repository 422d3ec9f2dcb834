"""J-Linkage: matches that agree on a map, told from those that agree on another or on none.

Toldo & Fusiello, "Robust multiple structures estimation with J-Linkage", ECCV 2008. Many maps are
proposed, each by three matches; a match prefers those that take it where it belongs, and clusters of
matches are joined while they prefer a map in common, those that share most of theirs first.

Differs from the paper: three matches that propose a map are neighbours, instead of drawn at random with
neighbours likelier, so that chance has no part.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

HYPOTHESES = 500  # maps that are proposed, at most
NEIGHBOURS = 4  # of a match, with two of which it proposes a map
NEAR = 5.0  # pixels from where a map takes a match, up to which it prefers the map
THIN = 8.0  # pixels squared: area of the triangle that three matches need to span

Values = Float[ndarray, "..."]


def j_linkage(here: Float[ndarray, "n 2"], there: Float[ndarray, "n 2"]) -> list[Int[ndarray, "_"]]:
    """Clusters of matches that agree on an affine map, the largest first.

    Args:
        here: Row and column where each match begins.
        there: Where it ends.

    Returns:
        Numbers of the matches of each; those that agree with no others are left out.
    """
    if len(here) < NEIGHBOURS + 1:
        return []
    prefers = _preferences(here, there)
    clusters = [np.array([n]) for n in range(len(here))]
    alive = np.asarray(prefers.any(axis=1))
    shared = prefers.astype(np.float32)
    sizes = shared.sum(axis=1)
    likeness = _jaccard(shared @ shared.T, sizes[:, None], sizes)
    likeness[~alive] = likeness[:, ~alive] = 0
    np.fill_diagonal(likeness, 0)
    while True:
        one, other = divmod(int(likeness.argmax()), len(likeness))
        if likeness[one, other] == 0:
            break
        clusters[one] = np.concatenate([clusters[one], clusters[other]])
        shared[one] *= shared[other]
        sizes[one] = shared[one].sum()
        alive[other] = False
        likeness[other] = likeness[:, other] = 0
        joined = _jaccard(shared @ shared[one], sizes[one], sizes) * alive
        joined[one] = 0
        likeness[one] = likeness[:, one] = joined
    kept = [np.sort(clusters[n]) for n in np.flatnonzero(alive) if len(clusters[n]) > 1]
    return sorted(kept, key=len, reverse=True)


def _preferences(here: Float[ndarray, "n 2"], there: Float[ndarray, "n 2"]) -> Bool[ndarray, "n h"]:
    """Which matches prefer which of the maps that are proposed."""
    _, near = cKDTree(np.hstack([here, there])).query(np.hstack([here, there]), NEIGHBOURS + 1)
    pairs = list(combinations(range(1, NEIGHBOURS + 1), 2))
    triples = np.concatenate([near[:, [0, one, other]] for one, other in pairs])
    triples = np.unique(np.sort(triples, axis=1), axis=0)
    known = np.concatenate([here, np.ones((len(here), 1))], axis=1)
    area = np.abs(np.linalg.det(known[triples])) / 2
    triples = triples[area > THIN]
    triples = triples[:: 1 + len(triples) // HYPOTHESES]
    maps = np.linalg.solve(known[triples], there[triples])
    down, right = (known @ maps[:, :, axis].T - there[:, axis, None] for axis in (0, 1))
    return down * down + right * right < NEAR**2


def _jaccard(both: Values, one: Values | np.float32, other: Values) -> Values:
    """Of the maps that either of two prefers, the share that both do; from how many these are."""
    return both / np.maximum(one + other - both, 1)
