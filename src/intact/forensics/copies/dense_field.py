"""The dense field of PatchMatch: every place's most similar one elsewhere, and where the field is linear."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

LEAF = 32  # places in a leaf of the tree, which are all compared
DIRECTIONS = 6  # along which features differ most, that the tree splits by
ROUNDS = 2  # of propagation and random search
REACH = (4, 1)  # pixels: how far random search reaches, one time after the other
PER_ROUND = 2 * 4 + len(REACH)  # improvements: two from each side, and those by chance

Field = Float[ndarray, "h w"]
Places = Int[ndarray, "n 2"]
Features = Float[ndarray, "n k"]


def nearest(
    features: Features, likes: Features, places: Places, apart: float, seed: int = 0
) -> Int[ndarray, "n"]:
    """For every place the number of the one that looks most like it, so far apart at least.

    Args:
        features: float32, of the places.
        likes: float32, of the places as likes: the same, or those of larger discs, for scaled copies.
        places: Row and column.
        apart: In pixels.
        seed: Of chance.
    """
    rng = np.random.default_rng(seed)
    # A frame of one pixel around the places, so that each has neighbours and a single number.
    width = int(places[:, 1].max()) + 3
    rows, columns = (places.T + 1).astype(np.int32)
    flat = rows * width + columns
    numbers = np.full((int(rows.max()) + 2) * width, -1, np.int32)
    numbers[flat] = np.arange(len(places))
    found, costs = in_leaves(features, likes, places, apart, rng)
    now, changed = 0, np.zeros(len(places), np.int16)  # how often all was improved, and when each last was

    def improve(ours: Int[ndarray, "m"], wanted: Int[ndarray, "m"]) -> None:
        """Take what lies where it is wanted, if it is more alike; what leaves the frame is no matter."""
        nonlocal now
        now += 1
        theirs = np.take(numbers, wanted, mode="clip")
        down, right = rows[theirs] - rows[ours], columns[theirs] - columns[ours]
        new = (theirs >= 0) & (theirs != found[ours]) & (down * down + right * right >= apart**2)
        ours, theirs = ours[new], theirs[new]
        gap = features[ours]
        gap -= likes[theirs]
        cost = np.einsum("nk,nk->n", gap, gap)
        better = cost < costs[ours]
        found[ours[better]], costs[ours[better]] = theirs[better], cost[better]
        changed[ours[better]] = now

    def news(of: Int[ndarray, "n"]) -> Bool[ndarray, "n"]:
        """Whether there is such a neighbour, and it changed since it was last looked at, a round ago."""
        return (of >= 0) & (changed[of] > now - PER_ROUND)

    steps = (1, width, -1, -width)
    one = [numbers[flat + step] for step in steps]
    two = [np.where(first >= 0, first_of[first], -1) for first, first_of in zip(one, one, strict=True)]
    everyone = np.arange(len(places), dtype=np.int32)
    for _ in range(ROUNDS):
        for step, first, second in zip(steps, one, two, strict=True):
            ours = everyone[news(first)]
            improve(ours, flat[found[first[ours]]] - step)
            # Turned and scaled copies: as the offset changed from the second neighbour to the first.
            ours = everyone[(second >= 0) & (news(first) | news(second))]
            improve(ours, 2 * flat[found[first[ours]]] - flat[found[second[ours]]])
        for reach in REACH:
            down, right = rng.integers(-reach, reach + 1, (2, len(places)), dtype=np.int32)
            improve(everyone, flat[found] + down * width + right)
    return found


def in_leaves(
    features: Features, likes: Features, places: Places, apart: float, rng: np.random.Generator
) -> tuple[Int[ndarray, "n"], Float[ndarray, "n"]]:
    """Each place's nearest one in the same leaf of a tree of projections, and the distance squared.

    Args:
        features: float32, of the places.
        likes: float32, of the places as likes.
        places: Row and column.
        apart: Pixels between a place and its like, at least.
        rng: Turns the directions along which the tree splits.

    Returns:
        Numbers of places, and distances; inf where a leaf holds none so far apart.
    """
    n = len(features)
    alone = features is likes
    both = features if alone else np.vstack([features, likes])
    total = len(both)
    levels = max(math.ceil(math.log2(total / LEAF)), 0)
    leaves = np.concatenate([np.arange(total), rng.integers(0, total, (LEAF << levels) - total)])[None]
    _, axes = np.linalg.eigh(np.cov(features.T))
    turn = np.linalg.qr(rng.normal(size=(DIRECTIONS, DIRECTIONS)))[0]
    along = np.ascontiguousarray((both @ (axes[:, ::-1][:, :DIRECTIONS] @ turn).astype(np.float32)).T)
    for level in range(levels):
        values = along[level % DIRECTIONS][leaves]
        order = np.argpartition(values, values.shape[1] // 2, axis=1)
        leaves = np.take_along_axis(leaves, order, axis=1).reshape(2 * len(leaves), -1)
    costs = _distances(both[leaves])
    costs[_distances(places[leaves % n].astype(np.float32)) < apart**2] = np.inf
    if not alone:
        costs += np.where(leaves < n, np.inf, 0).astype(np.float32)[:, None]  # these ask, the others answer
    best = costs.argmin(axis=2)
    found, least = np.zeros(total, np.int32), np.full(total, np.inf, np.float32)
    found[leaves] = np.take_along_axis(leaves, best, axis=1) % n
    least[leaves] = np.take_along_axis(costs, best[..., None], axis=2)[..., 0]
    return found[:n], least[:n]


def _distances(points: Float[ndarray, "l m k"]) -> Float[ndarray, "l m m"]:
    """Squared distances within each leaf."""
    squares = (points * points).sum(axis=2)
    return squares[:, :, None] + squares[:, None] - 2 * points @ points.transpose(0, 2, 1)


def fit_error(offsets: Float[ndarray, "h w"], radius: int) -> Float[ndarray, "h w"]:
    """Square error, summed over the disc around each pixel, of the best linear function of the place.

    Args:
        offsets: One component of a field.
        radius: Of the disc in pixels.
    """
    at = np.arange(-radius, radius + 1.0)
    disc = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    basis = [disc, at[:, None] * disc, at * disc]  # orthogonal, as the disc is symmetric
    exact = offsets.astype(np.float64)
    error: Field = cv2.filter2D(exact * exact, cv2.CV_64F, disc)
    for one in basis:
        part: Field = cv2.filter2D(exact, cv2.CV_64F, one / np.sqrt((one * one).sum()))
        error = error - part**2
    return np.maximum(error, 0)
