"""A memory bank fed night by night: does memory stay flat, how fast is it, and does it forget exactly?

    INTACT_DATA=... python benchmarks/bank.py [--images 26000] [--night 2000]

The images are the real normals of four packs, each of them a patient, and copies of them that are shifted
and stretched in contrast by chance, as further images of that patient, written as DICOM. One row per
night: the images by then, the night's seconds and highest memory, and what the bank takes on disk.
Then a patient is forgotten, and the bank's model, and its scores of real test images, are compared with
those of a bank that was given all the others at once, in the opposite order, and never this patient.
The pixels are the same in every run; UIDs, and with them the lots, are not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import resize

import intact
from intact.bank import Bank
from intact.image import Identity, Image
from intact.model import planes_of
from results import environment, replace_rows
from screen_speed import peak_memory

PACKS = ("brain_mri", "chest_xray", "lung_ct")
SMALL = Path("pneumoniamnist", "pneumoniamnist.npz")  # 28 x 28
HEALTHY = 0  # its label
SIDE = 96  # of the images on disk
FIELDS = {"size": 64, "backbone": "narrow_resnet18", "precision": "float32"}
PER_IMAGE = 16
CALIBRATE = 0.05  # 26,000 images need no quarter of the patients for p-values
SHIFT, CONTRAST = 4, 0.1  # of copies: most pixels, most relative change
TESTED = 16  # test images of each pack whose scores are compared


def normals(data: Path) -> list[NDArray[np.uint8]]:
    """All real normal images, 96 x 96."""
    found = [
        intact.read(path).pixels for pack in PACKS for path in sorted((data / pack / "train/good").iterdir())
    ]
    with np.load(data / SMALL) as arrays:
        found += list(arrays["train_images"][arrays["train_labels"].ravel() == HEALTHY])
    grey = [pixels.mean(axis=-1) if pixels.ndim == 3 else pixels for pixels in found]
    small = [resize(pixels / 255.0, (SIDE, SIDE), order=1, anti_aliasing=True) for pixels in grey]
    return [np.rint(255 * pixels).astype(np.uint8) for pixels in small]


def varied(pixels: NDArray[np.uint8], patient: int, copy: int) -> NDArray[np.uint8]:
    """A further image of a patient; the first is the real one."""
    if copy == 0:
        return pixels
    rng = np.random.default_rng([patient, copy])
    moved = np.roll(pixels, rng.integers(-SHIFT, SHIFT + 1, 2), axis=(0, 1)).astype(np.float32)
    stretched = (moved - 128) * rng.uniform(1 - CONTRAST, 1 + CONTRAST) + 128
    return np.rint(stretched + rng.normal(0, 1, moved.shape)).clip(0, 255).astype(np.uint8)


def write_nights(originals: list[NDArray[np.uint8]], folder: Path, count: int, night: int) -> list[Path]:
    """The images as DICOM files, a folder per night."""
    for number in range(count):
        copy, patient = divmod(number, len(originals))
        name = f"P{patient:04d}"
        into = folder / f"night-{number // night:03d}"
        into.mkdir(parents=True, exist_ok=True)
        pixels = varied(originals[patient], patient, copy)
        image = Image(pixels, identity=Identity(patient=name), modality="OT")
        intact.write(image, into / f"{name}-{copy:03d}.dcm")
    return sorted(folder.iterdir())


def grow(bank: Bank, nights: list[Path]) -> Iterator[dict[str, Any]]:
    """Add night after night; a row for each."""
    images = 0
    for night in nights:
        started = time.perf_counter()
        peak = peak_memory(lambda night=night: bank.add([night]))
        seconds = time.perf_counter() - started
        added = len(list(night.iterdir()))
        images += added
        on_disk = sum(path.stat().st_size for path in bank.folder.rglob("*") if path.is_file())
        yield {
            "images": images,
            "seconds": seconds,
            "images_per_s": added / seconds,
            "peak_mb": peak,
            "disk_mb": on_disk / 2**20,
        }


def forget(bank: Bank, nights: list[Path], never: Path, images: torch.Tensor) -> dict[str, Any]:
    """Forget the patient who gave the first patch of the memory; compare with a bank that never saw him."""
    patient = Path(bank.entries()[0].image).name.partition("-")[0]
    before = bank.model()
    started = time.perf_counter()
    removed = bank.forget(patient)
    seconds = time.perf_counter() - started
    everything = [path for night in reversed(nights) for path in night.iterdir()]
    others = [path for path in everything if not path.name.startswith(patient)]
    other, _ = Bank.create(never, others, fields=FIELDS, per_image=PER_IMAGE, calibrate=CALIBRATE)
    with other:
        other.add(others)
        left, expected = bank.model(), other.model()
        same_entries = [e.digest for e in bank.entries()] == [e.digest for e in other.entries()]
    scores, wanted = (model.detector.score(images) for model in (left, expected))
    files = [path for path in bank.folder.rglob("*") if path.is_file()]
    return {
        "removed": removed,
        "forget_seconds": seconds,
        "entries_equal": yes(same_entries),
        "model_equal": yes(equal(left, expected)),
        "scores_compared": len(images),
        "scores_equal": yes(
            torch.equal(scores.image, wanted.image) and torch.equal(scores.pixel, wanted.pixel)
        ),
        "changed_by_forgetting": yes(not equal(left, before)),
        "files_with_traces": sum(patient.encode() in path.read_bytes() for path in files),
    }


def equal(one: intact.Model, other: intact.Model) -> bool:
    """Whether two models are the same bit for bit."""
    a, b = one.detector.state(), other.detector.state()
    return (
        a.keys() == b.keys()
        and all(torch.equal(a[name], b[name]) for name in a)
        and all(
            np.array_equal(getattr(one.calibration, name), getattr(other.calibration, name))
            for name in ("image", "peak", "pixel")
        )
    )


def test_images(data: Path, model: intact.Model) -> torch.Tensor:
    """Some real test images of each kind, as the model sees them."""
    folders = [kind for pack in PACKS for kind in sorted((data / pack / "test").iterdir())]
    paths = [path for folder in folders for path in sorted(folder.iterdir())[:TESTED]]
    return torch.stack([next(planes_of(intact.read(path), model.preparation))[0] for path in paths])


def yes(true: bool) -> str:
    """A truth value for the table."""
    return "yes" if true else "no"


def main() -> None:
    """Feed, forget, compare, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=26_000)
    parser.add_argument("--night", type=int, default=2_000, help="images added at once")
    asked = parser.parse_args()
    data = Path(os.environ["INTACT_DATA"])
    with tempfile.TemporaryDirectory(prefix="bank-") as temporary:
        here = Path(temporary)
        nights = write_nights(normals(data), here / "archive", asked.images, asked.night)
        made, _ = Bank.create(
            here / "bank", nights[:1], fields=FIELDS, per_image=PER_IMAGE, calibrate=CALIBRATE
        )
        with made as bank:
            rows = []
            for row in grow(bank, nights):
                rows.append({"asked": asked.images, **row})
                print(row, flush=True)
            replace_rows("bank_growth.csv", {"asked": asked.images}, [row | environment() for row in rows])
            row = {"images": asked.images} | bank.counts()
            row |= forget(bank, nights, here / "never", test_images(data, bank.model()))
        print(row)
        replace_rows("bank_forget.csv", {"images": asked.images}, [row | environment()])


if __name__ == "__main__":
    main()
