"""A classifier whose last channels each stand for one patch of what it sees.

Hua, Shi, Wang, Ge, "Learning Patch-Channel Correspondence for Interpretable Face Forgery Detection", IEEE
Transactions on Image Processing 32, 2023. Its layer comes from Chen, Bei, Rudin, "Concept whitening for
interpretable image recognition", Nature Machine Intelligence 2, 2020, its whitening from Huang, Zhou, Zhu,
Liu, Shao, "Iterative Normalization: Beyond Standardization towards Efficient Whitening", CVPR 2019.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.resnet import BasicBlock, ResNet, kaiming

NEWTON = 5  # iterations towards the inverse root of the covariance
EPSILON = 1e-5  # added to the variances
MOMENTUM = 0.1  # of the running statistics
INERTIA = 1.0  # how much the rotation that is there counts beside what patches ask for


class WhitenedRotation(nn.Module):
    """Channels without correlation and of variance 1, turned so that each answers most to its own patch.

    Stands where a batch normalisation would. It has no weights: mean and whitening come from the batches,
    the rotation from `ask` and `turn`.
    """

    mean: Tensor
    whitening: Tensor
    rotation: Tensor
    asked: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1))
        self.register_buffer("whitening", torch.eye(channels))
        self.register_buffer("rotation", torch.eye(channels))
        self.register_buffer("asked", torch.zeros(channels, channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Same shape."""
        return torch.einsum("dc,nchw->ndhw", self.rotation, self.whitened(x))

    def whitened(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Before the rotation; by the batch's own statistics in training."""
        flat = x.transpose(0, 1).flatten(1)
        mean, whitening = self._measured(flat) if self.training else (self.mean, self.whitening)
        return (whitening @ (flat - mean)).unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1)

    def _measured(self, flat: Float[Tensor, "c m"]) -> tuple[Float[Tensor, "c 1"], Float[Tensor, "c c"]]:
        mean = flat.mean(dim=1, keepdim=True)
        whitening = inverse_root((flat - mean) @ (flat - mean).T / flat.shape[1])
        with torch.no_grad():
            self.mean.lerp_(mean, MOMENTUM)
            self.whitening.lerp_(whitening, MOMENTUM)
        return mean, whitening

    @torch.no_grad()
    def ask(self, channel: int, x: Float[Tensor, "n c h w"]) -> None:
        """Note what is seen of images that hold nothing but this channel's patch."""
        self.asked[channel].lerp_(self.whitened(x).mean(dim=(0, 2, 3)), MOMENTUM)

    @torch.no_grad()
    def turn(self) -> None:
        """Turn channels towards the largest mean answer, each to its own patch.

        The orthogonal matrix R with the largest product with `asked` is known (Schönemann, "A generalized
        solution of the orthogonal Procrustes problem", Psychometrika 31, 1966). What R is now is asked for
        as well, so that channels without a patch, which ask nothing, stay about where they are.
        """
        left, _, right = torch.linalg.svd(self.asked + INERTIA * self.rotation)
        self.rotation.copy_(left @ right)


def inverse_root(covariance: Float[Tensor, "c c"]) -> Float[Tensor, "c c"]:
    """Close to the matrix whose square is the inverse, by Newton's iterations."""
    eye = torch.eye(len(covariance)).to(covariance)
    covariance = covariance + EPSILON * eye
    trace = covariance.trace()
    root = eye
    for _ in range(NEWTON):
        root = 1.5 * root - 0.5 * root @ root @ root @ (covariance / trace)
    return root * trace.rsqrt()


class PatchChannelNet(nn.Module):
    """A ResNet of three stages, a convolution, `WhitenedRotation`, and the sum of what each channel says.

    Rows and columns are seen as two more channels: convolutions alone could not tell patches apart.

    Args:
        width: Channels of the first stage; there are four times as many at the end.
        grid: Patches along each side of what is seen.
    """

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.trunk = ResNet(BasicBlock, (2, 2, 2, 2), ("layer3",), width=width)
        self.last = nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False)
        self.norm = WhitenedRotation(4 * width)
        self.weigh = nn.Linear(4 * width, 1)
        kaiming(self)

    def forward(self, x: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1"]:
        """Logits; the sides must be divisible by `grid`."""
        return self.weigh(self.answers(x))

    def answers(self, x: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c"]:
        """Of each channel, the mean of what is above zero."""
        return F.relu(self.norm(self._features(x))).mean(dim=(2, 3))

    def evidence(self, x: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n grid grid"]:
        """The logit, shared out among patches: each has it plus what its channel adds, less their mean."""
        answers = self.answers(x)
        said = (answers * self.weigh.weight[0])[:, : self.grid**2]
        shared = self.weigh(answers) + said - said.mean(dim=1, keepdim=True)
        return shared.unflatten(1, (self.grid, self.grid))

    @torch.no_grad()
    def correspond(self, x: Float[Tensor, "n 1 h w"]) -> None:
        """The correspondence step: show each patch alone, and turn the channels towards theirs."""
        self.eval()
        for channel, alone in enumerate(alone_each(x, self.grid)):
            self.norm.ask(channel, self._features(alone))
        self.norm.turn()
        self.train()

    def _features(self, x: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h/16 w/16"]:
        height, width = x.shape[-2:]
        rows = torch.linspace(-1.0, 1.0, height).to(x)[:, None].expand_as(x)
        columns = torch.linspace(-1.0, 1.0, width).to(x).expand_as(x)
        return self.last(self.trunk(torch.cat([x, rows, columns], dim=1))[0])


def alone_each(x: Float[Tensor, "n 1 h w"], grid: int) -> list[Float[Tensor, "n 1 h w"]]:
    """Copies that are 0 but for one patch, row by row of the grid."""
    down, right = (n // grid for n in x.shape[-2:])
    found = []
    for row in range(grid):
        for column in range(grid):
            patch = (..., slice(row * down, (row + 1) * down), slice(column * right, (column + 1) * right))
            alone = torch.zeros_like(x)
            alone[patch] = x[patch]
            found.append(alone)
    return found
