"""`Bank`: a memory of normal images that grows night by night and forgets a patient exactly.

A model that comes out of it is a function of the set of images that are in it, and of nothing else. The
order in which they came, an image given twice, and one that was forgotten leave no trace, bit for bit.
What is kept of an image depends on that image alone, and everything else is worked out anew:

- Each patient is remembered, or held out for p-values, by a lot of his own.
- Of an image that is remembered the features of the `per_image` patches with the smallest lots are
  kept. The `block` smallest of all images are a uniform sample of patches. A model's axes and
  deviations are those of the sample, and its memory is a coreset of it. A coreset of the stream itself,
  as in PatchCore, would not do: it depends on the order of the images, and what a patient's patches
  have displaced would not come back without him.
- Of an image that is held out all maps of the backbone are kept, to be judged by each new model.

The sample is uniform but for the limit of `per_image`, which makes a difference only while there are
not many more than block / per_image images. It is no coreset of all patches: what is rare among very
many images is in it by chance or not at all.

Memory does not grow with the number of images; the folder does, by what is kept of each.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from intact.anomaly.patchcore import PatchCore
from intact.bank.eyes import Eyes
from intact.bank.intake import Intake
from intact.bank.recall import JUDGED, Entry, calibration_of, entries_of, recall
from intact.bank.settings import Settings
from intact.bank.store import BankStore
from intact.configure import configure
from intact.data.transforms import choose_preparation
from intact.errors import OutputError, UsageError
from intact.fit import sample_of, suit_to_machine
from intact.io import Rejected, Unit, index
from intact.model import Card, Model
from intact.store import is_written

EYES, MODEL = "eyes", "model"  # folders in that of the bank


@dataclass(frozen=True)
class Added:
    """What adding came to.

    Args:
        added: Images that are new in the bank.
        known: Images that were in it already, or came twice.
        rejected: Files that could not be used, and why.
    """

    added: int
    known: int
    rejected: list[Rejected]


class Bank:
    """A memory bank in a folder, which is held for this process alone until it is closed.

    `images.sqlite` has what is kept of each image, `eyes` the backbone and the settings, and `model`
    an ordinary model for `intact screen`, renewed whenever images are added or forgotten.

    Raises:
        UsageError: The folder is no bank, or another process is working on it.
        ModelError: It is damaged.
        OutputError: It cannot be read or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not is_bank(self.folder):
            raise UsageError(f"{folder} is not a memory bank: make one with `intact bank add`")
        self.settings, self._eyes = Settings.load(self.folder / EYES)
        self._store = BankStore(self.folder)
        for left in self.folder.glob(f".{MODEL}.*"):  # by a process that was killed while saving
            _remove(left)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        normals: Sequence[str | Path],
        *,
        fields: dict[str, Any] | None = None,
        windows: Sequence[tuple[float, float]] = (),
        per_image: int = 64,
        calibrate: float = 0.25,
        seed: int = 0,
    ) -> tuple[Bank, list[str]]:
        """Make an empty bank, and say in words what was chosen for the user.

        Args:
            folder: New or empty.
            normals: A few of these are looked at to choose the preparation, which is one of three
                kinds and takes no number from them. None is added.
            fields: PatchCore's hyper-parameters that differ from its defaults; `block` is the size of
                the sample that the coreset is chosen from.
            windows: As for `fit`.
            per_image: Most patches kept of one image.
            calibrate: Share of the patients held out.
            seed: Decides every lot.

        Raises:
            UsageError: The folder holds something, or unknown fields.
            InputError: There is no image that can be read.
        """
        folder = Path(folder)
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UsageError(f"{folder} holds files already: name a new folder for the bank")
        suited, notes = suit_to_machine("patchcore", fields or {})
        eyes = configure({"patchcore": Eyes}, "patchcore", {"seed": seed, **suited})
        found = index([Path(path) for path in normals])
        rejected = [entry for entry in found if isinstance(entry, Rejected)]
        units = [entry for entry in found if isinstance(entry, Unit)]
        preparation = choose_preparation(sample_of(units, seed, normals, rejected), eyes.size, windows)
        blank = torch.zeros(2, preparation.channels, eyes.size, eyes.size)
        shapes = eyes.fit([blank]).shapes()
        settings = Settings(eyes.fields(), preparation, shapes, per_image, calibrate)
        settings.save(folder / EYES, eyes)
        return cls(folder), notes

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Let go of the folder; images that were added whole stay."""
        self._store.close()

    def add(self, normals: Sequence[str | Path]) -> Added:
        """Take in every image that is not there yet, and renew the model.

        An image is known again by the bytes of its file. Where a file names neither patient nor study,
        each image counts as a patient of its own.

        Args:
            normals: Files, folders or zip archives of normal images only.
        """
        own = self.folder.resolve()
        found = index([Path(path) for path in normals], skip=lambda path: path.resolve() == own)
        rejected = [entry for entry in found if isinstance(entry, Rejected)]
        units = [entry for entry in found if isinstance(entry, Unit)]
        intake = Intake(self.settings, self._eyes, self._store.has)
        added = sum(map(self._store.add, intake.records(units, rejected)))
        self._store.settle()  # the model must not know more than the disk
        self.export()
        return Added(added, len(found) - len(rejected) - added, rejected)

    def forget(self, patient: str) -> int:
        """Remove all images of a patient, and renew the model; how many images there were.

        Args:
            patient: Patient ID; study UID where an image has none; or, for one image, its digest or
                the name under which it was added.

        Raises:
            OutputError: The disk has no room for a copy of what stays; the patient is still there.
        """
        found = self._store.find(self.settings.hashed(patient), patient)
        if found:
            _remove(self.folder / MODEL)  # first, so that it cannot outlive this process
            self._store.forget(found)
        if not (self.folder / MODEL).exists():
            self.export()
        return len(found)

    def export(self) -> None:
        """Renew the model in the folder; where no image is remembered there is none."""
        if self._store.count(held=False):
            self.model().save(self.folder / MODEL)
        else:
            _remove(self.folder / MODEL)

    def model(self) -> Model:
        """The model that the images in the bank give.

        Raises:
            TooFewNormalsError: No image is remembered.
        """
        store, settings = self._store, self.settings
        _, learned = recall(store, settings)
        detector = PatchCore(**settings.fields).load_state(self._eyes.state() | learned)
        calibration = calibration_of(store, settings, learned)
        card = Card(
            name="",
            method="patchcore",
            fitted=datetime.now(UTC).isoformat(timespec="seconds"),
            normals_fitted=store.count(held=False),
            normals_calibrated=len(calibration),
            planes_fitted=store.planes(),
            modality=store.most("modality"),
            bits=store.most("bits"),
            volumes=bool(store.most("planes > 1")),
        )
        return Model(detector, settings.preparation, calibration, card)

    def entries(self) -> list[Entry]:
        """Where each patch in the model's memory came from, in the order of `model().detector.bank_`."""
        return entries_of(self._store, self.settings)

    def counts(self) -> dict[str, int]:
        """How many images are remembered, held out and judged, of how many patients, in how many bytes."""
        held = self._store.count(held=True)
        return {
            "remembered": self._store.count(held=False),
            "held_out": held,
            "judged": min(held, JUDGED),
            "patients": self._store.patients(),
            "bytes": self._store.path.stat().st_size,
        }


def is_bank(folder: str | Path) -> bool:
    """Whether there is a memory bank in a folder."""
    return is_written(Path(folder) / EYES)


def _remove(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be removed: {error.strerror or error}") from error
