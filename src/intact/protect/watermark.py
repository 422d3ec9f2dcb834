"""Localisation and recovery: tags that tell which blocks were altered, copies that show what stood there.

Every plane is cut into blocks of about 16 x 16. Lowest bits of pixels that a key picks, the slots,
hold a tag of each block and reduced copies of blocks far away. A tag covers every bit of its block
but its own 32, so also the copies: keeping the remainders of pixels modulo a step, or swapping
blocks inside an image or between images, does not go unseen.

Sources: Fridrich, Goljan, "Images with self-correcting capabilities", ICIP 1999, for copies in
other blocks; Fedoseev, Denisova 2022 for the attack that keeps remainders; Holliman, Memon, IEEE TIP
9(3), 2000, for swapped blocks. Differs from the papers: tags are keyed BLAKE2s of all bits with place
and shape, copies are means at two places each, and blocks without room have their tags elsewhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from hashlib import shake_256
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.blocks import PURPOSE, TAG, Grid, Ints, Mask, Planes, tags_of
from intact.protect.holders import TURNS, assign, ranks_of

LEAST_FREE = 64  # pixels that a block needs to keep its own tag
SHARE = (5, 8)  # of its free pixels that a block gives for slots; the rest may carry reversibly
PLACE = 1023  # ten bits, more than enough to tell the pixels of a block apart


@dataclass(frozen=True)
class Deposits:
    """What blocks keep of others, twice each.

    Args:
        blocks: Whose it is.
        holders: Who keeps it.
        slots: Where, flat positions in all planes.
    """

    blocks: Int[ndarray, "k"]
    holders: Int[ndarray, "2 k"]
    slots: Int[ndarray, "2 k bits"]


@dataclass(frozen=True)
class Layout:
    """Which pixels are slots, and for what.

    Args:
        grid: The blocks.
        hosts: Blocks that keep their own tag.
        tags: Where, flat positions in all planes.
        others: Tags of the blocks that are no hosts.
        copies: Reduced copies of blocks.
        samples: Means in a copy, down and across.
        bits: Bits for each mean.
    """

    grid: Grid
    hosts: Int[ndarray, "h"]
    tags: Int[ndarray, "h 32"]
    others: Deposits
    copies: Deposits
    samples: tuple[int, int]
    bits: int

    @cached_property
    def slots(self) -> Int[ndarray, "n"]:
        """Flat positions of all reserved pixels."""
        return np.concatenate([part.ravel() for part in (self.tags, self.others.slots, self.copies.slots)])


@dataclass(frozen=True)
class Damage:
    """What was found of each block; one that is neither altered nor unknown is sound.

    Args:
        grid: The blocks.
        altered: Those that do not agree with their tag.
        unknown: Those that are no hosts and whose tag both holders lost.
    """

    grid: Grid
    altered: Bool[ndarray, "p r c"]
    unknown: Bool[ndarray, "p r c"]

    @property
    def sound(self) -> Bool[ndarray, "p r c"]:
        """Blocks that are bit for bit as they were written."""
        return ~(self.altered | self.unknown)


def layout(
    shape: tuple[int, int, int], free: Mask, region: Mask | None, key: bytes, samples: int, bits: int
) -> Layout | None:
    """Lay out the slots; the same for ever and everywhere from the same arguments.

    Args:
        shape: Planes, height, width.
        free: Pixels whose lowest bit may be used.
        region: Pixels that shall be recoverable; None for all.
        key: Of this image only.
        samples: Means along each side of a copy, from 0 (no copies) to 8; fewer in planes that are
            thinner than that.
        bits: For each mean, from 1 to 16.

    Returns:
        None when there is too little room.
    """
    if not free.any():
        return None
    grid = Grid(shape)
    usable = grid.inside(free)
    room = np.count_nonzero(usable, axis=1)
    hosting = room >= LEAST_FREE
    down, across = (min(samples, int(np.diff(edges).min())) for edges in grid.edges)
    wanted = np.ones(len(usable), bool) if region is None else grid.inside(region).any(axis=1)
    spare = np.where(hosting, room * SHARE[0] // SHARE[1] - TAG, 0)
    used = np.full(room.size, TAG)
    parts = []
    for name, blocks, width in (
        (b"others", np.flatnonzero(~hosting), TAG),
        (b"copies", np.flatnonzero(wanted & (samples > 0)), down * across * bits),
    ):
        turns = _random(grid, key, name, (TURNS, 2))
        holders = assign(grid, blocks, spare // max(width, 1), turns)
        if holders is None:
            return None
        ranks = used[holders] + width * ranks_of(holders)
        taken = width * np.bincount(holders.ravel(), minlength=room.size)
        used, spare = used + taken, spare - taken
        parts.append((blocks, holders, ranks[:, :, None] + np.arange(width)))
    hosts = np.flatnonzero(hosting)
    order = _order(grid, usable, key)
    tags = _positions(grid, order, hosts[:, None], np.arange(TAG))
    others, copies = (
        Deposits(blocks, holders, _positions(grid, order, holders[:, :, None], ranks))
        for blocks, holders, ranks in parts
    )
    return Layout(grid, hosts, tags, others, copies, (down, across), bits)


def write(marked: Planes, original: Planes, layout: Layout, key: bytes, low: int, high: int) -> Planes:
    """Fill the slots.

    Args:
        marked: The planes as they shall be, with the bits of all slots cleared.
        original: The planes that the copies shall show.
        layout: The slots.
        key: Of this image only, 32 bytes.
        low: The darkest mean that copies can show.
        high: The brightest.
    """
    grid, others, copies = layout.grid, layout.others, layout.copies
    written = np.array(marked, order="C")
    if copies.blocks.size:
        _put(written, copies.slots, _reduce(original, layout, low, high)[copies.blocks])
    _put(written, others.slots, tags_of(written, grid, others.blocks, key))
    _put(written, layout.tags, tags_of(written, grid, layout.hosts, key))
    return written


def check(planes: Planes, layout: Layout, key: bytes) -> Damage:
    """Compare every block with its tag."""
    grid, others = layout.grid, layout.others
    cleared = np.array(planes, order="C")
    own = _get(cleared, layout.tags)
    cleared.reshape(-1)[layout.tags] ^= own.astype(planes.dtype)
    found = tags_of(cleared, grid, np.arange(np.prod(grid.blocks)), key)
    sound, unknown = np.zeros(len(found), bool), np.zeros(len(found), bool)
    sound[layout.hosts] = (own == found[layout.hosts]).all(axis=1)
    trusted = sound[others.holders]
    agree = (_get(planes, others.slots) == found[others.blocks]).all(axis=2)
    sound[others.blocks] = (trusted & agree).any(axis=0)
    unknown[others.blocks] = ~trusted.any(axis=0)
    return Damage(grid, (~sound & ~unknown).reshape(grid.blocks), unknown.reshape(grid.blocks))


def recover(planes: Planes, layout: Layout, damage: Damage, low: int, high: int) -> tuple[Planes, Mask]:
    """Show reduced copies in place of blocks that are not sound.

    Args:
        planes: The planes as they were found.
        layout: The slots.
        damage: What `check` found.
        low: As given to `write`.
        high: As given to `write`.

    Returns:
        The planes, and which pixels come from copies; a block whose copies are both lost, or that
        never had any, stays as it was found.
    """
    grid, copies = layout.grid, layout.copies
    sound = damage.sound.ravel()
    trusted = sound[copies.holders]
    known = ~sound[copies.blocks] & trusted.any(axis=0)
    blocks, source = copies.blocks[known], np.where(trusted[0], 0, 1)[known]
    if not blocks.size:
        return planes.copy(), np.zeros(planes.shape, bool)
    seen = _get(planes, copies.slots[source, np.flatnonzero(known)])
    levels = seen.reshape(blocks.size, -1, layout.bits) @ (1 << np.arange(layout.bits)[::-1])
    sums, areas = _sample(planes, layout)
    means = sums / areas
    means[blocks] = low + levels * ((high - low) / (2**layout.bits - 1))
    pasted = np.zeros(sound.size, bool)
    pasted[blocks] = True
    shown = grid.spread(pasted.reshape(grid.blocks))
    recovered = planes.copy()
    context = np.split(means, grid.shape[0]), np.split(sound | pasted, grid.shape[0])
    for plane, (values, there) in enumerate(zip(*context, strict=True)):
        if (at := shown[plane]).any():
            drawn = _enlarge(values, there, layout)
            lacking = values - _sample(drawn[None], layout)[0] / areas[: len(values)]
            drawn += _enlarge(lacking, there, layout)  # brings the means back that interpolation moved
            recovered[plane][at] = np.rint(drawn.clip(low, high)[at])
    return recovered, shown


def _random(grid: Grid, key: bytes, purpose: bytes, shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Keyed numbers that are the same on every platform, unlike those of NumPy's generators."""
    seed = PURPOSE + key + struct.pack("<3I", *grid.shape) + purpose
    stream = shake_256(seed).digest(4 * shape[0] * shape[1])
    return np.frombuffer(stream, "<u4").astype(np.uint32).reshape(shape)


