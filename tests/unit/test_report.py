import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
import tifffile
from nibabel.nifti1 import Nifti1Image
from PIL import Image as Pillow

from intact.errors import OutputError, UsageError
from intact.image import Image
from intact.report import drawing, figures, html, write_report
from intact.report.cards import Card, flagged_images, image_key
from intact.report.drawing import draw_cards
from intact.report.pictures import HeatScale, heat_colours, heat_png, image_png, scale_bar
from intact.report.problems import group_errors
from intact.report.words import area, duration, extent, grid, interval, p_text, when
from made_run import ALPHA, MARKUP, SCALE, UNREADABLE, VOLUME, MadeRun

HEAT = HeatScale(*SCALE)


@pytest.fixture
def made(tmp_path):
    return MadeRun(tmp_path, images=12)


def page_of(made, **options):
    return write_report(made.out, read=made.read, **options).read_text("utf-8")


def decoded(uri):
    return Pillow.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def rows_of(page):
    data = re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)
    return json.loads(data[1])


def one_row(**changes):
    row = {
        "path": "a.png",
        "series": "",
        "instance": "",
        "detector": "padim",
        "score": 3.0,
        "p_value": 0.01,
        "flagged": True,
        "silenced": False,
        "regions": [],
        "map": None,
        "twin": None,
        "warnings": [],
        "error": None,
    }
    return row | changes


def card_of(image, out, **changes):
    (card,) = draw_cards([[one_row(**changes)]], out, read=lambda row: image, scales={"padim": HEAT})
    return card


# The page


