"""A pack of cases made from genuine images, so that nothing but the forgery tells the classes apart.

Every image goes through the same reading, rounding, processing and writing, as it is and forged by
each operator: a detector that learns the writer learns nothing. An image enters only if every operator
found room in it, or the classes would differ in their images. All files, genuine ones too, say of
themselves that they are cases of a benchmark. Foreign parts come from other patients of the same fold,
so that no patient is on both sides of a later split.

Forged areas are drawn evenly from bins of area share, as examiners find large forgeries and forgers
make small ones.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from intact import progress
from intact._version import __version__
from intact.configure import configure
from intact.errors import InputError, UsageError
from intact.forge import KINDS, Forger, Forgery
from intact.forge.after import After
from intact.forge.base import FEW
from intact.forge.cases import GENUINE, LISTS, PLAIN, about, patients_of, write_cases
from intact.forge.folds import folds_of
from intact.image import Image
from intact.io import Rejected, Unit, index, read_unit, stems, write, write_series
from intact.io.atomic import put
from intact.rows import Row, make_folder
from intact.store import file_digest

BINS = (0.001, 0.005, 0.01, 0.05, 1.0)  # upper ends, of the image's area
DRAWN = ((0.0003, 0.001), (0.001, 0.005), (0.005, 0.01), (0.01, 0.05), (0.05, 0.1))  # shares, per bin
DONORS = 8  # images that are tried before a foreign part is given up
# In every file, lest what a forger's file says of itself tells the classes apart.
MARK = f"case of a benchmark, genuine or forged, by intact {__version__}"
LEFT_OUT = "left_out.json"
UNTOUCHED = "untouched"


@dataclass(frozen=True)
class Asked:
    """What is made.

    Args:
        kinds: Keys of `intact.forge.KINDS`.
        fields: Of the kinds that differ from their defaults, by kind.
        after: Processing, each on its own, beside the plain images.
        shares: From, to: of the image's area that is forged, taken in turn.
        in_turn: Of the plain image and the processed ones only one is made, the next for each image
            and kind.
        images: How many are taken at most, evenly over the files; 0 takes all.
        seed: Decides all that is left open.
    """

    kinds: Sequence[str]
    fields: Mapping[str, Mapping[str, Any]]
    after: Sequence[After]
    images: int
    seed: int
    in_turn: bool = False
    shares: Sequence[tuple[float, float]] = DRAWN


def make_pack(paths: Sequence[Path], out: Path, asked: Asked) -> tuple[Path, dict[str, str]]:
    """Forge images, unless the same was done before.

    Args:
        paths: Genuine images: files, folders or zips.
        out: Folder for packs.
        asked: What is made.

    Returns:
        The pack, and the files that are not in it, with the reason.

    Raises:
        UsageError: An unknown kind or field, or no image could be forged in every way.
        OutputError: A file cannot be written.
    """
    forgers = {kind: _forger(kind, asked.fields.get(kind, {})) for kind in asked.kinds}
    entries = index(paths, skip=lambda path: path.resolve() == out.resolve())
    left_out = {entry.name: entry.reason for entry in entries if isinstance(entry, Rejected)}
    units = _evenly([entry for entry in entries if isinstance(entry, Unit)], asked.images)
    if not units:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no images to forge")
    folder = out / _identity(units, asked)
    if (folder / LISTS[0]).exists():
        return folder, json.loads((folder / LEFT_OUT).read_text("utf-8"))
    make_folder(folder)
    rows, refused = _made(units, folder, forgers, asked)
    left_out |= refused
    if not rows:
        name, why = next(iter(left_out.items()))
        raise UsageError(f"no image could be forged in every way; {name}: {why}")
    put(folder / LEFT_OUT, json.dumps(left_out, indent=1).encode())
    write_cases(folder, rows)  # last: it makes the pack count
    return folder, left_out


def bin_of(share: float) -> str:
    """How tables call the bin of an area share."""
    low = 0.0
    for high in BINS:
        if share < high or high == BINS[-1]:
            return f"{100 * low:g} % and more" if high == BINS[-1] else f"{100 * low:g} to {100 * high:g} %"
        low = high
    raise AssertionError(share)


def _forger(kind: str, fields: Mapping[str, Any]) -> Forger:
    forger = configure(KINDS, kind, fields)
    if not forger.changes:
        raise UsageError(f"{kind} is no forgery: genuine images are among the cases anyway")
    return forger


def _evenly(units: list[Unit], count: int) -> list[Unit]:
    if not 0 < count < len(units):
        return units
    return [units[at] for at in np.unique(np.linspace(0, len(units) - 1, count).round().astype(int))]


def _identity(units: Sequence[Unit], asked: Asked) -> str:
    sources = [source for unit in units for source in unit.sources]
    paths = dict.fromkeys(source.path for source in sources)  # an archive once
    described = {
        "intact": __version__,
        "files": [file_digest(path) for path in progress.track(paths, "looking at images", len(paths))],
        "images": [unit.name for unit in units],
        "kinds": {kind: dict(asked.fields.get(kind, {})) for kind in asked.kinds},
        "after": [after.told for after in asked.after],
        "seed": asked.seed,
        "in turn": asked.in_turn,
        "shares": asked.shares,
    }
    return hashlib.sha256(json.dumps(described, default=str).encode()).hexdigest()[:12]


def _made(
    units: Sequence[Unit], folder: Path, forgers: Mapping[str, Forger], asked: Asked
) -> tuple[list[Row], dict[str, str]]:
    """Rows of the list, and what could not be forged in every way."""
    seen, left_out = {}, {}
    for unit in progress.track(units, "reading", len(units)):
        try:
            seen[unit.name] = about(read_unit(unit))
        except InputError as error:
            left_out[unit.name] = error.reason
    usable = [unit for unit in units if unit.name in seen]
    if not usable:
        return [], left_out
    groups = patients_of([seen[unit.name] for unit in usable])
    numbers = np.unique(groups, return_inverse=True)[1].tolist()  # no name leaves the images
    folds = folds_of(groups, asked.seed, members=2).tolist()
    called = stems(usable)
    rows: list[Row] = []
    for at, unit in enumerate(progress.track(usable, "forging", len(usable))):
        donors = [
            other
            for other, number, fold in zip(usable, numbers, folds, strict=True)
            if number != numbers[at] and fold == folds[at]
        ]
        try:
            image = read_unit(unit)
            whole = {kind: _forged(image, forgers[kind], asked, at, donors) for kind in forgers}
            rows += _written(image, unit, whole, folder, called[unit.name], asked, at, numbers[at])
        except (InputError, UsageError) as error:
            left_out[unit.name] = str(error)
    return rows, left_out


def _forged(image: Image, forger: Forger, asked: Asked, at: int, donors: Sequence[Unit]) -> Forgery:
    """A forgery of a size from the bin whose turn it is, or the next smaller one that there is room for."""
    order = list(asked.kinds).index(kind_name(forger))
    own = np.random.SeedSequence([asked.seed, at, order])
    rng = np.random.default_rng(own)
    seed = int(own.generate_state(1)[0])
    guests = [donors[n] for n in rng.permutation(len(donors))[:DONORS]] if forger.needs_donor else []
    if forger.needs_donor and not guests:
        raise UsageError("no other patient's image is there to take a part from; give more images")
    why = UsageError("")
    for number in range((at + order) % len(asked.shares), -1, -1):
        sized = _sized(forger, image, asked.shares[number], rng)
        for guest in guests or [None]:
            try:
                donor = None if guest is None else read_unit(guest)
                return sized.forge(image, seed=seed, donor=donor)
            except UsageError as error:
                why = error
    raise why


def kind_name(forger: Forger) -> str:
    """Key of a forger in `intact.forge.KINDS`."""
    return next(name for name, kind in KINDS.items() if type(forger) is kind)


def _sized(forger: Forger, image: Image, shares: tuple[float, float], rng: np.random.Generator) -> Forger:
    """The forger with a diameter that gives an area share of the range, unless its own is set."""
    if getattr(forger, "diameter", None) != 0.0:
        return forger
    share = float(np.exp(rng.uniform(*np.log(shares))))
    volume = image.planes >= FEW and image.spacing is not None and len(image.spacing) == 3
    axes = image.shape if volume else image.shape[-2:]  # a film or thin stack is forged in one plane
    ball = 3 / (4 * math.pi) if len(axes) == 3 else 1 / math.pi
    pixels = 2 * (share * math.prod(axes) * ball) ** (1 / len(axes))
    step = math.prod(image.spacing[-len(axes) :]) ** (1 / len(axes)) if image.spacing else 1.0
    return configure(KINDS, kind_name(forger), vars(forger) | {"diameter": pixels * step})


def _written(
    image: Image,
    unit: Unit,
    whole: Mapping[str, Forgery],
    folder: Path,
    stem: str,
    asked: Asked,
    at: int,
    patient: int,
) -> list[Row]:
    """Write an image and what was made of it, each plain and processed, and list them."""
    clean = np.zeros(image.shape, np.uint8)
    given = {UNTOUCHED: (KINDS[UNTOUCHED]().forge(image).image, clean)}
    given |= {kind: (forgery.image, forgery.labels) for kind, forgery in whole.items()}
    seed = int(np.random.SeedSequence([asked.seed, at]).generate_state(1)[0])
    finished = []
    for order, (kind, (picture, labels)) in enumerate(given.items()):
        ways: list[After | None] = [None, *asked.after]
        for way in [ways[(at + order) % len(ways)]] if asked.in_turn else ways:
            if way is None:
                finished.append((kind, PLAIN, picture, labels))
            else:
                finished.append((kind, way.told, *way.apply(picture, labels, seed)))
    rows = []
    for kind, processing, picture, labels in finished:
        place = Path(processing.replace(" ", "_")) / kind
        file = _write_image(replace(picture, made=MARK), unit, make_folder(folder / "images" / place) / stem)
        mask = ""
        if kind != UNTOUCHED:
            written = _write_labels(labels, image, make_folder(folder / "labels" / place) / stem)
            mask = written.relative_to(folder).as_posix()
        rows.append(
            {
                "image": file.relative_to(folder).as_posix(),
                "mask": mask,
                "label": "forged" if mask else GENUINE,
                "operator": kind if mask else "",
                "group": str(patient),
                "processing": processing,
                "pair": str(at),
            }
        )
    return rows


def _write_image(image: Image, unit: Unit, place: Path) -> Path:
    """Write an image in the original's format as far as that keeps every value; `place` has no ending."""
    if unit.format == "dicom" and len(unit.sources) > 1:
        write_series(image, place)
        return place
    if unit.format == "dicom":
        return write(image, place.with_name(f"{place.name}.dcm"))
    if unit.format == "nifti":
        return write(image, place.with_name(f"{place.name}.nii.gz"))
    if unit.format != "tiff":
        try:
            return write(image, place.with_name(f"{place.name}.png"))
        except UsageError:  # floats, several pages
            pass
    return write(image, place.with_name(f"{place.name}.tif"))


def _write_labels(labels: UInt8[ndarray, "..."], image: Image, place: Path) -> Path:
    if labels.ndim == 2:
        return write(Image(labels), place.with_name(f"{place.name}.png"))
    volume = Image(labels, spacing=image.spacing, affine=image.affine)
    return write(volume, place.with_name(f"{place.name}.nii.gz"))
