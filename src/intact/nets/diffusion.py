"""Denoising diffusion: the U-Net that removes noise, and the arithmetic of adding and removing it.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020; the network is that of
Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, by MONAI. At a
time t an image is sqrt(kept) x + sqrt(1 - kept) noise, where `kept` falls from 1 to about 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.errors import UsageError

Kept = Float[Tensor, "t"]


class Denoiser(nn.Module):
    """U-Net with the time as a second input; residual blocks also halve and double; no dropout.

    Args:
        channels: Of the image and of the result.
        width: Channels at full resolution, a multiple of 4.
        multipliers: Channels of each level over `width`; each level halves the side of the one before.
        blocks: Residual blocks per level on the way down; one more on the way up.
        attention: Whether each level has attention; the middle always has.
        heads: Of attention.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention: tuple[bool, ...],
        heads: int,
    ) -> None:
        from monai.networks.blocks import SpatialAttentionBlock  # takes seconds
        from monai.networks.nets import DiffusionModelUNet

        super().__init__()
        widths = tuple(width * m for m in multipliers)
        self.net = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=widths,
            num_res_blocks=blocks,
            attention_levels=attention,
            num_head_channels=tuple(w // heads for w in widths),
            norm_num_groups=width // 4,  # 32 at the published width of 128
            norm_eps=1e-5,
            resblock_updown=True,
            use_flash_attention=True,
        )
        for block in self.modules():
            if isinstance(block, SpatialAttentionBlock):  # starts as the identity, as the paper's does
                nn.init.zeros_(block.attn.out_proj.weight)
                nn.init.zeros_(block.attn.out_proj.bias)

    def forward(self, x: Float[Tensor, "n c h w"], t: Int[Tensor, "n"]) -> Float[Tensor, "n c h w"]:
        """Noise or clean image, whichever it was taught; zeros before any training."""
        return self.net(x, t)


def linear_schedule(steps: int) -> Kept:
    """`kept` after 1 to `steps` steps whose noise grows linearly from 1e-4 to 0.02 (for 1000; Ho)."""
    scale = 1000 / steps
    added = torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)
    return (1.0 - added).cumprod(dim=0)


def cosine_schedule(steps: int) -> Kept:
    """`kept` after 1 to `steps` steps as a squared cosine.

    Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021, Eq. 17; no
    step adds more than 0.999.
    """
    at = torch.arange(steps + 1, dtype=torch.float64) / steps
    kept = torch.cos((at + 0.008) / 1.008 * math.pi / 2).square()
    added = (1.0 - kept[1:] / kept[:-1]).clamp(max=0.999)
    return (1.0 - added).cumprod(dim=0)


def check_level(level: int, timesteps: int) -> None:
    """Refuse a time that a schedule of so many steps does not have.

    Raises:
        UsageError: It has not.
    """
    if not 0 < level <= timesteps:
        raise UsageError(f"level is {level}, which is no time from 1 to timesteps={timesteps}")


def noised(clean: Float[Tensor, "n c h w"], noise: Tensor, kept: Float[Tensor, "n"]) -> Tensor:
    """sqrt(kept) clean + sqrt(1 - kept) noise, with each image's own `kept`."""
    k = kept.view(-1, 1, 1, 1).to(clean)
    return k.sqrt() * clean + (1.0 - k).sqrt() * noise


def cleaned(x: Tensor, noise: Tensor, kept: float) -> Tensor:
    """The image which `noised` would have turned into x."""
    return (x - math.sqrt(1.0 - kept) * noise) / math.sqrt(kept)


def step_back(x: Tensor, clean: Tensor, noise: Tensor, kept: float, earlier: float) -> Tensor:
    """From x to an earlier time, given what the clean image is thought to be (Ho, Eq. 7).

    The fresh noise has the variance of the noise that the forward steps in between add up to, which
    is the larger of Ho's two choices. At `earlier` = 1 the result is `clean`.

    Args:
        x: The image at the time of `kept`.
        clean: Estimate of the image without noise.
        noise: Drawn afresh, of the kind that was used in training.
        kept: At the present time.
        earlier: `kept` at the time to go to, larger than `kept`.
    """
    added = 1.0 - kept / earlier
    mean = (math.sqrt(earlier) * added * clean + math.sqrt(kept / earlier) * (1.0 - earlier) * x) / (
        1.0 - kept
    )
    return mean if earlier == 1.0 else mean + math.sqrt(added) * noise


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move each parameter of `average` towards that of `net` by 1 - `decay` of the way."""
    for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)
