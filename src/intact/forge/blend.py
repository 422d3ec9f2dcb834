"""How a foreign region is joined to an image: hard, feathered, or without a seam.

Arrays are float64 [..., c] boxes around the region: [h, w] or [d, h, w], with a colour axis or not.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from intact.errors import UsageError

Blend = Literal["hard", "feather", "poisson"]
Field = Float[ndarray, "..."]
Mask = Bool[ndarray, "..."]

FEATHER = 4.0  # pixels over which a feathered blend fades, inside the region


def blend(host: Field, guest: Field, mask: Mask, how: Blend) -> tuple[Field, Mask]:
    """Put `guest` into `host` where the mask is set.

    Args:
        host: What is there.
        guest: What comes in; defined in the whole box, as seams are made of what surrounds them.
        mask: The region, without the colour axis; it must not touch the box's edge for "poisson".
        how: "hard" replaces; "feather" fades over 4 pixels inside the region, which leaves a rim of
            less noise; "poisson" keeps the guest's gradients and the host's values at the rim
            (Pérez, Gangnet & Blake, "Poisson image editing", SIGGRAPH 2003).

    Returns:
        The blended values, and where less than half of a value is the guest's.

    Raises:
        UsageError: There is no such blend.
    """
    if how not in get_args(Blend):
        raise UsageError(f"blend={how!r} is not one of {', '.join(get_args(Blend))}")
    colours = host.ndim > mask.ndim
    if how == "poisson":
        if colours:
            planes = [_seamless(host[..., c], guest[..., c], mask) for c in range(host.shape[-1])]
            return np.stack(planes, axis=-1), np.zeros_like(mask)
        return _seamless(host, guest, mask), np.zeros_like(mask)
    share = mask.astype(np.float64)
    if how == "feather":
        share = np.clip(ndimage.distance_transform_edt(mask) / FEATHER, 0.0, 1.0)
    weight = share[..., None] if colours else share
    # Not weight * guest + ...: where nothing of the guest comes in, the host stays to the last bit.
    blended = np.where(weight > 0, host + weight * (guest - host), host)
    return np.where(weight == 1, guest, blended), mask & (share < 0.5)


def _seamless(host: Field, guest: Field, mask: Mask) -> Field:
    """The host with the guest's Laplacian inside the mask: Poisson's equation, Dirichlet rim."""
    inside = mask & _inner(mask.shape)
    unknowns = np.full(mask.shape, -1)
    count = int(inside.sum())
    unknowns[inside] = np.arange(count)
    at = np.argwhere(inside)
    right = np.zeros(count)
    rows, columns = [np.arange(count)], [np.arange(count)]
    values = [np.full(count, 2.0 * mask.ndim)]
    for axis in range(mask.ndim):
        for step in (-1, 1):
            beside = at.copy()
            beside[:, axis] += step
            index = tuple(beside.T)
            right += guest[inside] - guest[index]
            known = unknowns[index] < 0
            right[known] += host[index][known]
            rows.append(np.flatnonzero(~known))
            columns.append(unknowns[index][~known])
            values.append(np.full(int((~known).sum()), -1.0))
    matrix = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    )
    solution, _ = cg(matrix, right, x0=guest[inside], rtol=1e-12, maxiter=20 * count)
    blended = host.copy()
    blended[inside] = solution
    return blended


def _inner(shape: tuple[int, ...]) -> Mask:
    """All but the edge of a box."""
    inner = np.zeros(shape, bool)
    inner[tuple(slice(1, -1) for _ in shape)] = True
    return inner
