"""Is every tampered series found, and no genuine or anonymised one accused? -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics_series.py [--seeds 5]

Every operator of `intact forge` for series, with all its ways, on the DICOM series of the pack and on its
NIfTI volumes written as DICOM, read back from files. Found is what header rules or slices tell as unusual
or impossible; a recycled series, what an archive that knows the original tells; a series that was turned
around as a whole, also what a record of the original tells. Beside them what must weigh nothing: the
series itself, compressed without loss, and anonymised in all files alike. And the public attack on chest
CT: phantoms with lesions put in or taken out by `how=ct_gan`, genuine ones, and genuine ones whose anatomy
is symmetric.

Rows go to benchmarks/results/forensics_series.csv.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.uid import RLELossless, generate_uid
from scipy import ndimage

from intact.forensics import Severity
from intact.forensics.copied_noise import CopiedNoise
from intact.forensics.examination import examine
from intact.forensics.instance import Series, read_series
from intact.forensics.ledger import Ledger
from intact.forensics.slices.recycled import Archive, describe
from intact.forge import KINDS, SERIES_KINDS
from intact.forge.series import Edit
from intact.image import Image, Scale
from intact.io import Source, read, write_series
from intact.io.meaning import MADE_GROUP
from intact.io.series import join_planes
from results import environment, replace_rows

ROWS = "forensics_series.csv"
OPERATORS: list[tuple[str, dict[str, Any]]] = [
    *(("header", {"edit": edit}) for edit in get_args(Edit)),
    ("drop_slice", {}),
    ("drop_slice", {"renumber": True}),
    ("drop_slice", {"close": True}),
    ("drop_slice", {"renumber": True, "close": True}),
    *(("double_slice", {"how": how}) for how in ("copy", "noise", "mean", "cubic")),
    ("reorder", {"how": "swap"}),
    ("reorder", {"how": "reverse"}),
    ("recycle", {}),
    ("recycle", {"mirror": True}),
]
RECORDED = "how=reverse, recorded before"
CHEST = ((48, 120, 120), (1.0, 1.0, 1.0))  # voxels and mm


def subjects(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """The files of each series: those of the DICOM pack, and NIfTI volumes written as DICOM."""
    data = Path(os.environ["INTACT_DATA"])
    for name in ("series_mr_adc_prostate", "series_torchio"):
        yield name, sorted((data / "dicom" / name).iterdir())
    for path in sorted((data / "nifti").rglob("*.nii.gz")):
        image = read(path)
        if len(image.shape) == 3 and image.spacing and "mask" not in path.name:
            write_series(replace(image, header=None), folder / path.name)
            yield path.name, sorted((folder / path.name).iterdir())


def ordered(files: Sequence[Path]) -> list[Dataset]:
    """The data sets in the order of their places."""
    names = [one.name for one in read_series([Source(path) for path in files]).instances]
    return [pydicom.dcmread(name) for name in names]


def reread(slices: Sequence[Dataset], folder: Path) -> tuple[Image, Series]:
    """What a reader makes of the files."""
    for number, one in enumerate(slices):
        one.save_as(folder / f"{number:04d}.dcm")
    series = read_series([Source(path) for path in sorted(folder.iterdir())])
    planes = [one.image for one in series.instances]
    return join_planes(planes, folder.name), series


def weight(slices: Sequence[Dataset]) -> Severity:
    """The heaviest finding in headers and slices."""
    with tempfile.TemporaryDirectory() as folder:
        image, series = reread(slices, Path(folder))
        return examine(replace(image, made=""), {}, series).weight


def same(before: Sequence[Dataset], after: Sequence[Dataset]) -> bool:
    """Whether a forger found nothing to change; its mark does not count."""
    for one, other in zip(before, after, strict=False):
        bare = copy.deepcopy(other)
        if "SyntheticData" in bare:
            del bare.SyntheticData
        for element in [element for element in bare if element.tag.group == MADE_GROUP]:
            del bare[element.tag]
        if bare != one or bare.file_meta != one.file_meta or bare.preamble != one.preamble:
            return False
    return len(before) == len(after)


def differs_from_record(before: Sequence[Dataset], after: Sequence[Dataset]) -> bool:
    """Whether a record of what a series was tells that it is no longer so."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        ledger = Ledger(Path(one) / "recorded.jsonl")
        (Path(one) / "slices").mkdir()
        ledger.record(reread(before, Path(one) / "slices")[1])
        found = ledger.verify(reread(after, Path(other))[1])
    return any(finding.severity >= Severity.UNUSUAL for finding in found)


