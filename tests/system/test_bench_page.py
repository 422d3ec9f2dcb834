"""The page of a benchmark as a reader meets it: opened in a browser from the disk."""

import pytest

from intact.bench.results import tell
from made_bench import made_cell

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

METHODS = {"patchcore": 1.5, "padim": 1.4, "ae": 0.3, "a method with quite a long name": 2.5, "dae": 1.5}


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    kinds = {"good": 30} | {f"kind {at}": 10 for at in range(7)}
    found = [
        made_cell(name, lift, pack=pack, kinds=of_pack)
        for pack, of_pack in (("one", {"good": 30, "nodule": 20}), ("many", kinds))
        for name, lift in METHODS.items()
    ]
    tell(found, out, alpha=0.05, reference="patchcore", made=0, started=0.0)
    return out / "index.html"


@pytest.mark.parametrize("width", [600, 1400])
def test_the_page_holds_no_sideways_scroll(visit, page_path, width):
    page = visit(page_path)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_kind_can_be_unfolded(visit, page_path):
    page = visit(page_path)
    closed = page.locator("#pack-2 details:not([open])")
    assert closed.count() == 7
    closed.first.locator("summary").click()
    assert page.locator("#pack-2 details[open] table").count() == 2


def test_no_label_of_a_figure_lies_on_another_or_outside(visit, page_path):
    page = visit(page_path)
    boxes = page.locator(".costs svg").evaluate_all(
        """drawings => drawings.map(drawing => {
            const whole = drawing.getBoundingClientRect();
            const names = [...drawing.querySelectorAll("circle + text")].map(t => t.getBoundingClientRect());
            const box = ({left, right, top, bottom}) => [left - whole.left, right - whole.left, top, bottom];
            return {width: whole.width, names: names.map(box)};
        })"""
    )
    assert len(boxes) == 4
    for drawing in boxes:
        assert len(drawing["names"]) == len(METHODS)
        for at, (left, right, top, bottom) in enumerate(drawing["names"]):
            assert 0 <= left <= right <= drawing["width"]
            for other_left, other_right, other_top, other_bottom in drawing["names"][:at]:
                apart_x = right <= other_left + 2 or other_right <= left + 2
                apart_y = bottom <= other_top + 3 or other_bottom <= top + 3
                assert apart_x or apart_y
