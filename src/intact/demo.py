"""The demo: a phantom archive with known truth, fitted, screened and reported."""

from __future__ import annotations

import shutil
from pathlib import Path

from intact.data.phantom import write_archive
from intact.errors import UsageError
from intact.fit import fit
from intact.screen import Outcome, screen

MARK = ".intact-demo"  # tells a folder of this demo's own from a folder of somebody's images


def run_demo(folder: Path, seed: int = 0) -> tuple[Outcome, list[str]]:
    """Make phantoms, fit on the healthy ones, screen the rest, write the report.

    Returns:
        What screening came to, and the notes that fitting left.

    Raises:
        UsageError: `folder` exists and was not made by this function.
    """
    if folder.exists():
        if not (folder / MARK).exists():
            raise UsageError(f"{folder} exists and is not an earlier demo: choose another -o")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    archive = folder / "archive"
    write_archive(archive, "chest_xray", train=200, test_normal=40, test_lesion=40, seed=seed)
    fitted = fit([archive / "train" / "good"])
    fitted.model.save(folder / "model")
    outcome = screen([archive / "test"], folder / "out", models=[folder / "model"], labels="folder")
    return outcome, fitted.notes
