import gzip

import numpy as np
import pytest
from made_dicom import data_set, encoded

from intact.errors import OutputError
from intact.io.atomic import put
from intact.io.codestream import coded_size
from intact.io.formats import describe, sniff


def squeezed(data: bytes) -> bytes:
    """Without the time of day, which would name the tests differently in each worker."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),
        (b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100", "dicom"),
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100", "dicom"),
        (bytes(344) + b"n+1\0", "nifti"),
        (squeezed(bytes(344) + b"n+1\0"), "nifti"),
        (bytes(344) + b"ni1\0", "nifti-pair"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "nifti"),
        (b"BM is also how a text may begin", ""),
        (b"RIFF\0\0\0\0WEBPVP8L", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", ""),
        (b"", ""),
        (squeezed(b"a tar archive"), ""),
    ],
)
def test_formats_are_told_by_content(head, kind):
    assert sniff(head) == kind


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"plain text\n", "text"),
        ("ä".encode() * 10 + b"\xc3", "text"),
        (squeezed(b"x"), "gzip"),
        (b"\x7fELF", "program"),
        (bytes(100), "zero bytes"),
        (b"\x01\x02\xfe\xff\x80" * 20, "unknown"),
    ],
)
def test_other_files_are_described(head, words):
    assert words in describe(head)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = put(tmp_path / "a.bin", b"old")

    def full(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match=r"a\.bin: cannot be written: No space left on device"):
        put(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_streams_that_say_nothing_of_their_size_are_left_to_the_decoder():
    assert coded_size(b"") is None
    assert coded_size(b"\xff\xd8\xff\xd9") is None
    assert coded_size(encoded(data_set(np.zeros((2, 2), np.uint16)))) is None
