"""WinCLIP: does an image look more like "damaged" or like "flawless", seen through small windows?

Jeong, Zou, Kim, Zhang, Ravichandran, Dabeer, "WinCLIP: Zero-/Few-Shot Anomaly Classification and
Segmentation", CVPR 2023, https://arxiv.org/abs/2303.14814; formulas as in anomalib's port,
open-edge-platform/anomalib. Not verified against code of the authors, who published none.

Differs from the paper:
- OpenAI's CLIP ViT-B/16, whose positions are resized to 240 x 240 images, instead of LAION's ViT-B/16+,
  made for them, which comes in another layout.
- The prompts are the paper's, made for objects in photographs: `what` says what is shown, but a
  "damaged chest x-ray" is no radiologist's wording. All pairs with "a" and "the" are there; the port
  has two of them wrong.
- Each prompt's vector is brought to length 1 before the mean over prompts, as CLIP's authors do; the
  port takes the mean of vectors as they are.
- With normal images the map is the mean of both maps, as in the port; the paper adds them (not verified).
- A window that scores less than 1e-6 counts as that, so that a harmonic mean exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import SCORE_BATCH, Batches, Detector, Images
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.clip import ImagePlan, ImageTower, Seen
from intact.nets.clip_files import clip_folder, embed_texts, load_tower, read_plans
from intact.scores import Scores

TEMPERATURE = 0.07
LEAST = 1e-6

NORMAL = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ABNORMAL = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
TEMPLATES = (
    "a cropped photo of {article} {state}.",
    "a close-up photo of {article} {state}.",
    "a bright photo of {article} {state}.",
    "a dark photo of {article} {state}.",
    "a jpeg corrupted photo of {article} {state}.",
    "a blurry photo of {article} {state}.",
    "a photo of {article} {state}.",
    "a photo of {article} small {state}.",
    "a photo of {article} large {state}.",
    "a photo of {article} {state} for visual inspection.",
    "a photo of {article} {state} for anomaly detection.",
)


@dataclass(eq=False)
class WinCLIP(Detector):
    """Compares windows of an image with sentences and, with `shots`, with those of a few normal images.

    With `shots` = 0 the normal images do not matter: what is abnormal comes from the sentences alone.
    """

    size: int = 240  # side of the image in pixels, a multiple of the backbone's patches
    backbone: str = "clip-vit-base-patch16"  # a folder in that of INTACT_WEIGHTS
    what: str = "image"  # what is shown, as a sentence would name it: "chest x-ray"
    shots: int = 4  # normal images that are remembered
    windows: tuple[int, ...] = (2, 3)  # patches per side
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Jeong et al., CVPR 2023"
    trains: ClassVar[bool] = False

    def _build(self, channels: int) -> None:
        if not hasattr(self, "plan_"):  # a saved model brings its own
            self.plan_ = torch.tensor(read_plans(clip_folder(self.backbone))[0])
        plan = ImagePlan(*self.plan_.tolist())
        if self.size % plan.patch_size or self.size <= 0:
            raise UsageError(
                f"size is {self.size}, which patches of {plan.patch_size} do not divide: use a multiple of "
                f"{plan.patch_size}"
            )
        side = self.size // plan.patch_size
        if not self.windows or min(self.windows) < 1 or max(self.windows) > side:
            raise UsageError(
                f"windows are {self.windows}, but an image has {side} x {side} patches: give widths from 1 "
                f"to {side}"
            )
        self.tower = ImageTower(plan)

    def _fit(self, batches: Batches) -> None:
        folder = clip_folder(self.backbone)
        self.texts_ = class_texts(self.what, folder)
        load_tower(self.tower, folder)
        if self.shots:
            parts = drawn(batches, self.shots, self.seed).split(SCORE_BATCH)
            seen = [self.tower(part, self.windows) for part in parts]
            self.patches_ = torch.cat([each.patches for each in seen])
            self.windows_ = torch.cat([torch.cat(each.windows, dim=1) for each in seen])

    def _score(self, images: Images) -> Scores:
        seen = self.tower(images, self.windows)
        image = self._abnormal(seen.image)
        side = math.isqrt(seen.patches.shape[1])
        maps = [over_patches(self._abnormal(each), side) for each in seen.windows]
        pixel = harmonic_mean(torch.stack([image.view(-1, 1, 1).expand_as(maps[0]), *maps]))
        if self.shots:
            unseen = self._unseen(seen, side)
            image = (image + unseen.amax(dim=(1, 2))) / 2
            pixel = (pixel + unseen) / 2
        return Scores(image=image, pixel=upsample(pixel, (self.size, self.size)))

    def _unseen(self, seen: Seen, side: int) -> Float[Tensor, "n side side"]:
        """How unlike the normal images each patch is, mean over windows and patches."""
        known = self.windows_.split([each.shape[1] for each in seen.windows], dim=1)
        patches = unlike(seen.patches, self.patches_).view(-1, side, side)
        maps = [over_patches(unlike(*pair), side) for pair in zip(seen.windows, known, strict=True)]
        return torch.stack([patches, *maps]).mean(dim=0)

    def _abnormal(self, vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """Probability that the abnormal sentences fit better than the normal ones."""
        return (vectors @ self.texts_.T / TEMPERATURE).softmax(dim=-1)[..., 1].clamp(min=LEAST)


def prompts(states: tuple[str, ...], what: str) -> list[str]:
    """Every state of what is shown in every template, with both articles."""
    return [
        template.format(article=article, state=state.format(what))
        for state in states
        for template in TEMPLATES
        for article in ("a", "the")
    ]


def class_texts(what: str, folder: Path) -> Float[Tensor, "2 d"]:
    """Mean over all normal and over all abnormal prompts, each of length 1."""
    normal, abnormal = prompts(NORMAL, what), prompts(ABNORMAL, what)
    embedded = embed_texts([*normal, *abnormal], folder).split([len(normal), len(abnormal)])
    return F.normalize(torch.stack([each.mean(dim=0) for each in embedded]), dim=1)


def drawn(batches: Batches, count: int, seed: int) -> Images:
    """So many of the images, or all where there are fewer; which, does not depend on the batches."""
    total = sum(map(len, batches))
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]] = True
    parts, seen = [], 0
    for images in batches:
        parts.append(images[chosen[seen : seen + len(images)]])
        seen += len(images)
    return torch.cat(parts)


def unlike(found: Float[Tensor, "n w d"], known: Float[Tensor, "m w d"]) -> Float[Tensor, "n w"]:
    """Half of 1 - cosine to the most similar one, wherever in whichever normal image; all have length 1."""
    alike = found @ known.flatten(0, 1).T
    return ((1 - alike.amax(dim=2)) / 2).clamp(min=LEAST)


def over_patches(scores: Float[Tensor, "n windows"], side: int) -> Float[Tensor, "n side side"]:
    """For each patch the harmonic mean of the windows that hold it; they lie row by row."""
    places = math.isqrt(scores.shape[1])
    width = side - places + 1  # of a window
    one = scores.new_ones(1, 1, width, width)
    holding = F.conv_transpose2d(scores.new_ones(1, 1, places, places), one)
    return (holding / F.conv_transpose2d((1 / scores).view(-1, 1, places, places), one))[:, 0]


def harmonic_mean(scores: Float[Tensor, "k *rest"]) -> Float[Tensor, "*rest"]:
    """Over the first axis: near the smallest, so that all have to agree."""
    return len(scores) / (1 / scores).sum(dim=0)
