"""What every maker of forgeries promises, for planes, volumes, colour and films."""

import json
from functools import cache

import numpy as np
import pytest

from intact.data.phantom import chest_xray, thorax_ct
from intact.errors import UsageError
from intact.forge import BORDER, FORGED, KINDS, pixel_digest
from intact.image import Image

PLACED = {"diameter": 24.0}
FIELDS = {  # what makes a change certain, and keeps all of an image's values in play
    "recompress": {"quality": 20},
    "rewindow": {"width": 3000.0, "center": 500.0},
}
SUBJECTS = ("plane", "volume", "colour", "film", "signed", "float")


@cache
def subject(kind, seed):
    """An image with noise everywhere, so that every change shows."""
    rng = np.random.default_rng(seed)
    if kind == "volume":
        return thorax_ct(seed, shape=(24, 96, 96))[0]
    smooth = chest_xray(seed, shape=(96, 112))[0].display().astype(float)
    plane = np.clip(200 + 10 * smooth + 30 * rng.standard_normal(smooth.shape), 0, 4095)
    if kind == "plane":
        return Image(plane.astype(np.uint16), bits=12, spacing=(2.0, 2.0))
    if kind == "signed":
        return Image((plane - 1000).astype(np.int16), bits=16)
    if kind == "float":
        return Image(plane.astype(np.float32))
    if kind == "film":
        return Image(np.stack([plane + 3 * n for n in range(3)]).astype(np.uint16), bits=12)
    tones = np.stack([plane / 17, plane / 20, plane / 25], axis=-1)
    return Image(tones.astype(np.uint8), photometric="RGB")


def forger(kind, **fields):
    given = FIELDS.get(kind, {}) | ({} if kind == "untouched" else PLACED) | fields
    return KINDS[kind](**given)


def takes(kind, what):
    """A window needs grey values."""
    return not (kind == "rewindow" and what == "colour")


def forge(kind, what, seed=3, **fields):
    if not takes(kind, what):
        pytest.skip("refused: test_forge_process.py")
    donor = subject(what, 8) if KINDS[kind].needs_donor else None
    return subject(what, 7), forger(kind, **fields).forge(subject(what, 7), seed=seed, donor=donor)


@pytest.mark.parametrize("what", SUBJECTS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_tell_every_change(kind, what):
    image, forgery = forge(kind, what)
    assert forgery.labels.shape == image.shape and forgery.labels.dtype == np.uint8
    different = forgery.image.pixels != image.pixels
    different = different.any(axis=-1) if image.colour else different
    assert not different[(forgery.labels != FORGED) & (forgery.labels != BORDER)].any()
    assert forgery.record["changed"] == np.count_nonzero(different)
    assert different.any() == (kind != "untouched")
    if kind != "untouched":
        # Rounding leaves some values as they were; most of what is called forged differs.
        assert different[forgery.labels == FORGED].mean() > 0.5


@pytest.mark.parametrize("what", SUBJECTS)
@pytest.mark.parametrize("kind", KINDS)
def test_depth_and_meaning_stay(kind, what):
    image, forgery = forge(kind, what)
    forged = forgery.image
    assert forged.pixels.dtype == image.pixels.dtype and forged.pixels.shape == image.pixels.shape
    assert (forged.spacing, forged.bits, forged.scale) == (image.spacing, image.bits, image.scale)
    if image.pixels.dtype.kind == "u":
        assert forged.pixels.max() < 2**image.bits


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_makes_the_same_forgery_again(kind):
    image, forgery = forge(kind, "plane")
    record = json.loads(json.dumps(forgery.record))
    again = KINDS[record["kind"]](**record["fields"])
    donor = subject("plane", 8) if record["donor_digest"] else None
    assert donor is None or record["donor_digest"] == pixel_digest(donor)
    assert record["digest_before"] == pixel_digest(image)
    made = again.forge(image, seed=record["seed"], donor=donor)
    assert pixel_digest(made.image) == record["digest_after"] == pixel_digest(forgery.image)
    assert (made.labels == forgery.labels).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("untouched", "rewindow")])
def test_another_seed_makes_another_forgery(kind):
    _, one = forge(kind, "plane", seed=3)
    _, other = forge(kind, "plane", seed=4)
    assert (one.image.pixels != other.image.pixels).any()


@pytest.mark.parametrize("what", SUBJECTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_original_is_left_alone(kind, what):
    before = pixel_digest(subject(what, 7))
    forge(kind, what)
    assert pixel_digest(subject(what, 7)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forged_says_so(kind):
    _, forgery = forge(kind, "plane")
    assert forgery.image.made.endswith(f": {kind}") if kind != "untouched" else not forgery.image.made


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "untouched"])
def test_a_palette_is_refused(kind):
    image = Image(
        np.zeros((64, 64), np.uint8), photometric="PALETTE COLOR", palette=np.zeros((256, 3), np.uint8)
    )
    with pytest.raises(UsageError, match="palette"):
        forger(kind).forge(image, donor=image)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "untouched"])
def test_no_room_and_no_change_are_refused(kind):
    tiny = Image(np.full((5, 5), 7, np.uint8))
    with pytest.raises(UsageError, match=r"no room|no value|too small"):
        forger(kind, **({"where": "region"} if kind == "rewindow" else {})).forge(tiny, donor=tiny)
