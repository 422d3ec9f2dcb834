import base64
import hashlib
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image as Pillow

from intact.errors import OutputError, UsageError
from intact.image import Image
from intact.report import damage, draw_damage, verification, write_verification
from intact.report.verdicts import ALTERED, STATES, Card, gather, headline, sentence, sorted_rows
from made_run import MARKUP
from made_verification import HEAD, KEY, OTHER, REASONS, MadeVerification, verdict

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def made(tmp_path):
    return MadeVerification(tmp_path)


def page_of(made):
    return write_verification(made.out).read_text("utf-8")


def rows_of(page):
    data = re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)
    return json.loads(data[1])


def figure(page, name):
    found = re.search(rf"<b>([\d,]+)</b><span>(?:file |files )?{name}</span>", page)
    return int(found[1].replace(",", ""))


def edited(made):
    """The pictures of one file."""
    return next(row["pictures"] for row in made.rows if row["path"] == "set/edited.png")


def counts(**states):
    other = sum(states.get(state, 0) for state in OTHER)
    files, sound = sum(states.values()), states.get("sound", 0)
    return {
        "files": files,
        "sound": sound,
        "altered": files - sound - other,
        "other": other,
        "states": states,
    }


# The page


def test_the_page_holds_every_section_and_its_own_script_and_style(made):
    page = page_of(made)
    for section in ("files", "altered", "unverified", "ledger", "reading"):
        assert f'<section id="{section}">' in page
    assert "Research use only. Not a medical device." in page
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


def test_markup_in_reasons_notes_paths_and_ledger_stays_text(made):
    for row in made.rows:
        row["reason"] = EVIL
        row["path"] += EVIL
        if row["pictures"]:
            row["pictures"]["note"] = EVIL
    ledger = {"path": EVIL, "events": 1, "head": EVIL}
    made.write(ledger=ledger, key=EVIL, paths=[EVIL], intact=EVIL)
    assert "<img src=x" not in page_of(made)


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_its_words(tmp_path, state):
    made = MadeVerification(tmp_path, sound=0)
    made.rows = [verdict("a.png", state)]
    made.write()
    page = html.unescape(page_of(made))
    assert STATES[state].title in page
    if state != "sound":
        assert STATES[state].meaning in page
        assert STATES[state].advice in page
        assert sentence(REASONS[state]) in page
        assert STATES[state].counted in re.search(r'class="result.*?</section>', page, re.S)[0]


def test_the_counts_agree_with_the_verdicts(made):
    page = page_of(made)
    results = [STATES[row["state"]].result for row in made.rows]
    assert figure(page, "examined") == len(made.rows) == len(rows_of(page)["rows"])
    assert figure(page, "sound") == results.count("sound")
    assert figure(page, "altered") == results.count("altered")
    assert figure(page, "not verified") == results.count("not verified")
    assert "does not agree with the counts" not in page


def test_verdicts_that_do_not_fit_the_counts_are_named(made):
    made.write(counts=made.run()["counts"] | {"sound": 999})
    assert "verdicts.jsonl does not agree with the counts" in page_of(made)


def test_an_empty_run_gives_a_page(tmp_path):
    page = page_of(MadeVerification(tmp_path, sound=0))
    assert "No file was verified." in page
    assert rows_of(page)["rows"] == []
    assert '<article class="card' not in page


def test_a_run_without_changes_says_so_and_has_no_cards(tmp_path):
    made = MadeVerification(tmp_path)
    made.rows = [row for row in made.rows if row["state"] == "sound"]
    made.write()
    page = page_of(made)
    assert "All 30 files are exactly as sealed." in page
    assert 'class="result good"' in page
    assert '<article class="card' not in page


def test_key_and_head_stand_on_the_page(made):
    page = page_of(made)
    assert KEY in page
    assert HEAD in page


def test_a_run_without_a_ledger_says_so(made):
    made.ledger = None
    made.write()
    assert "No ledger was kept" in page_of(made)


def test_every_row_that_is_not_sound_names_its_card(made):
    page = page_of(made)
    data = rows_of(page)
    place = [name for name, _, _ in data["columns"]].index("result")
    for row in data["rows"]:
        if row[place] == "sound":
            assert row[-1] is None
        else:
            card = re.search(rf'<article class="[^"]+" id="card-{row[-1]}">.*?</article>', page, re.S)[0]
            assert html.escape(row[0].removeprefix("set/"), quote=False)[:8] in card


