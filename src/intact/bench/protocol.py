"""The protocol of `intact bench anomaly` in words, as it stands on its page and in results.md."""

from __future__ import annotations

from intact.bench.differences import OPEN, REAL, Q
from intact.bench.differences import RESAMPLES as DIFFERENCE_RESAMPLES
from intact.bench.measures import MAX_FPR, RESAMPLES, SPECIFICITY
from intact.evaluate import MASK_SIDE


def protocol(alpha: float, reference: str) -> list[tuple[str, str]]:
    """Titles, and what there is to say below each."""
    return [
        (
            "What is learned from",
            "train/good alone. Its images are split by patient, or by look-alike group where no patient "
            "is known: a method learns from one part, and p-values are measured against the other. "
            "Methods that do not train take turns and learn from all in the end. No label of a test image "
            "enters a choice: not the number of steps, not a field, not the threshold.",
        ),
        (
            "Ranking",
            "AUROC is the chance that an image of a kind scores above a normal one. AP is average "
            "precision; guessing reaches the share of abnormal images. Partial AUROC is that up to "
            f"{100 * MAX_FPR:g} % false alarms, scaled so that guessing gives 0.5. Sensitivity at "
            f"{100 * SPECIFICITY:g} % specificity is read off the test images themselves, so it describes "
            "the curve and is no promise.",
        ),
        (
            "Decisions",
            f"An image is flagged when its p-value is at most {100 * alpha:g} %: a threshold from normal "
            "images only. Accuracy, F1, the share flagged and false alarms follow from it. Accuracy and F1 "
            "depend on how many images of each kind a pack holds, so compare them within one table only. "
            "False alarms are marked where there are more than chance allows.",
        ),
        (
            "Intervals and seeds",
            f"Brackets hold 95 % intervals from {RESAMPLES:,} resamples of the test patients within each "
            "class: how far other test images might move the number. Where no patient is known every "
            "image counts as one, and slices of one patient then make the interval too narrow. The range "
            "over seeds is another thing: how far another training, on another split of the normals, "
            "moved the number.",
        ),
        (
            "Differences",
            f"Each method against {reference}, named beforehand, on the same images: "
            f"{DIFFERENCE_RESAMPLES:,} resamples of test patients, the same for both, and of each method's "
            "seeds. With one seed, chance in training is not covered. The false discovery rate over all "
            f'comparisons is held at {100 * Q:g} % (Benjamini and Hochberg): what passes is "{REAL}". '
            f'The rest is "{OPEN}", which does not mean equal.',
        ),
        (
            "Places",
            "Where a pack has masks: AUPRO up to 30 % of the background, and Dice at the threshold that "
            f"5 % of the pixels of normal test images exceed. Maps and masks are reduced to {MASK_SIDE} × "
            f"{MASK_SIDE}; a cell of a mask that holds any lesion is lesion.",
        ),
        (
            "Cost",
            "Each measurement runs alone in a fresh process. Fitting is reading, learning and calibrating. "
            "Images per second count preparing and scoring, not reading files. Peak memory is the most "
            "that the process held up to the last score, imported libraries included. Model size is that "
            "of the saved folder. Compare times only where nothing else ran on the machine.",
        ),
    ]
