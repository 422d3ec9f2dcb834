"""pDDPM: bury one window of the image in noise and rebuild it from what is left and its surroundings.

Behrendt, Bhattacharya, Krüger, Opfer, Schlaefer, "Patched Diffusion Models for Unsupervised Anomaly
Detection in Brain MRI", MIDL 2023, arXiv:2303.03758; their code gave what the paper leaves open.
There the network predicts the clean image in a single pass, and only its middle has attention.

Differs from the paper: 16 instead of 128 channels, one residual block per level instead of three,
250 batches at 1e-3 instead of 1600 epochs at 1e-4, so that it trains on a CPU in minutes (all are
fields); the time shifts the features inside a block and does not scale them, as MONAI's network has
it. The foreground is what lies above a brightness instead of a brain mask, its rim is cut by a
square, and the median is of a plane instead of a volume. The noise comes from three-dimensional
instead of two-dimensional simplex noise, is drawn for each image of a batch in training, and at
test time is the same in every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.errors import UsageError
from intact.filters import median_blur
from intact.nets.diffusion import Denoiser, check_level, cosine_schedule, noised
from intact.noise import octave_noise
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

Mask = Float[Tensor, "n 1 h w"]


@dataclass(eq=False)
class PDDPM(Detector):
    """Absolute difference to the image as it was rebuilt window by window, inside the foreground."""

    size: int = 96  # side of the image in pixels
    patch: int = 48  # side of a window; the windows tile the image
    width: int = 16  # channels at full resolution, a multiple of 4
    multipliers: tuple[int, ...] = (1, 2, 2)  # channels of each level over `width`
    blocks: int = 1  # residual blocks per level
    frequency: float = 64.0  # wavelength of the coarsest simplex noise in pixels
    timesteps: int = 1000  # from the image to noise
    level: int = 500  # steps of noise that a window of the tested image gets
    steps: int = 250
    lr: float = 1e-3
    background: float = 0.02  # a pixel at or below this, in [0, 1], is outside the body
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Behrendt et al., MIDL 2023"

    def __post_init__(self) -> None:
        check_halvings(self.size, len(self.multipliers) - 1)
        if self.patch <= 0 or self.size % self.patch:
            raise UsageError(
                f"patch is {self.patch}, which does not tile size={self.size}: use a divisor of the size"
            )
        check_level(self.level, self.timesteps)

    def _build(self, channels: int) -> None:
        attention = (False,) * len(self.multipliers)
        self.net = Denoiser(channels, self.width, self.multipliers, self.blocks, attention, heads=4)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)

        def loss(images: Tensor) -> Tensor:
            n = len(images)
            t = torch.randint(self.timesteps, (n,), generator=rng)
            windows = self._windows(images)
            window = windows[torch.randint(len(windows), (n,), generator=rng)]
            noise = octave_noise(n, self.size, rng, frequency=self.frequency).to(images)[:, None]
            x = 2.0 * images - 1.0
            # Mean over the whole image, as if the rest were rebuilt perfectly.
            return ((self._rebuilt(x, window, noise, t) - x).abs() * window).mean()

        optimiser = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser)

    def _score(self, images: Images) -> Scores:
        inside = (images.amax(dim=1, keepdim=True) > self.background).float()
        rim = self.size // 25  # the code's, where the rebuilt edge of the brain hardly ever fits
        eroded = (F.avg_pool2d(inside, 2 * rim + 1, stride=1, padding=rim) > 0.95).float()
        residual = (images - self._rebuild(images)).abs().mean(dim=1)
        pixel = median_blur(residual * eroded[:, 0], 5)
        within = (pixel * inside[:, 0]).sum(dim=(1, 2))
        return Scores(image=within / inside.sum(dim=(1, 2, 3)).clamp(min=1), pixel=pixel)

    def _rebuild(self, images: Images) -> Images:
        """Window by window, all with the same noise, which is the same for all images."""
        rng = torch.Generator().manual_seed(self.seed)
        noise = octave_noise(1, self.size, rng, frequency=self.frequency).to(images)[:, None]
        t = torch.full((len(images),), self.level - 1)
        x = 2.0 * images - 1.0
        whole = torch.zeros_like(x)
        for window in self._windows(images)[:, None]:
            whole += self._rebuilt(x, window, noise, t) * window
        return (whole + 1.0) / 2.0

    def _rebuilt(self, x: Images, window: Mask, noise: Tensor, t: Int[Tensor, "n"]) -> Images:
        """The network's idea of images in [-1, 1] that are noisy inside a window."""
        kept = cosine_schedule(self.timesteps)[t]
        noisy = torch.where(window > 0, noised(x, noise, kept), x)
        with computing(self.precision, x.device.type):
            return self.net(noisy, t.to(x.device)).float()

    def _windows(self, images: Images) -> Float[Tensor, "windows 1 h w"]:
        """Every window of the grid as a mask."""
        across = self.size // self.patch
        grid = torch.eye(across**2, device=images.device).view(-1, 1, across, across)
        return F.interpolate(grid, size=(self.size, self.size), mode="nearest")