def test_only_the_recovered_picture_is_called_unfit_for_diagnosis(made):
    edited(made)["recovered"] = None
    made.write()
    page = page_of(made)
    assert page.count("Not for diagnosis.") == page.count("What stood there, roughly.") == 1
    assert page.count("As it is now") == 2


def test_a_picture_that_is_gone_costs_itself_only(made):
    (made.out / edited(made)["recovered"]).unlink()
    page = page_of(made)
    assert page.count('<p class="missing">') == 1
    assert "The pictures could not be shown" in page


def test_a_damaged_picture_costs_itself_only(made):
    (made.out / edited(made)["damage"]).write_bytes(b"GIF89a no PNG")
    assert page_of(made).count('<p class="missing">') == 1


def test_pictures_shrink_to_their_share_of_the_page(made, monkeypatch):
    monkeypatch.setattr(verification, "_CARD_BYTES", (1, 1))
    page = page_of(made)
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        assert Pillow.open(io.BytesIO(base64.b64decode(picture))).size == (256, 256)


def test_a_killed_run_still_gives_a_page(made):
    verdicts = made.out / "verdicts.jsonl"
    verdicts.write_text(verdicts.read_text("utf-8")[:-40], "utf-8")
    run = made.run() | {"complete": False}
    (made.out / "verify.json").write_text(json.dumps(run), "utf-8")
    page = page_of(made)
    assert "This run was not finished." in page
    assert "1 line of verdicts.jsonl could not be read" in page


def test_line_separators_in_a_file_name_part_no_lines(made):
    made.rows.append(verdict("set/a\u2028b\x85c.png", "sound"))
    made.write()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows)
    (made.out / "verdicts.jsonl").write_text(lines, "utf-8")
    page = page_of(made)
    assert "of verdicts.jsonl could not be read" not in page
    assert len(rows_of(page)["rows"]) == len(made.rows)


def test_a_file_name_that_is_not_utf_8_is_shown_with_question_marks(made):
    made.rows.append(verdict("set/gr\udcfc\udcdfe.png", "wrong key"))
    made.rows = made.rows[-1:]
    made.write()
    assert "gr??e.png" in page_of(made)


def test_cards_and_rows_beyond_the_limits_are_counted(made, monkeypatch):
    monkeypatch.setattr(verification, "CARDS", 1)
    monkeypatch.setattr(verification, "TABLE_ROWS", 5)
    page = page_of(made)
    assert page.count('<article class="card') == 2
    assert len(rows_of(page)["rows"]) == 5
    assert f"{len(made.rows) - 5} more are in verdicts.jsonl" in page
    unseen = sum(row["state"] != "sound" for row in made.rows) - 2
    assert f"{unseen} more files of these kinds have no card here" in page


def test_files_beyond_the_limit_of_a_card_are_counted(made):
    made.rows += [verdict(f"set/h{k}.dcm", "header") for k in range(60)]
    made.write()
    assert "12 more in the table above and in verdicts.jsonl" in page_of(made)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no verify\.json"):
        write_verification(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing_behind(made):
    (made.out / "verification.html").mkdir()
    with pytest.raises(OutputError):
        page_of(made)
    assert not list(made.out.glob(".verification*"))


# Words


def test_the_headline_says_how_many_and_how():
    said = headline(counts(sound=5, pixels=2, header=1, **{"wrong key": 1}))
    assert said == [
        "3 of 9 files were changed after sealing: 2 in the pixels, 1 outside the pixels only.",
        "1 of 9 files could not be verified: sealed for another key.",
        "The other 5 are exactly as sealed.",
    ]
    assert headline(counts(sound=1)) == ["The file is exactly as sealed."]
    assert headline(counts(pixels=1)) == ["1 of 1 file was changed after sealing: in the pixels."]


def test_files_share_a_card_when_their_reasons_differ_in_numbers_only():
    rows = [verdict(f"{k}.png", "resized") for k in range(3)]
    rows[1]["reason"] = rows[1]["reason"].replace("64", "65")
    rows[2]["reason"] = "another one"
    assert [[row["path"] for row in card.rows] for card in gather(rows)] == [["0.png", "1.png"], ["2.png"]]


def test_rows_with_blocks_have_a_card_each_and_the_most_altered_comes_first(made):
    cards = gather(made.rows)
    assert [card.first["path"] for card in cards[:2]] == [MARKUP, "set/edited.png"]
    assert all(len(card.rows) == 1 for card in cards[:2])
    assert not any(card.first["blocks"] for card in cards[2:])


def test_what_needs_attention_comes_first(made):
    results = [STATES[row["state"]].result for row in sorted_rows(made.rows)]
    assert [results[0], results[-1]] == [ALTERED, "sound"]
    assert results == sorted(results, key=["altered", "not verified", "sound"].index)


def test_what_the_seal_cannot_tell_is_said():
    row = verdict("a.png", "pixels")
    assert "sealed without localising" in Card([row]).doubts[0]
    assert "the seal in its pixels is damaged" in Card([row | {"localised": True}]).doubts[0]
    assert Card([verdict("a.png", "header")]).doubts == []


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("was cut off", "It was cut off."),
        ("its pixels were changed", "Its pixels were changed."),
        ("there is no such file.", "There is no such file."),
    ],
)
def test_a_reason_becomes_a_sentence(reason, said):
    assert sentence(reason) == said


