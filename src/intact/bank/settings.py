"""`Settings`: what is fixed when a memory bank is made, and holds nothing of any image."""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from intact._version import __version__
from intact.bank.eyes import Eyes, Shapes
from intact.bottom_sample import BITS, lot
from intact.data.transforms import Preparation
from intact.errors import ModelError
from intact.store import load_folder, save_folder

KIND = "memory bank"


@dataclass(frozen=True)
class Settings:
    """How a bank looks at images, and what it keeps of them.

    Args:
        fields: Those of `Eyes`.
        preparation: From a plane to what the eyes see.
        shapes: Of the maps that the backbone makes of a plane, finest first.
        per_image: Most patches kept of an image that is remembered.
        calibrate: Share of the patients held out.
        salt: Key of the hash that stands for a patient; it keeps a patient's number from being read off,
            not from being tried by whoever has the folder.
    """

    fields: dict[str, Any]
    preparation: Preparation
    shapes: Shapes
    per_image: int
    calibrate: float
    salt: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def seed(self) -> int:
        """Decides every lot."""
        return int(self.fields["seed"])

    @property
    def patches(self) -> int:
        """Patches of a plane: as many as the finest map has places."""
        return math.prod(self.shapes[0][1:])

    def hashed(self, patient: str) -> str:
        """What stands for a patient on disk."""
        name = patient.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(name, key=bytes.fromhex(self.salt), digest_size=16).hexdigest()

    def holds_out(self, patient: str) -> bool:
        """Whether a patient's images are held out: the seed and his number decide, not other patients."""
        return lot(self.seed, f"patient {patient}") < self.calibrate * 2**BITS

    def save(self, folder: Path, eyes: Eyes) -> None:
        """Write them, with the backbone, which so never changes under the bank."""
        save_folder(folder, eyes.state(), {"intact": __version__, "kind": KIND, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> tuple[Settings, Eyes]:
        """Read them back.

        Raises:
            ModelError: The folder is damaged, or of another kind or version.
        """
        tensors, manifest = load_folder(folder)
        if manifest.get("kind") != KIND:
            raise ModelError(f"{folder} is not what a memory bank sees with")
        try:
            values = {name: manifest[name] for name in cls.__dataclass_fields__}
            settings = cls(**{**values, "preparation": Preparation(**values["preparation"])})
            return settings, Eyes(**settings.fields).load_state(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"{folder} was written by Intact {manifest.get('intact')} and does not fit this version "
                f"({error}): use that version"
            ) from error
