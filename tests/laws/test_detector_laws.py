"""What every anomaly detector promises, checked for each one listed in METHODS."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from intact.anomaly import METHODS
from intact.data.transforms import Preparation
from intact.errors import NotFittedError
from intact.metrics import auroc
from intact.model import Card, Model
from intact.scores import Calibration
from made_clip import make_weights, tiny_clip
from made_vit import tiny_vit

# Small and quick, but every part at work. The features need no downloaded weights.
SMALL = {
    "anatpaste": {
        "size": 32,
        "backbone": "narrow_resnet18",
        "explained": "layer1",
        "frozen": 10,
        "steps": 30,
    },
    "cutpaste": {
        "size": 32,
        "backbone": "narrow_resnet18",
        "hidden": 1,
        "explained": "layer1",
        "frozen": 5,
        "steps": 15,
    },
    "destseg": {
        "size": 32,
        "backbone": "narrow_resnet18",
        "head_width": 16,
        "student_steps": 40,
        "student_lr": 0.2,
        "steps": 40,
        "lr": 0.005,
    },
    "draem": {"size": 32, "width": 4, "segmenter_width": 8, "steps": 80, "lr": 0.005},
    "fpi": {"size": 64, "widths": (0.06, 0.15), "core": 0.4, "steps": 20, "lr": 0.005},
    "glass": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "dimensions": 192,
        "hidden": 128,
        "noise": 0.3,
        "sigma": 2.0,
        "steps": 40,
        "lr": 0.002,
        "adaptor_lr": 0.0003,
    },
    "msc": {"size": 64, "backbone": "narrow_resnet18", "steps": 10, "lr": 0.001},
    "nsa": {"size": 64, "backbone": "narrow_resnet18", "gradients": "normal", "steps": 30, "lr": 0.003},
    "patchcl": {"size": 32, "width": 4, "blocks": 2, "embedding": 32, "places": 64, "steps": 50, "lr": 0.001},
    "pii": {"size": 64, "widths": (0.06, 0.15), "core": 0.4, "steps": 40, "lr": 0.003},
    "pmsacl": {"size": 64, "backbone": "narrow_resnet18", "features": 20, "steps": 8},
    "realnet": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "layers": ("layer1",),
        "kept": (0.5,),
        "selection": 2,
        "chosen": 8,
        "abnormal": 0.8,
        "steps": 60,
        "lr": 0.01,
    },
    "salad": {"size": 16, "width": 16, "latent": 64, "steps": 200},
    "simplenet": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "dimensions": 192,
        "hidden": 128,
        "noise": 0.5,
        "sigma": 2.0,
        "steps": 40,
        "lr": 0.002,
        "adaptor_lr": 0.001,
    },
    "sohn_two_stage": {"size": 64, "depth": 2, "steps": 12},
    "anomaly_dino": {"size": 112, "backbone": "tiny_vit14", "shots": 8},
    "winclip": {"size": 64, "backbone": "tiny-clip", "shots": 24},
    "dinomaly": {"size": 112, "backbone": "tiny_vit14", "blocks": (0, 1, 2, 3), "steps": 20, "lr": 5e-3},
    "inp_former": {
        "size": 112,
        "backbone": "tiny_vit14",
        "blocks": (0, 1, 2, 3),
        "prototypes": 3,
        "steps": 30,
        "lr": 5e-3,
    },
    "squid": {
        "size": 64,
        "width": 8,
        "slots": 24,
        "verdict": "residual",
        "turns": 1,
        "steps": 30,
        "lr": 5e-3,
    },
    "pddpm": {
        "size": 32,
        "patch": 16,
        "width": 8,
        "multipliers": (1, 2),
        "frequency": 21.0,
        "steps": 40,
        "lr": 4e-3,
    },
    "anoddpm": {
        "size": 16,
        "width": 8,
        "multipliers": (1, 2),
        "attention": (8,),
        "frequency": 8.0,
        "reach": 250,
        "stride": 50,
        "draws": 4,
        "steps": 50,
        "lr": 4e-3,
        "decay": 0.9,
    },
    "p_vq": {"size": 64, "width": 32, "dimensions": 32, "codes": 64, "steps": 150},
    "ae_flow": {"size": 64, "backbone": "narrow_resnet18", "steps": 20},
    "uniad": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "width": 64,
        "hidden": 128,
        "depth": 2,
        "neighbours": 3,
        "steps": 40,
    },
    "fastflow": {"size": 64, "backbone": "narrow_resnet18", "couplings": 4, "steps": 20},
    "recontrast": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "steps": 40,
        "lr": 1e-2,
        "hard": -1.0,
        "sigma": 2.0,
    },
    "edc": {"size": 64, "backbone": "narrow_resnet18", "steps": 40, "lr": 3e-3, "momentum": 0.2},
    "ea2d": {"size": 64, "backbone": "narrow_resnet18", "steps": 25, "lr": 2e-3, "momentum": 0.2},
    "many_tasks": {
        "size": 32,
        "width": 8,
        "depth": 3,
        "scale": 0.1,
        "checks": 2,
        "steps": 190,
        "lr": 6e-3,
    },
    "memae": {"size": 32, "steps": 120, "latent": 8},
    "aae": {"size": 32, "steps": 80, "latent": 8, "width": 64, "pooling": "top"},
    "cevae": {"size": 32, "steps": 70, "latent": 8},
    "vae": {"size": 32, "steps": 120, "latent": 8, "lr": 3e-3},
    "ganomaly": {"size": 16, "width": 16, "steps": 150, "lr": 3e-4},
    "f_anogan": {
        "size": 16,
        "width": 8,
        "latent": 8,
        "critic_steps": 1,
        "steps": 60,
        "lr": 2e-3,
        "encoder_steps": 100,
        "encoder_lr": 1e-3,
    },
    "ae": {"size": 32, "steps": 150, "latent": 8},
    "dae": {"size": 32, "steps": 200, "width": 8, "depth": 3, "noise_side": 8, "lr": 2e-3},
    "padim": {"size": 64, "backbone": "narrow_resnet18", "features": 20},
    "patchcore": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "coreset": 200,
        "block": 1000,
        "projection": 16,
    },
    "rd4ad": {"size": 64, "backbone": "narrow_resnet18", "steps": 25},
    "skip_ts": {"size": 64, "backbone": "narrow_resnet18", "steps": 25},
    "stfpm": {"size": 64, "backbone": "narrow_resnet18", "steps": 40},
}


@pytest.fixture(autouse=True, scope="module")
def _made_backbone():
    """A vision transformer and a CLIP, of which no weights are shipped."""
    # Untrained words say nothing, so they should not say it loudly.
    with tiny_vit() as folder, tiny_clip(folder, make_weights(words=0.01)):
        yield


SIDE = 64  # of the phantoms in pixels; each detector gets them at its own size, as from `Preparation`


def anatomy(n: int, size: int, seed: int) -> torch.Tensor:
    """Grey discs with a darker core that vary a little: (n, 1, size, size) in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    radius = 0.7 + 0.1 * torch.rand(n, 1, 1, generator=rng)
    r = (x.square() + y.square()).sqrt() / radius
    disc = 0.6 * torch.sigmoid(20 * (1 - r)) - 0.3 * torch.sigmoid(20 * (0.4 - r))
    noise = 0.01 * torch.randn(n, SIDE, SIDE, generator=rng)
    images = (disc + noise).clamp(0, 1)[:, None]
    return torch.nn.functional.interpolate(images, size=(size, size), mode="area")