# Pictures


def masks(shape, *boxes):
    mask = np.zeros(shape, bool)
    for plane, top, left, bottom, right in boxes:
        mask[plane, top:bottom, left:right] = True
    return mask


def drawn(made, name):
    return np.asarray(Pillow.open(made).convert(name))


def test_the_plane_with_most_altered_pixels_is_drawn(tmp_path):
    pixels = np.arange(5, dtype=np.uint16)[:, None, None] * np.ones((1, 64, 64), np.uint16)
    altered = masks((5, 64, 64), (1, 0, 0, 16, 16), (3, 16, 16, 48, 48))
    found = draw_damage(Image(pixels), altered, None, None, None, tmp_path / "pictures", "7")
    assert found["plane"] == 3
    assert found["image"] == "pictures/7-image.png"
    assert found["recovered"] is None
    assert "Plane 4 of 5, the one altered most; 1 other plane was altered too." in found["note"]
    assert "rows 16 and 47, columns 16 and 47" in found["note"]
    assert "No copy" in found["note"]
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"7-image.png", "7-damage.png"}


def test_the_channels_of_a_colour_image_are_one_plane(tmp_path):
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    altered = masks((6, 32, 32), (4, 0, 0, 16, 16), (5, 16, 16, 32, 32))  # green and blue of the second
    found = draw_damage(Image(pixels, photometric="RGB"), altered, None, None, None, tmp_path / "p", "0")
    assert found["plane"] == 1
    alpha = drawn(tmp_path / found["damage"], "RGBA")[8::16, 8::16, 3]
    inside = alpha.reshape(32, 32) > 0
    assert inside[4, 4]
    assert inside[24, 24]
    assert not inside[8, 28]


def test_unknown_blocks_decide_where_none_is_altered(tmp_path):
    nothing = np.zeros((3, 32, 32), bool)
    unknown = masks((3, 32, 32), (2, 0, 0, 16, 16))
    image = Image(np.zeros((3, 32, 32), np.uint8))
    assert draw_damage(image, nothing, unknown, None, None, tmp_path / "p", "0")["plane"] == 2


def test_the_overlay_covers_altered_blocks_and_little_else(tmp_path):
    altered = masks((1, 128, 128), (0, 32, 48, 64, 80))
    found = draw_damage(Image(np.zeros((128, 128), np.uint8)), altered, None, None, None, tmp_path / "p", "0")
    alpha = drawn(tmp_path / found["damage"], "RGBA")[..., 3]
    assert alpha.shape == (512, 512)  # small images are enlarged so that lines are thin
    wanted = altered[0].repeat(4, axis=0).repeat(4, axis=1)
    assert (alpha[wanted] > 0).all()
    assert np.count_nonzero(alpha[~wanted]) == 4 * 128 + 4  # a rim of one pixel


def test_one_altered_block_of_a_large_image_is_drawn_and_framed(tmp_path):
    altered = masks((1, 4000, 3000), (0, 1600, 800, 1616, 816))
    image = Image(np.zeros((4000, 3000), np.uint8))
    found = draw_damage(image, altered, None, None, None, tmp_path / "p", "0")
    picture = drawn(tmp_path / found["damage"], "RGBA")
    assert picture.shape == (512, 384, 4)
    row, column = round(1608 * 512 / 4000), round(808 * 512 / 4000)
    assert picture[row, column, 3] > 0
    height, width = (np.ptp(where) + 1 for where in np.nonzero(picture[..., 3]))
    assert 15 <= height == width <= 30


