"""Distances between images and between features: what networks minimise and scores are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def ssim_map(
    x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], window: int = 11, sigma: float = 1.5
) -> Float[Tensor, "n c h w"]:
    """Structural similarity of every pixel's neighbourhood, 1 where alike; the border is reflected.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 2004, for images in [0, 1]: C1 = 0.01², C2 = 0.03².
    """
    at = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()

    def mean(image: Tensor) -> Tensor:
        n, c, h, w = image.shape
        padded = F.pad(image.reshape(n * c, 1, h, w), [window // 2] * 4, mode="reflect")
        rows = F.conv2d(padded, kernel.view(1, 1, -1, 1))
        return F.conv2d(rows, kernel.view(1, 1, 1, -1)).view(n, c, h, w)

    mean_x, mean_y = mean(x), mean(y)
    variance_x = mean(x * x) - mean_x.square()
    variance_y = mean(y * y) - mean_y.square()
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return alike / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))


def cosine_map(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """1 - cosine of the channel vectors at every position: 0 where alike, 2 where opposite."""
    return 1.0 - F.cosine_similarity(a, b, dim=1)


def flat_cosine(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """1 - cosine of whole maps, all channels and positions being one vector."""
    return 1.0 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


def info_nce(
    queries: Float[Tensor, "*b n d"], keys: Float[Tensor, "*b n d"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of picking each query's own key, that of the same number, among all n keys of its set.

    -log(exp(q·k/t) / Σ exp(q·k'/t)) of vectors brought to length 1, averaged. Oord, Li, Vinyals,
    "Representation Learning with Contrastive Predictive Coding", 2018, arXiv:1807.03748.
    """
    queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    alike = queries @ keys.mT / temperature
    return (alike.logsumexp(dim=-1) - alike.diagonal(dim1=-2, dim2=-1)).mean()


def nt_xent(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, ""]:
    """`info_nce` with both views of all n images as queries and keys; no view is its own key.

    Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations" (SimCLR), ICML 2020, arXiv:2002.05709.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    alike = views @ views.T / temperature
    alike = alike.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(alike, other)


def focal(
    logits: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], gamma: float
) -> Float[Tensor, ""]:
    """Mean cross entropy of yes or no, each weighted by how wrong it is: -(1 - p)^gamma log p.

    Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", ICCV 2017, without weights
    of the classes.

    Args:
        logits: Of the answer yes.
        target: 1 for yes, 0 for no.
        gamma: 0 is cross entropy; the larger, the less counts what is nearly right.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1.0 - torch.exp(-entropy)).pow(gamma) * entropy).mean()
