"""Evidence of tampering in pixels, headers and series."""

from intact.forensics.base import Examiner
from intact.forensics.block_dct import BlockDCT
from intact.forensics.copied_noise import CopiedNoise
from intact.forensics.jpeg_grid import JPEGGrid

METHODS: dict[str, type[Examiner]] = {
    "block_dct": BlockDCT,
    "jpeg_grid": JPEGGrid,
    "copied_noise": CopiedNoise,
}

__all__ = ["METHODS", "Examiner"]
