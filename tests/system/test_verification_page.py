"""The verification report as a reader meets it: opened in a browser from the disk."""

import pytest

from intact.report import write_verification
from made_run import MARKUP
from made_verification import MadeVerification, verdict

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_verification(MadeVerification(tmp_path_factory.mktemp("run")).out)


def column(page, title):
    place = page.locator("#list th").all_inner_texts().index(title) + 1
    return page.locator(f"#list tbody td:nth-child({place})").all_inner_texts()


def test_the_table_can_be_filtered_by_result_and_by_state(visit, report):
    page = visit(report)
    page.locator("select[name=result]").select_option("not verified")
    assert set(column(page, "Result")) == {"not verified"}
    assert page.locator("#count").inner_text() == "3 of 41 rows"
    page.locator("select[name=result]").select_option("")
    page.locator("select[name=state]").select_option("Header changed")
    assert sorted(column(page, "File")) == ["header again.dcm", "header.dcm"]
    page.locator("#search").fill("again")
    assert column(page, "File") == ["header again.dcm"]


def test_the_table_can_be_sorted(visit, report):
    page = visit(report)
    for title in ("Altered blocks", "Result", "State", "File"):
        page.get_by_role("button", name=title, exact=True).click()
        assert page.locator("th[aria-sort]").inner_text() == title
    names = column(page, "File")
    assert names == sorted(names, key=str.lower)


def test_a_row_leads_to_its_card(visit, report):
    page = visit(report)
    page.locator("#search").fill("edited")
    page.locator("#list tbody tr td").nth(1).click()
    card = page.locator(".card", has_text="edited.png")
    assert page.evaluate("location.hash") == "#" + card.get_attribute("id")
    playwright.expect(card.get_by_role("heading")).to_be_in_viewport()


def test_a_file_name_with_markup_is_shown_and_not_run(visit, report):
    page = visit(report)
    assert page.title().startswith("Verification report")
    assert page.get_by_role("heading", name=MARKUP.removeprefix("set/"), exact=True).count() == 1


def opacity(page, card):
    overlay = page.locator(f"#card-{card} .heat")
    return float(overlay.evaluate("overlay => getComputedStyle(overlay).opacity"))


def test_the_sliders_change_the_overlays_opacity(visit, report):
    page = visit(report)
    assert (opacity(page, 1), opacity(page, 2)) == (1, 1)
    page.locator("#opacity").fill("20")
    assert (opacity(page, 1), opacity(page, 2)) == (0.2, 0.2)
    page.locator("#card-1 .opacity").fill("0")
    assert (opacity(page, 1), opacity(page, 2)) == (0, 0.2)


def test_every_picture_is_decoded_and_the_overlay_lies_on_the_image(visit, report):
    page = visit(report)
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    assert page.locator("img").count() == 6
    page.locator("#card-1").scroll_into_view_if_needed()
    image, overlay = (page.locator("#card-1 .stage").first.locator("img").nth(k) for k in (0, 1))
    assert image.bounding_box() == overlay.bounding_box()


@pytest.mark.parametrize("width", [560, 800, 1120, 1400])
def test_the_page_holds_no_sideways_scroll(visit, report, width):
    page = visit(report)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def contrast(page, where):
    """Of text against what lies behind it, as WCAG 2 defines it."""
    return page.locator(where).first.evaluate(
        """element => {
            const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
            let behind = element;
            while (behind && numbers(getComputedStyle(behind).backgroundColor)[3] === 0) {
                behind = behind.parentElement;
            }
            const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
            const [dark, bright] = both.map(light).sort((a, b) => a - b);
            return (bright + 0.05) / (dark + 0.05);
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_in_the_dark(visit, report, scheme):
    page = visit(report, color_scheme=scheme)
    for where in (".result p", ".list .doubt", ".caption .alarm", ".reason", ".advice", ".keys small"):
        assert contrast(page, where) >= 4.5, where


def test_ten_thousand_rows_open(visit, tmp_path):
    made = MadeVerification(tmp_path)
    made.rows += [verdict(f"set/more/{place:05d}.png", "sound") for place in range(10_000)]
    made.write()
    page = visit(write_verification(made.out))
    assert page.locator("#count").inner_text() == "10,041 of 10,041 rows"
    assert page.locator("#list tbody tr").count() == 25


def test_an_empty_run_opens(visit, tmp_path):
    page = visit(write_verification(MadeVerification(tmp_path, sound=0).out))
    assert page.locator("#count").inner_text() == "0 of 0 rows"
