"""Numbers that judge a detector, and how sure they are."""

from intact.metrics.detection import (
    auroc,
    average_precision,
    partial_auroc,
    sensitivity_at_specificity,
)
from intact.metrics.localisation import (
    aupro,
    best_dice,
    dice_at_normal_fpr,
    pixel_auroc,
    pixel_average_precision,
    shrink_mask,
)
from intact.metrics.statistics import (
    Interval,
    benjamini_hochberg,
    binomial_acceptance,
    binomial_interval,
    bootstrap,
    false_alarm_acceptance,
    paired_bootstrap,
)

__all__ = [
    "Interval",
    "aupro",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "best_dice",
    "binomial_acceptance",
    "binomial_interval",
    "bootstrap",
    "dice_at_normal_fpr",
    "false_alarm_acceptance",
    "paired_bootstrap",
    "partial_auroc",
    "pixel_auroc",
    "pixel_average_precision",
    "sensitivity_at_specificity",
    "shrink_mask",
]