def _order(grid: Grid, usable: Bool[ndarray, "n s"], key: bytes) -> UInt16[ndarray, "n s"]:
    """The pixels of each block in a keyed order, the usable ones first."""
    found = []
    for plane, free in enumerate(np.split(usable, grid.shape[0])):
        numbers = _random(grid, key, b"order" + struct.pack("<I", plane), free.shape)
        # With the place in the lowest bits no two are equal, and sorted numbers bring their places along.
        numbers = numbers & ~np.uint32(PLACE) | np.arange(free.shape[1], dtype=np.uint32)
        numbers[~free] = 2**32 - 1
        found.append((np.sort(numbers, axis=1) & PLACE).astype(np.uint16))
    return np.concatenate(found)


def _positions(grid: Grid, order: UInt16[ndarray, "n s"], blocks: Ints, ranks: Ints) -> Ints:
    """Flat positions of the pixels of `blocks` that come at `ranks` of the order."""
    plane, block = np.divmod(blocks, len(grid.pixels))
    return plane * (grid.shape[1] * grid.shape[2]) + grid.pixels[block, order[blocks, ranks]]


def _get(planes: Planes, slots: Ints) -> UInt8[ndarray, "..."]:
    return (planes.reshape(-1)[slots] & 1).astype(np.uint8)


