"""Choose: which method suits these images, told without a single abnormal one.

Every candidate learns from the same part of the normal images. Of the others, that none has seen, some
are changed (`intact.imitations`), and the candidate is the better the surer its scores tell these from
the untouched ones. How well that agrees with real disease is measured in `benchmarks/choose.py`.

Fung, Qiu, Li & Rudolph, "Model selection of anomaly detectors in the absence of labeled validation data",
2023, https://arxiv.org/abs/2310.10461, choose so among models with images made by diffusion.

Methods of the synthesis family learn from lesions that they make themselves, so imitations look like
what they were taught: on lung CT `nsa` told imitations best of all methods and cancer among the worst.
They are tried and told, but chosen only where nothing else is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.anomaly import METHODS
from intact.errors import IntactError, UsageError
from intact.fit import Fit, fit
from intact.image import Image
from intact.imitations import UNTOUCHED, score_imitations
from intact.io import Unit, index, read_unit
from intact.metrics import auroc

# Quick to fit, and unlike each other; what `choose` tries if nothing else is asked for.
CANDIDATES = ("patchcore", "padim", "ae", "cevae", "ganomaly", "fastflow", "skip_ts")
MOST = 48  # normal images that are changed
FLATTERED = "synthesis"  # the family whose lessons imitations look like


@dataclass(frozen=True, eq=False)
class Trial:
    """How one method did.

    Args:
        method: Key in `intact.anomaly.METHODS`.
        auroc: By task: the chance that a changed image scores higher than an untouched one.
        seconds: To fit.
        fit: What was learned, ready to screen; None where the method failed.
        reason: Why it failed; empty otherwise.
    """

    method: str
    auroc: Mapping[str, float]
    seconds: float
    fit: Fit | None
    reason: str = ""

    @property
    def flattered(self) -> bool:
        """Whether it learned from something like imitations."""
        return getattr(METHODS.get(self.method), "family", "") == FLATTERED

    @property
    def mean(self) -> float:
        """AUROC over all tasks; nan where the method failed."""
        return float(np.mean(list(self.auroc.values()))) if self.auroc else float("nan")


def choose(
    normals: Sequence[str | Path],
    *,
    methods: Sequence[str] = CANDIDATES,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    calibrate: float = 0.25,
    seed: int = 0,
    **settings: Any,
) -> list[Trial]:
    """Try methods on imitated disease, the best first; those that imitations flatter after all others.

    Args:
        normals: Files, folders or zip archives of normal images only.
        methods: Keys in `intact.anomaly.METHODS`.
        fields: By method, hyper-parameters that differ from its defaults.
        calibrate: Share of the images to hold out, to be changed and to calibrate on.
        seed: Decides the split, the imitations and all chance in the methods.
        **settings: As for `intact.fit`.

    Raises:
        UsageError: No methods.
        IntactError: All of them failed; what the first one said.
    """
    if not methods:
        raise UsageError("there are no methods to choose from")
    trials = list(_try_all(normals, methods, fields or {}, calibrate, seed, settings))
    failed = [trial for trial in trials if trial.fit is None]
    if len(failed) == len(trials):
        raise IntactError(f"no method could be fitted; {failed[0].method}: {failed[0].reason}")
    return sorted(
        trials,
        key=lambda trial: (trial.fit is None, trial.flattered, -np.nan_to_num(trial.mean, nan=-1.0)),
    )


def _try_all(
    normals: Sequence[str | Path],
    methods: Sequence[str],
    fields: Mapping[str, Mapping[str, Any]],
    calibrate: float,
    seed: int,
    settings: Mapping[str, Any],
) -> Iterator[Trial]:
    held_out: Sequence[str] = ()
    images: list[Image] = []
    for method in methods:
        started = time.monotonic()
        try:
            fitted = fit(
                normals,
                method=method,
                fields=dict(fields.get(method, {})),
                calibrate=calibrate,
                held_out=held_out,
                in_turns=False,
                seed=seed,
                **settings,
            )
        except (IntactError, FloatingPointError) as error:
            yield Trial(method, {}, time.monotonic() - started, None, str(error))
            continue
        seconds = time.monotonic() - started
        if not held_out:
            held_out, images = fitted.held_out, read_some_of(normals, fitted.held_out)
        scores = score_imitations(fitted.model, images, seed)
        yield Trial(method, tell_apart(scores), seconds, fitted)


def read_some_of(normals: Sequence[str | Path], names: Sequence[str], most: int = MOST) -> list[Image]:
    """Images of these names, in this order; of many only some, evenly."""
    units = {unit.name: unit for unit in index([Path(p) for p in normals]) if isinstance(unit, Unit)}
    chosen = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))
    return [read_unit(units[names[n]]) for n in chosen]


def tell_apart(scores: Mapping[str, Float[ndarray, "n"]]) -> dict[str, float]:
    """By task: AUROC of the changed images beside the untouched ones."""
    untouched = scores[UNTOUCHED]
    found = {}
    for task, changed in scores.items():
        made = changed[np.isfinite(changed)]
        if task != UNTOUCHED and made.size:
            both = np.concatenate([untouched, made])
            found[task] = auroc(both, np.arange(len(both)) >= len(untouched))
    return found
