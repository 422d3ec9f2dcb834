"""`Ensemble`: models of unlike methods that learned from the same normals and judge together.

Each member says how surprising its score is: the logarithm of how rarely a normal image reaches it. What
members say is added (Fisher, "Statistical methods for research workers", 1932), or averaged so that one
sure member suffices (Wilson, "The harmonic mean p-value for combining dependent tests", PNAS 2019). Members
see the same image, so what they say is not independent, and neither formula's own p-value holds. So
the sum is only a score, and its p-value is conformal like that of any model: its rank among the sums of
normal images that no member has learned from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.special import logsumexp
from torch import Tensor

from intact._version import __version__
from intact.anomaly import METHODS
from intact.configure import configure
from intact.data.transforms import Preparation
from intact.errors import ModelError, UsageError
from intact.filters import upsample
from intact.fit import Fit, fit
from intact.image import Image
from intact.io import Rejected, Unit, index, read_unit
from intact.model import (
    Card,
    Model,
    Part,
    Picture,
    Reading,
    batched,
    describe,
    map_of,
    p_value,
    pack_calibration,
    unpack_calibration,
)
from intact.scores import Calibration, pixel_quantiles
from intact.store import load_folder, save_folder

KIND = "ensemble"
TAIL = 0.1  # share of the normals above which scores are taken to fall off exponentially
QUIET, LOUD = 0.99, 0.999  # quantiles of pixel scores that tell how fast those fall off
BATCH = 16  # images read at once

COMBINE: dict[str, Callable[[Float[ndarray, "m *n"]], Float[ndarray, "*n"]]] = {
    "fisher": lambda surprises: surprises.sum(axis=0),
    "harmonic": lambda surprises: np.asarray(logsumexp(surprises, axis=0)) - np.log(len(surprises)),
}


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Models that judge together, ready to screen: a stand-in for a `Model`.

    Args:
        members: Of different methods, fitted on the same images.
        combine: Key in `COMBINE`.
        calibration: Of what members say together.
        card: As for a model; its method names the members.
        digest: SHA-256 of the saved weights; empty until it is saved.
    """

    members: tuple[Model, ...]
    combine: str
    calibration: Calibration
    card: Card
    digest: str = ""

    family: ClassVar[str] = "ensemble"

    @property
    def preparation(self) -> Preparation:
        """Of the member that sees most pixels; maps are joined at its size."""
        return max((member.preparation for member in self.members), key=lambda one: one.size)

    def read(self, images: Sequence[Image]) -> Iterator[Reading]:
        """Score images, one reading each, in order."""
        for readings in zip(*(member.read(images) for member in self.members), strict=True):
            yield self._join(readings)

    def map(self, reading: Reading, image: Image) -> Float[ndarray, "..."]:
        """The pixel scores in the image's own grid: float32, of shape `image.shape`."""
        return map_of(reading, image, self.preparation)

    def twin(self, image: Image, plane: int) -> Picture | None:
        """A plane and its normal twin by the first member that rebuilds images, as a model's."""
        found = (member.twin(image, plane) for member in self.members)
        return next((each for each in found if each is not None), None)

    def p_value(self, reading: Reading, image: Image, group: str = "") -> float:
        """Conformal p-value of an image, as a model's."""
        return p_value(reading, image, group, self.calibration, self.card)

    def describe(self) -> dict[str, Any]:
        """What a run record says of this ensemble: plain data."""
        return describe(self.card, self.calibration) | {
            "family": self.family,
            "source": "; ".join(member.detector.source for member in self.members),
            "fields": {"combine": self.combine},
            "preparation": dataclasses.asdict(self.preparation),
            "members": [member.describe() for member in self.members],
            "digest": self.digest,
        }

    def misfit(self, image: Image) -> list[str]:
        """Reasons to doubt that this image is of the kind the members were fitted on."""
        return self.members[0].misfit(image)

    def save(self, folder: str | Path) -> None:
        """Write a model folder that holds all members.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        tensors, groups = pack_calibration(self.calibration)
        manifests = []
        for number, member in enumerate(self.members):
            own, manifest = member.packed()
            tensors |= {f"{number}/{name}": tensor for name, tensor in own.items()}
            manifests.append(manifest)
        whole = {
            "intact": __version__,
            "kind": KIND,
            "card": dataclasses.asdict(dataclasses.replace(self.card, name=Path(folder).name)),
            "combine": self.combine,
            "groups": groups,
            "members": manifests,
        }
        save_folder(Path(folder), tensors, whole)

    @classmethod
    def load(cls, folder: str | Path) -> Ensemble:
        """Read a model folder of `save` back.

        Raises:
            ModelError: It is missing, damaged, of another format or kind, or a member does not load.
        """
        tensors, manifest = load_folder(Path(folder))
        if manifest.get("kind") != KIND:
            raise ModelError(f"{folder} is a model, but no ensemble of several")
        members = []
        for number, own in enumerate(manifest["members"]):
            prefix = f"{number}/"
            part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            members.append(Model.unpacked(part, own, folder))
        return cls(
            tuple(members),
            manifest["combine"],
            unpack_calibration(tensors, manifest),
            Card(**{**manifest["card"], "name": Path(folder).resolve().name}),
            manifest["sha256"],
        )

    def _join(self, readings: Sequence[Reading]) -> Reading:
        """What members say of one image, together."""
        parts, surprises = [], []
        for member, reading in zip(self.members, readings, strict=True):
            score, normals = reading.score, member.calibration.image
            parts.append(Part(member.card.method, score, float(member.calibration.p_value(score))))
            surprises.append(surprise(np.array(score), normals))
        maps = self._join_maps(readings)
        widest = max(range(len(readings)), key=lambda n: self.members[n].preparation.size)
        return Reading(
            float(COMBINE[self.combine](np.stack(surprises))),
            max(float(one.max()) for one in maps) if maps else None,
            maps,
            readings[widest].placements,
            tuple(parts),
        )

    def _join_maps(self, readings: Sequence[Reading]) -> list[Tensor]:
        """Each plane's mean surprise over the members that localise, at the largest size."""
        side = self.preparation.size
        joined = []
        localised = [pair for pair in zip(self.members, readings, strict=True) if pair[1].pixel]
        for planes in zip(*(reading.pixel for _, reading in localised), strict=True):
            maps = [
                torch.from_numpy(pixel_surprise(plane.numpy(), member.calibration))[None]
                for (member, _), plane in zip(localised, planes, strict=True)
            ]
            joined.append(torch.cat([upsample(one, (side, side)) for one in maps]).mean(dim=0))
        return joined


