"""Anomaly detectors: fit on normal images only, then score and localise what deviates."""

from intact.anomaly.ae import AE
from intact.anomaly.base import Detector
from intact.anomaly.dae import DAE
from intact.anomaly.padim import PaDiM
from intact.anomaly.patchcore import PatchCore

METHODS: dict[str, type[Detector]] = {
    "ae": AE,
    "dae": DAE,
    "padim": PaDiM,
    "patchcore": PatchCore,
}

__all__ = ["METHODS", "Detector"]
