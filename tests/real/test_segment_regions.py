"""Regions of real images, beside masks that were drawn and letters that were looked up by eye."""

import os
from pathlib import Path

import numpy as np
import pytest
from skimage.filters import threshold_otsu

import intact
from intact.metrics.segmentation import compare
from intact.segment import REGIONS

pytestmark = pytest.mark.real

DATA = Path(os.environ.get("INTACT_DATA", ""))
# The middle of the side marker in chest radiographs of a random draw: row, column.
MARKERS = {
    "train/good/IM-0429-0001.jpg": (6, 59),
    "test/good/NORMAL2-IM-1005-0001.jpg": (17, 20),
    "test/virus/person1556_virus_2699.jpg": (5, 11),
    "test/good/IM-0227-0001.jpg": (50, 5),
    "train/good/IM-0580-0001.jpg": (7, 42),
    "train/good/IM-0463-0001.jpg": (38, 21),
    "train/good/NORMAL2-IM-0886-0001.jpg": (111, 3),
    "test/bacteria/person1433_bacteria_3701.jpg": (6, 7),
    "train/good/IM-0191-0001.jpg": (58, 24),
    "test/virus/person1366_virus_2349.jpg": (9, 9),  # thin and small: it is missed
    "test/good/IM-0688-0001.jpg": (45, 5),
    "train/good/NORMAL2-IM-1320-0001.jpg": (96, 9),
    "test/good/NORMAL2-IM-1357-0001.jpg": (37, 5),
    "train/good/NORMAL2-IM-0830-0001.jpg": (26, 33),
    "test/bacteria/person960_bacteria_2885.jpg": (9, 17),
    "train/good/IM-0265-0001.jpg": (76, 31),
    "train/good/IM-0346-0001.jpg": (8, 36),
    "train/good/NORMAL2-IM-0853-0001.jpg": (111, 3),
    "train/good/IM-0291-0001.jpg": (40, 29),  # narrow and grey: it is missed
    "train/good/NORMAL2-IM-1330-0001.jpg": (57, 16),
}


def some(folder, number):
    """Files of a pack, evenly spread."""
    files = sorted(path for path in (DATA / folder).rglob("*") if path.suffix in (".png", ".jpg"))
    return [files[at] for at in np.linspace(0, len(files) - 1, number).astype(int)]


def test_side_markers_of_radiographs_are_found_and_little_else():
    found = 0
    for name, (row, column) in MARKERS.items():
        mask = REGIONS["text"](intact.read(DATA / "chest_xray" / name))
        found += mask[max(0, row - 5) : row + 6, max(0, column - 5) : column + 6].any()
        assert mask.mean() < 0.01
    assert found >= 18


def test_brains_are_no_text():
    shares = [REGIONS["text"](intact.read(path)).mean() for path in some("brain_mri", 40)]
    assert np.mean(shares) < 1e-3 and np.median(shares) == 0


def test_the_field_of_view_of_retinal_photographs():
    for part in ("train", "test"):
        for path in sorted((DATA / "retina_vessels" / part / "images").iterdir())[:4]:
            drawn = intact.read(path.parents[1] / "field_of_view" / f"{path.stem}.png").pixels > 0
            assert compare(REGIONS["field_of_view"](intact.read(path)), drawn)["dice"] > 0.98


def test_drawn_lungs_lie_in_the_body_and_in_the_field_of_view_and_are_no_text():
    for path in some("cxr_lung_masks/images", 12):
        image = intact.read(path)
        drawn = intact.read(path.parents[1] / "masks" / path.name).pixels > 0
        assert (drawn & REGIONS["body"](image)).sum() > 0.99 * drawn.sum()
        assert (drawn & REGIONS["field_of_view"](image)).sum() > 0.99 * drawn.sum()
        assert (drawn & REGIONS["text"](image)).sum() < 0.01 * drawn.sum()


@pytest.mark.parametrize("region", ["body", "head"])
def test_heads_hold_what_is_bright_and_leave_air_out(region):
    inside, shares = [], []
    for path in some("brain_mri/train", 30):
        image = intact.read(path)
        values, mask = image.display(), REGIONS[region](image)
        bright = values > threshold_otsu(values)
        inside.append((bright & mask).sum() / bright.sum())
        shares.append(mask.mean())
    assert np.mean(np.array(inside) > 0.93) > 0.95  # one in thirty is torn apart
    assert 0.4 < np.median(shares) < 0.75


def test_the_lungs_of_radiographs_that_the_shipped_network_never_saw():
    found = []
    for path in some("cxr_lung_masks/images", 8):
        drawn = intact.read(path.parents[1] / "masks" / path.name).pixels > 0
        found.append(compare(REGIONS["lungs"](intact.read(path)), drawn)["dice"])
    assert np.mean(found) > 0.8


def test_a_tumour_lies_in_the_head():
    folder = DATA / "nifti" / "pair_t1_t1ce_tumour"
    image, drawn = intact.read(folder / "t1ce.nii.gz"), intact.read(folder / "tumour_mask.nii.gz").pixels > 0
    assert (drawn & REGIONS["head"](image)).sum() == drawn.sum()
