"""The one promise every maker of forgeries keeps."""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from intact._version import __version__
from intact.digest import pixel_digest
from intact.errors import UsageError
from intact.forge.place import Box, Mask, tissue
from intact.image import Image

GENUINE, FORGED, SOURCE, BORDER = range(4)  # values of a forgery's labels

FEW = 16  # planes: a stack of fewer has no room for a lesion of some mm at any distance between them


@dataclass(frozen=True, eq=False)
class Change:
    """What an operator did to a part of an image.

    Args:
        box: The part, along the image's axes.
        values: Of the part after the change, float64, not yet rounded to what the image stores; with
            the colour axis where the image has one.
        labels: Of the whole image, uint8.
        drawn: What chance decided, as plain values, for the record.
    """

    box: Box
    values: Float[ndarray, "..."]
    labels: UInt8[ndarray, "..."]
    drawn: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Forgery:
    """A forged image and the truth about it.

    Args:
        image: What a forger would pass on: stored values of the original's type and range. `made`
            says that it was forged.
        labels: uint8 of the image's shape: 0 genuine, 1 forged, 2 what was copied, 3 the border of a
            soft blend, where less than half of a value is forged.
        record: How it was made, as plain values; with the original and the donor it makes the same
            forgery again, bit for bit.
    """

    image: Image
    labels: UInt8[ndarray, "..."]
    record: dict[str, Any]


@dataclass(eq=False)
class Forger(ABC):
    """Makes one kind of forgery, and knows exactly what it changed.

    A forger is a dataclass: its fields are the parameters. It works on stored values at the
    image's own depth, in planes, volumes, colour pictures, and in one frame of a film.
    """

    family: ClassVar[str]  # copying, removal, lesion, processing or none
    source: ClassVar[str]  # short citation, for listings
    needs_donor: ClassVar[bool] = False  # another patient's image
    changes: ClassVar[bool] = True  # whether it forges at all

    @property
    def everywhere(self) -> bool:
        """Whether it changes an image as a whole, or not at all, and so needs no place in it."""
        return not self.changes

    @final
    def forge(
        self, image: Image, *, seed: int = 0, donor: Image | None = None, within: Mask | None = None
    ) -> Forgery:
        """Forge a copy of an image; the image itself is left as it is.

        Args:
            image: [h, w], [d, h, w], either with [..., 3] in colour. Of fewer than 16 planes, or of
                planes without a known distance, such as a film's, one is forged.
            seed: Decides place, size and all else that the fields leave open.
            donor: Where foreign parts come from, for the kinds that need one.
            within: Where a region may be forged, of the image's shape; by default in the body.

        Raises:
            UsageError: Values that cannot be reckoned with (palettes, time series of volumes), a
                donor that is missing or does not fit, no room for the forgery, or a forgery that would
                change nothing.
        """
        self._check(image, donor)
        rng = np.random.default_rng(seed)
        frame = int(rng.integers(image.planes)) if _is_film(image) else None
        if within is None:
            within = np.ones(image.shape, bool) if self.everywhere else tissue(image)
        if frame is None:
            change = self._forge(image, within, rng, donor)
        else:
            change = self._forge(image.plane(frame), within[frame], rng, donor)
            change = _in_film(change, image, frame)
        pixels = image.pixels.copy()
        pixels[change.box] = _stored(change.values, image)
        kind = kind_of(self)
        made = f"forged by intact {__version__}: {kind}" if self.changes else ""
        forged = replace(image, pixels=pixels, made=made or image.made)
        drawn = change.drawn if frame is None else {"frame": frame, **change.drawn}
        record = self._record(image, forged, change, kind, seed, donor) | {"drawn": drawn}
        if self.changes and not record["changed"]:
            raise UsageError(
                f"{kind} would change no value of this image; choose other fields or another seed"
            )
        return Forgery(forged, change.labels, record)

    @abstractmethod
    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change: ...

    def _check(self, image: Image, donor: Image | None) -> None:
        kind = kind_of(self)
        for given in filter(None, (image, donor)):
            if given.palette is not None and self.changes:
                raise UsageError(f"{kind}: a palette's indices cannot be mixed; convert it to RGB first")
            if len(given.shape) > 3:
                raise UsageError(
                    f"{kind}: this image has shape {given.shape}; forge the volumes of a time series one "
                    "by one"
                )
        if self.needs_donor and donor is None:
            raise UsageError(f"{kind} takes a part of another patient's image; give a donor")
        if donor is not None and donor.colour != image.colour:
            raise UsageError(f"{kind}: of image and donor one is grey and the other in colour")

    def _record(
        self, image: Image, forged: Image, change: Change, kind: str, seed: int, donor: Image | None
    ) -> dict[str, Any]:
        different = image.pixels[change.box] != forged.pixels[change.box]
        changed = int(np.count_nonzero(different.any(axis=-1) if image.colour else different))
        return {
            "intact": __version__,
            "kind": kind,
            "fields": dataclasses.asdict(self),
            "seed": seed,
            "donor": donor.identity.path if donor is not None else None,
            "donor_digest": pixel_digest(donor) if donor is not None else None,
            "shape": list(image.shape),
            "spacing": list(image.spacing) if image.spacing else None,
            "box": [[part.start, part.stop] for part in change.box],
            "range_before": _range(image),
            "range_after": _range(forged),
            "changed": changed,
            "changed_share": changed / int(np.prod(image.shape)),
            "forged_share": float(np.mean(change.labels == FORGED)),
            "digest_before": pixel_digest(image),
            "digest_after": pixel_digest(forged),
        }


def whole(image: Image) -> Box:
    """The box of a whole image."""
    return tuple(slice(0, n) for n in image.shape)


def kind_of(forger: object) -> str:
    """The name of a kind of forgery: its class's, in the words of the command line."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(forger).__name__).lower()


def _is_film(image: Image) -> bool:
    """Whether planes are forged one by one: in time, in no known distance, or too few for a lesion."""
    return len(image.shape) == 3 and (image.spacing is None or len(image.spacing) < 3 or image.planes < FEW)


def _in_film(change: Change, image: Image, frame: int) -> Change:
    """A change of one frame as one of the film."""
    labels = np.zeros(image.shape, np.uint8)
    labels[frame] = change.labels
    return replace(
        change, box=(slice(frame, frame + 1), *change.box), values=change.values[None], labels=labels
    )


def _stored(values: Float[ndarray, "..."], image: Image) -> ndarray:
    """Values as the image stores them: rounded half to even, within its bits."""
    dtype = image.pixels.dtype
    if dtype.kind == "f":
        return values.astype(dtype)
    top = 2 ** (image.bits - (dtype.kind == "i")) - 1
    low = -top - 1 if dtype.kind == "i" else 0
    # An image may hold values that its header does not allow; they are no reason to change others.
    low, top = min(low, int(image.pixels.min())), max(top, int(image.pixels.max()))
    return np.clip(np.rint(values), low, top).astype(dtype)


def _range(image: Image) -> list[float]:
    return [float(image.pixels.min()), float(image.pixels.max())]
