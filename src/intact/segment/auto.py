"""A U-Net that configures itself from the images it is to learn from.

Isensee, Jaeger, Kohl, Petersen, Maier-Hein, "nnU-Net: a self-configuring method for deep
learning-based biomedical image segmentation", Nature Methods 18, 2021. From the data come: planes
or volumes, the grid (median spacing), the brightness (CT is clipped to what the labelled voxels
hold and standardised by them, everything else by itself), the patch (as large as the images and
the budget allow), and from the patch the depth, the strides and the kernels. Fixed are: two
convolutions a stage with instance normalisation and leaky ReLU, Dice and cross-entropy at every
resolution, SGD with Nesterov momentum 0.99 and a polynomial schedule, a third of the patches on
labelled voxels, and overlapping patches, the middle counting most, when segmenting.

Differs from the paper: one configuration instead of the best of several by cross-validation, no
ensemble of folds; mirroring only of left and right, on request; linear interpolation; one sigmoid per
label. `intact fit` takes the paper's steps, width and patches on a GPU; the defaults are what two
cores do in minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intact.data.transforms import is_colour
from intact.image import Image
from intact.segment.morphology import Mask
from intact.segment.network import Network, Pairs, dice_and_entropy
from intact.segment.plan import Plan
from intact.segment.scene import bright

WIDEST = {2: 512, 3: 320}  # channels of a stage at most
DEEPEST = 7  # stages
SHALLOW = 4  # voxels that a side keeps at the last stage, at least
COARSE = 2.0  # an axis this much coarser than the finest is not halved, nor mixed by kernels
UNEVEN = 3.0  # a grid this uneven takes the finest tenth of its coarse spacings, not the median
THICK = 16  # planes that make a volume worth seeing as one
SAMPLE = 10_000  # labelled values looked at in each image


@dataclass(frozen=True, eq=False)
class Seen:
    """What matters of one image with masks.

    Args:
        shape: Planes (or none), rows, columns.
        spacing: mm along the same axes.
        colour: Whether it is shown in colour.
        hounsfield: Whether values have an absolute meaning.
        labelled: Some values of labelled voxels.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    colour: bool
    hounsfield: bool
    labelled: NDArray[np.float32]


@dataclass(eq=False)
class Auto(Network):
    """The self-configuring U-Net.

    Args:
        width: Channels of the first stage; 32 in the paper.
        voxels: Of a patch, at most; about 128 x 128 x 128 in the paper.
    """

    steps: int = 1000
    batch: int = 4
    width: int = 16
    voxels: int = 65_536

    source: ClassVar[str] = "Isensee et al., Nature Methods 18, 2021"

    def _plan(self, pairs: Pairs) -> Plan:
        rng = np.random.default_rng(self.seed)
        return configure([look(image, masks, rng) for image, masks in pairs], self.voxels)

    def _build(self, channels: int, labels: int) -> nn.Module:
        from monai.networks.nets import DynUNet

        kernels, strides = stages(self.plan_)
        widest = WIDEST[self.plan_.dimensions]
        return DynUNet(
            self.plan_.dimensions,
            channels,
            labels,
            kernels,
            strides,
            strides[1:],
            filters=[min(self.width * 2**stage, widest) for stage in range(len(strides))],
            deep_supervision=True,
            deep_supr_num=max(1, len(strides) - 2),
        )

    def _optimise(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimiser = torch.optim.SGD(
            self.net.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5
        )
        return optimiser, torch.optim.lr_scheduler.PolynomialLR(optimiser, self.steps, power=0.9)

    def _compare(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Each coarser answer, brought to full size, counts half as much."""
        losses = [dice_and_entropy(answer, masks) for answer in logits.unbind(dim=1)]
        weights = torch.tensor([0.5**level for level in range(len(losses))], device=logits.device)
        return (torch.stack(losses) * weights).sum() / weights.sum()


def look(image: Image, masks: Mapping[str, Mask], rng: np.random.Generator) -> Seen:
    """What the plan needs to know of an image."""
    values = bright(image, "bright")[np.any(list(masks.values()), axis=0)]
    known = image.spacing is not None and len(image.spacing) == len(image.shape)
    return Seen(
        shape=image.shape,
        spacing=image.spacing if known and image.spacing else (1.0,) * len(image.shape),
        colour=is_colour(image),
        hounsfield=image.modality == "CT" and image.scale.unit in ("HU", ""),
        labelled=rng.choice(values, min(SAMPLE, values.size), replace=False),
    )


def configure(seen: Sequence[Seen], voxels: int) -> Plan:
    """Planes or volumes, grid, patch and brightness, from all images."""
    volumes = all(len(one.shape) == 3 for one in seen) and np.median([o.shape[0] for o in seen]) >= THICK
    axes = 3 if volumes else 2
    spacings = np.array([one.spacing[-axes:] for one in seen])
    spacing = np.median(spacings, axis=0)
    coarse = int(np.argmax(spacing))
    if spacing[coarse] > UNEVEN * spacing.min():
        spacing[coarse] = np.percentile(spacings[:, coarse], 10)
    sizes = np.median(
        [np.array(one.shape[-axes:]) * s / spacing for one, s in zip(seen, spacings, strict=True)], 0
    )
    patch = _patch(sizes, voxels)
    plan = Plan(patch, tuple(map(float, spacing)), colour=all(one.colour for one in seen))
    halvings = np.prod(stages(plan)[1], axis=0)
    patch = tuple(int(max(1, round(side / h)) * h) for side, h in zip(patch, halvings, strict=True))
    if not all(one.hounsfield for one in seen):
        return Plan(patch, plan.spacing, plan.colour)
    labelled = np.concatenate([one.labelled for one in seen])
    low, high = (float(edge) for edge in np.percentile(labelled, (0.5, 99.5)))
    inside = np.clip(labelled, low, high)
    return Plan(patch, plan.spacing, plan.colour, (low, high), float(inside.mean()), float(inside.std()))


def stages(plan: Plan) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Kernels and strides of each stage: an axis much coarser than the others waits for them."""
    sides, spacing = np.array(plan.patch), np.array(plan.spacing)
    kernels, strides = [], [(1,) * len(sides)]
    while True:
        fine = spacing < COARSE * spacing.min()
        kernels.append(tuple(np.where(fine, 3, 1).tolist()))
        halved = fine & (sides // 2 >= SHALLOW)
        if not halved.any() or len(strides) == DEEPEST:
            return kernels, strides
        step = np.where(halved, 2, 1)
        strides.append(tuple(step.tolist()))
        sides, spacing = sides // step, spacing * step


def _patch(sizes: NDArray[np.float64], voxels: int) -> tuple[int, ...]:
    """The largest box of about the images' proportions: all axes shrink alike."""
    shrink = min(1.0, (voxels / float(np.prod(sizes))) ** (1 / len(sizes)))
    return tuple(max(1, round(float(side) * shrink)) for side in sizes)
