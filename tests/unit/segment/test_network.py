"""Networks learn what is labelled, repeat it, keep it, and refuse what they cannot take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intact.errors import NotFittedError, UsageError
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment.attention_unet import AttentionUNet
from intact.segment.auto import Auto
from intact.segment.network import _silence_specks, dice_and_entropy
from intact.segment.patches import Patches
from intact.segment.unet import UNet

SMALL = {"steps": 60, "batch": 4}
KINDS = {
    "unet": lambda: UNet(**SMALL, size=32, width=8),
    "attention_unet": lambda: AttentionUNet(steps=150, batch=4, size=32, width=8),
    "auto": lambda: Auto(**SMALL, voxels=1024, width=8),
}


def disc(seed, shape=(32, 32)):
    """A bright and a dark disc in noise; the bright one is to be found."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(8, np.array(shape) - 8, (2, len(shape)))
    axes = np.indices(shape).astype(float)
    inside = [np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, at, strict=True))) < 6 for at in centres]
    values = 100 + 40 * (inside[0] & ~inside[1]) - 40 * inside[1] + rng.normal(0, 5, shape)
    return Image(values.astype(np.float32)), {"bright": inside[0] & ~inside[1]}


PAIRS = [disc(seed) for seed in range(12)]


@pytest.fixture(scope="module", params=KINDS)
def fitted(request):
    return KINDS[request.param]().fit(PAIRS)


def test_what_was_labelled_is_found(fitted):
    found = [dice(fitted.segment(image), masks["bright"]) for image, masks in map(disc, range(50, 58))]
    assert np.mean(found) > 0.65


def test_a_network_that_mirrors_says_the_same_of_both_sides():
    network = UNet(**SMALL, size=32, width=8, mirror=True).fit(PAIRS)
    image, masks = disc(50)
    found = network.probabilities(image)
    other = network.probabilities(Image(np.ascontiguousarray(image.pixels[:, ::-1])))[..., ::-1]
    np.testing.assert_allclose(found, other, atol=1e-5)
    assert dice(found[0] > 0.5, masks["bright"]) > 0.65


def test_half_of_the_patches_are_mirrored_with_their_masks():
    """A ramp tells which: its lower half of values is on the left, or on the right."""
    ramp = torch.linspace(-1, 1, 32).repeat(32, 1)[None]
    with Patches((32, 32), 64, 0, mirror=True) as patches:
        patches.add(ramp, (ramp > 0).float())
        images, masks = next(patches.batches(1)).split(1, dim=1)
    rising = images[..., 20:].mean((1, 2, 3)) > images[..., :12].mean((1, 2, 3))
    right = masks[..., 20:].mean((1, 2, 3)) > masks[..., :12].mean((1, 2, 3))
    assert 20 < rising.sum() < 44 and (rising == right).all()


def test_the_answer_lies_on_the_image_s_grid(fitted):
    image = Image(np.kron(disc(50)[0].pixels, np.ones((2, 3), np.float32)), spacing=(0.5, 1 / 3))
    assert fitted.segment(image).shape == (64, 96) and fitted.segment(image).dtype == bool


def test_a_volume_is_segmented_plane_by_plane(fitted):
    planes = [disc(seed)[0] for seed in (50, 51)]
    volume = Image(np.stack([plane.pixels for plane in planes]))
    # Percentiles and means are of each plane, so a volume of planes says what the planes say.
    np.testing.assert_array_equal(fitted.segment(volume), np.stack([fitted.segment(p) for p in planes]))


def test_what_was_learned_comes_back(fitted):
    image = disc(50)[0]
    again = type(fitted)(**fitted.fields()).load(fitted.state(), fitted.learned())
    np.testing.assert_array_equal(again.probabilities(image), fitted.probabilities(image))


def test_one_seed_gives_one_network():
    one, same = (UNet(steps=3, batch=2, size=32, width=4).fit(PAIRS) for _ in range(2))
    other = UNet(steps=3, batch=2, size=32, width=4, seed=1).fit(PAIRS)
    image = disc(50)[0]
    np.testing.assert_array_equal(one.probabilities(image), same.probabilities(image))
    assert (one.probabilities(image) != other.probabilities(image)).any()