def with_lesion(images: torch.Tensor) -> torch.Tensor:
    """The same images with a bright blob off centre."""
    marked = images.clone()
    size = images.shape[-1]
    a, b = round(size * 0.55), round(size * 0.72)
    marked[:, :, a:b, a:b] = 0.95
    return marked


@pytest.fixture(scope="module", params=METHODS, ids=str)
def detector(request):
    made = METHODS[request.param](**SMALL[request.param])
    return made.fit(list(anatomy(24, made.size, 0).split(8)))


IMAGES_ONLY = {"sohn_two_stage", "msc"}  # methods that tell which image, not where


def localises(detector):
    return not any(type(detector) is METHODS[name] for name in IMAGES_ONLY)


def test_every_method_is_covered_here():
    assert set(SMALL) == set(METHODS)


def test_a_score_does_not_depend_on_the_batch(detector):
    images = with_lesion(anatomy(11, detector.size, seed=3))
    alone = [detector.score(image[None]) for image in images]
    together = detector.score(images)
    assert torch.equal(together.image, torch.cat([s.image for s in alone]))
    if localises(detector):
        assert torch.equal(together.pixel, torch.cat([s.pixel for s in alone]))


def test_a_planted_lesion_raises_the_score(detector):
    images = anatomy(8, detector.size, seed=4)
    lifted = detector.score(with_lesion(images)).image > detector.score(images).image
    assert lifted.all()


