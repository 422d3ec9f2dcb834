"""The ledger: whatever is done to it afterwards is noticed."""

from __future__ import annotations

import copy
import errno
import hashlib
import hmac
import json
import os

import pytest

from intact.errors import InputError, OutputError, UsageError
from intact.protect import ledger
from intact.protect.keys import Key, ledger_key
from intact.protect.ledger import START, Ledger, LedgerError, check

KEY, OTHER = Key(bytes(range(32))), Key(bytes(32))


def write(path, count, key=KEY):
    with Ledger(path, key) as book:
        for number in range(count):
            book.append("protect", f"köpfe/{number}.dcm", {"before": "ab", "after": None, "id": KEY.id})


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "ledger.jsonl", 3)
    return tmp_path / "ledger.jsonl"


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def canonical(record):
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def chain_anew(records, key):
    """What someone does who knows the format but perhaps not the key."""
    previous, lines = START, []
    for number, record in enumerate(records):
        body = {**record, "n": number, "previous": previous}
        del body["hash"], body["mac"]
        body["mac"] = hmac.new(ledger_key(key), canonical(body), "sha256").hexdigest()
        previous = hashlib.sha256(canonical(body)).hexdigest()
        lines.append(canonical({**body, "hash": previous}) + b"\n")
    return b"".join(lines)


def broken(path, message, line, **given):
    with pytest.raises(LedgerError, match=message) as caught:
        check(path, **given)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}: line {line}: ")


def test_a_line_is_what_the_format_says(path):
    lines = lines_of(path)
    assert b"".join(lines) == chain_anew(map(json.loads, lines), KEY)
    first = json.loads(lines[0])
    assert set(first) == {"n", "time", "event", "name", "details", "previous", "mac", "hash"}
    assert (first["n"], first["previous"], first["event"]) == (0, START, "protect")
    assert first["name"] == "köpfe/0.dcm"
    assert first["time"].endswith("+00:00")
    assert len(first["time"]) == len("2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("key", [None, KEY])
def test_an_untouched_ledger_is_sound(path, key):
    head = json.loads(lines_of(path)[-1])["hash"]
    assert check(path, key) == ledger.Checked(events=3, head=head, keyed=key is not None)


def test_a_ledger_goes_on_where_it_ended(path):
    before = path.read_bytes()
    with Ledger(path, KEY) as book:
        assert (book.events, book.head) == (3, check(path).head)
        book.append("restore", "a", {})
        assert book.head == check(path, KEY).head
    assert path.read_bytes().startswith(before)
    assert check(path, KEY).events == 4


def test_a_new_ledger_is_empty_and_sound(tmp_path):
    with Ledger(tmp_path / "new", KEY):
        pass
    assert check(tmp_path / "new", KEY, head=START) == ledger.Checked(0, START, keyed=True)


def test_details_are_hashed_as_they_are_read_back(tmp_path):
    odd = {"tuple": (1, 2), 10: "ten", 9: "nine", "real": 1e300, "😀": "\ud83d\ude00", "line": "a\nb\u2028"}
    name = os.fsdecode(b"k\xf6pfe.dcm")  # a file name that is not UTF-8
    with Ledger(tmp_path / "odd", KEY) as book:
        book.append("verify", name, odd)
        book.append("refuse", "b", {})
    assert check(tmp_path / "odd", KEY).events == 2
    record = json.loads(lines_of(tmp_path / "odd")[0])
    assert record["name"] == name
    assert record["details"]["10"] == "ten"


def test_what_json_has_no_word_for_is_not_written(path):
    before = path.read_bytes()
    with Ledger(path, KEY) as book:
        with pytest.raises(ValueError, match="not JSON compliant"):
            book.append("protect", "a", {"psnr": float("inf")})
        book.append("protect", "a", {})
    assert lines_of(path)[:3] == before.splitlines(keepends=True)
    assert check(path, KEY).events == 4


@pytest.mark.parametrize("key", [None, KEY])
def test_every_changed_byte_is_noticed(path, key):
    whole = path.read_bytes()
    for place in range(len(whole)):
        for changed in {whole[place] ^ 1, whole[place] ^ 0x20, whole[place] ^ 0x80, 0x0A} - {whole[place]}:
            path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
            with pytest.raises(LedgerError):
                check(path, key)


@pytest.mark.parametrize("key", [None, KEY])
def test_every_removed_or_added_byte_is_noticed(path, key):
    whole = path.read_bytes()
    for place in range(len(whole)):
        for middle in (b"", whole[place : place + 1] + b" ", whole[place : place + 1] + b"\n"):
            path.write_bytes(whole[:place] + middle + whole[place + 1 :])
            with pytest.raises(LedgerError):
                check(path, key)


def test_an_edited_line_is_named(path):
    path.write_bytes(path.read_bytes().replace(b"/1.dcm", b"/7.dcm"))
    broken(path, "does not match its own hash.*trust nothing from here on", line=2)


@pytest.mark.parametrize(
    ("order", "line", "message"),
    [
        ((1, 2), 1, "is number 1 where 0 comes: lines were removed"),
        ((0, 2), 2, "is number 2 where 1 comes"),
        ((0, 2, 1), 2, "is number 2 where 1 comes"),
        ((0, 0, 1, 2), 2, "is number 0 where 1 comes"),
        ((0, 1, 2, 2), 4, "is number 2 where 3 comes"),
    ],
    ids=["first removed", "removed", "swapped", "inserted", "repeated"],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_moved_lines_are_noticed(path, order, line, message, key):
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[number] for number in order))
    broken(path, message, line, key=key)


