"""Model folders: `weights.safetensors` and `manifest.json`, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from intact._version import __version__
from intact.errors import ModelError, OutputError, UsageError

C = TypeVar("C")

FORMAT = 1
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"


def save_folder(folder: Path, tensors: dict[str, Tensor], manifest: dict[str, Any]) -> None:
    """Write a model folder, whole or not at all; an older model at the same place is replaced.

    Raises:
        UsageError: `folder` exists and is not a model.
        OutputError: It cannot be written.
    """
    check_place(folder)
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            # Cloned, because safetensors refuses views and tensors that share memory.
            whole = {
                name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
            }
            safetensors.torch.save_file(whole, aside / WEIGHTS)
            manifest = {"format": FORMAT, **manifest, "sha256": file_digest(aside / WEIGHTS)}
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            aside.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(f"cannot write the model to {folder}: {error}") from error


def save_learned(folder: str | Path, kind: str, learner: Any, card: Any) -> None:
    """Write the model folder of something that learned from labels.

    Args:
        folder: Where to.
        kind: What such folders are told apart by.
        learner: Has `state()`, `learned()` and `fields()`.
        card: A dataclass with a `name`, which becomes that of the folder.

    Raises:
        UsageError: `folder` exists and is not a model.
        OutputError: It cannot be written.
    """
    folder = Path(folder)
    manifest = {
        "intact": __version__,
        "kind": kind,
        "card": dataclasses.asdict(dataclasses.replace(card, name=folder.name)),
        "fields": learner.fields(),
        "learned": learner.learned(),
    }
    save_folder(folder, learner.state(), manifest)


def load_learned(
    folder: str | Path,
    kind: str,
    other: str,
    card: type[C],
    make: Callable[[dict[str, Any]], Any],
) -> tuple[Any, C]:
    """Read a model folder of `save_learned` back: what learned, and its card.

    Args:
        folder: Where it is.
        kind: What such folders are told apart by.
        other: What to say of a folder of another kind, after its name.
        card: The dataclass.
        make: Gives what learned as it was before, from the manifest.

    Raises:
        ModelError: It is missing, damaged, of another format or kind, or does not fit this version.
    """
    tensors, manifest = load_folder(Path(folder))
    if manifest.get("kind") != kind:
        raise ModelError(f"{folder} is {other}")
    try:
        learner = make(manifest).load(tensors, manifest["learned"])
        return learner, card(**{**manifest["card"], "name": Path(folder).resolve().name})
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{folder} was written by Intact {manifest.get('intact')} and does not fit this version "
            f"({error}): use that version or learn again"
        ) from error


def check_place(folder: Path) -> None:
    """Make sure that a model can be written to `folder`, before hours of work are spent on it.

    Raises:
        UsageError: `folder` exists and is not a model.
        OutputError: It cannot be written.
    """
    if folder.is_file() or (folder.exists() and not is_written(folder) and any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not a model: choose another name for the model")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror or error}") from error


def is_written(folder: str | Path) -> bool:
    """Whether `save_folder` wrote to a folder, whatever that holds."""
    return (Path(folder) / MANIFEST).is_file()


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model folder back; lists in the manifest come as tuples.

    Raises:
        ModelError: It is missing, damaged, or of a format this version does not know.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a model folder (it has no {MANIFEST}): make one with `intact fit`"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read ({error}): fit the model again") from error
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"{folder} has model format {manifest.get('format')}, this version of Intact reads "
            f"format {FORMAT}: it was written by version {manifest.get('intact')}, use that or a newer one"
        )
    weights = folder / WEIGHTS
    if not weights.is_file() or file_digest(weights) != manifest["sha256"]:
        raise ModelError(
            f"{weights} is missing or does not match the digest in {MANIFEST}: the model is incomplete "
            "or was changed after it was saved; copy the whole folder again or fit the model again"
        )
    return safetensors.torch.load_file(weights), _tuples(manifest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tuples(value: Any) -> Any:
    """JSON has no tuples: bring them back."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
