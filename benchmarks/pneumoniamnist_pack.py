"""PneumoniaMNIST as a pack of folders, for `intact bench anomaly`: the same files, the same pixels.

    INTACT_DATA=... python benchmarks/pneumoniamnist_pack.py PACK

Chest X-rays of children, 28 x 28 pixels of 8 bits (MedMNIST v2, J. Yang et al., Scientific Data 10,
2023). Healthy images of the train and val parts go to train/good, those of the test part to
test/good, and its pneumonia to test/pneumonia. Sick images of the other parts are left out: a
detector learns from healthy ones only.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

HEALTHY, SICK = 0, 1  # labels of the archive
FILE = Path("pneumoniamnist", "pneumoniamnist.npz")


def write_pack(archive: Path, folder: Path) -> dict[str, int]:
    """Write the images as PNG files, called by their part and place in the archive.

    Args:
        archive: The .npz file.
        folder: Made if needed; must be empty, lest images of another archive stay in it.

    Returns:
        How many went into each folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds files already: name an empty folder")
    written: dict[str, int] = {}
    with np.load(archive) as arrays:
        for part, label, place in (
            ("train", HEALTHY, "train/good"),
            ("val", HEALTHY, "train/good"),
            ("test", HEALTHY, "test/good"),
            ("test", SICK, "test/pneumonia"),
        ):
            (folder / place).mkdir(parents=True, exist_ok=True)
            chosen = np.flatnonzero(arrays[f"{part}_labels"].ravel() == label)
            for number, pixels in zip(chosen, arrays[f"{part}_images"][chosen], strict=True):
                Image.fromarray(pixels).save(folder / place / f"{part}_{number:04d}.png")
            written[place] = written.get(place, 0) + len(chosen)
    return written


def main() -> None:
    """Write the pack that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pack", type=Path)
    for place, count in write_pack(Path(os.environ["INTACT_DATA"]) / FILE, parser.parse_args().pack).items():
        print(f"{place}: {count}")


if __name__ == "__main__":
    main()
