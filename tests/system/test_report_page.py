"""The report as a reader meets it: opened in a browser from the disk."""

import json

import pytest

from intact.report import write_report
from made_run import MadeRun

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    made = MadeRun(tmp_path_factory.mktemp("run"), images=24)
    return write_report(made.out, read=made.read)


@pytest.fixture(scope="module")
def two_detectors(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    made = MadeRun(out, images=6, labelled=False, detectors=("padim", "patchcore"))
    return write_report(made.out, read=made.read)


def column(page, title):
    place = page.locator("#list th").all_inner_texts().index(title) + 1
    return page.locator(f"#list tbody td:nth-child({place})").all_inner_texts()


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(visit, report):
    page = visit(report)
    heading = page.get_by_role("button", name="Score", exact=True)
    heading.click()
    rising = [float(words) for words in column(page, "Score") if words != "–"]
    assert rising == sorted(rising)
    heading.click()
    falling = [float(words) for words in column(page, "Score") if words != "–"]
    assert falling == sorted(falling, reverse=True)
    assert falling != rising
    assert page.locator("th[aria-sort=descending]").inner_text() == "Score"


def test_missing_values_stay_last_in_both_orders(visit, report):
    page = visit(report)
    heading = page.get_by_role("button", name="Score", exact=True)
    for _ in range(2):
        heading.click()
        page.locator("#next").click()
        assert column(page, "Score")[-3:] == ["–"] * 3


def test_the_filters_keep_what_they_say(visit, report):
    page = visit(report)
    page.locator("#which").select_option("flagged")
    assert set(column(page, "Flagged")) == {"flagged"}
    page.locator("select[name=label]").select_option("tumour")
    assert set(column(page, "Truth")) == {"tumour"}
    page.locator("#search").fill("series_7")
    assert column(page, "Image") == ["series_7"]
    assert page.locator("#count").inner_text() == "1 of 28 rows"
    page.locator("#search").fill("nothing like it")
    assert page.locator("#list tbody tr").count() == 0
    page.locator("select[name=label]").select_option("")
    page.locator("#search").fill("")
    page.locator("#which").select_option("error")
    assert page.locator("#list tbody tr").count() == 3


def test_a_row_leads_to_its_card(visit, report):
    page = visit(report)
    page.locator("#search").fill("series_7")
    page.locator("#list tbody tr td").nth(2).click()
    card = page.locator(".card", has_text="series_7")
    assert page.evaluate("location.hash") == "#" + card.get_attribute("id")
    playwright.expect(card.get_by_role("heading", name="series_7")).to_be_in_viewport()


def test_a_file_name_with_markup_is_shown_and_not_run(visit, report):
    page = visit(report)
    assert page.title().startswith("Screening report")
    assert page.get_by_role("heading", name="<script>").count() == 1


def opacity(page, card):
    heat = page.locator(f"#card-{card} .plane:not([hidden]) .heat:not([hidden])")
    return float(heat.evaluate("heat => getComputedStyle(heat).opacity"))


def drawn_card(page, place):
    with_heat = page.locator(".card:has(.heat)").nth(place)
    return with_heat.get_attribute("id").removeprefix("card-")


def test_the_sliders_change_the_overlays_opacity(visit, report):
    page = visit(report)
    one, other = drawn_card(page, 0), drawn_card(page, 1)
    page.locator("#opacity").fill("20")
    assert (opacity(page, one), opacity(page, other)) == (0.2, 0.2)
    page.locator(f"#card-{one} .opacity").fill("90")
    assert (opacity(page, one), opacity(page, other)) == (0.9, 0.2)
    page.locator("#opacity").fill("0")
    assert (opacity(page, one), opacity(page, other)) == (0, 0)


def test_outlines_can_be_switched_off(visit, report):
    page = visit(report)
    boxes = page.locator(".plane:not([hidden]) .box:not([hidden])")
    assert boxes.first.is_visible()
    page.locator("#outlines").uncheck()
    assert not boxes.first.is_visible()


def test_the_plane_slider_and_a_regions_plane_move_both_pictures(visit, report):
    page = visit(report)
    card = page.locator(".card", has_text="series_7")
    start = card.locator(".planes output").text_content()
    plain = card.locator(".plain-picture").get_attribute("src")
    card.locator(".slice").fill("2")
    assert card.locator(".planes output").inner_text() == "Plane 3 of 20, 6.0 mm from the first"
    assert card.locator(".plane:not([hidden])").get_attribute("data-index") == "2"
    shown = card.locator(".plane:not([hidden]) .picture").get_attribute("src")
    assert card.locator(".plain-picture").get_attribute("src") == shown != plain
    card.locator(".goto").first.click()
    assert card.locator(".planes output").inner_text() == start


def test_the_heat_map_of_another_detector_can_be_chosen(visit, two_detectors):
    page = visit(two_detectors)
    card = page.locator(".card:has(.heats):has(.heat)").first
    card.locator(".heats").select_option("1")
    shown = card.locator(".plane:not([hidden]) [data-heat]:not([hidden])")
    assert {part.get_attribute("data-heat") for part in shown.all()} == {"1"}


def test_every_picture_is_decoded(visit, report):
    page = visit(report)
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    assert page.locator("img").count() > 20


def test_ten_thousand_rows_open_and_sort(visit, tmp_path):
    made = MadeRun(tmp_path, images=3)
    plain = next(row for row in made.rows if row["score"] is not None) | {"flagged": False}
    made.rows += [
        plain | {"path": f"set/{place:05d}.png", "score": (place * 7919 % 10_007) / 100, "regions": []}
        for place in range(10_000)
    ]
    made.write()
    page = visit(write_report(made.out, read=made.read))
    assert "of 10,007 rows" in page.locator("#count").inner_text()
    heading = page.get_by_role("button", name="Score", exact=True)
    heading.click()
    heading.click()
    best = sorted((row["score"] for row in made.rows if row["score"] is not None), reverse=True)
    assert column(page, "Score") == [f"{score:.4g}" for score in best[:25]]
    assert page.locator("#list tbody tr").count() == 25


def test_the_page_holds_no_sideways_scroll_on_a_narrow_screen(visit, report):
    page = visit(report)
    page.set_viewport_size({"width": 800, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


def test_a_page_without_findings_opens(visit, tmp_path):
    made = MadeRun(tmp_path, images=0, labelled=False)
    (tmp_path / "findings.jsonl").unlink()
    run = made.run() | {"models": []}
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    page = visit(write_report(tmp_path, read=made.read))
    assert page.locator("#count").inner_text() == "0 of 0 rows"
