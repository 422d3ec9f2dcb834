"""What authors report for methods that Intact has, to stand beside what was measured here.

AUROC and accuracy in per cent, means of five runs, table 3 of Zhao et al., "Review of unsupervised
anomaly detection techniques for medical imaging", Journal on Communications, 2026,
doi 10.11959/j.issn.1000-436x.2026046. Other images, other splits and other thresholds than any
measured here: they say in which order methods came there, not which number to expect.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    "Zhao et al., Review of unsupervised anomaly detection techniques for medical imaging, "
    "Journal on Communications, 2026, table 3"
)
DOI = "10.11959/j.issn.1000-436x.2026046"
SETS = (
    "OCT2017 (retina)",
    "APTOS 2019 (retina)",
    "ISIC 2018 (skin)",
    "Br35H (brain MR)",
    "Brain Tumor (brain MR)",
    "RSNA (chest X-ray)",
)


@dataclass(frozen=True)
class Reported:
    """One row of the table; AUROC and accuracy in the order of `SETS`, in per cent."""

    title: str
    auroc: tuple[float, ...]
    accuracy: tuple[float, ...]


REPORTED: dict[str, Reported] = {  # by key in METHODS
    "ae": Reported(
        "AE", (86.84, 81.45, 71.48, 97.22, 82.44, 66.44), (79.44, 73.48, 68.87, 93.48, 76.84, 61.64)
    ),
    "vae": Reported(
        "VAE", (92.19, 80.49, 72.58, 97.41, 72.83, 68.64), (85.95, 74.96, 70.48, 93.67, 67.86, 53.13)
    ),
    "ganomaly": Reported(
        "GANomaly", (89.60, 80.05, 70.39, 89.28, 85.86, 81.37), (84.93, 77.71, 67.36, 88.28, 79.05, 74.63)
    ),
    "f_anogan": Reported(
        "f-AnoGAN", (87.89, 76.78, 72.22, 82.05, 75.65, 76.96), (83.06, 77.22, 63.90, 81.80, 71.58, 69.35)
    ),
    "rd4ad": Reported(
        "RD4AD", (99.40, 94.68, 87.23, 99.77, 97.01, 90.05), (97.20, 88.77, 80.65, 99.24, 93.25, 82.56)
    ),
    "ae_flow": Reported(
        "AE-FLOW", (98.02, 91.47, 87.82, 99.11, 97.14, 81.94), (96.24, 88.17, 85.05, 98.67, 96.48, 79.49)
    ),
    "edc": Reported(
        "EDC", (99.56, 95.41, 89.33, 99.85, 97.21, 87.20), (97.90, 90.08, 84.28, 99.35, 95.08, 74.40)
    ),
    "ea2d": Reported(
        "EA2D", (99.84, 97.05, 90.88, 99.83, 97.66, 91.55), (98.42, 93.89, 86.87, 99.44, 95.89, 85.48)
    ),
    "padim": Reported(
        "PaDiM", (96.88, 79.00, 82.13, 98.90, 96.78, 81.48), (92.80, 78.50, 73.06, 97.40, 95.87, 78.16)
    ),
    "squid": Reported(
        "SQUID", (97.55, 89.61, 85.76, 99.04, 97.12, 90.48), (93.70, 86.20, 81.76, 98.48, 96.03, 88.41)
    ),
    "p_vq": Reported(
        "P-VQ", (99.20, 86.49, 79.70, 97.66, 95.14, 78.66), (98.94, 83.48, 76.45, 93.74, 92.48, 76.58)
    ),
}
