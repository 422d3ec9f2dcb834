"""What protection is worth: whether classifiers still misread images after what may happen to them.

An image counts as misread when a classifier takes it for another class than the untouched original.
The same is told of the original after the same treatment, since blur or JPEG mislead by themselves.
Treatments work on what is shown, in 255 grey levels; `saved` is the file as it is.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import denoise_nl_means

from intact import progress
from intact.classify import Classifier
from intact.errors import InputError, UsageError
from intact.image import Image
from intact.io.source import Source
from intact.metrics import likeness
from intact.metrics.statistics import binomial_interval
from intact.protect.change import pack_change
from intact.protect.cloak import Cloak, answer
from intact.protect.files import read_image, restore_file, seal_file
from intact.protect.keys import Key
from intact.protect.workers import Item, Masks

Grey = UInt8[ndarray, "h w"]
Region = Bool[ndarray, "h w"]
Treatment = Callable[[Grey, Region], Grey]


def jpeg(quality: int) -> Treatment:
    """Stored with loss."""

    def stored(shown: Grey, region: Region) -> Grey:
        file = io.BytesIO()
        Picture.fromarray(shown).save(file, "JPEG", quality=quality)
        return np.asarray(Picture.open(file))

    return stored


def resized(share: float) -> Treatment:
    """Made smaller, then as large as before."""

    def there_and_back(shown: Grey, region: Region) -> Grey:
        picture = Picture.fromarray(shown)
        small = picture.resize(
            [max(1, round(side * share)) for side in picture.size], Picture.Resampling.BICUBIC
        )
        return np.asarray(small.resize(picture.size, Picture.Resampling.BICUBIC))

    return there_and_back


def windowed(shown: Grey, region: Region) -> Grey:
    """Through a window narrower by a tenth at each end."""
    return np.clip((shown - 25.5) / 204 * 255, 0, 255).round().astype(np.uint8)


def blurred(shown: Grey, region: Region) -> Grey:
    """Gaussian, sigma 1 pixel."""
    return gaussian_filter(shown.astype(np.float32), 1).round().astype(np.uint8)


def median(shown: Grey, region: Region) -> Grey:
    """The median of 3 x 3."""
    return median_filter(shown, 3)


def purified(shown: Grey, region: Region) -> Grey:
    """Non-local means, as strong as the largest change of 8 grey levels needs."""
    clean = denoise_nl_means(shown / 255, patch_size=5, patch_distance=6, h=8 / 255, fast_mode=True)
    return (clean * 255).round().astype(np.uint8)


def coarse(shown: Grey, region: Region) -> Grey:
    """In 5 bits."""
    return (shown & 0xF8) | (shown >> 5)


def cropped(shown: Grey, region: Region) -> Grey:
    """Black outside the region, cut to its box: what a change outside can never survive."""
    if not region.any():
        return shown
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    return np.where(region, shown, 0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


TREATMENTS: dict[str, Treatment] = {
    "crop to region": cropped,
    "JPEG 95": jpeg(95),
    "JPEG 90": jpeg(90),
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "resize 0.75": resized(0.75),
    "resize 0.5": resized(0.5),
    "window": windowed,
    "5 bits": coarse,
    "blur": blurred,
    "median": median,
    "non-local means": purified,
}


@dataclass(frozen=True, eq=False)
class Trial:
    """One image, protected as a file and read back.

    Args:
        name: Of the file.
        before: The original.
        after: The protected image.
        restored: What the key gives back.
        region: What was kept, [h,w].
        exact: Whether the original file came back byte for byte.
        payload: Bits of the change.
        seconds: Of the change, of one seal and of restoring.
    """

    name: str
    before: Image
    after: Image
    restored: Image
    region: Region
    exact: bool
    payload: int
    seconds: tuple[float, float, float]


def try_files(
    items: Sequence[Item], cloak: Cloak, key: Key, masks: Masks | None
) -> Iterator[Trial | tuple[str, str]]:
    """Protect files one after the other; the name and the reason of those that cannot be."""
    for item in progress.track(items, "protecting", len(items)):
        try:
            yield _tried(item, cloak, key, masks)
        except (InputError, UsageError) as error:
            yield item.name, error.reason if isinstance(error, InputError) else str(error)


def rows_of(
    trials: Sequence[Trial], attacked: Mapping[str, Classifier], unseen: Mapping[str, Classifier]
) -> list[dict[str, Any]]:
    """One row for each classifier and treatment: how many images are misread, protected and as they were."""
    rows = []
    every = {"saved": None, **TREATMENTS}
    classifiers = {**attacked, **unseen}
    words = {name: [answer(one, trial.before) for trial in trials] for name, one in classifiers.items()}
    for treatment, treat in progress.track(every.items(), "treating", len(every)):
        for name, classifier in classifiers.items():
            own = words[name]
            pairs = [_treated(trial, treat, classifier) for trial in trials]
            after = [answer(classifier, one) != word for (_, one), word in zip(pairs, own, strict=True)]
            clean = [answer(classifier, one) != word for (one, _), word in zip(pairs, own, strict=True)]
            interval = binomial_interval(sum(after), len(after))
            rows.append(
                {
                    "treatment": treatment,
                    "classifier": name,
                    "unseen": name in unseen,
                    "images": len(trials),
                    "misread": float(np.mean(after)),
                    "low": interval.low,
                    "high": interval.high,
                    "misread_unprotected": float(np.mean(clean)),
                }
            )
    return rows


def quality_of(trials: Sequence[Trial], view: Callable[[Image], tuple[float, float]]) -> dict[str, float]:
    """What protection costs, means over the images; PSNR and SSIM of 255 grey levels as shown.

    Args:
        trials: What was tried.
        view: Gives the stored values that are shown black and white.
    """
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for trial in trials:
        window = view(trial.before)
        before, after = (shown(one, window) for one in (trial.before, trial.after))
        for name, value in likeness(before, after, trial.region).items():
            note(name, value)
        changed = trial.before.pixels != trial.after.pixels
        note("changed", float(changed.mean()))
        note("region_pixels_changed", float(changed[..., trial.region].sum()))
        note("exact", float(trial.exact))
        note("payload_bits", trial.payload)
        for name, seconds in zip(
            ("seconds_change", "seconds_seal", "seconds_restore"), trial.seconds, strict=True
        ):
            note(name, seconds)
    return {name: float(np.mean(values)) for name, values in found.items()}


def shown(image: Image, window: tuple[float, float]) -> Grey:
    """A grey plane in 255 levels of a window of stored values."""
    low, high = window
    return (np.clip((image.pixels - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def _tried(item: Item, cloak: Cloak, key: Key, masks: Masks | None) -> Trial:
    data = Source(item.path).read()
    before = read_image(data, item.path.name)
    if before.pixels.ndim != 2:
        raise UsageError("has several planes or colours; trials take single grey images")
    region = np.zeros(before.shape, bool) if masks is None else masks.of(data, item.name)
    keep = region if masks else None
    took: list[float] = []

    def seal() -> tuple[bytes, str]:
        started = time.perf_counter()
        sealed = seal_file(data, item.path.name, key, keep=keep, change=change)
        took.append(time.perf_counter() - started)
        return sealed

    started = time.perf_counter()
    change = cloak.change(before, ~region)
    changed = time.perf_counter() - started
    sealed, name, _ = cloak.sealed(before, change, seal)
    started = time.perf_counter()
    restored = restore_file(sealed, name, key)[0]
    seconds = (changed, took[-1], time.perf_counter() - started)
    return Trial(
        name=item.name,
        before=before,
        after=read_image(sealed, name),
        restored=read_image(restored, item.name),
        region=region,
        exact=restored == data,
        payload=8 * len(pack_change(change)),
        seconds=seconds,
    )


def _treated(trial: Trial, treat: Treatment | None, classifier: Classifier) -> tuple[Image, Image]:
    """Original and protected image after a treatment."""
    if treat is None:
        return trial.before, trial.after
    window = classifier.view(trial.before).window
    one, other = (treat(shown(image, window), trial.region) for image in (trial.before, trial.after))
    photometric = trial.before.photometric
    return Image(one, photometric=photometric), Image(other, photometric=photometric)
