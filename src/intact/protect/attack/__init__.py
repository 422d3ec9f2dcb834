"""Attacks: changes of an image about which a classifier errs, in whole stored values."""

from intact.protect.attack.advgan import AdvGAN
from intact.protect.attack.atn import ATN
from intact.protect.attack.base import Attack, Bounded, Problem, Together
from intact.protect.attack.bim import BIM
from intact.protect.attack.cw import CW
from intact.protect.attack.di import DI
from intact.protect.attack.fgsm import FGSM
from intact.protect.attack.fia import FIA
from intact.protect.attack.hopskipjump import HopSkipJump
from intact.protect.attack.lbfgs import LBFGS
from intact.protect.attack.learned import Learned
from intact.protect.attack.mifgsm import MIFGSM
from intact.protect.attack.nes import NES
from intact.protect.attack.nroi_advgan import NROIAdvGAN
from intact.protect.attack.pgd import PGD
from intact.protect.attack.square import Square
from intact.protect.attack.ti import TI
from intact.protect.attack.tiles import Tiles
from intact.protect.attack.uap import UAP
from intact.protect.attack.zoo import ZOO

METHODS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "mifgsm": MIFGSM,
    "di": DI,
    "ti": TI,
    "fia": FIA,
    "cw": CW,
    "lbfgs": LBFGS,
    "zoo": ZOO,
    "nes": NES,
    "square": Square,
    "hopskipjump": HopSkipJump,
    "uap": UAP,
    "atn": ATN,
    "advgan": AdvGAN,
    "nroi_advgan": NROIAdvGAN,
    "tiles": Tiles,
}

__all__ = ["METHODS", "Attack", "Bounded", "Learned", "Problem", "Together"]
