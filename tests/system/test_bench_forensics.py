"""`intact bench forensics` as a user meets it, and its page in a browser."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_archive import plane, write_png

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six genuine pictures and a file that is none."""
    folder = tmp_path_factory.mktemp("genuine")
    for seed in range(6):
        write_png(folder / f"{seed}.png", np.tile(plane(seed), (2, 2)))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_genuine_images_are_forged_examined_and_told(run, pictures, tmp_path):
    command = ("bench", "forensics", pictures, "-o", tmp_path / "out", "--kind", "copy_move", "--workers", 0)
    answer = run(*command, "--method", "block_dct", "--after", "jpeg=70", "--set", "block_dct.block=12")
    assert answer.code == UNREADABLE and "notes.txt" in answer.err
    assert "Forged by copy_move: 6 forged, 6 genuine" in answer.out
    assert "24 cases, 0 examinations failed" in answer.out
    assert all((tmp_path / "out" / name).exists() for name in ("index.html", "results.md", "results.csv"))
    again = run(
        *command, "--method", "block_dct", "--after", "jpeg=70", "--set", "block_dct.block=12", "--json"
    )
    told = json.loads(again.out)
    assert told["methods"] == {"block_dct": {"block": 12}}
    assert {row["value"] for row in told["results"] if row["slice"] == "processing"} == {"none", "jpeg 70"}


def test_wrong_use_is_named(run, pictures, tmp_path):
    answer = run("bench", "forensics", pictures, "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "or name a --kind to forge the images" in answer.err
    answer = run(
        "bench", "forensics", pictures, "-o", tmp_path / "out", "--kind", "copy_move", "--method", "x"
    )
    assert answer.code == WRONG_USE and "unknown method 'x'" in answer.err


@pytest.mark.browser
@pytest.mark.parametrize("width", [600, 1400])
def test_the_page_holds_no_sideways_scroll(run, visit, pictures, tmp_path, width):
    run("bench", "forensics", pictures, "-o", tmp_path, "--kind", "copy_move", "--method", "jpeg_grid",
        "--workers", 0)  # fmt: skip
    page = visit(tmp_path / "index.html")
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
