"""`Model`: a fitted detector with everything needed to screen an image and to decide.

Detector, preparation, calibration on held-out normals, and the card that says what it was
fitted on, kept together in one folder.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from intact._version import __version__
from intact.anomaly import METHODS, Detector
from intact.anomaly.base import SCORE_BATCH
from intact.anomaly.reconstruction import Reconstruction
from intact.data.cubes import Box, box_of, into_cube
from intact.data.transforms import Placement, Preparation, is_colour
from intact.data.volumes import (
    Smoothing,
    depth_of,
    neighbours_of,
    smooth,
    smoothing_of,
    spacing_known,
    top_mean,
)
from intact.errors import ModelError
from intact.image import Image
from intact.scores import Calibration
from intact.store import load_folder, save_folder

T = TypeVar("T")
Picture = UInt8[ndarray, "h w"]
_regions: WeakKeyDictionary[Image, dict[str, Bool[ndarray, "..."]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Part:
    """What one member of an ensemble says of an image.

    Args:
        method: Key in `METHODS`.
        score: Its own.
        p_value: That of the score among the normals held out from this member.
    """

    method: str
    score: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says of one image.

    Args:
        score: The image's score; of a volume its highest plane's, or where maps are smoothed the mean of
            their highest thousandth.
        peak: Highest pixel score, None when the method does not localise.
        pixel: Prepared pixel scores, one [size,size] tensor per plane, or [size,size,size] per volume seen
            as a whole; empty when not localised.
        placements: Where each plane or volume went when it was prepared.
        parts: Of an ensemble, what each member says; empty otherwise.
    """

    score: float
    peak: float | None
    pixel: list[Tensor]
    placements: list[Placement | Box]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Card:
    """What a model was fitted on, and when.

    Args:
        name: Of the model's folder; empty until it is saved.
        method: Key in `METHODS`.
        fitted: ISO 8601 time.
        normals_fitted: Normal images learned from.
        normals_calibrated: Held-out normal images that p-values are taken from.
        planes_fitted: 2-D planes learned from.
        modality: Of most images, or empty.
        bits: Of most images.
        volumes: Whether most images were volumes.
        group_by: DICOM keyword, or "folder", that names an image's calibration group; or empty.
        start: What the start of its training was learned on; empty when it began at random.
        intact: Version of this package.
    """

    name: str
    method: str
    fitted: str
    normals_fitted: int
    normals_calibrated: int
    planes_fitted: int
    modality: str
    bits: int
    volumes: bool
    group_by: str = ""
    start: str = ""
    intact: str = __version__


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted detector, ready to screen."""

    detector: Detector
    preparation: Preparation
    calibration: Calibration
    card: Card
    digest: str = ""  # SHA-256 of the saved weights; empty until it is saved

    @property
    def family(self) -> str:
        """Of the detector."""
        return self.detector.family

    def read(self, images: Sequence[Image]) -> Iterator[Reading]:
        """Score images, one reading each, in order.

        Planes of neighbouring images share a batch; that changes speed, never a score.
        """
        planes = (
            (i, *prepared) for i, image in enumerate(images) for prepared in seen_of(image, self.preparation)
        )
        return readings(self.detector, planes, [smoothing_of(image, self.preparation) for image in images])

    def map(self, reading: Reading, image: Image) -> Float[ndarray, "..."]:
        """The pixel scores in the image's own grid: float32, of shape `image.shape`."""
        return map_of(reading, image, self.preparation)

    def twin(self, image: Image, plane: int) -> Picture | None:
        """A plane as the method sees it, and its normal twin beside it; None if it rebuilds no images.

        Both in the plane's grid, without its neighbours, windows averaged.
        """
        if not isinstance(self.detector, Reconstruction):
            return None
        ((square, at),) = planes_of(image, self.preparation, [plane])
        pair = torch.stack([square, self.detector.twin(square[None])[0]])
        reach = self.preparation.neighbours
        own = pair[:, reach] if reach else pair.mean(dim=1)
        shown = [self.preparation.restore(each, at) for each in own]
        return (255 * torch.cat(shown, dim=1)).round().to(torch.uint8).numpy()

    def p_value(self, reading: Reading, image: Image, group: str = "") -> float:
        """Conformal p-value of an image.

        A volume that meets a model calibrated on 2-D images is as suspicious as its worst plane,
        corrected for having as many planes (Bonferroni).
        """
        return p_value(reading, image, group, self.calibration, self.card)

    def describe(self) -> dict[str, Any]:
        """What a run record says of this model: plain data."""
        return describe(self.card, self.calibration) | {
            "family": self.family,
            "source": self.detector.source,
            "fields": self.detector.fields(),
            "preparation": dataclasses.asdict(self.preparation),
            "digest": self.digest,
        }

    def misfit(self, image: Image) -> list[str]:
        """Reasons to doubt that this image is of the kind the model was fitted on."""
        card, doubts = self.card, []
        if card.modality and image.modality and image.modality != card.modality:
            doubts.append(f"the model was fitted on {card.modality}, this image is {image.modality}")
        if image.bits != card.bits:
            doubts.append(f"the model was fitted on {card.bits}-bit images, this one has {image.bits} bits")
        if card.volumes and image.planes == 1:
            doubts.append(
                "the model was calibrated on volumes, this is a single plane: its p-value is too large"
            )
        if not card.volumes and image.planes > 1:
            doubts.append(
                "the model was calibrated on single planes, this is a volume: its p-value is that of the "
                f"worst plane times {image.planes}"
            )
        if is_colour(image) and not self.preparation.colour:
            doubts.append("the model was fitted on grey images, this one is in colour and was turned grey")
        if (region := self.preparation.region) and region_of(image, region) is None:
            doubts.append(f"the model looks at the region {region!r}, which was not found: all is looked at")
        if (self.preparation.smooth_mm or self.preparation.whole) and not spacing_known(image):
            doubts.append("the spacing is unknown: the volume was taken as if it were 1 mm")
        return doubts

    def save(self, folder: str | Path) -> None:
        """Write the model folder.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        tensors, manifest = self.packed()
        manifest["card"]["name"] = Path(folder).name
        save_folder(Path(folder), tensors, manifest)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a model folder holds: tensors by name, and the manifest."""
        tensors, groups = pack_calibration(self.calibration)
        manifest = {
            "intact": __version__,
            "card": dataclasses.asdict(self.card),
            "fields": self.detector.fields(),
            "preparation": dataclasses.asdict(self.preparation),
            "groups": groups,
        }
        return self.detector.state() | tensors, manifest

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read a model folder back.

        Raises:
            ModelError: It is missing, damaged, of another format or kind, or of an unknown method.
        """
        tensors, manifest = load_folder(Path(folder))
        if (kind := manifest.get("kind")) == "ensemble":
            raise ModelError(f"{folder} holds several models: read it with `intact.load_model`")
        if kind == "start":
            raise ModelError(f"{folder} is a start, not a model: fit one with `intact fit --start {folder}`")
        if kind:
            raise ModelError(f"{folder} is a model that segments: use it with `intact segment --model`")
        manifest["card"]["name"] = Path(folder).resolve().name
        return cls.unpacked(tensors, manifest, folder)

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], manifest: dict[str, Any], folder: str | Path) -> Model:
        """What `packed` gave, as a model; the folder is named in errors.

        Raises:
            ModelError: It is of an unknown method, or of another version's.
        """
        calibration = unpack_calibration(tensors, manifest)
        method = manifest["card"]["method"]
        if method not in METHODS:
            raise ModelError(f"{folder} holds method {method!r}, which this version does not have")
        try:
            detector = METHODS[method](**manifest["fields"]).load_state(tensors)
        except (TypeError, RuntimeError) as error:
            raise ModelError(
                f"{folder} was written by Intact {manifest['intact']} and does not fit this version's "
                f"{method} ({error}): use that version or fit the model again"
            ) from error
        return cls(
            detector,
            Preparation(**manifest["preparation"]),
            calibration,
            Card(**manifest["card"]),
            manifest.get("sha256", ""),
        )


def p_value(reading: Reading, image: Image, group: str, calibration: Calibration, card: Card) -> float:
    """Conformal p-value of an image; of a volume, where 2-D images were held out, times its planes."""
    p = float(calibration.p_value(reading.score, group))
    return p if card.volumes else min(1.0, p * image.planes)


def describe(card: Card, calibration: Calibration) -> dict[str, Any]:
    """What a run record says of any model: what it was fitted and is calibrated on."""
    quiet, loud = (
        (calibration.pixel_quantile(0.95), float(calibration.peak.max()))
        if len(calibration.peak)
        else (0.0, 1.0)
    )
    return {
        "name": card.name,
        "method": card.method,
        "modality": card.modality,
        "fitted": card.fitted,
        "normals_fitted": card.normals_fitted,
        "normals_calibrated": card.normals_calibrated,
        "smallest_p": 1.0 / (len(calibration) + 1),
        "map_scale": [quiet, loud],
        "group_by": card.group_by,
    }


def pack_calibration(calibration: Calibration) -> tuple[dict[str, Tensor], list[str]]:
    """A calibration as tensors by name, and its groups."""
    tensors = {
        f"calibration.{name}": torch.from_numpy(np.ascontiguousarray(getattr(calibration, name)))
        for name in ("image", "peak", "pixel")
    }
    return tensors, list(calibration.groups)


def unpack_calibration(tensors: dict[str, Tensor], manifest: dict[str, Any]) -> Calibration:
    """Take a calibration out of the tensors of a model folder."""
    numbers = {name: tensors.pop(f"calibration.{name}").numpy() for name in ("image", "peak", "pixel")}
    return Calibration(**numbers, groups=tuple(manifest["groups"]))


def map_of(reading: Reading, image: Image, preparation: Preparation) -> Float[ndarray, "..."]:
    """Pixel scores in the image's own grid; outside the region looked at, the lowest."""
    planes = [
        preparation.restore(pixel, placement).numpy()
        for pixel, placement in zip(reading.pixel, reading.placements, strict=True)
    ]
    whole = np.stack(planes).reshape(image.shape)
    inside = region_of(image, preparation.region)
    return whole if inside is None else np.where(inside, whole, whole.min())


