"""Anomaly detectors: fit on normal images only, then score and localise what deviates."""

from intact.anomaly.ae import AE
from intact.anomaly.base import Detector
from intact.anomaly.dae import DAE
from intact.anomaly.f_anogan import FAnoGAN
from intact.anomaly.ganomaly import GANomaly
from intact.anomaly.padim import PaDiM
from intact.anomaly.patchcore import PatchCore
from intact.anomaly.rd4ad import RD4AD
from intact.anomaly.skip_ts import SkipTS
from intact.anomaly.stfpm import STFPM

METHODS: dict[str, type[Detector]] = {
    "ae": AE,
    "dae": DAE,
    "f_anogan": FAnoGAN,
    "ganomaly": GANomaly,
    "padim": PaDiM,
    "patchcore": PatchCore,
    "rd4ad": RD4AD,
    "skip_ts": SkipTS,
    "stfpm": STFPM,
}

__all__ = ["METHODS", "Detector"]
