"""Learning from folders, saving, loading, and segmenting folders with what was learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Raster

from intact import Model, read, write
from intact.errors import InputError, ModelError, UsageError
from intact.image import Image
from intact.segment.archive import segment_archive
from intact.segment.by import By
from intact.segment.learn import learn, load
from intact.segment.pairs import read_mask

FIELDS = {"steps": 30, "batch": 4, "size": 32, "width": 4}


def disc(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :36]
    inside = np.hypot(y - rng.uniform(12, 28), x - rng.uniform(12, 24)) < rng.uniform(6, 9)
    return np.clip(60 + 100 * inside + rng.normal(0, 6, inside.shape), 0, 255).astype(np.uint8), inside


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Raster.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Fifteen images of discs, masks called after them, one image without a mask, one broken."""
    root = tmp_path_factory.mktemp("discs")
    for seed in range(15):
        pixels, inside = disc(seed)
        save(root / "images" / f"d{seed:02}.png", pixels)
        save(root / "masks" / f"d{seed:02}_mask.png", inside.astype(np.uint8) * 255)
    save(root / "images" / "lonely.png", disc(99)[0])
    (root / "images" / "broken.png").write_bytes((root / "images" / "d00.png").read_bytes()[:60])
    return root


@pytest.fixture(scope="module")
def model(folders):
    learned = learn([folders / "images"], {"disc": folders / "masks"}, method="unet", fields=FIELDS)
    learned.save(folders / "model")
    return learned


def test_the_card_tells_what_was_learned_and_how_well(model):
    card = model.card
    assert card.images + card.held_out == 15 and 2 <= card.held_out <= 4 and card.labels == ("disc",)
    value, low, high = card.measured["disc"]["dice"]
    assert 0.7 < value <= 1 and low <= value <= high


def test_files_that_cannot_be_used_are_named_with_the_reason(model):
    reasons = {Path(one.name).name: one.reason for one in model.rejected}
    assert set(reasons) == {"lonely.png", "broken.png"} and "has no mask of disc" in reasons["lonely.png"]


def test_what_was_saved_comes_back(model, folders):
    network, card = load(folders / "model")
    image = read(folders / "images" / "d03.png")
    for name, tensor in model.network.state().items():
        assert network.state()[name].equal(tensor), name
    # Not bit for bit: how a convolution rounds may depend on where its memory lies.
    again, first = network.probabilities(image), model.network.probabilities(image)
    np.testing.assert_allclose(again, first, atol=1e-5)
    assert card.name == "model" and card.measured == model.card.measured
    manifest = json.loads((folders / "model" / "manifest.json").read_text())
    assert str(folders) not in json.dumps(manifest)


def test_a_model_that_segments_is_told_from_one_that_screens(folders, model):
    with pytest.raises(ModelError, match="intact segment --model"):
        Model.load(folders / "model")


@pytest.mark.parametrize(
    "masks, method, message",
    [
        ("masks", "otsu", "does not learn from masks"),
        ("masks", "nothing", "does not learn from masks"),
        ("images/d00.png", "unet", "is not a folder"),
        ("elsewhere", "unet", "no image has a mask"),
    ],
)
def test_wrong_use_is_told(folders, masks, method, message):
    (folders / "elsewhere").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=message):
        learn([folders / "images"], {"disc": folders / masks}, method=method, fields={})


def test_a_mask_of_another_size_is_refused(folders):
    image = Image(np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match=r"has shape \(40, 36\), and its image \(9, 9\)"):
        read_mask(folders / "masks" / "d00_mask.png", image)


