"""Fit: from a folder of normal images to a model that can screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray

from intact import progress
from intact.anomaly import METHODS, Detector
from intact.configure import configure
from intact.data.cache import PlaneCache
from intact.data.cubes import Box
from intact.data.splits import hold_out, look_alikes, take_turns
from intact.data.transforms import CT_WIDE, Placement, Preparation, choose_preparation, thumbnail
from intact.data.volumes import Smoothing, smoothing_of, spacing_known
from intact.errors import InputError, TooFewNormalsError, UsageError, WeightsError
from intact.image import Image
from intact.io import Rejected, Unit, index, read_some, read_unit
from intact.model import Card, Model, group_of, readings, seen_of
from intact.nets.features import BACKBONES
from intact.nets.weights import find_weights
from intact.precision import best_precision
from intact.scores import Calibration, pixel_quantiles
from intact.start import Start

DEFAULT = "patchcore"  # the method
BATCH = 32  # planes per training batch
SAMPLE = 24  # images looked at to choose the preparation
SHIPPED = "narrow_resnet18"  # the backbone that is always there
THUMBNAIL = 32  # pixels: side of the copies that look-alikes are found by
MANY = 400  # patients that must be held out at once to speak well for all the others


@dataclass(frozen=True)
class Normal:
    """One normal image that was read: what is remembered of it, its planes being in the cache."""

    name: str
    patient: str  # or "" when unknown
    group: str
    modality: str
    bits: int
    look: Float[ndarray, "32 32"]  # of its middle plane
    volume: bool
    planes: slice  # of the cache
    placement: Placement | Box  # of each of its planes, or of itself
    smoothing: Smoothing | None


@dataclass(frozen=True)
class Fit:
    """What fitting gave.

    Args:
        model: Ready to screen.
        held_out: Names of the images that p-values are taken from, in the order of their scores.
        rejected: Files that could not be used, and why.
        notes: What was chosen for the user, in words.
    """

    model: Model
    held_out: list[str]
    rejected: list[Rejected]
    notes: list[str]


def fit(
    normals: Sequence[str | Path],
    *,
    method: str | None = None,
    fields: dict[str, Any] | None = None,
    start: Start | None = None,
    calibrate: float = 0.25,
    held_out: Collection[str] = (),
    in_turns: bool = True,
    group_by: str = "",
    windows: Sequence[tuple[float, float]] = (),
    region: str = "",
    neighbours: int = 0,
    smooth_mm: float = 0.0,
    seed: int = 0,
) -> Fit:
    """Learn what normal images look like.

    A share of the normals is held out, whole patients at a time, and never learned from: their
    scores are what p-values are measured against. Unless very many patients would be held out, a
    detector that does not train is calibrated in turns: it is fitted without each part and scores
    it, and in the end learns from all (cross-conformal prediction, Vovk, "Cross-conformal
    predictors", 2015). Networks are not, since no two trainings give scores of quite the same size.

    Args:
        normals: Files, folders or zip archives of normal images only.
        method: Key in `intact.anomaly.METHODS`; by default patchcore, or the method of `start`.
        fields: Hyper-parameters that differ from the method's defaults, or from those of `start`.
        start: Where training begins, from `intact.learn_start`; images are prepared as for it.
        calibrate: Share of the images to hold out, or to hold out in each turn.
        held_out: Names of the images to hold out instead, as another fit on the same images did.
        in_turns: False holds one part out, once, from detectors that do not train, too: what several
            models are compared or combined on must be strange to all of them.
        group_by: A DICOM keyword ("Manufacturer", "ViewPosition", ...) or "folder": images are
            then compared with held-out normals of the same group.
        windows: (centre, width) in HU or other physical units, one channel each; by default CT
            gets lung, soft tissue and bone, and other modalities are stretched by percentiles.
        region: Key in `intact.segment.REGIONS`, such as "lungs": nothing else is looked at.
        neighbours: Planes of a volume on each side that are seen with every plane, as further channels.
        smooth_mm: Standard deviation of a 3-D Gaussian that smooths the score maps of a volume, whose score
            is then the mean of its highest thousandth instead of its highest plane's; 0: none.
        seed: Decides the split and everything random in the method.

    Raises:
        UsageError: Unknown method, field or region, images to hold out that are not there, more channels
            than the method takes, smoothing of images most of which are no volumes, or a start that is
            unfinished, of another method, or for other images.
        InputError: There is no image that can be read.
        TooFewNormalsError: Fewer images than the method or the split needs.
    """
    if start is not None:
        fields = start.settle(method, fields or {}, reprepared=bool(windows or neighbours))
    method = method or (start.method if start else DEFAULT)
    suited, notes = suit_to_machine(method, fields or {})
    detector = configure(METHODS, method, {"seed": seed, **suited})
    if backbone := getattr(detector, "backbone", ""):
        find_weights(backbone)  # better now than when all images have been read
    found = index([Path(path) for path in normals])
    rejected = [entry for entry in found if isinstance(entry, Rejected)]
    units = [entry for entry in found if isinstance(entry, Unit)]
    sample = sample_of(units, seed, normals, rejected)
    preparation = choose_preparation(sample, detector.size, windows, neighbours)
    if start is not None:
        start.check_colour(preparation.colour)
        preparation = start.preparation
        notes.append(f"training began at a start that was learned on {start.told()}")
    preparation = replace(preparation, region=_known(region), smooth_mm=smooth_mm, whole=detector.volumes)
    notes += check_volumes(preparation, sample, backbone)
    weights = start.weights if start else None
    with PlaneCache(preparation.channels, preparation.size, preparation.axes) as cache:
        images = list(_read_all(units, preparation, cache, rejected, group_by))
        if held_out:
            turns = [_named(images, held_out)]
        else:
            turns = _turns(images, calibrate, seed, several=in_turns and not detector.trains)
        held = HeldOut()
        for turn in turns:
            out = {image.name for image in turn}
            learned = [image for image in images if image.name not in out]
            detector.fit(cache.batches(_planes(learned), BATCH, seed), weights)
            held.add(detector, turn, cache)
        if len(turns) > 1:
            learned = images
            detector.fit(cache.batches(_planes(learned), BATCH, seed), weights)
            notes.append(
                f"every image was held out in one of {len(turns)} turns, and all were learned from in the end"
            )
    if smooth_mm and not held.peaks:
        notes.append(
            f"{method} does not tell where, so there are no maps to smooth: the highest plane counts"
        )
    card = Card(
        name="",
        method=method,
        fitted=datetime.now(UTC).isoformat(timespec="seconds"),
        normals_fitted=len(learned),
        normals_calibrated=len(held.scores),
        planes_fitted=len(_planes(learned)),
        modality=_most([image.modality for image in images]),
        bits=_most([image.bits for image in images]),
        volumes=_most([image.volume for image in images]),
        group_by=group_by,
        start=start.told() if start else "",
    )
    names = [image.name for turn in turns for image in turn]
    return Fit(Model(detector, preparation, held.calibration(bool(group_by)), card), names, rejected, notes)


def check_volumes(preparation: Preparation, sample: Sequence[Image], backbone: str) -> list[str]:
    """Refuse what cannot be done with these images or planes, and say what was assumed."""
    notes = []
    if backbone and preparation.channels not in (1, 3):
        raise UsageError(
            f"{preparation.neighbours} neighbours on each side make {preparation.channels} channels, but "
            f"{backbone} takes 1 or 3: give --neighbours 1, or a method without a backbone, such as ae"
        )
    if preparation.neighbours and preparation.windows == CT_WIDE:
        centre, width = CT_WIDE[0]
        notes.append(
            f"with neighbours CT is seen through one window, {centre:g},{width:g} HU; --window gives another"
        )
    if (preparation.smooth_mm or preparation.whole) and not _most([image.planes > 1 for image in sample]):
        what = "this method" if preparation.whole else "smoothing in 3-D"
        raise UsageError(f"{what} is for volumes, but most of these images are single planes")
    if (preparation.smooth_mm or preparation.whole) and not all(map(spacing_known, sample)):
        notes.append("where the spacing is unknown, it is taken for 1 mm")
    return notes


def _known(region: str) -> str:
    if not region:
        return region
    from intact.segment import known_region  # takes a second, and few models need it

    return known_region(region)


def suit_to_machine(method: str, fields: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fill in the fields whose best value depends on this machine, unless the user gave them."""
    known = getattr(METHODS.get(method), "__dataclass_fields__", {})
    suited, notes = dict(fields), []
    if "precision" in known and "precision" not in fields:
        suited["precision"] = best_precision()
    wanted = known["backbone"].default if "backbone" in known else ""
    # For a vision transformer no ResNet can stand in: building it says what it needs.
    if wanted in BACKBONES and "backbone" not in fields:
        try:
            find_weights(wanted)
        except WeightsError:
            suited["backbone"] = SHIPPED
            notes.append(
                f"no weights for {wanted} were found, so {SHIPPED}, which comes with Intact, is used; to "
                "compare, put them into a folder and set INTACT_WEIGHTS to it"
            )
    return suited, notes


def sample_of(
    units: list[Unit], seed: int, paths: Sequence[str | Path], rejected: list[Rejected]
) -> list[Image]:
    """A few images drawn at random, enough to see what kind of images these are."""
    images = read_some(units, SAMPLE, seed)
    if not images:
        named = ", ".join(map(str, paths))
        first = (
            f"; the first of {len(rejected)} unusable files: {rejected[0].name}: {rejected[0].reason}"
            if rejected
            else ""
        )
        raise InputError(named, f"holds no image that can be read{first}")
    return images


def _read_all(
    units: list[Unit],
    preparation: Preparation,
    cache: PlaneCache,
    rejected: list[Rejected],
    group_by: str,
) -> Iterator[Normal]:
    """Read every image once and keep its prepared planes in the cache."""
    for unit in progress.track(units, "reading", len(units)):
        try:
            image = read_unit(unit)
        except InputError as error:
            rejected.append(Rejected(error.name, error.reason, unit.folder))
            continue
        first = len(cache)
        for plane, placement in seen_of(image, preparation):  # noqa: B007 - the same for each plane
            cache.append(plane)
        yield Normal(
            unit.name,
            image.identity.patient or image.identity.study,
            group_of(image, unit.folder, group_by),
            image.modality,
            image.bits,
            _look(image, preparation),
            image.planes > 1,
            slice(first, len(cache)),
            placement,
            smoothing_of(image, preparation),
        )


def _look(image: Image, preparation: Preparation) -> Float[ndarray, "32 32"]:
    """The middle plane, so small that every method's size gives the same split."""
    small = replace(preparation, size=THUMBNAIL)
    prepared, _ = small.prepare(image.plane(image.planes // 2), small.limits(image), None)
    return thumbnail(prepared, THUMBNAIL)


def _turns(images: list[Normal], share: float, seed: int, *, several: bool) -> list[list[Normal]]:
    """The images to calibrate on: whole patients, or look-alikes where unknown.

    All at once where many patients would be held out or `several` turns are not wanted.
    """
    alike = look_alikes(np.stack([image.look for image in images]))
    patients = [image.patient or group for image, group in zip(images, alike, strict=True)]
    try:
        once = hold_out(patients, share, seed)
        speaks_for_all = len({p for p, out in zip(patients, once, strict=True) if out}) >= MANY
        parts = [once] if speaks_for_all or not several else take_turns(patients, share, seed)
    except ValueError as error:
        raise TooFewNormalsError(
            f"{len(images)} normal images cannot be split into a part to learn from and a part to "
            f"calibrate on: {error}"
        ) from error
    return [[image for image, out in zip(images, part, strict=True) if out] for part in parts]


def _named(images: list[Normal], names: Collection[str]) -> list[Normal]:
    """The images of these names."""
    found = [image for image in images if image.name in set(names)]
    if missing := set(names) - {image.name for image in found}:
        raise UsageError(
            f"{len(missing)} of {len(names)} images to hold out, such as {min(missing)}, were not read"
        )
    return found


def _planes(images: list[Normal]) -> Int[ndarray, "m"]:
    return np.concatenate([np.arange(i.planes.start, i.planes.stop) for i in images])


@dataclass
class HeldOut:
    """Scores of normals that the detector scoring them never saw."""

    scores: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, detector: Detector, images: list[Normal], cache: PlaneCache) -> None:
        """Score images that `detector` was not fitted on."""
        cached = cache.planes()
        planes = (
            (number, torch.from_numpy(plane), image.placement)
            for number, image in enumerate(progress.track(images, "calibrating", len(images)))
            for plane in cached[image.planes]
        )
        for reading in readings(detector, planes, [image.smoothing for image in images]):
            self.scores.append(reading.score)
            self.peaks += [] if reading.peak is None else [reading.peak]
            self.maps += [one[::4, ::4].numpy().copy() for one in reading.pixel]  # a view would keep all
        self.groups += [image.group for image in images]

    def calibration(self, grouped: bool) -> Calibration:
        """What p-values are measured against."""
        return Calibration(
            np.array(self.scores),
            np.array(self.peaks),
            pixel_quantiles(self.maps),
            tuple(self.groups) if grouped else (),
        )


def _most(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]
