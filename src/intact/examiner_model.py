"""`ExaminerModel`: a taught examiner with what it needs to decide: scores of genuine images it never saw."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact._version import __version__
from intact.errors import ModelError
from intact.forensics import LEARNED
from intact.forensics.base import Evidence
from intact.forensics.learned.base import LearnedExaminer
from intact.image import Image
from intact.model import pack_calibration, unpack_calibration
from intact.scores import Calibration
from intact.store import load_folder, save_folder

KIND = "examiner"


@dataclass(frozen=True)
class ExaminerCard:
    """What an examiner was taught with, and how well it does on patients it never saw.

    Args:
        name: Of the model's folder; empty until it is saved.
        method: Key in `intact.forensics.LEARNED`.
        fitted: ISO 8601 time.
        genuine: Genuine images learned from.
        forged: Forged images learned from.
        operators: How those were forged.
        calibrated: Genuine images held out, which p-values are measured against.
        auroc: Of the held-out images, genuine against forged, and its 95 % interval.
        f1: Of the pixels of held-out forged images, mean over images, at even odds; with its
            interval; empty where no mask is known.
        intact: Version of this package.
    """

    name: str
    method: str
    fitted: str
    genuine: int
    forged: int
    operators: tuple[str, ...]
    calibrated: int
    auroc: tuple[float, ...]
    f1: tuple[float, ...]
    intact: str = __version__


@dataclass(frozen=True, eq=False)
class ExaminerModel:
    """A taught examiner, ready to be asked."""

    examiner: LearnedExaminer
    calibration: Calibration
    card: ExaminerCard
    digest: str = ""  # SHA-256 of the saved weights; empty until it is saved

    @property
    def kind(self) -> str:
        """What it looks for."""
        return self.examiner.kind

    def describe(self) -> dict[str, Any]:
        """What a run record says of it."""
        return dataclasses.asdict(self.card) | {"smallest_p": 1.0 / (len(self.calibration) + 1)}

    def examine(self, image: Image) -> Evidence:
        """What it says of an image; its p-value among genuine images, of a volume times the planes."""
        evidence = self.examiner.examine(image)
        if evidence.abstained:
            return evidence
        p = float(self.calibration.p_value(evidence.score))
        return dataclasses.replace(evidence, p_value=min(1.0, p * image.planes))

    def save(self, folder: str | Path) -> None:
        """Write the model folder.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        tensors, groups = pack_calibration(self.calibration)
        card = dataclasses.replace(self.card, name=Path(folder).name)
        manifest: dict[str, Any] = {
            "intact": __version__,
            "kind": KIND,
            "card": dataclasses.asdict(card),
            "fields": self.examiner.fields(),
            "groups": groups,
        }
        save_folder(Path(folder), tensors | self.examiner.state(), manifest)

    @staticmethod
    def is_one(folder: str | Path) -> bool:
        """Whether a model folder holds a taught examiner.

        Raises:
            ModelError: It is no model folder, damaged, or of another format.
        """
        return load_folder(Path(folder))[1].get("kind") == KIND

    @classmethod
    def load(cls, folder: str | Path) -> ExaminerModel:
        """Read a model folder back.

        Raises:
            ModelError: It is missing, damaged, of another format or kind, or of an unknown method.
        """
        tensors, manifest = load_folder(Path(folder))
        if manifest.get("kind") != KIND:
            raise ModelError(f"{folder} is no taught examiner: make one with `intact teach`")
        calibration = unpack_calibration(tensors, manifest)
        method = manifest["card"]["method"]
        if method not in LEARNED:
            raise ModelError(f"{folder} holds method {method!r}, which this version does not have")
        try:
            examiner = LEARNED[method](**manifest["fields"]).load_state(tensors)
        except (TypeError, RuntimeError) as error:
            raise ModelError(
                f"{folder} was written by Intact {manifest['intact']} and does not fit this version's "
                f"{method} ({error}): use that version or teach the examiner again"
            ) from error
        card = ExaminerCard(**{**manifest["card"], "name": Path(folder).resolve().name})
        return cls(examiner, calibration, card, manifest["sha256"])
