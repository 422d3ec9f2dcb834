"""`sfta_net`: patches of one image have one history; what was not there to begin with has another.

"SFTA-Net: a self-supervised approach to detect copy-move and splicing forgery to leverage triplet loss,
auxiliary loss, and spatial attention", PeerJ Computer Science, cs-2803, 2025. An encoder with spatial
attention gives each patch an embedding. It learns without any label of forgeries: a triplet loss draws two
patches of the same image together (anchor and positive) and drives a third away (negative), an auxiliary
loss has the embedding tell what was done to a patch. To examine an image, each patch is compared with the
median patch of the same image; what lies far from it was tampered with. It learns from genuine images only.

Of the paper only the idea is known here; the rest is a choice: the encoder (three SRM and nine constrained
filters; four stages of two 3 x 3 convolutions with 16, 32, 64 and 64 channels, the last three of stride 2,
each with the spatial attention of CBAM; embeddings of 64 numbers of length 1, one every eight pixels), the
margin of 0.3, semi-hard negatives (Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face
Recognition and Clustering", CVPR 2015), the twelve kinds of processing that are told apart, both losses
counting the same, and the Mahalanobis distance, with the covariance of genuine patches around the median of
their image. Negatives are patches of all other crops and, above all, the same patch processed, for there the
picture is the same and only traces differ; two crops of a batch may come from one image and are still taken
for two. In a series from one scanner genuine images hardly differ in their history, so that the processed
patches teach nearly all there is to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from intact.filters import upsample
from intact.forensics.learned.crops import Crops
from intact.forensics.learned.one_class import OneClass
from intact.forensics.learned.processed import KINDS, processed
from intact.nets.sfta import HALVINGS, TraceEncoder
from intact.train import train

GRID = 2**HALVINGS  # pixels from one embedding to the next
SIZE = 64  # of an embedding
MARGIN = 0.3
PATCHES = 8  # of a crop that make triplets
SEEN = 256  # crops from which the covariance is learned
SHRINKAGE = 1e-3  # of the covariance, towards a sphere
WINDOW, OVERLAP = 1024, 0.25  # of large planes; from one to the next a multiple of the grid


@dataclass(eq=False)
class SFTANet(OneClass):
    """How far a patch's embedding lies from the median of its image.

    Args:
        widths: Channels of the encoder's four stages.
    """

    steps: int = 500
    widths: tuple[int, int, int, int] = (16, 32, 64, 64)

    source: ClassVar[str] = "SFTA-Net, PeerJ Computer Science 2025"

    def _build(self, channels: int) -> None:
        self.net = TraceEncoder(channels, self.widths, SIZE, len(KINDS))

    def _teach(self, crops: Crops) -> None:
        rng = torch.Generator().manual_seed(self.seed)

        def loss(batch: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
            return self._loss(batch[:, 0], rng)

        self.net.to("cuda" if torch.cuda.is_available() else "cpu")
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=self.lr, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        batches = crops.batches()
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)
        self.net.to("cpu")
        with torch.no_grad():
            seen = [self.net(next(batches)[:, :1])[0] for _ in range(-(-SEEN // self.batch))]
        self.precision_ = precision(torch.cat(seen))

    def _loss(self, genuine: Float[Tensor, "b h w"], rng: torch.Generator) -> Float[Tensor, ""]:
        kinds = torch.randint(len(KINDS), (len(genuine),), generator=rng)
        changed = processed(genuine.cpu(), kinds.tolist(), rng).to(genuine)
        embeddings, told = self.net(torch.cat([genuine, changed])[:, None])
        flat = embeddings.flatten(2)
        at = torch.randperm(flat.shape[2], generator=rng)[:PATCHES]
        history = torch.arange(len(flat)).repeat_interleave(len(at))
        triplets = semi_hard(flat[:, :, at].transpose(1, 2).flatten(0, 1), history.to(flat.device), MARGIN)
        logits = told[len(genuine) :].flatten(2)
        wanted = kinds.to(logits.device)[:, None].expand(-1, logits.shape[2])
        return triplets + F.cross_entropy(logits, wanted)

    def _measure(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """The Mahalanobis distance from the median of the image, between the grid's points interpolated."""
        height, width = seen.shape
        apart = self._embedded(seen)
        apart = apart - apart.flatten(1).median(dim=1).values[:, None, None]
        squared = torch.einsum("dhw,de,ehw->hw", apart, self.precision_, apart)
        grown = upsample(squared.clamp(min=0.0).sqrt()[None], tuple(GRID * n for n in squared.shape))
        return grown[0, :height, :width]

    def _embedded(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "d h2 w2"]:
        """Embeddings of the squares of 8 x 8 pixels that a plane, filled up, is made of."""
        # The first of the strided grid lies on a corner: it is moved out of the image, and left out.
        below, right = (-n % GRID + GRID // 2 for n in seen.shape)
        filled = F.pad(seen[None, None], (GRID // 2, right, GRID // 2, below), mode="replicate")
        if max(filled.shape) <= WINDOW:
            found = self.net(filled)[0]
        else:
            from monai.inferers import sliding_window_inference

            window = tuple(min(WINDOW, n) for n in filled.shape[-2:])
            found = sliding_window_inference(filled, window, 1, lambda x: self.net(x)[0], overlap=OVERLAP)
        embeddings: Tensor = found[0, :, 1:, 1:]
        return embeddings

    def _limits(self, found: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        """Nothing is too near."""
        return torch.stack([torch.tensor(-torch.inf), found[1], found[2]])


def semi_hard(
    embeddings: Float[Tensor, "n d"], history: Int[Tensor, "n"], margin: float
) -> Float[Tensor, ""]:
    """Triplet loss: of each pair with one history, and the nearest of another that is yet farther away.

    Where none is farther, the farthest counts. Squared distances, as in FaceNet.
    """
    apart = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist").square()
    same = history[:, None] == history
    anchor, positive = (same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)).nonzero().T
    near = apart[anchor, positive]
    others = apart[anchor]
    foreign = ~same[anchor]
    farther = foreign & (others > near[:, None])
    chosen = torch.where(
        farther.any(1),
        others.masked_fill(~farther, torch.inf).amin(1),
        others.masked_fill(~foreign, -torch.inf).amax(1),
    )
    return (near - chosen + margin).clamp(min=0.0).mean()


def precision(embeddings: Float[Tensor, "n d h w"]) -> Float[Tensor, "d d"]:
    """The inverse covariance of embeddings around the median of their crop."""
    flat = embeddings.flatten(2)
    apart = (flat - flat.median(dim=2, keepdim=True).values).transpose(1, 2).flatten(0, 1).double()
    covariance = apart.T @ apart / len(apart)
    size = len(covariance)
    sphere = torch.eye(size, dtype=covariance.dtype) * (covariance.trace() / size)
    return torch.linalg.inv((1.0 - SHRINKAGE) * covariance + SHRINKAGE * sphere).float()