def comes_again(before: Sequence[Dataset], after: Sequence[Dataset]) -> bool:
    """Whether an archive that knows a series tells its other version."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        images = {"before": reread(before, Path(one))[0], "after": reread(after, Path(other))[0]}
    archive = Archive(load=images.__getitem__)
    archive.remember(describe(images["before"], "before"))
    return bool(archive.examine(describe(images["after"], "after")))


def anonymised(slices: Sequence[Dataset]) -> list[Dataset]:
    """As an anonymiser leaves them: new UIDs and no patient, in all files alike."""
    done, salt = copy.deepcopy(list(slices)), generate_uid()
    for one in done:
        for element in one:
            if element.VR == "UI" and element.keyword.endswith("InstanceUID"):
                element.value = generate_uid(entropy_srcs=[salt, str(element.value)])
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.PatientName = one.PatientID = "ANON"
        one.PatientIdentityRemoved, one.DeidentificationMethod = "YES", "test"
        one.remove_private_tags()
    return done


def compressed(slices: Sequence[Dataset]) -> list[Dataset]:
    """RLE, which loses nothing."""
    done = copy.deepcopy(list(slices))
    for one in done:
        if one.file_meta.TransferSyntaxUID.is_compressed:
            one.decompress()
        one.compress(RLELossless, generate_instance_uid=False)
    return done


INNOCENT: dict[str, Callable[[Sequence[Dataset]], list[Dataset]]] = {
    "nothing": list,
    "anonymised": anonymised,
    "compressed": compressed,
}


def series(name: str, files: Sequence[Path], seeds: int) -> None:
    """A row per operator, and per innocent change."""
    slices = ordered(files)
    for kind, fields in OPERATORS:
        found = tried = 0
        for seed in range(seeds):
            forged = SERIES_KINDS[kind](**fields).forge(slices, seed=seed).slices
            if same(slices, forged):  # there was no creator of private elements to take out, say
                continue
            tried += 1
            found += comes_again(slices, forged) if kind == "recycle" else weight(forged) >= Severity.UNUSUAL
        store(name, kind, ", ".join(f"{key}={value}" for key, value in fields.items()), tried, found)
    turned = SERIES_KINDS["reorder"](how="reverse").forge(slices).slices
    store(name, "reorder", RECORDED, 1, int(differs_from_record(slices, turned)))
    for change, make in INNOCENT.items():
        store(name, "innocent", change, 1, int(weight(make(slices)) >= Severity.UNUSUAL))


def chest(seed: int, symmetric: bool = False) -> Image:
    """A phantom of a chest; its anatomy mirrored if asked, its noise never."""
    rng, (shape, spacing) = np.random.default_rng(seed), CHEST
    half = np.reshape(shape, (3, 1, 1, 1)) / 2
    _, y, x = (np.indices(shape) + 0.5 - half) / half
    anatomy = ndimage.gaussian_filter(rng.normal(0, 400, shape), 3)
    if symmetric:
        anatomy = (anatomy + anatomy[:, :, ::-1]) / 2
    hu = np.where(y**2 + x**2 < 0.5, -850.0, np.where(y**2 + x**2 < 0.9, 40.0, -1000.0))
    hu = hu + anatomy * (y**2 + x**2 < 0.9) + 20.0 * rng.standard_normal(shape)
    stored = np.clip(np.rint(hu + 1024), 0, 4095).astype(np.uint16)
    return Image(stored, bits=12, spacing=spacing, modality="CT", scale=Scale(1.0, -1024.0, unit="HU"))


def attack(seeds: int) -> None:
    """A row for what the public attack on chest CT does, and for genuine phantoms."""
    for kind in ("inject", "erase"):
        found = 0
        for seed in range(seeds):
            forgery = KINDS[kind](diameter=16.0, how="ct_gan").forge(chest(seed), seed=seed, within=away())
            found += bool(CopiedNoise().examine(forgery.image).map.any())
        store("chest phantom", kind, "how=ct_gan", seeds, found)
    for symmetric in (False, True):
        alarms = sum(bool(CopiedNoise().examine(chest(s, symmetric)).map.any()) for s in range(seeds))
        store("chest phantom", "innocent", "symmetric" if symmetric else "nothing", seeds, alarms)


def away() -> np.ndarray:
    """Where the attack does not change the noise that it copies."""
    shape = CHEST[0]
    far = np.ones(shape, bool)
    far[:, int(0.43 * shape[1]) - 30 : int(0.43 * shape[1]) + 30, : int(0.27 * shape[2]) + 30] = False
    return far


def store(subject: str, operator: str, fields: str, tried: int, found: int) -> None:
    """Write one row in place of its predecessor."""
    if not tried:
        return
    keys = {"subject": subject, "operator": operator, "fields": fields}
    replace_rows(ROWS, keys, [keys | {"tried": tried, "found": found} | environment()])
    if (found < tried) != (operator == "innocent"):
        print(subject, operator, fields, f"{found} of {tried}", flush=True)


def main() -> None:
    """Measure everything and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    attack(4 * asked.seeds)
    with tempfile.TemporaryDirectory() as folder:
        for name, files in subjects(Path(folder)):
            series(name, files, asked.seeds)


if __name__ == "__main__":
    main()
