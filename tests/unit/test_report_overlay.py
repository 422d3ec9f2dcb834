"""Pictures of masks: what is drawn where, in which colour, and which planes are shown."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from scipy import ndimage

from intact.errors import OutputError, UsageError
from intact.image import Image, Window
from intact.report.overlay import _COLOURS, PLANES, _amount, _chosen, _colour, draw_overlay

WHOLE = (Window(127.5, 255.0, "LINEAR_EXACT"),)  # shows a stored value as it is
SKY, ORANGE = (np.array(colour) for colour in _COLOURS[:2])


def flat(value, shape=(64, 64), **known):
    return Image(np.full(shape, value, np.uint8), windows=WHOLE, **known)


def box(shape, *spans):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def drawn(path):
    with Pillow.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture).astype(int)


def near(pixels, colour, by=12):
    return (np.abs(pixels - np.asarray(colour)) <= by).all(axis=-1)


@pytest.mark.parametrize("ground", [0, 90, 255])
def test_a_mask_has_an_outline_a_rim_and_a_tint(tmp_path, ground):
    mask = box((64, 64), (16, 48), (16, 48))
    pixels = drawn(draw_overlay(flat(ground), {"lesion": mask}, tmp_path / "a.png", side=512))
    row = pixels[256, :256]  # half a row: 8 pixels for each of the image's, the mask from 128 on
    assert near(row[:124], (ground,) * 3, 1).all()
    assert near(row[128:130], SKY).all()
    tinted = ground + (SKY - ground) * 50 / 255
    assert near(row[140:], tinted, 2).all()
    assert row[127].max() < 100  # the rim, on any ground
    assert near(pixels[126:386, 126:386], SKY, 20).sum() == pytest.approx(4 * 256 * 2, rel=0.1)


def test_a_mask_lies_where_its_pixels_are(tmp_path):
    mask = box((40, 60), (5, 15), (40, 50))
    pixels = drawn(draw_overlay(flat(0, (40, 60)), {"lesion": mask}, tmp_path / "a.png", side=600))
    painted = np.argwhere(pixels[:400, :600].sum(axis=-1) > 0)
    assert painted.min(axis=0) == pytest.approx([50, 400], abs=2)
    assert painted.max(axis=0) == pytest.approx([150, 500], abs=2)


def test_a_small_mask_shows_on_a_large_one(tmp_path):
    masks = {"lesion": box((64, 64), (28, 36), (28, 36)), "lung": np.ones((64, 64), bool)}
    pixels = drawn(draw_overlay(flat(100), masks, tmp_path / "a.png", side=512))
    assert near(pixels[224:226, 240:270], SKY).all()
    assert near(pixels[256, 256], 100 + (SKY - 100) * 50 / 255, 2)
    assert near(pixels[100, 100], 100 + (ORANGE - 100) * 50 / 255, 2)
    assert near(pixels[0, 256], ORANGE)  # a mask that touches the border is outlined there too


@pytest.mark.parametrize("shape", [(70, 90), (300, 220), (700, 650), (900, 1000)])
def test_no_single_pixel_gets_lost(tmp_path, shape):
    mask = np.zeros(shape, bool)
    mask[11::53, 9::47] = True
    pixels = drawn(draw_overlay(flat(0, shape), {"lesion": mask}, tmp_path / "a.png", side=400))
    scale = 400 / max(shape)
    there = pixels[: round(shape[0] * scale), : round(shape[1] * scale)].sum(axis=-1)
    labels, count = ndimage.label(there > 60)
    centres = ndimage.center_of_mass(there, labels, range(1, count + 1))
    np.testing.assert_allclose(centres, (np.argwhere(mask) + 0.5) * scale, atol=scale / 2 + 1)


def test_pixels_have_their_physical_proportions(tmp_path):
    image = flat(100, (30, 60), spacing=(2.0, 0.5))
    pixels = drawn(draw_overlay(image, {}, tmp_path / "a.png", side=300))
    assert pixels.shape == (300, 150, 3)
    assert near(pixels, (100,) * 3, 0).all()


def test_an_image_looks_as_a_viewer_shows_it(tmp_path):
    ramp = np.arange(64, dtype=np.uint16)[None].repeat(64, axis=0) * 60
    plain = drawn(draw_overlay(Image(ramp), {}, tmp_path / "a.png", side=64))
    np.testing.assert_array_equal(plain[..., 0], Image(ramp).display())
    inverted = Image(ramp, photometric="MONOCHROME1")
    np.testing.assert_array_equal(
        drawn(draw_overlay(inverted, {}, tmp_path / "b.png", side=64))[..., 1], inverted.display()
    )
    colour = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        drawn(draw_overlay(Image(colour, photometric="RGB"), {}, tmp_path / "c.png", side=32)), colour
    )


def tiles(path, count, side, columns=4):
    """The planes of a sheet of square planes."""
    pixels = drawn(path)
    gap = 6
    return [
        pixels[top : top + side, left : left + side]
        for k in range(count)
        for top, left in [((k // columns) * (side + gap), (k % columns) * (side + gap))]
    ]


def numbered(planes, side=24):
    """A volume in which plane k shows the grey 5 k."""
    values = 5 * np.arange(planes, dtype=np.uint8)
    return Image(np.broadcast_to(values[:, None, None], (planes, side, side)).copy(), windows=WHOLE)


def test_a_volume_shows_planes_of_the_mask_in_order(tmp_path):
    volume = numbered(50)
    mask = box((50, 24, 24), (20, 45), (8, 16), (8, 16))
    path = draw_overlay(volume, {"lesion": mask}, tmp_path / "a.png", side=400)
    shown = [tile[-1, -1, 0] / 5 for tile in tiles(path, 12, 200)]
    assert shown == sorted(set(shown))
    assert 20 <= min(shown) <= 22 and 42 <= max(shown) <= 44
    assert max(np.diff(shown)) <= 4
    assert all(
        near(tile[100, 100], tile[-1, -1] + (SKY - tile[-1, -1]) * 50 / 255, 2)
        for tile in tiles(path, 12, 200)
    )


def test_planes_are_numbered(tmp_path):
    """Equal planes with different numbers differ, and only in their upper left corner."""
    path = draw_overlay(flat(0, (4, 24, 24)), {}, tmp_path / "a.png", side=400)
    first, second, third, fourth = tiles(path, 4, 200)
    for other in (second, third, fourth):
        changed = np.argwhere((first != other).any(axis=-1))
        assert len(changed) and (changed < 40).all()


def test_a_volume_without_any_find_is_shown_throughout(tmp_path):
    path = draw_overlay(numbered(50), {"lesion": np.zeros((50, 24, 24), bool)}, tmp_path / "a.png", side=400)
    shown = [tile[-1, -1, 0] / 5 for tile in tiles(path, 12, 200)]
    assert min(shown) <= 3 and max(shown) >= 46 and max(np.diff(shown)) <= 5


def test_frames_and_time_series_are_shown_like_planes(tmp_path):
    image = Image(np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8))
    mask = np.zeros((2, 3, 8, 8), bool)
    mask[1, 2, 3, 3] = True
    assert len(drawn(draw_overlay(image, {"lesion": mask}, tmp_path / "a.png", side=100))) > 50


@given(st.lists(st.lists(st.integers(0, 9), min_size=40, max_size=40), min_size=1, max_size=4))
def test_which_planes_are_chosen(areas):
    stacked = np.zeros((len(areas), 40, 3, 3), bool)
    for mask, planes in zip(stacked, areas, strict=True):
        for plane, area in zip(mask, planes, strict=True):
            plane.flat[:area] = True
    chosen = _chosen(stacked)
    held = np.flatnonzero(stacked.any(axis=(0, 2, 3)))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(PLANES, len(held) or 40)
    assert not len(held) or set(chosen) <= set(held)
    for planes in areas:
        assert not any(planes) or max(planes) in [planes[k] for k in chosen]


@pytest.mark.parametrize(
    ("across", "down", "corner"),
    [
        ([1, 0, 0], [0, 1, 0], (0, 0)),  # axial, as DICOM stores it
        ([-1, 0, 0], [0, -1, 0], (1, 1)),  # axial, as NIfTI stores it (RAS)
        ([1, 0, 0], [0, 0, -1], (0, 0)),  # coronal, head up
        ([-1, 0, 0], [0, 0, 1], (1, 1)),
        ([0, 1, 0], [0, 0, -1], (0, 0)),  # sagittal, face to the left
        ([0, -0.9, 0.1], [0.1, 0, 0.9], (1, 1)),
    ],
)
def test_a_located_plane_hangs_as_radiologists_expect(tmp_path, across, down, corner):
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across, down
    image = flat(0, (32, 32), affine=affine)
    mask = box((32, 32), (0, 6), (0, 6))  # at the first row and column
    pixels = drawn(draw_overlay(image, {"lesion": mask}, tmp_path / "a.png", side=320))[:320]
    row, column = np.argwhere(near(pixels, SKY)).mean(axis=0)
    assert (int(row > 160), int(column > 160)) == corner


def test_sizes_in_the_legend():
    mask = box((4, 10, 20), (0, 2), (0, 10), (0, 10))
    volume = np.zeros((4, 10, 20), np.uint8)
    assert _amount(Image(volume, spacing=(3.0, 0.5, 2.0)), mask) == ("600 mm", "3")
    assert _amount(Image(volume, spacing=(0.5, 2.0)), mask) == ("200 voxels", "")
    assert _amount(Image(volume), mask) == ("200 voxels", "")
    assert _amount(Image(volume[0]), mask[0]) == ("100 px", "")
    assert _amount(Image(volume[0], spacing=(0.1, 0.25)), mask[0]) == ("2.5 mm", "2")
    assert _amount(Image(volume, spacing=(10.0, 10.0, 10.0)), mask) == ("200,000 mm", "3")
    assert _amount(Image(volume[0], spacing=(1.0, 1.0)), mask[3]) == ("none", "")


def test_the_legend_lists_every_mask_in_its_colour(tmp_path):
    masks = {f"number {k}": box((64, 64), (4 * k, 4 * k + 3), (4, 60)) for k in range(12)}
    path = draw_overlay(flat(0), masks, tmp_path / "a.png", side=600)
    legend = drawn(path)[600:]
    assert legend.shape[1] == 600
    for k in range(12):
        assert near(legend, _colour(k), 0).sum() >= 14 * 14


def test_colours_stay_apart_without_colour_vision():
    """After Viénot, Brettel and Mollon (1999): what deuteranopes and protanopes see."""
    linear = (np.array(_COLOURS) / 255.0) ** 2.2
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.02996, 0.18431, 1.46709]])
    lms = linear @ to_lms.T
    protan, deutan = lms.copy(), lms.copy()
    protan[:, 0] = 2.02344 * lms[:, 1] - 2.52581 * lms[:, 2]
    deutan[:, 1] = 0.494207 * lms[:, 0] + 1.24827 * lms[:, 2]
    for seen in (lms, protan, deutan):
        shown = 255.0 * np.clip(seen @ np.linalg.inv(to_lms).T, 0, 1) ** (1 / 2.2)
        assert min(np.linalg.norm(a - b) for a, b in combinations(shown, 2)) > 30
    every = [_colour(k) for k in range(2 * len(_COLOURS))]
    assert len(set(every)) == len(every)


def test_odd_images(tmp_path):
    rng = np.random.default_rng(0)
    holes = rng.normal(size=(20, 20)).astype(np.float32)
    holes[:5] = np.nan
    for image in (
        Image(holes),
        Image(np.full((20, 20), np.nan, np.float32)),
        Image(np.zeros((1, 30), np.int16)),
    ):
        pixels = drawn(draw_overlay(image, {"all": np.ones(image.shape, bool)}, tmp_path / "a.png", side=100))
        assert pixels.shape[1] == 100


def test_arguments(tmp_path):
    image, mask = flat(50), box((64, 64), (3, 9), (3, 9))
    kept = mask.copy()
    assert draw_overlay(image, {"a": mask}, tmp_path / "a.png") == tmp_path / "a.png"
    assert (mask == kept).all() and (image.pixels == 50).all()
    assert max(drawn(tmp_path / "a.png").shape[:2]) >= 1024
    with pytest.raises(UsageError, match=r"'a' has shape \(64, 63\) and its image \(64, 64\)"):
        draw_overlay(image, {"a": mask[:, 1:]}, tmp_path / "b.png")
    with pytest.raises(OutputError):
        draw_overlay(image, {"a": mask}, tmp_path / "no" / "b.png", side=64)
