"""Splits that keep a patient on one side, and a stand-in for the patient where none is named."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

BLOCK_PAIRS = 4_000_000  # correlations held at once, about 16 MB
COPY = 1.0 - 1e-5  # two float32 copies of one image correlate at least this much


def hold_out(groups: Sequence[str], fraction: float, seed: int) -> Bool[np.ndarray, "n"]:
    """Choose whole groups at random that together hold `fraction` of the images.

    Groups enter in a random order that `seed` fixes, until some of them add up to the wanted
    number of images, or to the nearest number that whole groups can reach; of two equally near
    numbers the smaller one. At least one image is held out and at least one stays.

    Args:
        groups: The group (patient) of each image, n of them.
        fraction: Share of the images to hold out, strictly between 0 and 1.
        seed: Same groups and seed, same choice.

    Returns:
        True where the image is held out.

    Raises:
        ValueError: `fraction` is out of range, or there are fewer than two groups.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(
            f"fraction is {fraction:g}; something must be held out and something must stay, so "
            "give a number strictly between 0 and 1"
        )
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"{len(groups)} images form {len(names)} group(s); a group is never divided, so "
            "holding some out needs images of at least two groups (patients)"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(member)[order]
    held = order[_nearest_total(sizes, fraction * len(member))]
    return np.isin(member, held)


def take_turns(groups: Sequence[str], fraction: float, seed: int) -> list[Bool[np.ndarray, "n"]]:
    """Divide the images into parts of about `fraction` each, whole groups at a time.

    Where `hold_out` picks one part, this gives all of them, so that each image can be judged by
    a detector that never saw its group. The largest groups are dealt first, each to the part
    that holds the fewest images.

    Args:
        groups: The group (patient) of each image, n of them.
        fraction: Share of the images in each part; at least two parts are made.
        seed: Same groups and seed, same parts.

    Returns:
        For each part, True where the image belongs to it.

    Raises:
        ValueError: There are fewer than two groups.
    """
    names, member, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"{len(groups)} images form {len(names)} group(s), and a group is never divided")
    parts = min(max(2, round(1 / fraction)), len(names))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    held = np.zeros(parts, int)
    part_of = np.empty(len(names), int)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        part_of[group] = held.argmin()
        held[part_of[group]] += sizes[group]
    return [part_of[member] == part for part in range(parts)]


def look_alikes(thumbnails: Float[np.ndarray, "n 32 32"], threshold: float = 0.93) -> list[str]:
    """Group images that look alike, as a stand-in for the patient where none is known.

    Two images are linked when the Pearson correlation of their thumbnails exceeds `threshold`,
    and everything linked, directly or through others, is one group. This finds copies and
    neighbouring slices of one scan. It does not find two visits of one patient: on chest
    radiographs with known patients such pairs correlate hardly more than strangers do.

    Where all images resemble each other (registered brains, chest radiographs) the links join
    nearly everything. So as long as the largest group holds more than a quarter of the images
    (and more than two), the threshold moves a fifth of the way towards 1: 0.93, 0.944, 0.955,
    ... Copies are never parted, however many there are. The order of the images changes the
    names of the groups, never who is together. Memory holds the thumbnails and one block of
    correlations, so 20,000 images are no problem.

    Args:
        thumbnails: Images reduced to 32 x 32 by averaging, in any unit.
        threshold: Correlation to begin with, above 0 and below 1.

    Returns:
        The group of each image, named by its first image ("look-alike-0" holds image 0). An
        image that resembles no other, and one without any contrast, is a group of its own.

    Raises:
        ValueError: `threshold` is out of range or a thumbnail holds NaN or infinity.
    """
    if not 0.0 < threshold < 1.0:
        raise ValueError(
            f"threshold is {threshold:g}; look-alikes are pairs of a correlation above it, so "
            "give a number strictly between 0 and 1"
        )
    if not np.isfinite(thumbnails).all():
        raise ValueError(
            "thumbnails hold NaN or infinite values, which correlate with nothing; fill the "
            "padding before reducing the images"
        )
    patterns = _standardise(thumbnails)
    n = len(patterns)
    forest = sparse.csr_array((n, n), dtype=np.float32)
    member: NDArray[np.int32] = np.arange(n, dtype=np.int32)
    step = max(1, BLOCK_PAIRS // max(n, 1))
    for start in range(0, n, step):
        links = _links(patterns, start, start + step, threshold)
        # Only the strongest link between two parts of a group decides when they part again.
        forest = csgraph.minimum_spanning_tree(forest + links)
        member = _components(forest)
        while _too_large(member) and threshold < COPY:
            threshold = min(threshold + (1.0 - threshold) / 5, COPY)
            forest = _stronger(forest, threshold)
            member = _components(forest)
    first = np.unique(member, return_index=True)[1]
    return [f"look-alike-{first[index]}" for index in member]


def _nearest_total(sizes: NDArray[np.int64], wanted: float) -> NDArray[np.int64]:
    """Positions of sizes that add up as near to `wanted` as possible, neither none nor all."""
    everything = int(sizes.sum())
    totals = np.arange(1, everything)
    ideal = totals[np.argmin(np.abs(totals - wanted))]
    reached = np.zeros(everything + 1, bool)
    reached[0] = True
    last = np.full(everything + 1, -1)  # the position that completed each total
    for position, size in enumerate(sizes):
        new = np.flatnonzero(reached[:-size] & ~reached[size:]) + size
        reached[new], last[new] = True, position
        if reached[ideal]:
            break
    possible = totals[reached[1:-1]]
    total = int(possible[np.argmin(np.abs(possible - wanted))])
    chosen = []
    while total:
        chosen.append(last[total])
        total -= int(sizes[last[total]])
    return np.array(chosen)


def _standardise(thumbnails: NDArray[np.floating]) -> NDArray[np.float32]:
    """Zero mean and unit length, so that a product of two rows is their correlation."""
    flat = thumbnails.reshape(len(thumbnails), 32 * 32).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 0, length, 1.0)
    return flat.astype(np.float32)


def _links(patterns: NDArray[np.float32], start: int, stop: int, threshold: float) -> sparse.csr_array:
    """Pairs of an image of the block with a later one, weighted by minus their correlation."""
    n = len(patterns)
    block = np.triu(patterns[start:stop] @ patterns[start:].T, k=1)
    row, column = np.nonzero(block > threshold)
    return sparse.csr_array((-block[row, column], (row + start, column + start)), shape=(n, n))


def _stronger(forest: sparse.csr_array, threshold: float) -> sparse.csr_array:
    row, column = forest.nonzero()
    weight = forest.data
    kept = weight < -threshold
    return sparse.csr_array((weight[kept], (row[kept], column[kept])), shape=forest.shape)


def _components(forest: sparse.csr_array) -> NDArray[np.int32]:
    return np.asarray(csgraph.connected_components(forest, directed=False)[1])


def _too_large(member: NDArray[np.int32]) -> bool:
    return int(np.bincount(member).max()) > max(2, len(member) // 4)
