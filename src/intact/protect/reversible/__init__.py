"""Published schemes of reversible adversarial examples, to compare with."""

from intact.protect.reversible.base import Reversible
from intact.protect.reversible.nroi_rae import NROIRAE
from intact.protect.reversible.rdh_rae import RDHRAE
from intact.protect.reversible.rit_rae import RITRAE
from intact.protect.reversible.yuv_rae import YUVRAE

METHODS: dict[str, type[Reversible]] = {
    "rdh_rae": RDHRAE,
    "rit_rae": RITRAE,
    "yuv_rae": YUVRAE,
    "nroi_rae": NROIRAE,
}

__all__ = ["METHODS", "Reversible"]
