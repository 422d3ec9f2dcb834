"""From files to what a memory bank keeps of them, image by image in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intact import progress
from intact.anomaly.base import SCORE_BATCH
from intact.bank.eyes import Eyes, Replay
from intact.bank.settings import Settings
from intact.bank.store import Record
from intact.bottom_sample import lot, lots, smallest
from intact.errors import InputError, UnreadableError
from intact.image import Image
from intact.io import Rejected, Unit, read_unit
from intact.model import batched, planes_of

NONE = np.empty(0, np.int32)


@dataclass(frozen=True)
class Intake:
    """Makes records of images, each as if it were the only one.

    Args:
        settings: Of the bank.
        eyes: Of the bank.
        known: Whether the image of a digest is in the bank already.
    """

    settings: Settings
    eyes: Eyes
    known: Callable[[str], bool]

    def records(self, units: list[Unit], rejected: list[Rejected]) -> Iterator[Record]:
        """The records of images that are not known; of files that cannot be read, `rejected` gets why."""
        replay = Replay.of(self.settings.fields, self.settings.shapes, {})
        for begun, looked_at in groupby(self._looked_at(self._begun(units, rejected)), key=itemgetter(0)):
            maps = torch.stack([maps for _, maps in looked_at])
            yield replace(
                begun, vectors=(maps if begun.held else self._drawn(begun, replay.features(maps))).numpy()
            )

    def _begun(self, units: list[Unit], rejected: list[Rejected]) -> Iterator[tuple[Record, Tensor]]:
        """The planes to be looked at, each with what is known of its image before that."""
        for unit in progress.track(units, "adding", len(units)):
            try:
                digest = digest_of(unit)
                if self.known(digest):
                    continue
                image = read_unit(unit)
                if not np.isfinite(image.pixels).any():
                    raise UnreadableError(unit.name, "every pixel is NaN or infinite")
            except InputError as error:
                rejected.append(Rejected(error.name, error.reason, unit.folder))
                continue
            begun = self._begin(unit.name, digest, image)
            wanted = set((begun.places // self.settings.patches).tolist())
            for i, (plane, _) in enumerate(planes_of(image, self.settings.preparation)):
                if begun.held or i in wanted:
                    yield begun, plane

    def _begin(self, name: str, digest: str, image: Image) -> Record:
        settings = self.settings
        # Without either, every image is a patient of its own.
        patient = image.identity.patient or image.identity.study or digest
        held = settings.holds_out(patient)
        drawn = lots(settings.seed, digest, image.planes * settings.patches)
        at = settings.preparation.place(image.shape[-2:], image.spacing)
        return Record(
            digest=digest,
            name=name,
            patient=settings.hashed(patient),
            held=held,
            lot=lot(settings.seed, f"image {digest}"),
            modality=image.modality,
            bits=image.bits,
            planes=image.planes,
            grid=(*at.source, at.top, at.left, at.rows, at.columns),
            places=NONE if held else smallest(drawn, settings.per_image).astype(np.int32),
            vectors=np.empty(0, np.float16),
        )

    def _looked_at(self, planes: Iterable[tuple[Record, Tensor]]) -> Iterator[tuple[Record, Tensor]]:
        """The maps of each plane."""
        for batch in batched(planes, SCORE_BATCH):
            records, tensors = zip(*batch, strict=True)
            yield from zip(records, self.eyes.look(torch.stack(tensors)), strict=True)

    def _drawn(self, begun: Record, features: Float[Tensor, "planes p c"]) -> Float[Tensor, "n c"]:
        """The patches that were drawn, from those of the planes that have some."""
        plane, patch = np.divmod(begun.places, self.settings.patches)
        return features[np.searchsorted(np.unique(plane), plane), patch].half()


def digest_of(unit: Unit) -> str:
    """SHA-256 of a file, or of the digests of its files for an image that has several."""
    digests = [hashlib.sha256(source.read()) for source in unit.sources]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(d.digest() for d in digests))
    return whole.hexdigest()
