"""How often examiners accuse genuine images, against the rate that was promised -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics_alarms.py [--packs brain_mri] [--images 100]

Normal images of brain_mri, chest_xray and lung_ct, all images of the DICOM pack (one per series or
file; of volumes and films every plane), and the originals of a set of forged pictures. `all` is the
decision of screening: every examiner that it asks, corrected for their number; `headers and slices`
those that are told as unusual or impossible. Artefacts of the acquisition accuse nobody. The interval is
the exact binomial one (Clopper & Pearson 1934); a promise is broken where all of it lies above alpha.

Rows go to benchmarks/results/forensics_alarms.csv.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import cv2

from intact.errors import InputError
from intact.forensics import METHODS, Severity
from intact.forensics.base import ARTEFACT
from intact.forensics.decision import decide, group_of
from intact.forensics.examination import Examination, examine
from intact.forensics.instance import Instance, Series
from intact.image import Image
from intact.io import Unit, index, read_unit
from intact.io.series import join_planes, read_planes
from intact.metrics.statistics import binomial_interval
from results import environment, replace_rows

PACKS = {  # folders of genuine images
    "brain_mri": "brain_mri/test/good",
    "chest_xray": "chest_xray/test/good",
    "lung_ct": "lung_ct/test/good",
    "dicom": "dicom",
    "casia copymove": "forgery_casia1/copymove/authentic",
    "casia splice": "forgery_casia1/splice/authentic",
}
ALPHAS = (0.05, 0.01, 0.001)
ALL, HEADERS = "all", "headers and slices"


def genuine(pack: str, images: int) -> Iterator[tuple[Image, Series | None]]:
    """Images evenly over the pack; what cannot be read is passed over."""
    entries = [e for e in index([Path(os.environ["INTACT_DATA"]) / PACKS[pack]]) if isinstance(e, Unit)]
    for unit in entries[:: max(1, len(entries) // images) if images else 1]:
        try:
            if unit.format != "dicom":
                yield read_unit(unit), None
                continue
            planes = read_planes(unit.sources)
            series = Series([Instance(s.name, p) for s, p in zip(unit.sources, planes, strict=True)])
            yield (join_planes(planes, unit.name) if len(planes) > 1 else planes[0]), series
        except InputError:
            continue


def examined(pack: str, images: int) -> list[tuple[str, Examination]]:
    """Everything that all examiners say of the pack, with each image's group."""
    examiners = {name: kind() for name, kind in METHODS.items() if kind.routine and not kind.compares}
    told = []
    for image, series in genuine(pack, images):
        told.append((group_of(image), examine(image, examiners, series)))
        print(f"{pack}: {len(told)}", end="\r", flush=True)
    return told


def rows_of(pack: str, told: list[tuple[str, Examination]]) -> list[dict[str, object]]:
    """A row per examiner and alpha."""
    rows = []
    accusing = [name for name, kind in METHODS.items() if kind.kind != ARTEFACT]
    for name in (ALL, HEADERS, *accusing):
        for alpha in ALPHAS:
            spoken = [flagged(examination, group, name, alpha) for group, examination in told]
            answers = [one for one in spoken if one is not None]
            if not answers:
                continue
            interval = binomial_interval(sum(answers), len(told))
            rows.append(
                {
                    "pack": pack,
                    "method": name,
                    "alpha": alpha,
                    "images": len(told),
                    "spoke": len(answers),
                    "alarms": sum(answers),
                    "per_1000": round(1000 * sum(answers) / len(told), 2),
                    "low": round(1000 * interval.low, 2),
                    "high": round(1000 * interval.high, 2),
                    "kept": interval.low <= alpha,
                }
            )
    return rows


def flagged(examination: Examination, group: str, name: str, alpha: float) -> bool | None:
    """Whether an examiner alone, or all together, would accuse the image; None where nothing was said."""
    if name == HEADERS:
        return examination.weight >= Severity.UNUSUAL
    if name == ALL:
        said = {name: e for name, e in examination.evidence.items() if METHODS[name].kind != ARTEFACT}
        return bool(decide(Examination((), said), group, None, alpha).counted)
    evidence = examination.evidence.get(name)
    return None if evidence is None or evidence.p_value is None else evidence.p_value <= alpha


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=list(PACKS))
    parser.add_argument("--images", type=int, default=100, help="per pack; 0 takes all")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    for pack in asked.packs:
        rows = rows_of(pack, examined(pack, asked.images))
        replace_rows("forensics_alarms.csv", {"pack": pack}, [row | environment() for row in rows])
        for row in rows:
            if row["alarms"]:
                print({key: row[key] for key in ("pack", "method", "alpha", "images", "alarms", "kept")})


if __name__ == "__main__":
    main()
