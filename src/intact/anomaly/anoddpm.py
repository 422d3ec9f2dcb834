"""AnoDDPM: bury the image in noise as rough as lesions, and let a diffusion model dig it out.

Wyatt, Leach, Schmon, Willcocks, "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic
Models using Simplex Noise", CVPR Workshops 2022; the authors' code gave what the paper leaves open:
training on times below 800 only, attention at sides 32, 16 and 8, the moving average at test time.

Differs from the paper: side 64 instead of 256 and the code's network for that side, with 16 instead
of 128 channels and one residual block per level instead of two; noise a quarter as coarse, as the
image is; 400 batches at 1e-3 instead of 300,000 single images at 1e-4, with the moving average's
decay shortened in proportion; one pass of the network for 25 time steps, and the mean of three
results (all are fields). Fields of noise drawn together lie in one plane (see `intact.noise`). An
image's score is the mean of the map, since the paper has none. The noise at test time is the same
for every image and every call, so that a score is a property of the image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.anomaly.base import Batches, Images, check_choice, check_halvings
from intact.anomaly.reconstruction import Reconstruction
from intact.nets.diffusion import Denoiser, check_level, cleaned, follow, linear_schedule, noised, step_back
from intact.noise import octave_noise
from intact.precision import Precision, computing
from intact.train import train


@dataclass(eq=False)
class AnoDDPM(Reconstruction):
    """Squared difference to what partial diffusion with simplex noise makes of the image."""

    size: int = 64  # side of the image in pixels
    width: int = 16  # channels at full resolution, a multiple of 4
    multipliers: tuple[int, ...] = (1, 2, 3, 4)  # the code's for 64; (1, 1, 2, 3, 4) for 128
    blocks: int = 1  # residual blocks per level
    attention: tuple[int, ...] = (32, 16, 8)  # sides of the maps with attention
    noise: str = "simplex"  # or gaussian
    frequency: float = 16.0  # wavelength of the coarsest simplex noise in pixels: the paper's 64 of 256
    timesteps: int = 1000  # from the image to noise
    reach: int = 800  # training draws times below this (the code's sample_distance)
    level: int = 250  # steps of noise that the tested image gets (the paper's lambda)
    stride: int = 25  # steps that one pass of the network takes back; 1 in the paper
    draws: int = 3  # of noise; what they are rebuilt as is averaged (the code's total_avg)
    steps: int = 400
    lr: float = 1e-3
    decay: float = 0.98  # of the moving average of the weights
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Wyatt et al., CVPR Workshops 2022"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, len(self.multipliers) - 1)
        check_choice("noise", self.noise, ("simplex", "gaussian"))
        check_level(self.level, self.timesteps)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        attention = tuple(self.size // 2**i in self.attention for i in range(len(self.multipliers)))
        self.net = Denoiser(channels, self.width, self.multipliers, self.blocks, attention, heads=2)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        kept = linear_schedule(self.timesteps)
        learner = copy.deepcopy(self.net)  # `net` itself becomes the average of what it was

        def loss(images: Tensor) -> Tensor:
            follow(self.net, learner, self.decay)
            t = torch.randint(min(self.reach, self.timesteps), (len(images),), generator=rng)
            noise = self._draw(len(images), images, rng)
            x = noised(2.0 * images - 1.0, noise, kept[t])
            with computing(self.precision, images.device.type):
                found = learner(x, t.to(x.device))
            return (found.float() - noise).square().mean()

        optimiser = torch.optim.Adam(learner.parameters(), lr=self.lr)
        train(learner, loss, batches, steps=self.steps, optimiser=optimiser)
        follow(self.net, learner, self.decay)
        self.net.eval()

    def _rebuild(self, images: Images) -> Images:
        rng = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(images)
        for _ in range(self.draws):
            total += self._there_and_back(2.0 * images - 1.0, rng)
        return (total / self.draws + 1.0) / 2.0

    def _there_and_back(self, x: Images, rng: torch.Generator) -> Images:
        """Images in [-1, 1] after `level` steps of noise and the way back; all get the same noise."""
        kept = linear_schedule(self.timesteps).tolist()
        times = range(self.level - 1, -1, -self.stride)
        noises = self._draw(1 + len(times), x, rng)
        x = noised(x, noises[0], torch.tensor(kept[self.level - 1 : self.level]))
        for t, fresh in zip(times, noises[1:], strict=True):
            with computing(self.precision, x.device.type):
                found = self.net(x, torch.full((len(x),), t, device=x.device)).float()
            clean = cleaned(x, found, kept[t]).clamp(-1, 1)
            x = step_back(x, clean, fresh, kept[t], kept[t - self.stride] if t >= self.stride else 1.0)
        return x

    def _draw(self, n: int, images: Images, rng: torch.Generator) -> Images:
        """Noise for `n` images like these."""
        channels, size = images.shape[1:3]
        if self.noise == "gaussian":
            return torch.randn(n, channels, size, size, generator=rng).to(images.device)
        fields = octave_noise(n * channels, size, rng, frequency=self.frequency)
        return fields.view(n, channels, size, size).to(images.device)
