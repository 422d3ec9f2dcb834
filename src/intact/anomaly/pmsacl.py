"""PMSACL: features learn to tell how many lesions were pasted into an image, then PaDiM judges.

Tian, Liu, Pang, Chen, Liu, Verjans, Singh, Carneiro, "Self-supervised Pseudo Multi-class Pre-training
for Unsupervised Anomaly Detection and Segmentation in Medical Images", Medical Image Analysis 2023,
https://arxiv.org/abs/2109.01303. Images with 0, 1, 2, ... pasted lesions (MedMix) are pseudo-classes. The
encoder learns by contrast between two views of each image, by naming its class and the place of a
patch beside another, and by drawing every class together about its centre. PaDiM then describes the
new features of normal images, position by position.

A reading of the paper's abstract and of its predecessor's code, CCD (Tian et al., MICCAI 2021,
https://arxiv.org/abs/2103.03423; tianyu0207/CCD): PMSACL's own code was never published. From CCD are
the start from ImageNet weights, the heads, the eight neighbouring patches, augmentations, optimiser
and temperature. Not verified, our choice: four classes, centres taken from the batch, weights of the
four losses, the sides of the patches, and MedMix's numbers (see `intact.forge.synthetic.med_mix`).

Differs from CCD's settings:
- ResNet-18 to its third stage at 128 x 128 and 150 steps instead of all four at 224 x 224 and 2000
  epochs, for two CPU cores. Batch norms keep their ImageNet statistics, see `TrainableFeatures`.
- An image has one class per batch, all classes being equally frequent; there, each image is in the
  training set once for each class.
- The contrast takes both views as queries, there only the first; the classes' weights learn, there they
  are constants by oversight. A cut-out square gets the image's mean colour instead of ImageNet's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images
from intact.anomaly.position_gaussian import keep_at_random, position_distance, position_gaussians, stack_kept
from intact.anomaly.views import crop_by_area, cut_out, discolour, flip, jitter
from intact.filters import smooth_upsample
from intact.forge.synthetic.med_mix import med_mix
from intact.losses import nt_xent
from intact.nets.trainable import TrainableFeatures
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

EMBEDDING = 128
WEIGHT_DECAY = 3e-4
CUT_OUT = 75 / 256  # greatest side of the square, over the image's
PATCH = 1 / 4  # side of the patches whose places are compared, over the image's
STEPS_ASIDE = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


@dataclass(eq=False)
class PMSACL(Detector):
    """Mahalanobis distance, position by position, of features that know pasted lesions.

    Needs aligned images: position (i, j) must show the same anatomy in every image.
    """

    size: int = 128
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    classes: int = 4  # images have 0 to `classes` - 1 pasted lesions
    temperature: float = 0.2
    naming: float = 1.0  # weights of the losses beside the contrast: class, place, density
    placing: float = 1.0
    centring: float = 0.01
    steps: int = 150
    lr: float = 0.01
    features: int = 100  # channels kept at random; as PaDiM's, like the next two
    ridge: float = 0.1
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "self-supervised"
    source: ClassVar[str] = "Tian et al., Medical Image Analysis 2023"

    def _build(self, channels: int) -> None:
        self.net = TrainableFeatures(self.backbone, self.layers)
        width = self.net.channels[-1]
        self.projection = _two_layers(width, width, EMBEDDING)
        self.namer = nn.Linear(width, self.classes)
        self.placer = _two_layers(width, EMBEDDING, len(STEPS_ASIDE))

    def _fit(self, batches: Batches) -> None:
        self.net.load_pretrained()
        rng, draws = torch.Generator().manual_seed(self.seed), np.random.default_rng(self.seed)

        def loss(images: Images) -> Float[Tensor, ""]:
            counts = draws.permutation(np.arange(len(images)) % self.classes)
            mixed = med_mix(images, draws, counts).images
            labels = torch.from_numpy(counts).to(images.device)
            first, second, places = patch_pairs(images, rng, int(PATCH * self.size))
            return self._loss([view(mixed, rng), view(mixed, rng)], labels, [first, second], places)

        nets = nn.ModuleList([self.net, self.projection, self.namer, self.placer])
        optimiser = torch.optim.SGD(nets.parameters(), self.lr, momentum=0.9, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        train(
            nets, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule, max_norm=math.inf
        )
        self.kept_ = keep_at_random(sum(self.net.channels), self.features, self.seed)
        with torch.no_grad():
            stacked = (self._embed(images) for images in batches)
            self.mean_, self.whiten_ = position_gaussians(stacked, self.ridge)

    def _score(self, images: Images) -> Scores:
        distance = position_distance(self._embed(images), self.mean_, self.whiten_)
        pixel = smooth_upsample(distance, (self.size, self.size), self.sigma)
        return Scores(image=pixel.amax(dim=(1, 2)), pixel=pixel)

    def _loss(
        self, views: list[Images], labels: Int[Tensor, "n"], patches: list[Images], places: Int[Tensor, "n"]
    ) -> Float[Tensor, ""]:
        """Contrast of two views, names of their classes, density of these, and place of the second patch."""
        seen, both = self._pooled(torch.cat(views)), labels.repeat(2)
        here, there = self._pooled(torch.cat(patches)).chunk(2)
        first, second = self.projection(seen).chunk(2)
        return (
            nt_xent(first, second, self.temperature)
            + self.naming * F.cross_entropy(self.namer(seen), both)
            + self.placing * F.cross_entropy(self.placer(here - there), places)
            + self.centring * scatter(seen, both)
        )

    def _pooled(self, images: Images) -> Float[Tensor, "n d"]:
        return self._maps(images)[-1].float().mean(dim=(2, 3))

    def _embed(self, images: Images) -> Float[Tensor, "n f h w"]:
        """The kept channels of all layers, at the first one's resolution."""
        return stack_kept(self._maps(images), self.kept_)

    def _maps(self, images: Images) -> list[Tensor]:
        with computing(self.precision, images.device.type):
            return self.net(images)


