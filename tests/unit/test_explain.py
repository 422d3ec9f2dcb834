"""Explanations: what is near a region among normal images, which side it is on, and marks of variants."""

import dataclasses

import numpy as np
import pydicom
import pytest
import torch

from intact.errors import ModelError, UsageError
from intact.explain import Reference, Variants, side_of
from intact.explain.explainer import Explainer, silenced
from intact.explain.eyes import GRID, SIZE, box_of, see
from intact.image import Image
from intact.io import write
from intact.scores import Region

H, W = 96, 128


def picture(seed: int, *, ring: tuple[int, int] | None = None, modality: str = "") -> Image:
    """A smooth body with noise of its own; a ring somewhere, if asked."""
    rows, columns = np.mgrid[:H, :W]
    body = 600 * np.exp(-(((rows - 48) / 36) ** 4) - ((columns - 64) / 50) ** 4)
    body += np.random.default_rng(seed).normal(0, 8, (H, W))
    if ring:
        far = np.hypot(rows - ring[0], columns - ring[1])
        body += 500 * np.exp(-(((far - 7) / 2) ** 2))
    return Image(np.clip(body, 0, 4095).astype(np.uint16), bits=12, modality=modality)


def region(box=(40, 56, 56, 72), p_value=0.01, variant=None) -> Region:
    middle = (0, (box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    return Region(0, box, middle, 100, None, None, 1.0, p_value, variant=variant)


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    """Six normal images; only "4.png" has a ring, which is normal there."""
    folder = tmp_path_factory.mktemp("normals")
    for seed in range(6):
        write(picture(seed, ring=(46, 62) if seed == 4 else None), folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def reference(normals):
    return Reference.learn([normals])[0]


def test_boxes_become_cells_and_cells_boxes():
    (seen,) = see(picture(0), [0])
    rows, columns = seen.cells((0, 0, H, W))
    assert (columns.start, columns.stop) == (0, GRID)
    assert rows.stop - rows.start == pytest.approx(GRID * H / W, abs=1)
    assert box_of((rows, columns), seen.at) == (0, 0, H, W)
    point = seen.cells((40, 60, 41, 61))
    assert all(part.stop - part.start == 1 for part in point)
    top, left, bottom, right = box_of(point, seen.at)
    cell = W / SIZE * SIZE / GRID
    assert top <= 40 < bottom and left <= 60 < right and right - left == pytest.approx(cell, abs=1)


def test_looks_are_unit_vectors_with_each_layer_counting_alike():
    (seen,) = see(picture(0), [0])
    look = seen.look((30, 40, 60, 80))
    assert float(look @ look) == pytest.approx(1.0, abs=1e-5)
    first = look[:64]  # layer2 of the narrow network
    assert float(first @ first) == pytest.approx(0.5, abs=1e-5)


def test_the_nearest_normal_region_is_the_one_that_shows_the_same_thing(reference, normals):
    ringed = picture(99, ring=(48, 64))
    (seen,) = see(ringed, [0])
    found = reference.nearest(seen, (38, 54, 58, 74))
    assert found[0].path == str(normals / "4.png")
    assert len(found) == 3 and len({near.path for near in found}) == 3
    assert found[0].distance < 0.5 * found[1].distance
    top, left, bottom, right = found[0].box
    assert abs((top + bottom) / 2 - 46) < 8 and abs((left + right) / 2 - 62) < 8
    assert reference.nearest(seen, (38, 54, 58, 74), found[0].path)[0] == found[1]  # not by itself
    elsewhere = reference.nearest(seen, (10, 10, 20, 20))
    assert max(near.distance for near in elsewhere) < found[1].distance


def test_the_nearest_window_is_found_by_looking_at_every_one(reference):
    (seen,) = see(picture(99, ring=(48, 64)), [0])
    box = (38, 54, 58, 74)
    rows, columns = seen.cells(box)
    look, best = seen.look(box), {}
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    for maps, name in zip(reference.maps.float(), reference.names, strict=True):
        for top in range(max(rows.start - 5, 0), min(rows.start + 5, GRID - tall) + 1):
            for left in range(max(columns.start - 5, 0), min(columns.start + 5, GRID - wide) + 1):
                mean = maps[:, top : top + tall, left : left + wide].mean(dim=(1, 2))
                one, two = mean[:64] / mean[:64].norm(), mean[64:] / mean[64:].norm()
                cosine = float(torch.cat([one, two]) @ look) / 2**0.5
                best[name] = max(best.get(name, -1.0), cosine)
    expected = sorted(best.values(), reverse=True)[:3]
    assert [1 - near.distance for near in reference.nearest(seen, box)] == pytest.approx(expected, abs=1e-4)


def test_a_reference_comes_back_from_its_folder(reference, tmp_path):
    reference.save(tmp_path / "reference")
    again = Reference.load(tmp_path / "reference")
    (seen,) = see(picture(7, ring=(40, 60)), [0])
    assert again.nearest(seen, (30, 50, 50, 70)) == reference.nearest(seen, (30, 50, 50, 70))


def test_what_cannot_be_read_is_left_out_and_nothing_is_an_error(normals, tmp_path):
    write(picture(0), tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found, rejected = Reference.learn([tmp_path])
    assert [left.name for left in rejected] == [str(tmp_path / "bad.png")]
    assert found.names == (str(tmp_path / "good.png"),)
    (tmp_path / "good.png").unlink()
    with pytest.raises(UsageError, match="holds no normal image"):
        Reference.learn([tmp_path])


@pytest.mark.parametrize(
    ("steps", "column", "said"),
    [
        ((1, 0, 0), 100, "patient's left"),
        ((1, 0, 0), 30, "patient's right"),
        ((-1, 0, 0), 100, "patient's right"),
        ((1, 0, 0), 64, "middle"),
        ((0, 1, 0), 100, ""),  # sagittal: columns lead backwards
    ],
)
def test_the_side_is_told_by_the_affine(steps, column, said):
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = steps, (0, 0, -1)
    image = dataclasses.replace(picture(0), affine=affine)
    assert side_of(image, 0, 40, column) == said


def test_rows_may_lead_to_the_left_too():
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = (0, 1, 0), (1, 0, 0)
    image = dataclasses.replace(picture(0), affine=affine)
    assert side_of(image, 0, 75, 10) == "patient's left"
    assert side_of(image, 0, 20, 120) == "patient's right"


def test_the_side_is_told_by_the_orientation_of_a_radiograph():
    header = pydicom.Dataset()
    header.PatientOrientation = ["L", "F"]
    image = dataclasses.replace(picture(0), header=header)
    assert side_of(image, 0, 40, 100) == "patient's left"
    header.PatientOrientation = ["R", "F"]
    assert side_of(image, 0, 40, 100) == "patient's right"


def test_without_orientation_it_is_the_side_of_the_picture():
    assert side_of(picture(0), 0, 40, 20) == "left in picture"
    assert side_of(picture(0), 0, 40, 110) == "right in picture"


def test_a_mark_lets_the_same_pass_at_the_same_place_only(tmp_path):
    site = Variants(tmp_path / "site")
    marked = picture(1, ring=(48, 64), modality="MR")
    (seen,) = see(marked, [0])
    box = (38, 54, 58, 74)
    made = site.mark(marked, seen, box, "ring of the coil")
    assert (made.number, made.note, made.modality) == (1, "ring of the coil", "MR")
    again = Variants(tmp_path / "site")
    other = picture(2, ring=(49, 65), modality="MR")
    (same,) = see(other, [0])
    assert again.like(other, same, (39, 55, 59, 75)) == made
    plain = picture(2, modality="MR")
    (without,) = see(plain, [0])
    assert again.like(plain, without, box) is None  # nothing is there
    far = picture(2, ring=(48, 100), modality="MR")
    (moved,) = see(far, [0])
    assert again.like(far, moved, (38, 90, 58, 110)) is None
    assert again.like(other, same, (44, 60, 50, 66)) is None  # much smaller
    assert again.like(dataclasses.replace(other, modality="CT"), same, (39, 55, 59, 75)) is None


def test_marks_are_released_and_their_numbers_not_given_again(tmp_path):
    site = Variants(tmp_path / "site")
    image = picture(1, ring=(48, 64))
    (seen,) = see(image, [0])
    site.mark(image, seen, (38, 54, 58, 74), "first")
    site.mark(image, seen, (10, 10, 30, 30), "second")
    assert site.release(1).note == "first"
    again = Variants(tmp_path / "site")
    assert [entry.number for entry in again.entries] == [2]
    assert again.like(image, seen, (38, 54, 58, 74)) is None
    with pytest.raises(UsageError, match="there is no mark 1; there are: 2"):
        again.release(1)
    again.release(2)
    assert Variants(tmp_path / "site").mark(image, seen, (38, 54, 58, 74), "third").number == 3


def test_other_folders_are_refused(tmp_path, reference):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="holds files, but no marks"):
        Variants(tmp_path)
    reference.save(tmp_path / "reference")
    with pytest.raises(ModelError, match="holds no marks"):
        Variants(tmp_path / "reference")


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([], False),
        ([region(variant=1)], True),
        ([region(variant=1), region()], False),
        ([region(variant=1), region(p_value=0.5)], True),  # the other one alone would not be flagged
        ([region(p_value=0.5, variant=1), region(p_value=0.6)], True),  # the most abnormal one counts
        ([region(p_value=0.5), region(p_value=0.6, variant=1)], False),
    ],
)
def test_an_image_is_silenced_if_marks_explain_all_that_is_suspicious(regions, said):
    assert silenced(regions, 0.05) is said


def test_an_explainer_adds_all_that_it_can_say(reference, tmp_path):
    site = Variants(tmp_path / "site")
    image = picture(8, ring=(48, 64))
    (seen,) = see(image, [0])
    site.mark(image, seen, (38, 54, 58, 74), "")
    reference.save(tmp_path / "reference")
    explainer = Explainer.open(str(tmp_path / "reference"), str(tmp_path / "site"))
    ring, corner = explainer.explain(image, [region((38, 54, 58, 74)), region((38, 90, 50, 110))])
    assert (ring.side, ring.variant) == ("middle", 1)
    assert (corner.side, corner.variant) == ("right in picture", None)
    assert len(ring.nearest) == len(corner.nearest) == 3
    (bare,) = Explainer.open("", "").explain(image, [region()])
    assert bare.side == "middle" and bare.nearest == () and bare.variant is None
