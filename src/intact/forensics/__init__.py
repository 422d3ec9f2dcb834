"""Evidence of tampering in pixels, headers and series; nothing has to be learned first."""

from intact.forensics.base import Evidence, Examiner, Finding, Severity
from intact.forensics.block_dct import BlockDCT
from intact.forensics.copied_noise import CopiedNoise
from intact.forensics.jpeg_grid import JPEGGrid
from intact.forensics.periodic_pattern import PeriodicPattern

METHODS: dict[str, type[Examiner]] = {
    "block_dct": BlockDCT,
    "copied_noise": CopiedNoise,
    "jpeg_grid": JPEGGrid,
    "periodic_pattern": PeriodicPattern,
}

__all__ = ["METHODS", "Evidence", "Examiner", "Finding", "Severity"]