def _put(planes: Planes, slots: Ints, bits: UInt8[ndarray, "..."]) -> None:
    """Set cleared bits, in place."""
    planes.reshape(-1)[slots] |= bits.astype(planes.dtype)


def _sample_edges(layout: Layout) -> list[Ints]:
    """Boundaries of the samples, which cut the sides of each block as evenly as integers can."""
    found = []
    for edges, count in zip(layout.grid.edges, layout.samples, strict=True):
        steps = np.diff(edges)[:, None] * np.arange(count) // count
        found.append(np.append((edges[:-1, None] + steps).ravel(), edges[-1]))
    return found


def _sample(planes: NDArray[Any], layout: Layout) -> tuple[Float[ndarray, "n k"], Int[ndarray, "n k"]]:
    """Sums of the pixels under each sample, and how many there are, by blocks."""
    ys, xs = _sample_edges(layout)
    # Sums of integers stay far below 2**53, so that float64 holds them exactly.
    sums = np.add.reduceat(planes, ys[:-1], axis=1, dtype=np.float64)
    sums = np.add.reduceat(sums, xs[:-1], axis=2)
    areas = np.broadcast_to(np.outer(np.diff(ys), np.diff(xs)), sums.shape)
    return _by_block(sums, layout), _by_block(areas, layout)


def _by_block(samples: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """[planes, height, width] of samples as [blocks, samples of a block]."""
    (_, rows, columns), (down, across) = layout.grid.blocks, layout.samples
    split = samples.reshape(-1, rows, down, columns, across).swapaxes(2, 3)
    return split.reshape(-1, down * across)


def _reduce(planes: Planes, layout: Layout, low: int, high: int) -> UInt8[ndarray, "n bits"]:
    """Copies of all blocks as bits: means, rounded to levels between `low` and `high`."""
    sums, areas = (part.astype(np.int64) for part in _sample(planes, layout))
    top, span = 2**layout.bits - 1, max(1, high - low)
    # In integers, so that every platform rounds alike: round(top * (mean - low) / span).
    levels = np.clip((2 * top * (sums - low * areas) + span * areas) // (2 * span * areas), 0, top)
    bits = levels[:, :, None] >> np.arange(layout.bits)[::-1] & 1
    return bits.reshape(len(levels), -1).astype(np.uint8)


def _enlarge(
    means: Float[ndarray, "b k"], known: Bool[ndarray, "b"], layout: Layout
) -> Float[ndarray, "h w"]:
    """Interpolate a plane linearly between the centres of samples, leaving out unknown blocks."""
    (_, rows, columns), (down, across) = layout.grid.blocks, layout.samples
    weight = np.broadcast_to(known[:, None], means.shape)
    both = np.stack([means * weight, weight]).reshape(2, rows, columns, down, across)
    both = both.swapaxes(2, 3).reshape(2, rows * down, columns * across)
    for axis, edges in enumerate(_sample_edges(layout), start=1):
        centres = (edges[:-1] + edges[1:] - 1) / 2
        at = np.interp(np.arange(edges[-1]), centres, np.arange(centres.size))
        before = at.astype(np.int64)
        after = np.minimum(before + 1, centres.size - 1)
        share = (at - before).reshape((-1, 1) if axis == 1 else -1)
        both = both.take(before, axis) * (1 - share) + both.take(after, axis) * share
    total, weights = both
    return np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)
