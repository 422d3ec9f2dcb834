"""Which DICOM files make one volume, and in which order.

Files of one series may be a volume, several volumes (echoes, time points, b-values) or a volume
and its localisers. Planes that are parallel and at different places make a volume, ordered along
their normal; file names and instance numbers do not decide the order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from intact.errors import SeriesError
from intact.image import Identity, Image, Scale
from intact.io.dicom import read_dicom
from intact.io.geometry import normal, stack
from intact.io.source import Source

_PLACES = 2  # decimals of mm to which two planes are at the same place
_ANGLES = 3  # decimals of the direction cosines to which two planes are parallel


@dataclass(frozen=True)
class Slice:
    """What the header of a DICOM file says about its place in a series.

    Args:
        source: The file.
        folder: Label folder it was found under.
        series: Series Instance UID; empty when it has none.
        orientation: Image Orientation (Patient), six numbers, or empty.
        position: Image Position (Patient) in mm, three numbers, or empty.
        number: Instance Number.
        moments: What tells repetitions of one place apart: temporal position, echo, b-value,
            acquisition; in that order, as stored, empty where missing.
    """

    source: Source
    folder: str = ""
    series: str = ""
    orientation: tuple[float, ...] = ()
    position: tuple[float, ...] = ()
    number: int = 0
    moments: tuple[bytes, ...] = ()

    @property
    def located(self) -> bool:
        """Whether it can be part of a volume."""
        return bool(self.series) and len(self.orientation) == 6 and len(self.position) == 3

    @cached_property
    def height(self) -> float:
        """Position along the normal of the plane, in mm."""
        return float(normal(np.array(self.orientation)) @ np.array(self.position))


def volumes(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Group slices into volumes, each ordered along its normal.

    Returns:
        Every slice once; one that belongs to no volume is alone in its list.
    """
    alone: list[list[Slice]] = []
    stacks: dict[Hashable, list[Slice]] = defaultdict(list)
    for one in slices:
        if one.located:
            angles = tuple(round(v, _ANGLES) + 0.0 for v in one.orientation)
            stacks[one.folder, one.series, angles].append(one)
        else:
            alone.append([one])
    found = [volume for parallel in stacks.values() for volume in _unrepeated(parallel)]
    return alone + [sorted(volume, key=_order) for volume in found]


def read_planes(sources: Sequence[Source]) -> list[Image]:
    """Read DICOM files one by one, each as it is.

    Raises:
        UnreadableError: One cannot be read; the error names it.
    """
    return [read_dicom(source.read(), name=source.name) for source in sources]


def join_planes(planes: Sequence[Image], name: str) -> Image:
    """Make one volume of its slices, given in order.

    Args:
        planes: As `volumes` ordered them.
        name: The volume, for errors.

    Returns:
        Pixels [D,H,W] ([D,H,W,3] in colour), `header` of the first slice, and rescale slope and
        intercept per plane where they differ. Uneven distances are noted.

    Raises:
        SeriesError: The slices differ in shape, type or spacing.
    """
    _check_alike(planes, name)
    first = planes[0]
    pixels = np.stack([plane.pixels for plane in planes])
    notes = list(dict.fromkeys(note for plane in planes for note in plane.notes))
    image = replace(
        first,
        pixels=pixels,
        bits=max(plane.bits for plane in planes),
        scale=_scale([plane.scale for plane in planes]),
        identity=replace(first.identity, instance=""),
    )
    spacing, affine = _space(planes, notes)
    return replace(image, spacing=spacing, affine=affine, notes=tuple(notes))


def _order(one: Slice) -> tuple[float, int, str]:
    return one.height, one.number, one.source.name


def _unrepeated(parallel: list[Slice]) -> list[list[Slice]]:
    """Split parallel slices so that no volume has two at one place."""
    if len(parallel) == 1 or _all_apart(parallel):
        return [parallel]
    keys: list[Callable[[Slice], Hashable]] = [lambda one: one.source.path.parent]
    fields = range(max(len(one.moments) for one in parallel))
    for size in fields:
        keys += [_moments(chosen) for chosen in combinations(fields, size + 1)]
    for key in keys:
        parts: dict[Hashable, list[Slice]] = defaultdict(list)
        for one in parallel:
            parts[key(one)].append(one)
        if all(_all_apart(part) for part in parts.values()):
            return list(parts.values())
    return _dealt(parallel)


def _moments(chosen: tuple[int, ...]) -> Callable[[Slice], Hashable]:
    return lambda one: tuple(one.moments[index] for index in chosen)


def _dealt(parallel: list[Slice]) -> list[list[Slice]]:
    """The first slice at each place makes one volume, the second ones another, and so on."""
    seen: Counter[float] = Counter()
    parts: dict[int, list[Slice]] = defaultdict(list)
    for one in sorted(parallel, key=lambda one: (one.number, one.source.name)):
        place = round(one.height, _PLACES)
        parts[seen[place]].append(one)
        seen[place] += 1
    return list(parts.values())


def _all_apart(slices: list[Slice]) -> bool:
    return len({round(one.height, _PLACES) for one in slices}) == len(slices)


def _check_alike(planes: Sequence[Image], name: str) -> None:
    kinds: dict[Hashable, list[Identity]] = defaultdict(list)
    for plane in planes:
        spacing = plane.spacing and tuple(round(s, 4) for s in plane.spacing)
        shape = " x ".join(str(n) for n in plane.pixels.shape)
        kind = f"{shape} {plane.pixels.dtype} {plane.photometric}, spacing {spacing} mm"
        kinds[kind].append(plane.identity)
    if len(kinds) > 1:
        listed = "; ".join(f"{k} in {len(v)} (such as {v[0].path})" for k, v in kinds.items())
        raise SeriesError(
            name,
            f"its slices differ, so they form no volume: {listed}; sort them into one "
            "series for each kind, or read the files one by one",
        )


def _space(
    planes: Sequence[Image], notes: list[str]
) -> tuple[tuple[float, ...] | None, NDArray[np.float64] | None]:
    first = planes[0]
    if first.affine is None or first.spacing is None:
        return None, None
    positions = np.array([plane.affine[:3, 3] for plane in planes if plane.affine is not None])
    rows, columns = first.spacing
    directions = np.concatenate([first.affine[:3, 0] / columns, first.affine[:3, 1] / rows])
    placed = stack(positions, directions)
    if placed is None or len(positions) != len(planes):
        notes.append("the slices do not follow one another in space; their distance is unknown")
        return first.spacing, None
    if not placed.regular:
        notes.append(f"the slices are not evenly spaced; their mean distance is {placed.gap:g} mm")
    affine = first.affine.copy()
    affine[:3, 2] = placed.step
    return (placed.gap, rows, columns), affine


def _scale(scales: Sequence[Scale]) -> Scale:
    slopes = np.array([scale.slope for scale in scales], np.float64)
    intercepts = np.array([scale.intercept for scale in scales], np.float64)
    if (slopes == slopes[0]).all() and (intercepts == intercepts[0]).all():
        return scales[0]
    return replace(scales[0], slope=slopes, intercept=intercepts)