def seen_of(image: Image, preparation: Preparation) -> Iterator[tuple[Tensor, Placement | Box]]:
    """Each part of an image as a detector sees it: its planes, or whole volumes as cubes."""
    return cubes_of(image, preparation) if preparation.whole else planes_of(image, preparation)


def planes_of(
    image: Image, preparation: Preparation, numbers: Sequence[int] | None = None
) -> Iterator[tuple[Tensor, Placement]]:
    """Planes of an image as a detector sees them: with their neighbours, if asked, as further channels.

    Args:
        image: Of any number of planes.
        preparation: How planes are prepared.
        numbers: Of the planes; by default all.
    """
    limits, inside = preparation.limits(image), region_of(image, preparation.region)
    flat = None if inside is None else inside.reshape(-1, *image.shape[-2:])

    @functools.lru_cache(2 * preparation.neighbours + 1)
    def prepared(i: int) -> tuple[Tensor, Placement]:
        return preparation.prepare(image.plane(i), limits, None if flat is None else flat[i])

    depth = depth_of(image)
    for i in range(image.planes) if numbers is None else numbers:
        seen = [prepared(j)[0] for j in neighbours_of(i, depth, preparation.neighbours)]
        yield torch.cat(seen), prepared(i)[1]


def cubes_of(image: Image, preparation: Preparation) -> Iterator[tuple[Tensor, Box]]:
    """Each volume of an image, of which only a time series has several, as one cube."""
    limits, inside = preparation.limits(image), region_of(image, preparation.region)
    flat = None if inside is None else inside.reshape(-1, *image.shape[-2:])
    depth, size = depth_of(image), preparation.size
    box = box_of((depth, image.shape[-2], image.shape[-1]), image.spacing, size)

    def resized(i: int) -> Tensor:
        return preparation.resized(image.plane(i), limits, None if flat is None else flat[i], box.sides[1:])

    for first in range(0, image.planes, depth):
        yield into_cube([resized(i) for i in range(first, first + depth)], box, size), box


