"""Reversible data hiding: put bits into an image and take them out so that every pixel returns."""

from intact.protect.hiding.base import DamagedError, Hiding
from intact.protect.hiding.difference_expansion import DifferenceExpansion
from intact.protect.hiding.histogram_shifting import HistogramShifting
from intact.protect.hiding.one_sided_pee import OneSidedPEE
from intact.protect.hiding.pairwise_pee import PairwisePEE
from intact.protect.hiding.pee import PEE
from intact.protect.hiding.sorted_pee import SortedPEE

METHODS: dict[str, type[Hiding]] = {
    "histogram_shifting": HistogramShifting,
    "difference_expansion": DifferenceExpansion,
    "pee": PEE,
    "sorted_pee": SortedPEE,
    "pairwise_pee": PairwisePEE,
    "one_sided_pee": OneSidedPEE,
}

__all__ = [
    "METHODS",
    "PEE",
    "DamagedError",
    "DifferenceExpansion",
    "Hiding",
    "HistogramShifting",
    "OneSidedPEE",
    "PairwisePEE",
    "SortedPEE",
]
