"""`Start`: where the training of a detector begins instead of at random (learned by `intact.meta`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from intact._version import __version__
from intact.data.transforms import Preparation
from intact.errors import ModelError, UsageError
from intact.store import load_folder, save_folder

KIND = "start"


@dataclass(frozen=True)
class Task:
    """Normal images of one organ or scanner that a start was learned on.

    Args:
        name: As the user named the folder.
        images: That were read.
        planes: 2-D planes in them.
        digest: SHA-256 of the prepared planes, in hexadecimal.
    """

    name: str
    images: int
    planes: int
    digest: str


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to begin at, and how they were learned.

    Args:
        method: Key in `intact.anomaly.METHODS`.
        fields: All hyper-parameters of the detector but its seed.
        preparation: How images became tensors, which images of a new task must become, too.
        tasks: What it was learned on.
        rounds: How often a task is drawn in all.
        images: Planes drawn of it each time.
        inner_steps: Training steps on them.
        seed: Decided everything random.
        done: Rounds so far; fewer than `rounds` when learning was stopped.
        weights: Of the networks, as `Detector.weights` names them.
    """

    method: str
    fields: dict[str, Any]
    preparation: Preparation
    tasks: tuple[Task, ...]
    rounds: int
    images: int
    inner_steps: int
    seed: int
    done: int
    weights: dict[str, Tensor]

    def describe(self) -> dict[str, Any]:
        """All but the weights, as plain data."""
        known = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del known["weights"]
        return known | {
            "preparation": dataclasses.asdict(self.preparation),
            "tasks": tuple(map(dataclasses.asdict, self.tasks)),
        }

    def told(self) -> str:
        """What it was learned on, in words."""
        return ", ".join(f"{task.name} ({task.images} images)" for task in self.tasks)

    def settle(self, method: str | None, fields: Mapping[str, Any], *, reprepared: bool) -> dict[str, Any]:
        """The fields of a detector that begins here.

        Args:
            method: What the user asked for; None for the start's.
            fields: Those that the user wants to differ from the start's.
            reprepared: Whether the user asked for windows or neighbouring planes.

        Raises:
            UsageError: The start is unfinished, or is for other networks than were asked for.
        """
        if self.done < self.rounds:
            raise UsageError(
                f"the start is unfinished ({self.done} of {self.rounds} rounds): give the `intact start` "
                "command again that was stopped, and it goes on"
            )
        if method not in (None, self.method):
            raise UsageError(
                f"the start is one of {self.method}, and no other method can begin there: leave out "
                f"{method!r}, or learn a start of it"
            )
        if reprepared or fields.get("size", self.preparation.size) != self.preparation.size:
            raise UsageError(
                "images must be prepared as those that the start was learned on, with "
                f"{self.preparation.size} x {self.preparation.size} pixels, no windows and no neighbours: "
                "leave these out"
            )
        return self.fields | dict(fields)

    def check_colour(self, colour: bool) -> None:
        """Refuse colour images where grey ones were learned from, and the other way round.

        Raises:
            UsageError: They differ.
        """
        if colour != self.preparation.colour:
            learned, given = ("grey", "colour")[self.preparation.colour], ("grey", "colour")[colour]
            raise UsageError(
                f"the start was learned on {learned} images and these are {given} ones: learn a start on "
                f"{given} images, or fit without one"
            )

    def save(self, folder: str | Path) -> None:
        """Write the folder of the start.

        Raises:
            UsageError: `folder` exists and is neither a model nor a start.
            OutputError: It cannot be written.
        """
        save_folder(
            Path(folder), self.weights, {"intact": __version__, "kind": KIND, "start": self.describe()}
        )

    @classmethod
    def load(cls, folder: str | Path) -> Start:
        """Read a start back, be it finished or not.

        Raises:
            ModelError: It is missing, damaged, no start, or does not fit this version.
        """
        weights, manifest = load_folder(Path(folder))
        if manifest.get("kind") != KIND:
            raise ModelError(f"{folder} is a model, not a start: make one with `intact start`")
        try:
            known = manifest["start"]
            return cls(
                **known
                | {
                    "preparation": Preparation(**known["preparation"]),
                    "tasks": tuple(Task(**task) for task in known["tasks"]),
                },
                weights=weights,
            )
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"{folder} was written by Intact {manifest.get('intact')} and does not fit this version "
                f"({error}): use that version or learn the start again"
            ) from error
