"""Anomaly detectors: fit on normal images only, then score and localise what deviates."""

from intact.anomaly.aae import AAE
from intact.anomaly.ae import AE
from intact.anomaly.ae_flow import AEFlow
from intact.anomaly.anoddpm import AnoDDPM
from intact.anomaly.anomaly_dino import AnomalyDINO
from intact.anomaly.base import Detector
from intact.anomaly.cevae import CEVAE
from intact.anomaly.dae import DAE
from intact.anomaly.dinomaly import Dinomaly
from intact.anomaly.ea2d import EA2D
from intact.anomaly.edc import EDC
from intact.anomaly.f_anogan import FAnoGAN
from intact.anomaly.fastflow import FastFlow
from intact.anomaly.ganomaly import GANomaly
from intact.anomaly.inp_former import INPFormer
from intact.anomaly.memae import MemAE
from intact.anomaly.p_vq import PVQ
from intact.anomaly.padim import PaDiM
from intact.anomaly.patchcore import PatchCore
from intact.anomaly.pddpm import PDDPM
from intact.anomaly.rd4ad import RD4AD
from intact.anomaly.recontrast import ReContrast
from intact.anomaly.skip_ts import SkipTS
from intact.anomaly.squid import SQUID
from intact.anomaly.stfpm import STFPM
from intact.anomaly.uniad import UniAD
from intact.anomaly.vae import VAE

METHODS: dict[str, type[Detector]] = {
    "aae": AAE,
    "ae": AE,
    "ae_flow": AEFlow,
    "anoddpm": AnoDDPM,
    "anomaly_dino": AnomalyDINO,
    "cevae": CEVAE,
    "dae": DAE,
    "dinomaly": Dinomaly,
    "ea2d": EA2D,
    "edc": EDC,
    "f_anogan": FAnoGAN,
    "fastflow": FastFlow,
    "ganomaly": GANomaly,
    "inp_former": INPFormer,
    "memae": MemAE,
    "p_vq": PVQ,
    "padim": PaDiM,
    "patchcore": PatchCore,
    "pddpm": PDDPM,
    "rd4ad": RD4AD,
    "recontrast": ReContrast,
    "skip_ts": SkipTS,
    "squid": SQUID,
    "stfpm": STFPM,
    "uniad": UniAD,
    "vae": VAE,
}

__all__ = ["METHODS", "Detector"]