def test_the_page_holds_every_section_and_its_own_script_and_style(made):
    page = page_of(made)
    for section in ("truth", "scores", "images", "flagged", "errors", "reading", "models"):
        assert f'<section id="{section}">' in page
    assert page.count("Research use only. Not a medical device.") == 1
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\(|@import", page)


def test_only_the_pages_own_script_may_run(made):
    page = page_of(made)
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_markup_in_a_file_name_stays_text(made):
    page = page_of(made)
    assert "<script>document" not in page
    assert any(row[0] == MARKUP for row in rows_of(page)["rows"])


def test_markup_in_labels_warnings_errors_and_fields_stays_text(made):
    evil = "<img src=x onerror=alert(1)>"
    for row in made.rows:
        row |= {
            "warnings": [evil],
            "label": evil,
            "modality": evil,
            "series": evil,
            "detector": evil,
        }
    made.rows[-1]["error"] = evil
    made.write()
    assert "<img src=x" not in page_of(made)


def test_patients_are_named_only_when_asked(made):
    assert "Doe^Jane" not in page_of(made)
    page = page_of(made, identify=True)
    assert "Patient Doe^Jane" in page
    assert "patient" in [name for name, _, _ in rows_of(page)["columns"]]


def test_every_row_is_in_the_table_and_flagged_rows_name_their_card(made):
    data = rows_of(page_of(made))
    place = {name: index for index, (name, _, _) in enumerate(data["columns"])}
    assert len(data["rows"]) == len(made.rows)
    cards = [row[-1] for row in data["rows"] if row[place["flagged"]]]
    assert cards == list(range(1, len(cards) + 1))
    assert all(row[-1] is None for row in data["rows"] if not row[place["flagged"]])


def test_chance_is_stated_for_every_test(made):
    tests = sum(row["p_value"] is not None for row in made.rows)
    assert f"<b>{ALPHA * tests:.1f}</b><span>expected by chance</span>" in page_of(made)


def test_an_image_that_is_gone_costs_its_picture_only(made):
    page = page_of(made)
    assert f"The image could not be shown: {UNREADABLE} is gone" in page
    assert page.count('<p class="missing">') == 1


def test_cards_beyond_the_limit_are_counted(made, monkeypatch):
    monkeypatch.setattr(html, "CARDS", 2)
    flagged = len(flagged_images(made.rows))
    page = page_of(made)
    assert page.count('<article class="card"') == 2
    assert f"The 2 images with the lowest p-values of {flagged} flagged" in page


def test_rows_beyond_the_limit_are_counted(made, monkeypatch):
    monkeypatch.setattr(html, "TABLE_ROWS", 3)
    page = page_of(made)
    assert len(rows_of(page)["rows"]) == 3
    assert f"{len(made.rows) - 3} more are in findings.jsonl" in page


def test_a_killed_run_still_gives_a_page(made):
    findings = made.out / "findings.jsonl"
    findings.write_text(findings.read_text("utf-8")[:-40], "utf-8")
    run = made.run() | {"complete": False}
    (made.out / "run.json").write_text(json.dumps(run), "utf-8")
    page = page_of(made)
    assert "This run was not finished." in page
    assert "1 line of findings.jsonl could not be read" in page


def test_a_run_without_models_and_findings_gives_a_page(made):
    made.detectors, made.rows, made.labelled = (), [], False
    made.write()
    page = page_of(made)
    assert "No model was given" in page
    assert rows_of(page)["rows"] == []


def test_scores_that_are_not_numbers_become_gaps(made):
    made.rows[0] |= {"score": float("nan"), "p_value": float("inf")}
    made.write()
    assert "NaN" not in json.dumps(rows_of(page_of(made)))


def test_a_model_that_can_flag_nothing_is_named(made):
    run = made.run()
    run["models"][0]["smallest_p"] = 0.2
    (made.out / "run.json").write_text(json.dumps(run), "utf-8")
    assert "padim cannot flag anything at 5" in page_of(made)


def test_more_false_alarms_than_promised_are_said(made):
    run = made.run()
    run["labels"]["false_alarm_rate"][0] |= {"rate": 0.2, "lo": 0.1, "hi": 0.3}
    (made.out / "run.json").write_text(json.dumps(run), "utf-8")
    assert "higher than promised" in page_of(made)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        write_report(tmp_path, read=None)


def test_a_page_that_cannot_be_written_leaves_nothing_behind(made):
    (made.out / "report.html").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        page_of(made)
    assert not list(made.out.glob(".report*"))


# Cards


def test_rows_of_one_image_share_a_card_and_the_lowest_p_value_ranks_it():
    rows = [
        one_row(path="b", detector="x", p_value=0.04),
        one_row(path="a", detector="x", p_value=0.5, flagged=False),
        one_row(path="a", detector="y", p_value=0.01),
        one_row(path="c", detector="x", p_value=0.9, flagged=False),
    ]
    images = flagged_images(rows)
    assert [image_key(rows[0])[0] for rows in images] == ["a", "b"]
    assert [row["detector"] for row in images[0]] == ["y", "x"]
    assert [row["detector"] for row in Card(rows=images[0]).flagged] == ["y"]


def test_planes_are_centred_on_the_finding(tmp_path):
    image = Image(np.zeros((60, 8, 8), np.uint8), spacing=(2.5, 1.0, 1.0))
    region = {"plane": 40, "box": [2, 4, 6, 8]}
    card = card_of(image, tmp_path, regions=[region])
    assert len(card.planes) == drawing.PLANES
    assert card.planes[card.start].index == 40
    assert card.planes[card.start].position == "Plane 41 of 60, 100.0 mm from the first"
    (box,) = card.planes[card.start].boxes
    assert (box.left, box.top, box.width, box.height) == (50, 25, 50, 50)
    assert sum(len(plane.boxes) for plane in card.planes) == 1


def test_a_volumes_map_lands_on_its_own_voxels(tmp_path):
    scores = np.zeros((5, 6, 9), np.float32)
    scores[3, 1, 7] = 9.0
    Nifti1Image(scores.T, np.eye(4)).to_filename(tmp_path / "map.nii.gz")
    card = card_of(Image(np.zeros(scores.shape, np.uint8)), tmp_path, map="map.nii.gz")
    assert card.planes[card.start].index == 3  # without regions, the plane of the hottest voxel
    heats = [plane.heats[0] for plane in card.planes]
    assert [bool(heat) for heat in heats] == [False, False, False, True, False]
    alpha = np.asarray(decoded(heats[3]).convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(np.argwhere(alpha), [[1, 7]])


def test_a_map_of_another_size_is_refused_in_words(tmp_path):
    tifffile.imwrite(tmp_path / "map.tif", np.ones((4, 5), np.float32))
    card = card_of(Image(np.zeros((5, 4), np.uint8)), tmp_path, map="map.tif")
    assert card.planes[0].heats == ("",)
    assert "has the shape (4, 5), the image (5, 4)" in card.warnings[0]


def test_a_missing_map_is_named_and_the_image_still_shown(tmp_path):
    card = card_of(Image(np.zeros((5, 4), np.uint8)), tmp_path, map="maps/none.tif")
    assert card.planes
    assert "The heat map of padim could not be read" in card.warnings[0]


def test_a_detector_without_a_scale_draws_no_heat(tmp_path):
    image = Image(np.zeros((5, 4), np.uint8))
    row = one_row(map="map.tif")
    (card,) = draw_cards([[row]], tmp_path, read=lambda row: image, scales={})
    assert "states no scale" in card.warnings[0]


def test_pictures_keep_within_the_budget_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_CARD_BYTES", (100_000, 100_000))
    rng = np.random.default_rng(0)
    plane = card_of(Image(rng.integers(0, 255, (600, 600), np.uint8)), tmp_path).planes[0]
    assert decoded(plane.picture).size == (256, 256)
    volume = card_of(Image(rng.integers(0, 255, (30, 128, 128), np.uint8)), tmp_path)
    assert sum(len(plane.picture) for plane in volume.planes) <= 100_000
    assert volume.planes[volume.start].index == 15


def test_one_window_serves_all_planes_of_a_volume(tmp_path):
    pixels = np.zeros((4, 8, 8), np.uint16)
    pixels += np.array([0, 100, 200, 300], np.uint16)[:, None, None]
    card = card_of(Image(pixels), tmp_path)
    means = [np.asarray(decoded(plane.picture)).mean() for plane in card.planes]
    assert means[0] < means[1] < means[2] < means[3]


def test_the_picture_keeps_its_shape_in_mm(tmp_path):
    card = card_of(Image(np.zeros((100, 50), np.uint8), spacing=(0.5, 2.0)), tmp_path)
    assert (card.width, card.height) == (100.0, 50.0)
    assert card.bar == (20, 0.2)
    assert card_of(Image(np.zeros((100, 50), np.uint8)), tmp_path).bar is None


# Pictures


def test_a_score_has_one_colour_whatever_else_the_image_holds():
    calm = np.full((4, 4), 1.6, np.float32)
    hot = calm.copy()
    hot[0, 0] = 50.0
    colours = [np.asarray(decoded(heat_png(m, HEAT, side=512)).convert("RGBA")) for m in (calm, hot)]
    np.testing.assert_array_equal(colours[0][1:], colours[1][1:])


def test_nothing_is_drawn_where_normal_pixels_lie():
    cold = np.array([[0.0, SCALE[0], np.nan, -np.inf]], np.float32)
    assert heat_png(cold, HEAT, side=512) == ""
    picture = decoded(heat_png(np.append(cold, [[9.0]], axis=1), HEAT, side=512)).convert("RGBA")
    np.testing.assert_array_equal(np.asarray(picture)[0, :, 3] > 0, [False] * 4 + [True])


def test_colours_grow_lighter_and_never_more_transparent():
    red, green, blue, alpha = heat_colours().astype(float).T
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()
    assert (np.diff(alpha) >= 0).all()
    assert (alpha[0], alpha[-1]) == (0, 255)


def test_a_shrunken_map_keeps_its_hottest_pixel():
    scores = np.zeros((1000, 700), np.float32)
    scores[501, 333] = 99.0
    picture = decoded(heat_png(scores, HEAT, side=100)).convert("RGBA")
    assert picture.size == (70, 100)
    assert np.asarray(picture)[50, 33, 3] == 255


@pytest.mark.parametrize(("low", "high"), [(1.0, 2.0), (-5.0, -2.0), (0.0, 0.0)])
def test_the_scale_reaches_beyond_the_normals(low, high):
    scale = HeatScale(low, high)
    assert scale.top > scale.low
    assert 0 <= scale.normal < 1
    if low > 0:
        assert scale.top == 1.5 * high


def test_a_small_picture_is_embedded_pixel_by_pixel():
    shown = np.arange(60, dtype=np.uint8).reshape(6, 10)
    np.testing.assert_array_equal(np.asarray(decoded(image_png(shown, side=512))), shown)


@pytest.mark.parametrize(("width", "bar"), [(200.0, (50, 0.25)), (2.0, None), (4.0, (1, 0.25))])
def test_the_scale_bar_is_a_round_length(width, bar):
    assert scale_bar(width) == bar


# Figures


def test_the_roc_curve_passes_through_its_points():
    drawn = figures.roc([1.0, 2.0], {"tumour": [1.5, 3.0]})
    (points,) = re.findall(r'<polyline points="([^"]+)"', drawn)
    x, y = np.array([point.split(",") for point in points.split()], float).T
    false, true = (x - x[0]) / (x[-1] - x[0]), (y - y[0]) / (y[-1] - y[0])
    np.testing.assert_allclose(false, [0, 0, 0.5, 0.5, 1], atol=0.01)
    np.testing.assert_allclose(true, [0, 0.5, 0.5, 1, 1], atol=0.01)


def test_p_value_bars_have_the_height_of_their_counts():
    drawn = figures.p_histogram({"all": [0.01] * 6 + [0.99] * 3}, alpha=0.05, expected_of="all")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="var\(--quiet', drawn)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)


def test_the_flat_line_counts_the_normal_images_only():
    def line(expected_of):
        groups = {"good": [0.5] * 20, "other kinds": [0.01] * 60}
        drawn = figures.p_histogram(groups, alpha=0.05, expected_of=expected_of)
        return float(re.findall(r'y1="([\d.]+)" x2="[\d.]+" y2="\1" stroke="var\(--ink', drawn)[0])

    assert line("good") > line("all")  # SVG counts downwards


def test_every_kind_has_its_row_and_its_count():
    drawn = figures.score_histogram({"good": [1.0, 2.0], "<b>": [3.0]}, threshold=2.5)
    assert "good" in drawn
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    assert drawn.count("stroke-dasharray") == 1


@pytest.mark.parametrize("scores", [[2.0], [2.0, 2.0], [-1e-9, 1e9]])
def test_scores_of_any_range_can_be_drawn(scores):
    assert figures.score_histogram({"all images": scores}, threshold=None).startswith("<svg")


def test_nothing_to_draw_is_an_empty_figure():
    assert figures.roc([], {"tumour": [1.0]}) == ""
    assert figures.roc([1.0], {"tumour": []}) == ""
    assert figures.score_histogram({"good": []}, threshold=None) == ""
    assert figures.p_histogram({"good": []}, alpha=0.05, expected_of="all") == ""


# Words and problems


def test_errors_with_the_same_reason_share_one_line():
    rows = [
        one_row(path="a", error="a: ends after 5 of 9 bytes"),
        one_row(path="b", error="ends after 7 of 9 bytes"),
        one_row(path="b", detector="other", error="ends after 7 of 9 bytes"),
        one_row(path="c", error="is a DICOM file without pixels: Basic Text SR Storage (SR)"),
        one_row(path="d"),
    ]
    first, second = group_errors(rows)
    assert (first.paths, first.reason) == (["a", "b"], "ends after 5 of 9 bytes")
    assert first.advice.startswith("Copy the file again")
    assert second.advice.startswith("Nothing is wrong with this run")


def test_sizes_are_in_mm_or_say_pixels():
    box = {"box": [10, 20, 14, 27], "area_px": 21, "area_mm2": None, "extent_mm": None}
    assert (extent(box), area(box)) == ("4 × 7 px", "21 px")
    known = box | {"area_mm2": 84.0, "extent_mm": [8.0, 14.0]}
    assert (extent(known), area(known)) == ("8.0 × 14.0 mm", "84 mm²")
    assert grid({"shape": [20, 128, 96], "spacing": [3.0, 0.9, 0.9]}).endswith("3 × 0.9 × 0.9 mm")
    assert grid({"shape": [128, 96], "spacing": None}) == "128 × 96"


def test_numbers_and_times_read_as_people_write_them():
    assert [p_text(p) for p in (0.0496, 1.0, None)] == ["0.050", "1.0", "–"]
    assert interval([0.931, 0.88, 0.97]) == "0.931 (0.880–0.970)"
    assert interval([None, None, None]) == "–"
    assert interval([0.5, 0.25, 0.75], percent=True).replace("\xa0", " ") == "50.0 % (25.0–75.0)"
    assert when("2026-03-04T09:12:30+00:00") == "2026-03-04 09:12 UTC"
    assert [duration(s) for s in (4.2, 41.7, 200, 7300)] == [
        "4.2 s",
        "42 s",
        "3 min 20 s",
        "2 h 1 min",
    ]


def test_the_volume_of_the_made_run_is_drawn_whole(made):
    page = page_of(made)
    assert f'title="{VOLUME}"' in page
    assert page.count('data-position="Plane ') == 20