def test_a_line_of_another_ledger_with_the_same_key_is_noticed(path, tmp_path):
    with Ledger(tmp_path / "other", KEY) as book:
        for name in "abc":
            book.append("restore", name, {})
    path.write_bytes(b"".join([*lines_of(path)[:1], *lines_of(tmp_path / "other")[1:]]))
    broken(path, "does not continue the line before", line=2, key=KEY)


def test_a_chain_computed_anew_is_noticed_with_the_key(path):
    records = [json.loads(line) for line in lines_of(path)]
    records[1]["details"] = {"before": "forged"}
    path.write_bytes(chain_anew(records, OTHER))
    assert not check(path).keyed
    broken(path, "was not written with this key", line=1, key=KEY)


def test_a_forged_end_is_noticed_with_the_key(path):
    lines = lines_of(path)
    record = json.loads(lines[2])
    record["name"] = "forged"
    body = {name: value for name, value in record.items() if name != "hash"}
    record["hash"] = hashlib.sha256(canonical(body)).hexdigest()
    path.write_bytes(b"".join(lines[:2]) + canonical(record) + b"\n")
    assert check(path).events == 3
    broken(path, "was not written with this key", line=3, key=KEY)


def test_lines_cut_off_the_end_are_noticed_by_a_noted_head(path):
    middle, head = json.loads(lines_of(path)[1])["hash"], check(path).head
    for noted in (START, middle, head):
        assert check(path, KEY, head=noted).head == head
    path.write_bytes(b"".join(lines_of(path)[:2]))
    assert check(path, KEY).events == 2
    assert check(path, KEY, head=middle).events == 2
    broken(path, f"ends here without the head {head} noted earlier", line=2, key=KEY, head=head)


@pytest.mark.parametrize(
    "content",
    [b"\n", b"[]\n", b"{}\n", b"null\n", 200_000 * b"[" + b"\n", b"\xff\n", b'{"n":NaN}\n'],
    ids=["blank", "list", "empty", "null", "deep", "not text", "nan"],
)
def test_another_file_is_no_ledger(path, content):
    path.write_bytes(path.read_bytes() + content)
    broken(path, "is not a line of a ledger", line=4, key=KEY)