@dataclass(frozen=True)
class EnsembleFit:
    """What fitting an ensemble gave; the rest as in `intact.fit.Fit`."""

    model: Ensemble
    held_out: list[str]
    rejected: list[Rejected]
    notes: list[str]


def load_model(folder: str | Path) -> Model | Ensemble:
    """Read a model folder back, whether it holds one model or several.

    Raises:
        ModelError: It is missing, damaged, of another format, or of an unknown method.
    """
    _, manifest = load_folder(Path(folder))
    return Ensemble.load(folder) if manifest.get("kind") == KIND else Model.load(folder)


def fit_ensemble(
    normals: Sequence[str | Path],
    methods: Sequence[str],
    *,
    combine: str = "fisher",
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    **settings: Any,
) -> EnsembleFit:
    """Fit several methods on the same part of the normals, and calibrate what they say together on the rest.

    Args:
        normals: Files, folders or zip archives of normal images only.
        methods: At least two keys in `intact.anomaly.METHODS`, each once.
        combine: "fisher" or "harmonic".
        fields: By method, hyper-parameters that differ from its defaults.
        seed: Decides the split and all chance in the methods.
        **settings: As for `intact.fit`.

    Raises:
        UsageError: Too few methods, one of them twice, unknown or of whole volumes, or an unknown way to
            combine.
        InputError: There is no image that can be read.
        TooFewNormalsError: Fewer images than a method or the split needs.
    """
    if len(set(methods)) != len(methods) or len(methods) < 2:
        raise UsageError(f"an ensemble is of at least two methods, each once, not of {', '.join(methods)}")
    if combine not in COMBINE:
        raise UsageError(f"unknown way to combine {combine!r}; choose one of {', '.join(COMBINE)}")
    if whole := [m for m in methods if configure(METHODS, m, dict((fields or {}).get(m, {}))).volumes]:
        raise UsageError(f"{whole[0]} sees whole volumes, whose maps cannot be joined with those of planes")
    fits: list[Fit] = []
    for method in methods:
        held_out = fits[0].held_out if fits else ()
        own = dict((fields or {}).get(method, {}))
        fits.append(
            fit(
                normals,
                method=method,
                fields=own,
                held_out=held_out,
                in_turns=False,
                seed=seed,
                **settings,
            )
        )
    first = fits[0]
    ensemble = join([one.model for one in fits], normals, first.held_out, combine)
    notes = list(dict.fromkeys(note for one in fits for note in one.notes))
    return EnsembleFit(ensemble, first.held_out, first.rejected, notes)