def readings(
    detector: Detector,
    planes: Iterable[tuple[int, Tensor, Placement | Box]],
    smoothings: Sequence[Smoothing | None],
) -> Iterator[Reading]:
    """What a detector says of images whose planes come one after another.

    Args:
        detector: Fitted.
        planes: The number of the image, the plane as prepared, and where it went.
        smoothings: Of each image; None leaves its maps as they are.
    """
    pending: list[tuple[int, float, Tensor | None, Placement | Box]] = []
    following = 0
    for batch in batched(planes, SCORE_BATCH):
        owners, tensors, placements = zip(*batch, strict=True)
        scores = detector.score(torch.stack(tensors))
        maps: Iterable[Tensor | None] = [None] * len(batch) if scores.pixel is None else scores.pixel
        pending += zip(owners, scores.image.tolist(), maps, placements, strict=True)
        while pending[-1][0] > following:  # all planes of that image have been scored
            yield _reading([row for row in pending if row[0] == following], smoothings[following])
            pending = [row for row in pending if row[0] > following]
            following += 1
    if pending:
        yield _reading(pending, smoothings[following])


def region_of(image: Image, region: str) -> Bool[ndarray, "..."] | None:
    """The mask of a region, remembered as long as the image is; None for all, or where there is none."""
    if not region:
        return None
    from intact.segment import REGIONS  # takes a second, and few models need it

    if image not in _regions:
        _regions[image] = {}
    if region not in _regions[image]:
        _regions[image][region] = REGIONS[region](image)
    found = _regions[image][region]
    return found if found.any() else None


def group_of(image: Image, folder: str, group_by: str) -> str:
    """The calibration group an image belongs to.

    Args:
        image: Its DICOM header is asked.
        folder: Name of the folder it was found in.
        group_by: A DICOM keyword such as "Manufacturer" or "ViewPosition", "folder", or "".
    """
    if group_by == "folder":
        return folder
    return str(getattr(image.header, group_by, "") or "") if group_by else ""


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    source = iter(items)
    while batch := list(itertools.islice(source, size)):
        yield batch


def _reading(
    rows: list[tuple[int, float, Tensor | None, Placement | Box]], smoothing: Smoothing | None
) -> Reading:
    _, scores, maps, placements = zip(*rows, strict=True)
    pixel, score = [m for m in maps if m is not None], max(scores)
    if smoothing and pixel:
        pixel = smooth(pixel, smoothing)
        score = top_mean(pixel, smoothing.at)
    peak = max(float(m.amax()) for m in pixel) if pixel else None
    return Reading(score, peak, pixel, list(placements))