def test_several_labels_may_overlap():
    pairs = [(image, masks | {"all": np.ones(image.shape, bool)}) for image, masks in PAIRS]
    network = UNet(**SMALL, size=32, width=8).fit(pairs)
    masks = network.masks(disc(50)[0])
    assert list(masks) == ["bright", "all"] and masks["all"].mean() > 0.5
    assert (masks["bright"] & masks["all"]).any()
    np.testing.assert_array_equal(network.segment(disc(50)[0]), masks["bright"] | masks["all"])


def test_volumes_are_learned_as_volumes():
    pairs = [disc(seed, (20, 24, 24)) for seed in range(4)]
    network = Auto(steps=30, batch=2, voxels=4096, width=8).fit(pairs)
    image, masks = disc(50, (20, 24, 24))
    assert network.plan_.dimensions == 3 and dice(network.segment(image), masks["bright"]) > 0.6
    with pytest.raises(UsageError, match="takes volumes"):
        network.segment(disc(50)[0])


def test_a_network_without_training_refuses():
    with pytest.raises(NotFittedError, match="has learned nothing yet"):
        UNet().segment(disc(0)[0])


def test_one_image_is_too_little():
    with pytest.raises(ValueError, match="give more"):
        UNet(**SMALL, size=32, width=8).fit(PAIRS[:1])
    with pytest.raises(ValueError, match="no images"):
        UNet(**SMALL, size=32, width=8).fit([])


def test_a_time_series_is_refused(fitted):
    with pytest.raises(UsageError, match="shape"):
        fitted.segment(Image(np.zeros((2, 3, 32, 32), np.float32)))


def test_the_u_net_has_the_shapes_of_the_paper():
    """Five resolutions, 64 to 1024 channels, two convolutions at each: 31.0 million weights."""
    network = UNet(width=64)._build(1, 1)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    ups = [m for m in network.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert [m.out_channels for m in convolutions[:10]] == [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    assert len(convolutions) == 19 and len(ups) == 4
    weights = sum(m.weight.numel() for m in (*convolutions, *ups))
    assert weights == pytest.approx(31.0e6, rel=0.01)


def test_the_loss_is_dice_and_entropy():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=rng)
    masks = (torch.rand(3, 2, 8, 8, generator=rng) < 0.3).float()
    p = torch.sigmoid(logits)
    dices = [2 * (p[:, k] * masks[:, k]).sum() / (p[:, k].sum() + masks[:, k].sum()) for k in range(2)]
    entropy = -(masks * p.log() + (1 - masks) * (1 - p).log()).mean()
    assert dice_and_entropy(logits, masks).item() == pytest.approx(
        (1 - sum(dices) / 2 + entropy).item(), abs=1e-4
    )


def test_specks_are_silenced_and_the_largest_part_stays():
    chances = torch.zeros(20, 20)
    chances[2:8, 2:8], chances[12:14, 12:14] = 0.9, 0.8
    _silence_specks(chances, 10)
    assert (chances[2:8, 2:8] == 0.9).all() and chances[12:14, 12:14].max() == 0
    _silence_specks(chances, 1000)
    assert (chances[2:8, 2:8] == 0.9).all()


def test_patches_hold_what_they_should():
    image, masks = disc(0, (40, 40))
    mask = torch.from_numpy(masks["bright"][None].astype(np.float32))
    with Patches((16, 16), 64, seed=0) as patches:
        patches.add(torch.from_numpy(image.pixels[None]), mask)
        batch = next(patches.batches(1))
    assert batch.shape == (64, 2, 16, 16)
    assert set(batch[:, 1].unique().tolist()) == {0.0, 1.0}
    labelled = (batch[:, 1].amax(dim=(1, 2)) > 0).float().mean()
    assert labelled > 0.4  # a third by choice, some others by chance


def test_a_small_image_is_filled_up_around():
    with Patches((32, 32), 8, seed=0) as patches:
        patches.add(torch.full((1, 10, 20), 5.0), torch.ones(1, 10, 20))
        patch = patches._draw(0, labelled=False)
    assert patch.shape == (2, 32, 32) and (patch[:, 11:21, 6:26] > 0).all()
    assert patch[0].sum() == 5 * 200 and patch[1].sum() == 200
