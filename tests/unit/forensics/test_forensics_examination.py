"""One image, its headers, its slices and its pixels: everything is asked, and nothing ends the run."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from intact.data.phantom import thorax_ct
from intact.forensics import Examiner
from intact.forensics.base import Evidence, Severity
from intact.forensics.examination import examine, is_volume
from intact.image import Image


@dataclass(eq=False)
class Fails(Examiner):
    kind = "noise"
    source = "made up"

    def _examine(self, plane, valid, image):
        raise ZeroDivisionError("of a bad kind")


@dataclass(eq=False)
class Speaks(Examiner):
    kind = "noise"
    source = "made up"

    def _examine(self, plane, valid, image):
        return Evidence(self.kind, float(plane.mean()), np.zeros(plane.shape, np.float32), "The mean.")


def test_an_examiner_that_fails_leaves_the_others_their_say():
    told = examine(Image(np.full((8, 8), 5, np.uint8)), {"fails": Fails(), "speaks": Speaks()})
    assert "ZeroDivisionError: of a bad kind" in told.evidence["fails"].abstained
    assert told.evidence["speaks"].score == 5 and told.findings == () and told.weight == 0


def test_images_that_examiners_do_not_take_are_no_failures():
    told = examine(Image(np.zeros((2, 3, 8, 8), np.uint8)), {"speaks": Speaks()})
    assert "convert it first" in told.evidence["speaks"].abstained


def test_a_made_image_is_told_as_made_and_weighs_nothing():
    told = examine(Image(np.zeros((8, 8), np.uint8), made="forged by intact: splice"), {})
    assert "no record of a patient" in told.findings[0].explanation
    assert told.weight == Severity.INFORMATION


def test_the_slices_of_a_volume_are_examined():
    image = thorax_ct(2, shape=(12, 96, 96))[0]
    assert is_volume(image)
    assert examine(image, {}).weight < Severity.UNUSUAL
    pixels = image.pixels.copy()
    pixels[len(pixels) // 2] = pixels[len(pixels) // 2 - 1]
    told = examine(replace(image, pixels=pixels), {})
    assert told.weight == Severity.IMPOSSIBLE and told.findings[0].rule == "B5"


@pytest.mark.parametrize("shape", [(8, 8), (6, 8, 8)])
def test_films_and_planes_have_no_neighbours_in_space(shape):
    assert not is_volume(Image(np.zeros(shape, np.uint8), spacing=(1.0, 1.0)))