def view(images: Images, rng: torch.Generator) -> Images:
    """Another crop, side and colours of each image, and a square cut out."""
    x = flip(crop_by_area(images, rng, (0.2, 1.0)), rng)
    x = jitter(x, rng, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, share=0.8)
    return cut_out(discolour(x, rng, 0.2), rng, CUT_OUT)


def patch_pairs(
    images: Images, rng: torch.Generator, side: int
) -> tuple[Float[Tensor, "n c s s"], Float[Tensor, "n c s s"], Int[Tensor, "n"]]:
    """A patch of each image, one beside it, and in which of eight directions that lies.

    Their centres are three quarters of a side apart along an axis, or up to a quarter more; at the
    image's edges less, so that the second lies inside.
    """
    room = images.shape[-1] - side
    places = torch.randint(len(STEPS_ASIDE), (len(images),), generator=rng)
    first = torch.randint(room + 1, (len(images), 2), generator=rng)
    apart = 3 * side // 4 + torch.randint(max(1, side // 4), (len(images), 2), generator=rng)
    second = (first + torch.tensor(STEPS_ASIDE)[places] * apart).clamp(0, room)

    def cut(corners: Int[Tensor, "n 2"]) -> Float[Tensor, "n c s s"]:
        pairs = zip(images, corners.tolist(), strict=True)
        return torch.stack([image[:, top : top + side, left : left + side] for image, (top, left) in pairs])

    return cut(first), cut(second), places.to(images.device)


def scatter(features: Float[Tensor, "n d"], labels: Int[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean squared distance from the class's mean, summed over classes."""
    total = features.new_zeros(())
    for label in labels.unique():
        members = features[labels == label]
        total = total + (members - members.mean(dim=0)).square().sum(dim=1).mean()
    return total


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))