def test_lesions_are_told_from_other_normals(detector):
    """AUROC at least 0.25 above chance, between images that are not the same but for the lesion."""
    normal = detector.score(anatomy(16, detector.size, seed=11)).image.double().numpy()
    ill = detector.score(with_lesion(anatomy(16, detector.size, seed=12))).image.double().numpy()
    found = auroc(np.r_[normal, ill], np.repeat([False, True], 16))
    assert found >= 0.75


def test_the_map_is_highest_on_the_lesion(detector):
    images = anatomy(4, detector.size, seed=5)
    pixel = detector.score(with_lesion(images)).pixel
    if not localises(detector):
        assert pixel is None
        return
    a, b = round(detector.size * 0.45), round(detector.size * 0.82)
    for one in pixel:
        row, column = divmod(int(one.argmax()), detector.size)
        assert a <= row < b and a <= column < b


def test_the_same_seed_gives_the_same_scores_whatever_was_fitted_before(detector):
    method = next(name for name, kind in METHODS.items() if type(detector) is kind)
    few = {name: 5 for name in ("steps", "encoder_steps", "student_steps") if name in SMALL[method]}
    once, twice = (METHODS[method](**SMALL[method] | few) for _ in range(2))
    twice.fit(list(anatomy(24, detector.size, 9).split(8)))
    for one in (once, twice):
        one.fit(list(anatomy(24, detector.size, 0).split(8)))
    images = anatomy(3, detector.size, seed=6)
    assert torch.equal(once.score(images).image, twice.score(images).image)


def test_images_are_not_changed(detector):
    images = anatomy(3, detector.size, seed=7)
    before = images.clone()
    detector.score(images)
    assert torch.equal(images, before)


def test_map_and_image_scores_have_the_promised_shapes(detector):
    scores = detector.score(anatomy(3, detector.size, seed=8))
    assert scores.image.shape == (3,) and scores.image.dtype == torch.float32
    if localises(detector):
        assert scores.pixel.shape == (3, detector.size, detector.size)
        assert scores.pixel.isfinite().all()


def test_saving_and_loading_keep_every_score(detector, tmp_path):
    method = next(name for name, kind in METHODS.items() if type(detector) is kind)
    card = Card("", method, "2026-01-01", 24, 2, 24, "MR", 12, False)
    calibration = Calibration(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.linspace(0, 1, 1001))
    Model(detector, Preparation(detector.size), calibration, card).save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    images = anatomy(3, detector.size, seed=10)
    assert torch.equal(loaded.detector.score(images).image, detector.score(images).image)
    assert loaded.detector.fields() == detector.fields()
    assert loaded.card == dataclasses.replace(card, name="model")
    np.testing.assert_array_equal(loaded.calibration.peak, calibration.peak)


@pytest.mark.parametrize("method", METHODS)
def test_an_unfitted_detector_says_so(method):
    with pytest.raises(NotFittedError, match="learned nothing"):
        METHODS[method](**SMALL[method]).score(anatomy(1, SMALL[method]["size"], 0))


def test_nan_is_refused(detector):
    images = anatomy(2, detector.size, 0)
    images[0, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        detector.score(images)


def test_another_number_of_channels_is_refused(detector):
    with pytest.raises(ValueError, match="channels"):
        detector.score(anatomy(2, detector.size, 0).expand(-1, 3, -1, -1))


def test_images_of_another_size_are_refused(detector):
    method = next(name for name, kind in METHODS.items() if type(detector) is kind)
    with pytest.raises(ValueError, match="size"):
        METHODS[method](**SMALL[method]).fit([anatomy(4, 2 * detector.size, 0)])


def test_how_many_laws_were_checked(request):
    """A law that is silently skipped would stay green: count them."""
    mine = [item for item in request.session.items if item.fspath == request.node.fspath]
    if len(request.session.items) > len(mine) or "-k" not in request.config.invocation_params.args:
        per_detector = 11
        assert len(mine) == per_detector * len(METHODS) + len(METHODS) + 2
