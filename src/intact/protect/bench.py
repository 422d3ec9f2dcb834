"""`intact bench protect`: how well one's own images are protected against one's own classifiers."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intact.classify import Classifier, load
from intact.errors import UsageError
from intact.io.atomic import put
from intact.protect.archive import find
from intact.protect.cloak import Against, answer
from intact.protect.keys import new_key
from intact.protect.trials import Trial, quality_of, rows_of, shown, try_files
from intact.protect.workers import Masks, make_folder
from intact.report.gallery import Exhibit, draw_gallery

SHOWN = 3  # images in the gallery


@dataclass(frozen=True)
class Benched:
    """What a benchmark found.

    Args:
        rows: One for each classifier and treatment.
        quality: What protection costs, means over the images.
        refused: Files that could not be protected, and why.
    """

    rows: list[dict[str, Any]]
    quality: dict[str, float]
    refused: list[tuple[str, str]]


def bench_protect(
    paths: Sequence[str | Path],
    out: str | Path,
    against: Against,
    *,
    unseen: Sequence[str | Path] = (),
    keep: str | Path | None = None,
    images: int = 40,
) -> Benched:
    """Protect some images, treat them as a thief might, and ask the classifiers.

    Args:
        paths: Files and folders of grey images.
        out: Folder for `trials.csv`, `quality.json` and `gallery.png`.
        against: What is attacked, and how.
        unseen: Other classifiers, of which the attack knows nothing.
        keep: As for `seal_archive`.
        images: How many to try, evenly over the files.

    Raises:
        UsageError: No image could be protected, or a classifier is both attacked and unseen.
        ModelError: A classifier cannot be read.
        OutputError: Results cannot be written.
    """
    against.check("pixels")
    items = find(paths, Path(out))
    chosen = [items[at] for at in np.unique(np.linspace(0, len(items) - 1, images).round().astype(int))]
    attacked = {folder.name: load(folder)[0] for _, folder in against.models}
    others = {Path(folder).name: load(folder)[0] for folder in unseen}
    if both := sorted(attacked.keys() & others.keys()):
        raise UsageError(f"{both[0]} is attacked, and so is not unseen; rename its folder if it is another")
    with tempfile.TemporaryDirectory() as folder:
        key = new_key(Path(folder) / "key")
        found = list(try_files(chosen, against.cloak(""), key, Masks(str(keep)) if keep else None))
    trials = [one for one in found if isinstance(one, Trial)]
    refused = [one for one in found if not isinstance(one, Trial)]
    if not trials:
        raise UsageError(f"no image could be protected; the first, {refused[0][0]}, {refused[0][1]}")
    first = next(iter(attacked.values()))
    benched = Benched(
        rows_of(trials, attacked, others),
        quality_of(trials, lambda image: first.view(image).window),
        refused,
    )
    make_folder(Path(out))
    _write(Path(out), benched, trials, attacked | others)
    return benched


def _write(out: Path, benched: Benched, trials: Sequence[Trial], classifiers: dict[str, Classifier]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(benched.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(benched.rows)
    put(out / "trials.csv", table.getvalue().encode())
    put(out / "quality.json", json.dumps(benched.quality, indent=1).encode())
    picture = io.BytesIO()
    some = [trials[at] for at in np.unique(np.linspace(0, len(trials) - 1, SHOWN).astype(int))]
    draw_gallery([_exhibit(trial, classifiers) for trial in some]).save(picture, "PNG")
    put(out / "gallery.png", picture.getvalue())


def _exhibit(trial: Trial, classifiers: dict[str, Classifier]) -> Exhibit:
    window = next(iter(classifiers.values())).view(trial.before).window
    three = (trial.before, trial.after, trial.restored)
    original, protected, restored = (shown(image, window) for image in three)
    words = [[f"{name}: {answer(one, image)}" for name, one in classifiers.items()] for image in three]
    return Exhibit(original, protected, restored, (words[0], words[1], words[2]))
