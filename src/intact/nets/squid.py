"""SQUID's networks: an autoencoder that in-paints the codes of windows from memory, and its judge.

Xiang et al., "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection", CVPR 2023. The
image is cut into `ACROSS`² windows that are encoded on their own; below, p counts the windows of an
image, and m all windows of a batch.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACROSS = 2  # windows along each side
APART = 2  # levels of the decoder before the windows are joined; as many have skips and memory
KEEP = 0.95  # share of the cells that stay as they come out of a memory; the others take what went in


class InPainter(nn.Module):
    """Encoder, in-painting, decoder; a second decoder, the teacher, sees the codes before in-painting.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 32.
        width: Channels at full resolution, a multiple of 4.
        slots: Codes per memory.
        kept: How many of them make up what is read.
    """

    def __init__(self, channels: int, size: int, width: int, slots: int, kept: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(5)]
        self.enter = _block(channels, width)
        self.down = nn.ModuleList(_block(i, o, stride=2) for i, o in itertools.pairwise(widths))
        self.paint = InPainting(widths[-1], size // ACROSS // 16, slots, kept)
        self.memories = nn.ModuleList(
            Memory(widths[level], size // ACROSS // 2**level, slots, kept) for level in (3, 2)
        )
        self.student, self.leave = _decoder(widths), nn.Conv2d(width, channels, 1)
        self.teacher, self.teacher_leave = _decoder(widths), nn.Conv2d(width, channels, 1)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The image as normal anatomy would have it, in [0, 1]."""
        code, skips = self._encode(images)
        return torch.sigmoid(self.leave(self._student(self.paint(code)[0], skips)[-1]))

    def learn(self, images: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The image as `forward` has it, as the teacher has it, how far their features are apart, and codes.

        The distance is the mean squared difference, summed over levels; the codes (n, p, d) are what
        the in-painting's queue takes in after the step.
        """
        code, skips = self._encode(images)
        painted, codes = self.paint(code)
        ours = self._student(painted, skips)
        theirs = _decode(self.teacher, code.detach(), [s.detach() for s in skips])
        apart = torch.stack([F.mse_loss(a, b) for a, b in zip(ours, theirs, strict=True)]).sum()
        rebuilt, taught = self.leave(ours[-1]), self.teacher_leave(theirs[-1])
        return torch.sigmoid(rebuilt), torch.sigmoid(taught), apart, codes.detach()

    def _encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Code of each window (m, 16 width, ...) and the maps for the skips, deepest first."""
        x, maps = self.enter(split(images)), []
        for block in self.down:
            maps.append(x)
            x = block(x)
        return x, maps[:-3:-1]

    def _student(self, x: Tensor, skips: list[Tensor]) -> list[Tensor]:
        return _decode(self.student, x, skips, self.memories)


class InPainting(nn.Module):
    """Replace each window's code by what its queue remembers, mend it from the windows around.

    Args:
        width: Channels of the code.
        side: Of the code's map.
        slots: Length of each queue; every window has its own.
        kept: How many of a queue's codes make up what is read.
    """

    def __init__(self, width: int, side: int, slots: int, kept: int) -> None:
        super().__init__()
        narrow = width // 4
        length = narrow * side * side
        self.narrow, self.side, self.kept = narrow, side, kept
        self.squeeze = nn.Sequential(
            nn.Conv2d(width, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)
        )
        self.queue: Tensor
        self.oldest: Tensor
        self.register_buffer("queue", _uniform(slots, length))
        self.register_buffer("oldest", torch.tensor(0))
        self.attention = nn.MultiheadAttention(length, 8, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(length) for _ in range(2))
        self.feed = nn.Sequential(nn.Linear(length, length // 4), nn.ReLU(), nn.Linear(length // 4, length))
        bits = [[float(window >> bit & 1) for bit in (2, 1, 0)] for window in range(ACROSS**2)]
        self.bits: Tensor
        self.register_buffer("bits", torch.tensor(bits), persistent=False)
        self.expand = nn.Sequential(
            nn.Conv2d(narrow + 3, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )

    def forward(self, x: Float[Tensor, "m c s s"]) -> tuple[Tensor, Float[Tensor, "n p d"]]:
        """In-painted maps of the same shape, and the codes that were looked up."""
        code = self.squeeze(x).view(-1, ACROSS**2, self.queue.shape[-1])
        found = recall(code, self.queue, self.kept)
        asked, around = code.flatten(0, 1)[:, None], neighbours(found).flatten(0, 1)
        mended = self.attention(asked, around, around, need_weights=False)[0].view_as(code)
        y = F.relu(self.norms[0](mended) + found)
        y = F.relu(self.norms[1](self.feed(y)) + y)
        y = y.view(len(x), self.narrow, self.side, self.side)
        where = self.bits.repeat(len(code), 1)[:, :, None, None].expand(-1, -1, self.side, self.side)
        return _shortcut(self.expand(torch.cat([y, where], dim=1)), x, self.training), code

    @torch.no_grad()
    def push(self, codes: Float[Tensor, "n p d"]) -> None:
        """The newest codes take the place of the oldest."""
        slots = self.queue.shape[1]
        newest = codes[-slots:].transpose(0, 1)
        at = (self.oldest + torch.arange(newest.shape[1], device=codes.device)) % slots
        self.queue[:, at] = newest
        self.oldest.copy_((at[-1] + 1) % slots)


class Memory(nn.Module):
    """Codes that are learned: the four quarters of every map are replaced, each from a memory of its own.

    Args:
        width: Channels of the map.
        side: Of the map.
        slots: Codes per quarter.
        kept: How many of them make up what is read.
    """

    def __init__(self, width: int, side: int, slots: int, kept: int) -> None:
        super().__init__()
        self.kept = kept
        self.codes = nn.Parameter(_uniform(slots, width * (side // 2) ** 2))

    def forward(self, x: Float[Tensor, "m c s s"]) -> Float[Tensor, "m c s s"]:
        """Maps of the same shape."""
        quarters = split(x)
        found = recall(quarters.reshape(len(x), ACROSS**2, -1), self.codes, self.kept)
        return _shortcut(join(found.reshape_as(quarters)), x, self.training)


class Judge(nn.Module):
    """The discriminator: five convolutions of stride 2 and a linear layer; above 0 for a true image.

    Its batch normalisations use the statistics of the images at hand also in evaluation, as the
    authors' code does.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 32; 64 at least to judge a single image.
        width: Channels after the second convolution.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        widths = (width // 2, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, 2, 2), nn.LeakyReLU(0.2, inplace=True)]
        for i, o in itertools.pairwise(widths):
            norm = nn.BatchNorm2d(o, track_running_stats=False)
            layers += [nn.Conv2d(i, o, 5, 2, 2), norm, nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (size // 32) ** 2, 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
        """Logits; they depend on the batch, so judge one image at a time to compare."""
        return self.layers(images)[:, 0]


def recall(
    codes: Float[Tensor, "n p d"], memory: Float[Tensor, "p slots d"], kept: int
) -> Float[Tensor, "n p d"]:
    """Sum of the `kept` entries of the memory that are most like the code, weighted by likeness.

    The weights are the largest of a softmax over inner products, divided by their sum; the gradient
    is that of the whole softmax.
    """
    soft = torch.einsum("npd,psd->nps", codes, memory).softmax(dim=-1)
    largest, which = soft.detach().topk(kept, dim=-1)
    hard = torch.zeros_like(soft).scatter(-1, which, largest / largest.sum(dim=-1, keepdim=True))
    return torch.einsum("nps,psd->npd", hard - soft.detach() + soft, memory)


def neighbours(codes: Float[Tensor, "n p d"]) -> Float[Tensor, "n p 8 d"]:
    """The codes of the eight windows around each window; zeros outside the image."""
    n, p, d = codes.shape
    grid = codes.transpose(1, 2).reshape(n, d, ACROSS, ACROSS)
    nine = F.unfold(grid, 3, padding=1).view(n, d, 9, p).permute(0, 3, 2, 1)
    return torch.cat([nine[:, :, :4], nine[:, :, 5:]], dim=2)


def split(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "m c h2 w2"]:
    """Cut into windows; those of an image follow each other, row by row."""
    n, c, h, w = x.shape
    x = x.view(n, c, ACROSS, h // ACROSS, ACROSS, w // ACROSS).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, c, h // ACROSS, w // ACROSS)


def join(x: Float[Tensor, "m c h2 w2"]) -> Float[Tensor, "n c h w"]:
    """Undo `split`."""
    _, c, h, w = x.shape
    x = x.view(-1, ACROSS, ACROSS, c, h, w).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(-1, c, ACROSS * h, ACROSS * w)


class _Residual(nn.Module):
    """A convolution, then two more whose result is added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _norm_conv(inputs, outputs, stride)
        self.second = _norm_conv(outputs, outputs)
        self.third = _norm_conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return F.relu(x + self.third(F.relu(self.second(x))))


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return _Residual(inputs, outputs, stride)


def _norm_conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))


def _decoder(widths: list[int]) -> nn.ModuleList:
    """Blocks from the deepest level up; the first ones also take the encoder's map of their level."""
    return nn.ModuleList(
        _block(widths[i + 1] + (widths[i] if 3 - i < APART else 0), widths[i]) for i in (3, 2, 1, 0)
    )


def _decode(
    blocks: nn.ModuleList, x: Tensor, skips: list[Tensor], memories: nn.ModuleList | None = None
) -> list[Tensor]:
    """The features of every level; windows first, from the third level on whole images."""
    levels = []
    for i, block in enumerate(blocks):
        x = F.interpolate(join(x) if i == APART else x, scale_factor=2, mode="bilinear")
        x = block(torch.cat([skips[i], x], dim=1) if i < APART else x)
        if memories is not None and i < APART:
            x = memories[i](x)
        levels.append(x)
    return levels


def _shortcut(painted: Tensor, original: Tensor, training: bool) -> Tensor:
    """In training some cells keep what they had, so that the decoder learns from both."""
    if not training:
        return painted
    keep = (torch.rand_like(painted[:, :1]) < KEEP).to(painted)
    return keep * painted + (1.0 - keep) * original


def _uniform(slots: int, length: int) -> Tensor:
    """A memory's first codes: small and without meaning."""
    return (2.0 * torch.rand(ACROSS**2, slots, length) - 1.0) / length**0.5
