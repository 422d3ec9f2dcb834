"""Many tasks: what each puts into images and volumes, and what a network of volumes learns from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import laplace

from intact.anomaly.many_tasks import ManyTasks
from intact.errors import UsageError
from intact.forge.synthetic.many_tasks import TASKS, Shape, deformed, draw_shape, make_many, seamless

SIDES = [(48, 48), (24, 24, 24)]


def bodies(n, sides, seed=0):
    """Balls of texture in black: (n, 1, *sides) in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in sides), indexing="ij")
    inside = torch.stack(axes).square().sum(dim=0) < 0.8
    waves = sum(torch.sin((4 + 2 * number) * axis) for number, axis in enumerate(axes))
    noise = 0.02 * torch.randn(n, 1, *sides, generator=rng)
    return ((0.5 + 0.1 * waves + noise) * inside).clamp(0, 1)


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_changes_a_part_and_labels_just_that(task, sides):
    normal = bodies(6, sides)
    before = normal.clone()
    made = make_many(normal, np.random.default_rng(1), [task], 0.05)
    assert torch.equal(normal, before)
    assert made.images.shape == normal.shape and made.labels.shape == (6, *sides)
    assert made.images.dtype == made.labels.dtype == torch.float32
    assert made.images.min() >= 0 and made.images.max() <= 1
    assert made.labels.min() >= 0 and made.labels.max() <= 1
    changed = (made.images - normal).abs()[:, 0]
    assert torch.equal(made.labels > 0.5, changed > 0.05 * np.sqrt(2 * np.log(2)))
    assert ((changed > 0).flatten(1).any(dim=1)).all() and (changed == 0).float().mean() > 0.1


def test_shapes_lie_in_the_image_and_mostly_on_the_body():
    rng = np.random.default_rng(0)
    body = np.zeros((40, 30, 20), bool)
    body[8:32, 5:25, 3:17] = True
    shares = []
    for _ in range(60):
        shape = draw_shape(rng, body)
        assert body[shape.box].shape == shape.gauge.shape == shape.away.shape[1:]
        assert all(n <= 0.8 * side + 3 for n, side in zip(shape.gauge.shape, body.shape, strict=True))
        assert shape.inside.any()
        shares.append(body[shape.box][shape.inside].mean())
    assert np.mean(np.array(shares) >= 0.5) > 0.9


def ball(radius):
    away = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1.0)] * 3, indexing="ij"))
    side = slice(0, 2 * radius + 1)
    return Shape((side, side, side), np.linalg.norm(away, axis=0) / radius, away)


def test_a_deformation_moves_along_rays_and_leaves_the_rest():
    shape = ball(8)
    patch = np.linalg.norm(shape.away, axis=0)[None]  # how far from the middle
    pushed = deformed(patch, shape, shape.gauge.clip(0, 1) ** 2)[0]
    r = patch[0]
    np.testing.assert_allclose(pushed[shape.inside], (r**2 / 8)[shape.inside], atol=0.3)
    np.testing.assert_allclose(pushed[~shape.inside], r[~shape.inside])


def test_a_seamless_patch_has_the_stronger_steps_inside_and_ends_without_a_step():
    rng = np.random.default_rng(0)
    host, guest = np.full((15, 17, 13), 0.5), rng.random((15, 17, 13))
    inside = np.zeros(host.shape, bool)
    inside[4:11, 4:12, 3:10] = True
    made = seamless(host, guest, inside)
    deep = np.zeros_like(inside)
    deep[5:10, 5:11, 4:9] = True
    np.testing.assert_allclose(laplace(made)[deep], laplace(guest)[deep], atol=1e-9)
    far = laplace(made)[1:3, 1:-1, 1:-1]
    np.testing.assert_allclose(far, 0, atol=1e-9)
    np.testing.assert_allclose(seamless(host, host, inside), host)


def test_a_network_of_volumes_sees_cubes_and_saves_the_best_weights():
    detector = ManyTasks(size=16, dims=3, width=4, depth=2, steps=4, checks=2, left_out=("blend", "sink"))
    assert detector.volumes and not ManyTasks().volumes
    detector.fit([bodies(4, (16, 16, 16))])
    cubes = bodies(3, (16, 16, 16), seed=1)
    scores = detector.score(cubes)
    assert scores.pixel.shape == (3, 16, 16, 16) and scores.image.shape == (3,)
    assert torch.equal(detector.score(cubes[1:2]).pixel[0], scores.pixel[1])
    assert len(detector.nets) == 2
    other = ManyTasks(**detector.fields()).load_state(detector.state())
    assert torch.equal(other.score(cubes).image, scores.image)
    with pytest.raises(ValueError, match="16 x 16, but the size is 16 x 16 x 16"):
        ManyTasks(**detector.fields()).fit([bodies(4, (16, 16))])


def test_fields_that_cannot_be_are_refused():
    for fields in ({"dims": 4}, {"left_out": ()}, {"left_out": ("magic",)}, {"size": 60}):
        with pytest.raises(UsageError):
            ManyTasks(**fields)