def join(
    members: Sequence[Model], normals: Sequence[str | Path], held_out: Sequence[str], combine: str
) -> Ensemble:
    """Models that were fitted while the same images were held out, as an ensemble calibrated on those.

    Args:
        members: Of unlike methods.
        normals: Where the images are.
        held_out: Their names, in the order of the members' calibration.
        combine: Key in `COMBINE`.
    """
    card = dataclasses.replace(members[0].card, method="+".join(m.card.method for m in members))
    groups = members[0].calibration.groups
    scores = COMBINE[combine](np.stack([surprises_of_normals(m.calibration.image) for m in members]))
    ensemble = Ensemble(tuple(members), combine, Calibration(scores, groups=groups), card)
    peaks, maps = _pixels(ensemble, normals, held_out)
    calibration = Calibration(scores, np.array(peaks), pixel_quantiles(maps), groups)
    return dataclasses.replace(ensemble, calibration=calibration)


def _pixels(
    ensemble: Ensemble, normals: Sequence[str | Path], held_out: Sequence[str]
) -> tuple[list[float], list[Float[ndarray, "h w"]]]:
    """Of joined maps of the held-out normals: the highest value of each, and every fourth row and column."""
    units = {unit.name: unit for unit in index([Path(p) for p in normals]) if isinstance(unit, Unit)}
    peaks: list[float] = []
    maps: list[Float[ndarray, "h w"]] = []
    for names in batched(held_out, BATCH):
        for reading in ensemble.read([read_unit(units[name]) for name in names]):
            peaks += [reading.peak] if reading.peak is not None else []
            maps += [one[::4, ::4].numpy() for one in reading.pixel]
    return peaks, maps


def surprise(scores: Float[ndarray, "*n"], normals: Float[ndarray, "m"]) -> Float[ndarray, "*n"]:
    """-ln of how often a normal image scores at least so high.

    Counted as far as nine tenths of the normals reach; above, scores are taken to fall off exponentially,
    as fast as those of the upper tenth do, so that what is out of reach for all normals has an order.
    """
    ordered = np.sort(normals)
    count = len(ordered)
    top = max(1, round(TAIL * count))
    start = ordered[-top - 1] if count > top else ordered[0]
    fall = max(float(np.mean(ordered[-top:] - start)), 1e-12)
    share = (1.0 + count - np.searchsorted(ordered, scores, side="left")) / (count + 1.0)
    beyond = np.log((count + 1.0) / (top + 1.0)) + (scores - start) / fall
    return np.where(scores > start, beyond, -np.log(share))


def surprises_of_normals(scores: Float[ndarray, "m"]) -> Float[ndarray, "m"]:
    """`surprise` of each normal image among all others."""
    return np.array([float(surprise(one, np.delete(scores, n))) for n, one in enumerate(scores)])


def pixel_surprise(pixel: Float[ndarray, "h w"], calibration: Calibration) -> Float[ndarray, "h w"]:
    """-log10 of the share of the normals' pixels that score at least so high; float32."""
    levels = np.linspace(0.0, 1.0, len(calibration.pixel))
    quiet, loud = (calibration.pixel_quantile(share) for share in (QUIET, LOUD))
    below = np.interp(np.minimum(pixel, quiet), calibration.pixel, levels)
    beyond = np.maximum(pixel - quiet, 0.0) / max(loud - quiet, 1e-12)
    return (beyond - np.log10(1.0 - below)).astype(np.float32)
