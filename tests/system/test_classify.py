"""`intact fit --classes` as a user meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_archive import write_png

from intact.classify import load

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
SET = [f"--set={field}" for field in ("size=32", "steps=40", "batch=8", "rate=0.003")]
SMALL = ("--method", "small_vgg", *SET)


@pytest.fixture
def folders(tmp_path):
    """Dark and bright pictures."""
    rng = np.random.default_rng(0)
    for kind, level in (("dark", 60), ("bright", 180)):
        for number in range(10):
            pixels = np.clip(level + rng.normal(0, 20, (40, 40)) + np.linspace(0, 60, 40), 0, 255)
            write_png(tmp_path / kind / f"{number}.png", pixels.astype(np.uint8))
    return tmp_path


def test_classes_are_learned_from_folders(run, folders):
    (folders / "dark" / "broken.png").write_bytes(b"not a picture")
    done = run("fit", folders / "dark", folders / "bright", "--classes", "-o", folders / "model", *SMALL)
    assert done.code == UNREADABLE and "broken.png" in done.err
    assert "small_vgg learned dark, bright from" in done.out and "all" in done.out
    classifier, card = load(folders / "model")
    assert card.classes == ("dark", "bright") and classifier.network == "small_vgg"


def test_the_card_for_machines(run, folders):
    done = run(
        "fit", folders / "dark", folders / "bright", "--classes", "-o", folders / "model", "--json", *SMALL
    )
    assert done.code == DONE
    card = json.loads(done.out)
    assert sum(card["images"]) + sum(card["held_out"]) == 20 and len(card["accuracy"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dark",), "two folders"),
        (("dark", "bright", "--masks", "a=b"), "give one of"),
        (("dark", "bright", "--region", "lungs"), "detectors only"),
        (("dark", "bright", "--method", "alexnet"), "unknown network"),
    ],
)
def test_wrong_use_is_told(run, folders, words, told):
    given = [folders / word if word in ("dark", "bright") else word for word in words]
    done = run("fit", *given, "--classes", "-o", folders / "model")
    assert done.code == WRONG_USE and told in done.err
