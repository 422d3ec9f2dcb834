"""`Reference`: normal images to look up what a flagged region looks like in others.

Maps of the images are kept in the folder of a run, no pixels; the report reads the images again. A region
is compared with windows of its own size, at about its own place, as images of one kind show the
same part of the body.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact import progress
from intact._version import __version__
from intact.data.transforms import Placement
from intact.errors import InputError, UsageError
from intact.explain.eyes import GRID, Box, Seen, box_of, normalised, see
from intact.io import Rejected, Unit, index, read_unit
from intact.scores import NearNormal
from intact.store import load_folder, save_folder

IMAGES = 200  # looked at, at most, evenly over those given
PLANES = 8  # of a volume, evenly
NEAREST = 3  # shown for a region, each of another image
REACH = 5  # cells by which the place in another image may differ, up and down, left and right


@dataclass(frozen=True, eq=False)
class Reference:
    """Normal images as regions are compared with them.

    Args:
        maps: float16 [n, c, GRID, GRID], of planes.
        names: Of the image that each plane is of.
        planes: Its number there.
        places: Where it lies in the square that was looked at.
    """

    maps: Float[Tensor, "n c g g"]
    names: tuple[str, ...]
    planes: tuple[int, ...]
    places: tuple[Placement, ...]

    @classmethod
    def learn(cls, normals: Sequence[str | Path]) -> tuple[Reference, list[Rejected]]:
        """Look at normal images; what cannot be read is left out and told.

        Raises:
            UsageError: There is no image that can be read.
        """
        found = index([Path(path) for path in normals])
        rejected = [entry for entry in found if isinstance(entry, Rejected)]
        units = [entry for entry in found if isinstance(entry, Unit)]
        chosen = units[:: -(-len(units) // IMAGES)] if units else []
        maps: list[Tensor] = []
        where: list[tuple[str, int, Placement]] = []
        for done, unit in enumerate(chosen, start=1):
            try:
                image = read_unit(unit)
            except InputError as error:
                rejected.append(Rejected(unit.name, error.reason, unit.folder))
                continue
            planes = range(0, image.planes, -(-image.planes // PLANES))
            for plane, seen in zip(planes, see(image, planes), strict=True):
                maps.append(seen.maps.half())
                where.append((unit.name, plane, seen.at))
            progress.report("looking at normal images", done, len(chosen))
        if not maps:
            raise UsageError(f"{', '.join(map(str, normals))}: holds no normal image that can be read")
        names, numbers, places = zip(*where, strict=True)
        return cls(torch.stack(maps), names, numbers, places), rejected

    def save(self, folder: Path) -> None:
        """Write the folder that `load` reads."""
        manifest = {
            "intact": __version__,
            "kind": "reference",
            "names": self.names,
            "planes": self.planes,
            "places": [dataclasses.astuple(place) for place in self.places],
        }
        save_folder(folder, {"maps": self.maps}, manifest)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read what `save` wrote.

        Raises:
            ModelError: It is missing or damaged.
        """
        tensors, manifest = load_folder(folder)
        places = tuple(Placement(*place) for place in manifest["places"])
        return cls(tensors["maps"], manifest["names"], manifest["planes"], places)

    def nearest(self, seen: Seen, box: Box, own: str = "") -> tuple[NearNormal, ...]:
        """The normal regions most like that in a box of pixels, the nearest first, each of another image.

        Args:
            seen: The plane.
            box: Of the region, in its pixels.
            own: Name of the image, which may be one of those here: it is not like itself.
        """
        rows, columns = seen.cells(box)
        top, left = max(rows.start - REACH, 0), max(columns.start - REACH, 0)
        around = self.maps[:, :, top : rows.stop + REACH, left : columns.stop + REACH].float()
        side = rows.stop - rows.start, columns.stop - columns.start
        means = F.avg_pool2d(around, side, stride=1).transpose(0, 1)
        cosines = torch.einsum("c,cnhw->nhw", seen.look(box), normalised(means))
        best, at = cosines.flatten(1).max(dim=1)
        found: dict[str, NearNormal] = {}
        for plane in best.argsort(descending=True, stable=True).tolist():
            if len(found) == NEAREST:
                break
            down, right = divmod(int(at[plane]), cosines.shape[2])
            cells = (
                slice(top + down, min(top + down + side[0], GRID)),
                slice(left + right, min(left + right + side[1], GRID)),
            )
            place, name = box_of(cells, self.places[plane]), self.names[plane]
            if name != own:
                near = NearNormal(name, self.planes[plane], place, 1 - float(best[plane]))
                found.setdefault(name, near)
        return tuple(found.values())
