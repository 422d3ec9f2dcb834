"""What was recorded is told from what is there now, and a ledger that was tampered with is told."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom import Dataset

from intact.errors import OutputError, UsageError
from intact.forensics.base import Severity
from intact.forensics.instance import Instance, Series
from intact.forensics.ledger import Ledger, merkle_root
from intact.image import Image

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENT = "Mustermann^Erika"


def slice_(number, of=1):
    header = Dataset()
    header.SOPInstanceUID, header.SeriesInstanceUID = f"1.2.{of}.{number}", f"1.9.{of}"
    header.PatientName = header.PatientID = PATIENT
    pixels = np.random.default_rng(number).integers(0, 4000, (8, 8)).astype(np.uint16)
    return Instance(f"{number}.dcm", Image(pixels, bits=12, header=header))


def scan(of=1, count=5):
    return Series([slice_(n, of) for n in range(count)])


def changed(series, at):
    one = series.instances[at]
    pixels = one.image.pixels.copy()
    pixels[3, 4] += 1
    many = list(series.instances)
    many[at] = Instance(one.name, replace(one.image, pixels=pixels))
    return Series(many)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_merkle_roots_are_those_of_rfc_6962():
    """Roots that certificate transparency implementations publish as test vectors."""
    leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    data = [bytes.fromhex(leaf) for leaf in leaves]
    assert merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle_root(data[:1]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(data[:3]) == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle_root(data) == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_what_was_recorded_raises_nothing(path):
    Ledger(path).record(scan(), now=DAY)
    assert Ledger(path).verify(scan()) == []
    assert Ledger(path).verify(Series(scan().instances[::-1])) == []


@pytest.mark.parametrize("at", range(5))
def test_one_step_of_one_pixel_is_told_with_the_day(path, at):
    Ledger(path).record(scan(), now=DAY)
    (finding,) = Ledger(path).verify(changed(scan(), at))
    assert finding.severity == Severity.IMPOSSIBLE and finding.files == (f"{at}.dcm",)
    assert "not those that were recorded on 2026-03-01T12:00:00+00:00" in finding.explanation


def test_the_first_recording_counts_and_a_later_one_is_told(path):
    ledger = Ledger(path)
    ledger.record(scan(), now=DAY)
    ledger.record(changed(scan(), 2), now=DAY.replace(year=2027))
    (finding,) = ledger.verify(changed(scan(), 2))
    assert "2026-03-01" in finding.explanation and "recorded on 2027-03-01" in finding.explanation


def test_added_and_missing_files_are_told(path):
    Ledger(path).record(scan(count=5), now=DAY)
    (more,) = Ledger(path).verify(scan(count=6))
    assert more.files == ("5.dcm",) and more.severity == Severity.UNUSUAL
    (less,) = Ledger(path).verify(scan(count=4))
    assert "1 of 5 files" in less.explanation and "missing" in less.explanation


def test_an_unknown_series_weighs_nothing(path):
    Ledger(path).record(scan(1))
    (finding,) = Ledger(path).verify(scan(2))
    assert finding.severity == Severity.INFORMATION


def test_nothing_of_the_patient_or_the_uids_is_written(path):
    Ledger(path).record(scan())
    written = path.read_text()
    assert PATIENT not in written and "1.2.1.0" not in written and "1.9.1" not in written


def lines(path):
    return path.read_text().splitlines(keepends=True)


def three(path):
    return [Ledger(path).record(scan(of), now=DAY) for of in (1, 2, 3)]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_line_taken_out_is_told(path, gone):
    three(path)
    path.write_text("".join(line for n, line in enumerate(lines(path)) if n != gone))
    (finding,) = Ledger(path).check()
    assert finding.severity == Severity.IMPOSSIBLE and f"Line {gone + 1} " in finding.explanation
    assert finding in Ledger(path).verify(scan(3))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_edited_line_is_told(path, at):
    three(path)
    edited = lines(path)
    edited[at] = edited[at].replace("2026-03-01", "2026-03-02")
    path.write_text("".join(edited))
    (finding,) = Ledger(path).check()
    assert f"Line {at + 1} " in finding.explanation


def test_lines_in_another_order_and_lines_put_in_are_told(path):
    three(path)
    first, second, third = lines(path)
    for wrong in ((second, first, third), (first, second, second, third), (first, "{}\n", second, third)):
        path.write_text("".join(wrong))
        assert len(Ledger(path).check()) == 1


def test_a_cut_end_is_told_by_a_digest_kept_elsewhere(path):
    *_, last = three(path)
    assert Ledger(path).check(vouched=last) == []
    path.write_text("".join(lines(path)[:2]))
    assert Ledger(path).check() == []
    (finding,) = Ledger(path).check(vouched=last)
    assert "no longer in the ledger" in finding.explanation


def test_a_forged_line_with_a_digest_of_its_own_breaks_the_next(path):
    three(path)
    from intact.forensics.ledger import _hash

    forged = lines(path)
    entry = json.loads(forged[1])
    del entry["hash"]
    entry["time"] = "2020-01-01T00:00:00+00:00"
    forged[1] = json.dumps(entry | {"hash": _hash(entry)}) + "\n"
    path.write_text("".join(forged))
    (finding,) = Ledger(path).check()
    assert "Line 3 " in finding.explanation


def test_half_a_line_is_dropped_by_the_next_recording(path):
    Ledger(path).record(scan(1))
    with path.open("a") as file:
        file.write('{"format": 1, "ti')
    assert Ledger(path).check() == []
    Ledger(path).record(scan(2))
    assert len(lines(path)) == 2 and Ledger(path).check() == []


def test_two_writers_share_a_ledger(path):
    one, other = Ledger(path), Ledger(path)
    one.record(scan(1))
    other.record(scan(2))
    one.record(scan(3))
    assert Ledger(path).check() == [] and Ledger(path).verify(scan(2)) == []


def test_bad_input_is_refused(path, tmp_path):
    with pytest.raises(UsageError, match="SOP Instance UID"):
        Ledger(path).record(Series([slice_(0), slice_(0)]))
    with pytest.raises(OutputError, match="nothing was recorded"):
        Ledger(tmp_path / "nowhere" / "ledger.jsonl").record(scan())
    path.write_text("name,score\na,1\n")
    with pytest.raises(UsageError, match="not a ledger's"):
        Ledger(path)