def test_folders_are_segmented_measured_and_drawn(folders, model, tmp_path):
    by = By(model=str(folders / "model"))
    done = segment_archive(
        [folders / "images"], tmp_path / "out", by, truth={"disc": folders / "masks"}, workers=0
    )
    assert done.run["counts"] == {"images": 16, "errors": 1} and done.errors == 1
    assert done.run["metrics"]["disc"]["dice"][0] > 0.7
    rows = [json.loads(line) for line in (tmp_path / "out" / "findings.jsonl").read_text().splitlines()]
    for row in rows:
        name = Path(row["path"]).name
        assert (row["error"] is None) == (name != "broken.png")
        if row["error"] is None:
            mask = read(tmp_path / "out" / row["masks"]["disc"]["file"]).pixels
            assert mask.shape == (40, 36) and set(np.unique(mask)) <= {0, 255}
            assert row["masks"]["disc"]["voxels"] == np.count_nonzero(mask)
            assert (tmp_path / "out" / row["overlay"]).is_file()
            assert ("disc" in row["metrics"]) == (name != "lonely.png")


def test_a_stopped_run_goes_on(folders, model, tmp_path):
    by, out = By(method="otsu"), tmp_path / "out"
    segment_archive([folders / "images"], out, by, workers=0)
    whole = (out / "findings.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    (out / "findings.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    record = json.loads((out / "run.json").read_text()) | {"complete": False}
    (out / "run.json").write_text(json.dumps(record))
    seen = (out / "masks" / "d00.png").stat().st_mtime_ns
    again = segment_archive([folders / "images"], out, by, workers=0)
    assert (out / "masks" / "d00.png").stat().st_mtime_ns == seen and again.run["complete"]

    def timeless(text):
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]

    assert timeless((out / "findings.jsonl").read_text()) == timeless(whole)
    with pytest.raises(UsageError, match="other method, regions, model or seed"):
        segment_archive([folders / "images"], out, By(method="kmeans"), workers=0)


def test_volumes_and_nifti_get_masks_of_their_own_grid(tmp_path):
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:12, :32, :30]
    inside = np.sqrt((2 * (z - 6)) ** 2 + (y - 15) ** 2 + (x - 14) ** 2) < 8
    affine = np.array([[1.5, 0, 0, -20], [0, 1.5, 0, 9], [0, 0, 3, 4], [0, 0, 0, 1.0]])
    body = (y - 16) ** 2 + (x - 15) ** 2 < 14**2
    image = Image((body * 300 + inside * 300 + rng.normal(0, 20, inside.shape)).astype(np.int16),
                  spacing=(3.0, 1.5, 1.5), affine=affine)  # fmt: skip
    write(image, tmp_path / "v.nii.gz")
    segment_archive([tmp_path / "v.nii.gz"], tmp_path / "out", By(method="otsu", seed=(6, 15, 14)), workers=0)
    mask = read(tmp_path / "out" / "masks" / "v.nii.gz")
    np.testing.assert_allclose(mask.affine, affine)
    found = mask.pixels > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.9
    row = json.loads((tmp_path / "out" / "findings.jsonl").read_text())
    assert row["masks"]["object"]["volume_ml"] == pytest.approx(found.sum() * 6.75 / 1000)


def test_files_called_alike_do_not_write_over_each_other(tmp_path):
    for folder in ("a", "b"):
        save(tmp_path / folder / "same.png", disc(len(folder))[0])
    segment_archive([tmp_path / "a", tmp_path / "b"], tmp_path / "out", By(regions=("body",)), workers=0)
    assert sorted(p.name for p in (tmp_path / "out" / "masks").iterdir()) == ["same-2.png", "same.png"]


@pytest.mark.parametrize(
    "by, message",
    [
        ({}, "only one of them"),
        ({"method": "otsu", "regions": ("body",)}, "only one of them"),
        ({"regions": ("liver",)}, "unknown region 'liver'"),
        ({"regions": ("body",), "seed": (1, 2)}, "means nothing"),
        ({"method": "nothing"}, "unknown method"),
        ({"method": "unet"}, "learns from masks"),
        ({"method": "otsu", "fields": {"sigma": 1}}, "has no field"),
    ],
)
def test_what_contradicts_itself_is_refused(by, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        segment_archive([tmp_path], tmp_path / "out", By(**by), workers=0)
