"""AnomalyDINO: distance of DINOv2's patch tokens to those of a few normal images; nothing is trained.

Damm, Laszkiewicz, Lederer, Fischer, "AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection
with DINOv2", WACV 2025, https://arxiv.org/abs/2405.14529; details from the authors' code,
dammsi/AnomalyDINO.

Differs from the paper:
- 224 x 224 images instead of a shorter side of 448, and 100 normal images, drawn at random, instead of
  the first 1 to 16; each are fields. `shots` may exceed the images there are: then all are used, as
  the paper has it in its comparison with methods that see all.
- Whether references are rotated and background is masked is up to the user; the paper decides by
  the kind of object. Prepared medical images stand upright, so neither is the default.
- The foreground is enlarged and its holes are closed over both rows and columns. The authors' code does
  so before it gives the mask its two dimensions, and thus along rows only.
- The highest 1 % of the patches is rounded, not cut, to a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
from intact.anomaly.pooling import top_mean
from intact.filters import smooth_upsample
from intact.nets.frozen_tokens import FrozenTokens
from intact.nets.vit import PATCH, check_patches
from intact.precision import Precision
from intact.scores import Scores

# From the authors' code.
FOREGROUND = 10.0  # least first principal component of a foreground token
BORDER = 0.2  # share of the side, at each end, that is not the middle
COVERED = 0.35  # share of the middle that a foreground covers at least


@dataclass(eq=False)
class AnomalyDINO(Detector):
    """1 - cosine of each patch's token and the most similar one of the normal images.

    Needs no alignment: a patch may match normal anatomy anywhere in any image.
    """

    size: int = 224  # side of the image in pixels, a multiple of 14
    backbone: str = "dinov2_vits14"
    shots: int = 100  # normal images whose tokens are remembered
    rotations: int = 1  # of each of them, evenly over the circle; the paper takes 8 where objects lie anyhow
    masked: bool = False  # whether patches outside the foreground count as normal
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Damm et al., WACV 2025"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_patches(self.size)

    def _build(self, channels: int) -> None:
        self.encoder = FrozenTokens(self.backbone, (-1,), self.precision)

    def _fit(self, batches: Batches) -> None:
        count = sum(map(len, batches))
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[torch.randperm(count, generator=generator)[: self.shots]] = True
        bank, seen = [], 0
        for images in batches:
            references = images[chosen[seen : seen + len(images)]]
            seen += len(images)
            for turn in range(self.rotations if len(references) else 0):
                tokens = self._tokens(rotated(references, 360 * turn / self.rotations))
                bank.append(F.normalize(tokens, dim=2).flatten(0, 1))
        self.bank_ = torch.cat(bank)

    def _score(self, images: Images) -> Scores:
        tokens = self._tokens(images)
        points = F.normalize(tokens, dim=2).flatten(0, 1)
        # Blocks small enough that their similarities need not be held for all patches at once.
        alike = torch.cat([(block @ self.bank_.T).amax(dim=1) for block in points.split(256)])
        side = self.size // PATCH
        distance = (1 - alike).view(len(images), side, side)
        if self.masked:
            distance = torch.where(torch.stack([foreground(t, side) for t in tokens]), distance, 0.0)
        pixel = smooth_upsample(distance, (self.size, self.size), self.sigma)
        return Scores(image=top_mean(distance), pixel=pixel)

    def _tokens(self, images: Images) -> Float[Tensor, "n p d"]:
        """The patches' tokens, row by row."""
        return self.encoder(images, normed=True)[0][:, self.encoder.prefix :].float()


def rotated(images: Images, degrees: float) -> Images:
    """About the middle, counter-clockwise; what comes in from outside is a reflection."""
    if degrees == 0:
        return images
    angle = torch.deg2rad(torch.tensor(degrees))
    cos, sin = angle.cos().item(), angle.sin().item()
    turn = images.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), -1, -1)
    grid = F.affine_grid(turn, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def foreground(tokens: Float[Tensor, "p d"], side: int) -> Bool[Tensor, "side side"]:
    """Where the tokens' first principal component is large, a little enlarged and without small holes.

    Its sign means nothing: if what is large hardly covers the middle of the image, what is small is
    taken instead.
    """
    centred = (tokens - tokens.mean(dim=0)).double()
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    axis = axis * axis[axis.abs().argmax()].sign()  # the same one on every machine
    component = (centred @ axis).view(side, side)
    mask = component > FOREGROUND
    middle = slice(int(side * BORDER), int(side * (1 - BORDER)))
    if mask[middle, middle].float().mean() <= COVERED:
        mask = -component > FOREGROUND
    grown = _largest(_largest(mask.float()))  # enlarged by one token, then by another to close holes
    return (1 - _largest(1 - grown)).bool()


def _largest(mask: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The largest value within one step."""
    return F.max_pool2d(mask[None, None], 3, stride=1, padding=1)[0, 0]
