"""Anomaly detectors: fit on normal images only, then score and localise what deviates."""

from intact.anomaly.aae import AAE
from intact.anomaly.ae import AE
from intact.anomaly.ae_flow import AEFlow
from intact.anomaly.anatpaste import AnatPaste
from intact.anomaly.anoddpm import AnoDDPM
from intact.anomaly.anomaly_dino import AnomalyDINO
from intact.anomaly.base import Detector
from intact.anomaly.cevae import CEVAE
from intact.anomaly.cutpaste import CutPaste
from intact.anomaly.dae import DAE
from intact.anomaly.destseg import DeSTSeg
from intact.anomaly.dinomaly import Dinomaly
from intact.anomaly.draem import DRAEM
from intact.anomaly.ea2d import EA2D
from intact.anomaly.edc import EDC
from intact.anomaly.f_anogan import FAnoGAN
from intact.anomaly.fastflow import FastFlow
from intact.anomaly.fpi import FPI
from intact.anomaly.ganomaly import GANomaly
from intact.anomaly.glass import GLASS
from intact.anomaly.inp_former import INPFormer
from intact.anomaly.many_tasks import ManyTasks
from intact.anomaly.memae import MemAE
from intact.anomaly.msc import MSC
from intact.anomaly.nsa import NSA
from intact.anomaly.p_vq import PVQ
from intact.anomaly.padim import PaDiM
from intact.anomaly.patchcl import PatchCLAE
from intact.anomaly.patchcore import PatchCore
from intact.anomaly.pddpm import PDDPM
from intact.anomaly.pii import PII
from intact.anomaly.pmsacl import PMSACL
from intact.anomaly.rd4ad import RD4AD
from intact.anomaly.realnet import RealNet
from intact.anomaly.recontrast import ReContrast
from intact.anomaly.salad import SALAD
from intact.anomaly.simplenet import SimpleNet
from intact.anomaly.skip_ts import SkipTS
from intact.anomaly.sohn_two_stage import SohnTwoStage
from intact.anomaly.squid import SQUID
from intact.anomaly.stfpm import STFPM
from intact.anomaly.uniad import UniAD
from intact.anomaly.vae import VAE
from intact.anomaly.winclip import WinCLIP

METHODS: dict[str, type[Detector]] = {
    "aae": AAE,
    "ae": AE,
    "ae_flow": AEFlow,
    "anatpaste": AnatPaste,
    "anoddpm": AnoDDPM,
    "anomaly_dino": AnomalyDINO,
    "cevae": CEVAE,
    "cutpaste": CutPaste,
    "dae": DAE,
    "destseg": DeSTSeg,
    "dinomaly": Dinomaly,
    "draem": DRAEM,
    "ea2d": EA2D,
    "edc": EDC,
    "f_anogan": FAnoGAN,
    "fastflow": FastFlow,
    "fpi": FPI,
    "ganomaly": GANomaly,
    "glass": GLASS,
    "inp_former": INPFormer,
    "many_tasks": ManyTasks,
    "memae": MemAE,
    "msc": MSC,
    "nsa": NSA,
    "p_vq": PVQ,
    "padim": PaDiM,
    "patchcl": PatchCLAE,
    "patchcore": PatchCore,
    "pddpm": PDDPM,
    "pii": PII,
    "pmsacl": PMSACL,
    "rd4ad": RD4AD,
    "realnet": RealNet,
    "recontrast": ReContrast,
    "salad": SALAD,
    "simplenet": SimpleNet,
    "skip_ts": SkipTS,
    "sohn_two_stage": SohnTwoStage,
    "squid": SQUID,
    "stfpm": STFPM,
    "uniad": UniAD,
    "vae": VAE,
    "winclip": WinCLIP,
}

__all__ = ["METHODS", "Detector"]