def test_many_small_blocks_are_not_framed():
    altered = np.zeros((200, 200), bool)
    altered[10::20, 10::20] = True
    assert not damage._frames(altered).any()


def test_altered_unknown_and_copied_differ_in_pattern(tmp_path):
    altered = masks((1, 128, 128), (0, 0, 0, 32, 32))
    unknown = masks((1, 128, 128), (0, 64, 64, 96, 96))
    found = draw_damage(
        Image(np.zeros((128, 128), np.uint8)), altered, unknown, None, None, tmp_path / "p", "0"
    )
    alpha = drawn(tmp_path / found["damage"], "RGBA")[..., 3]
    assert (alpha[:128, :128] > 0).all()  # filled
    assert 0.2 < (alpha[256:384, 256:384] > 0).mean() < 0.6  # striped


def test_what_has_no_copy_is_covered_in_the_recovered_picture(tmp_path):
    pixels = np.full((128, 128), 200, np.uint8)
    pixels[0, 0] = 0
    altered = masks((1, 128, 128), (0, 32, 32, 64, 64), (0, 64, 64, 96, 96))
    known = masks((1, 128, 128), (0, 32, 32, 64, 64))
    image = Image(pixels)
    found = draw_damage(image, altered, None, image, known, tmp_path / "p", "0")
    picture = drawn(tmp_path / found["recovered"], "RGB").astype(int)
    copied, lost = picture[140:240, 140:240], picture[268:372, 268:372]
    assert len(np.unique(copied.reshape(-1, 3), axis=0)) == 1  # shown as it is, outlined only
    assert (np.ptp(copied, axis=2) == 0).all()
    assert copied.max() > lost.min() + 100
    assert not (np.ptp(lost, axis=2) == 0).any()  # nothing of the altered pixels can be seen
    assert "50" in found["note"]


def test_a_colour_block_with_a_copy_of_some_channels_only_is_covered(tmp_path):
    image = Image(np.full((32, 32, 3), 200, np.uint8), photometric="RGB")
    altered = masks((3, 32, 32), (0, 0, 0, 32, 32), (1, 0, 0, 32, 32))
    known = masks((3, 32, 32), (0, 0, 0, 32, 32), (1, 0, 0, 16, 32))
    found = draw_damage(image, altered, None, image, known, tmp_path / "p", "0")
    picture = drawn(tmp_path / found["recovered"], "RGB")
    assert (picture[200] == 200).any()
    assert not (picture[400] == 200).any()


def test_both_pictures_have_one_window(tmp_path):
    before = np.tile(np.linspace(1000, 2000, 64), (64, 1)).astype(np.uint16)
    after = before.copy()
    after[:32, :32] = 60000
    altered = masks((1, 64, 64), (0, 0, 0, 32, 32))
    found = draw_damage(Image(after), altered, None, Image(before), altered, tmp_path / "p", "0")
    now, then = (drawn(tmp_path / found[name], "L")[300:, 300:] for name in ("image", "recovered"))
    np.testing.assert_array_equal(now, then)


def test_the_pictures_keep_their_shape_in_mm(tmp_path):
    image = Image(np.zeros((100, 50), np.uint8), spacing=(0.5, 2.0))
    altered = masks((1, 100, 50), (0, 0, 0, 16, 16))
    assert draw_damage(image, altered, None, None, None, tmp_path / "p", "0")["wide"] == 2.0


def test_the_arguments_are_left_as_they_were(tmp_path):
    image = Image(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    altered = masks((1, 64, 64), (0, 0, 0, 16, 16))
    copies = image.pixels.copy(), altered.copy()
    draw_damage(image, altered, None, image, altered, tmp_path / "p", "0")
    np.testing.assert_array_equal(image.pixels, copies[0])
    np.testing.assert_array_equal(altered, copies[1])


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "p").write_text("in the way")
    image = Image(np.zeros((8, 8), np.uint8))
    with pytest.raises(OutputError, match="cannot be made"):
        draw_damage(image, masks((1, 8, 8)), None, None, None, tmp_path / "p", "0")
