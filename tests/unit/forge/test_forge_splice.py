"""What a splice takes from its donor, and what it adapts."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forge import FORGED, KINDS
from intact.image import Image, Scale
from intact.residual import noise_sigma


def scene(level, sigma, seed, blur=0.0, **about):
    rng = np.random.default_rng(seed)
    plane = ndimage.gaussian_filter(rng.normal(0, 2000, (160, 160)), 6) + level
    plane = ndimage.gaussian_filter(plane, blur) + rng.normal(0, sigma, (160, 160))
    return Image(plane.astype(np.int16), **about)


PLAIN = {"match_blur": False, "match_tone": False, "blend": "hard", "diameter": 30.0}


def test_a_plain_splice_holds_the_donors_values():
    image, donor = scene(1000, 10, 0), scene(-500, 10, 1)
    forgery = KINDS["splice"](**PLAIN).forge(image, seed=3, donor=donor)
    drawn = forgery.record["drawn"]
    forged = np.argwhere(forgery.labels == FORGED)
    there = forged - np.subtract(drawn["target"], drawn["from"])
    assert (forgery.image.pixels[tuple(forged.T)] == donor.pixels[tuple(there.T)]).all()


def test_tone_is_that_of_the_surroundings():
    image, donor = scene(1000, 10, 0), scene(-500, 10, 1)
    forgery = KINDS["splice"](**PLAIN | {"match_tone": True}).forge(image, seed=3, donor=donor)
    inside = forgery.labels == FORGED
    around = ndimage.binary_dilation(inside, iterations=8) & ~inside
    assert abs(forgery.image.pixels[inside].mean() - image.pixels[around].mean()) < 400


def test_noise_is_brought_to_the_hosts_strength_if_asked():
    image, donor = scene(1000, 10, 0), scene(1000, 40, 1)
    quiet = KINDS["splice"](**PLAIN | {"match_noise": True}).forge(image, seed=3, donor=donor)
    loud = KINDS["splice"](**PLAIN).forge(image, seed=3, donor=donor)
    inside = quiet.labels == FORGED
    assert noise_sigma(loud.image.pixels, inside) > 30
    assert noise_sigma(quiet.image.pixels, inside) == pytest.approx(10, rel=0.35)


def test_a_sharper_donor_is_blurred():
    image, donor = scene(1000, 0, 0, blur=2.5), scene(1000, 0, 1)
    image.pixels[:, 80:] += 3000  # a blurred edge in the one, a sharp one in the other
    edge = ndimage.gaussian_filter(image.pixels.astype(float), 2.5).astype(np.int16)
    image = Image(edge)
    donor.pixels[:, 80:] += 3000
    sharp = KINDS["splice"](**PLAIN).forge(image, seed=3, donor=donor)
    blurred = KINDS["splice"](**PLAIN | {"match_blur": True}).forge(image, seed=3, donor=donor)
    inside = ndimage.binary_erosion(sharp.labels == FORGED, iterations=3)

    def fine(forgery):
        return np.abs(ndimage.laplace(forgery.image.pixels.astype(float)))[inside].mean()

    assert fine(blurred) < 0.7 * fine(sharp)


def test_a_donor_of_other_pixels_is_brought_to_the_hosts_size():
    """A chessboard of 8 mm squares stays one, in pixels of 1 mm."""
    rows, columns = np.indices((300, 300)) // 16  # squares of 8 mm in pixels of 0.5 mm
    donor = Image(((rows + columns) % 2 * 1000).astype(np.int16), spacing=(0.5, 0.5))
    image = Image(np.full((150, 150), 500, np.int16), spacing=(1.0, 1.0))
    forgery = KINDS["splice"](**PLAIN | {"form": "rectangle", "diameter": 60.0}).forge(
        image, seed=1, donor=donor
    )
    row = forgery.image.pixels[forgery.record["drawn"]["target"][0]]
    inside = np.flatnonzero(forgery.labels[forgery.record["drawn"]["target"][0]] == FORGED)
    changes = np.flatnonzero(np.diff(row[inside] > 500))
    assert np.diff(changes).tolist() == [8] * (len(changes) - 1) and len(changes) >= 5


def test_hu_stay_hu_whatever_is_stored():
    image = scene(1000, 10, 0, scale=Scale(1.0, -1024.0, unit="HU"))
    donor = scene(0, 10, 1, scale=Scale(1.0, 0.0, unit="HU"))
    forgery = KINDS["splice"](**PLAIN).forge(image, seed=3, donor=donor)
    drawn = forgery.record["drawn"]
    assert forgery.image.physical()[tuple(drawn["target"])] == donor.physical()[tuple(drawn["from"])]


def test_a_plane_takes_a_plane_of_a_volume_but_not_the_other_way_round():
    rng = np.random.default_rng(0)
    volume = Image(rng.normal(100, 20, (20, 96, 96)).astype(np.int16), spacing=(1.0, 1.0, 1.0))
    plane = volume.plane(3)
    KINDS["splice"](diameter=20.0).forge(plane, donor=volume)
    with pytest.raises(UsageError, match="give a volume"):
        KINDS["splice"](diameter=20.0).forge(volume, donor=plane)
    with pytest.raises(UsageError, match="give a donor"):
        KINDS["splice"]().forge(plane)