@pytest.mark.parametrize("field", ["n", "time", "mac", "details", "more"])
def test_a_line_with_other_fields_is_no_ledger(path, field):
    record = json.loads(lines_of(path)[0])
    record = {**record, "more": 1} if field == "more" else {**record, field: float("1e999")}
    path.write_bytes(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    broken(path, "is not a line of a ledger|does not match its own hash", line=1)


def test_a_torn_last_line_is_told_by_check_and_dropped_by_the_next_run(path):
    *whole, last = lines_of(path)
    for length in range(1, len(last)):
        path.write_bytes(b"".join(whole) + last[:length])
        broken(path, "has no end: the file was cut short", line=3)
        with Ledger(path, KEY) as book:
            assert book.events == 2
        assert path.read_bytes() == b"".join(whole)
    write(path, 1)
    assert check(path, KEY).events == 3


@pytest.mark.parametrize("content", [b"DICM", b'{"a": 1}', b"\0\0", b"two\nlines", b"two\nlines\n"])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path, content):
    (tmp_path / "image.dcm").write_bytes(content)
    with pytest.raises(LedgerError, match="is not a line of a ledger"), Ledger(tmp_path / "image.dcm", KEY):
        pass
    assert (tmp_path / "image.dcm").read_bytes() == content


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_broken_ledger_is_not_continued(path, key):
    if key is KEY:
        path.write_bytes(path.read_bytes().replace(b"/1.dcm", b"/7.dcm"))
    before = path.read_bytes()
    with pytest.raises(LedgerError), Ledger(path, key):
        pass
    assert path.read_bytes() == before


def test_one_writer_at_a_time(path):
    with Ledger(path, KEY) as book:
        with (
            pytest.raises(UsageError, match=r"ledger\.jsonl: another process is writing to it"),
            Ledger(path, KEY),
        ):
            pass
        book.append("verify", "a", {})
    write(path, 1)  # let go again
    assert check(path, KEY).events == 5


def test_a_full_disk_leaves_the_ledger_as_it_was(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    with Ledger(path, KEY) as book:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match=r"jsonl: the ledger cannot be written to: No space"):
                book.append("protect", "a", {})
        assert path.read_bytes() == before
        book.append("protect", "a", {})
    assert check(path, KEY).events == 4


def test_half_a_line_on_a_full_disk_is_taken_back(path):
    class Full:
        """A file that takes 7 bytes at a time, and 21 in all."""

        def __init__(self, file):
            self.file, self.room = file, 21

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= 7
            return self.file.write(data[:7])

    before = path.read_bytes()
    with Ledger(path, KEY) as book:
        book._file = Full(book._file)
        with pytest.raises(OutputError, match="No space left"):
            book.append("protect", "a", {})
        assert path.read_bytes() == before
        book._file.room = 7000
        book.append("protect", "a", {})
    assert check(path, KEY).events == 4


def test_what_others_do_to_an_open_ledger_stops_it(path):
    with Ledger(path, KEY) as book:
        with path.open("ab") as file:
            file.write(b"x")
        with pytest.raises(OutputError, match="is not as it was left; start again"):
            book.append("protect", "a", {})
        path.unlink()
        with pytest.raises(OutputError, match="cannot be written to: No such file"):
            book.append("protect", "a", {})


def test_a_place_that_cannot_hold_a_ledger_is_told(tmp_path):
    with (
        pytest.raises(OutputError, match="cannot be written to: No such file"),
        Ledger(tmp_path / "a" / "b", KEY),
    ):
        pass
    with pytest.raises(OutputError, match="cannot be written to: Is a directory"), Ledger(tmp_path, KEY):
        pass
    with pytest.raises(UsageError, match="the ledger cannot be read: No such file"):
        check(tmp_path / "none")


def test_the_error_is_about_an_input_and_can_be_copied():
    error = copy.copy(LedgerError("book", 3, "is odd"))
    assert isinstance(error, InputError)
    assert (str(error), error.line, error.name) == ("book: line 3: is odd", 3, "book")


def test_a_long_ledger_is_followed_to_its_end(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    write(path, 20_000)
    assert check(path, KEY).events == 20_003
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:15_000] + lines[15_001:]))
    broken(path, "is number 15001 where 15000 comes", line=15_001, key=KEY)
