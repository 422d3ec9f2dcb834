import os
import zipfile

import numpy as np
import pytest
from made_dicom import data_set, encoded, save, slices
from PIL import Image as Pillow

from intact.errors import NotAnImageError, UnreadableError, UsageError
from intact.image import Image
from intact.io import Rejected, Source, Unit, index, limits, read, read_unit, write

PICTURE = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def png(tmp_path):
    return write(Image(PICTURE), tmp_path / "made.png").read_bytes()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def names(found, root):
    return [one.name.removeprefix(f"{root}/") for one in found]


def reasons(found):
    return {one.name.rpartition("/")[2]: one.reason for one in found if isinstance(one, Rejected)}


def test_every_file_is_in_one_unit_or_one_rejection(root, png):
    save(slices(3), root / "glioma" / "p1")
    (root / "good").mkdir()
    (root / "good" / "b.png").write_bytes(png)
    (root / "good" / "a.dat").write_bytes(png)
    (root / "notes.txt").write_text("écrit à la main\n")
    (root / "report.pdf").write_bytes(b"%PDF-1.7")
    (root / "empty.png").write_bytes(b"")
    for skipped in (".hidden.png", "Thumbs.db", "DICOMDIR"):
        (root / skipped).write_bytes(png)
    found = index([root])
    assert names(found, root) == [
        "empty.png",
        "glioma/p1/000 (3 slices)",
        "good/a.dat",
        "good/b.png",
        "notes.txt",
        "report.pdf",
    ]
    assert [one.folder for one in found] == ["", "glioma", "good", "good", "", ""]
    told = reasons(found)
    assert "text" in told["notes.txt"]
    assert "PDF" in told["report.pdf"]
    assert "0 bytes" in told["empty.png"]


def test_the_order_does_not_depend_on_the_order_of_paths(root, png):
    for name in "cab":
        (root / f"{name}.png").write_bytes(png)
    paths = [root / "c.png", root / "a.png", root / "b.png"]
    assert index(paths) == index(paths[::-1])
    assert names(index(paths), root) == ["a.png", "b.png", "c.png"]


def test_a_path_inside_another_counts_once(root, png):
    (root / "good").mkdir()
    (root / "good" / "a.png").write_bytes(png)
    found = index([root / "good" / "a.png", root, root / "good", root])
    assert [(one.name, one.folder) for one in found] == [(f"{root}/good/a.png", "good")]


def test_links_in_circles_end(root, png):
    (root / "good").mkdir()
    (root / "good" / "a.png").write_bytes(png)
    (root / "good" / "loop").symlink_to(root)
    (root / "gone.png").symlink_to(root / "nothing")
    found = index([root])
    assert names(found, root) == ["gone.png", "good/a.png"]
    assert "link to nothing" in reasons(found)["gone.png"]


def test_a_pipe_is_rejected_and_not_waited_for(root):
    os.mkfifo(root / "pipe")
    assert "no regular file" in reasons(index([root]))["pipe"]


def test_skip_passes_over_files_and_folders(root, png):
    for name in ("good/a.png", "maps/b.png", "c.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(png)
    found = index([root], skip=lambda path: path.name in ("maps", "c.png"))
    assert names(found, root) == ["good/a.png"]


def test_a_missing_path_is_wrong_use(root):
    with pytest.raises(UsageError, match="no such file"):
        index([root / "nothing"])


def test_content_decides_not_the_extension(root, png):
    (root / "a.dcm").write_bytes(png)
    (root / "b.png").write_bytes(encoded(data_set(PICTURE.astype(np.uint16))))
    (root / "c.dcm").write_text("patient notes")
    assert [getattr(one, "format", "rejected") for one in index([root])] == [
        "png",
        "dicom",
        "rejected",
    ]
    np.testing.assert_array_equal(read(root / "a.dcm").pixels, PICTURE, strict=True)
    assert read(root / "b.png").modality == "MR"
    with pytest.raises(NotAnImageError, match="is text"):
        read(root / "c.dcm")


def test_images_in_archives_are_units(root, png):
    members = {f"good/s/{k}": encoded(one) for k, one in enumerate(slices(3))}
    path = zipped(root / "data.zip", members | {"glioma/a.png": png, "__MACOSX/x": b"x"})
    found = index([path])
    assert names(found, path) == ["glioma/a.png", "good/s/0 (3 slices)"]
    assert [one.folder for one in found] == ["glioma", "good"]
    np.testing.assert_array_equal(read_unit(found[0]).pixels, PICTURE, strict=True)
    assert read_unit(found[1]).shape == (3, 4, 6)
    assert [one.folder for one in index([root])] == ["data.zip", "data.zip"]


def test_an_archive_inside_an_archive_is_rejected(root, png):
    inner = zipped(root / "inner.zip", {"a.png": png}).read_bytes()
    (root / "inner.zip").unlink()
    zipped(root / "outer.zip", {"inner.zip": inner, "b.png": png})
    found = index([root])
    assert names(found, root) == ["outer.zip/b.png", "outer.zip/inner.zip"]
    assert "archive inside an archive" in found[1].reason


def test_an_encrypted_member_is_rejected(root, png):
    data = bytearray(zipped(root / "a.zip", {"a.png": png}).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    (root / "a.zip").write_bytes(data)
    (found,) = index([root])
    assert "encrypted" in found.reason


def test_a_zip_bomb_is_rejected_unread(root, monkeypatch):
    monkeypatch.setattr(limits, "RATIO_MATTERS_FROM", 2**20)
    zipped(root / "bomb.zip", {"a.png": bytes(4 * 2**20)})
    (found,) = index([root])
    assert "decompression bomb" in found.reason


def test_a_member_larger_than_memory_allows_is_rejected(root, png, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    zipped(root / "big.zip", {"a.png": bytes(2000)})
    (found,) = index([root])
    assert "bytes of memory" in found.reason


def test_damaged_archives_are_rejected_and_damaged_members_unreadable(root, png):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    write(Image(noise), root / "n.png")
    data = bytearray(
        zipped(root / "a.zip", {"n.png": (root / "n.png").read_bytes()}, zipfile.ZIP_STORED).read_bytes()
    )
    (root / "n.png").unlink()
    (root / "cut.zip").write_bytes(data[:-30])
    data[2000] ^= 255
    (root / "a.zip").write_bytes(data)
    unit, rejected = index([root])
    assert "damaged zip archive" in rejected.reason
    with pytest.raises(UnreadableError, match="CRC"):
        read_unit(unit)


def test_an_office_document_is_told_from_an_archive(root):
    zipped(root / "a.docx", {"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"})
    assert "Office" in reasons(index([root]))["a.docx"]


def test_a_source_is_named_by_archive_and_member(root, png):
    path = zipped(root / "a.zip", {"in/b.png": png})
    source = Source(path, "in/b.png")
    assert source.name == f"{path}/in/b.png"
    assert source.read() == png


def test_reading_an_archive_as_one_image_points_to_index(root, png):
    with pytest.raises(NotAnImageError, match="index"):
        read(zipped(root / "a.zip", {"a.png": png}))


def test_a_truncated_picture_is_found_and_then_told_unreadable(root, png):
    (root / "a.png").write_bytes(png[:50])
    (unit,) = index([root])
    assert isinstance(unit, Unit)
    with pytest.raises(UnreadableError, match="damaged"):
        read_unit(unit)


def test_a_missing_file_is_unreadable(root):
    with pytest.raises(UnreadableError, match="no such file"):
        read(root / "nothing.png")


def test_pictures_of_every_format_are_recognised(root):
    picture = Pillow.fromarray(PICTURE)
    for kind in ("png", "jpeg", "tiff", "bmp", "gif", "webp"):
        picture.save(root / kind, kind)
    np.save(root / "npy.npy", PICTURE)
    assert {unit.name.rpartition("/")[2]: unit.format for unit in index([root])} == {
        "bmp": "bmp",
        "gif": "gif",
        "jpeg": "jpeg",
        "npy.npy": "npy",
        "png": "png",
        "tiff": "tiff",
        "webp": "webp",
    }
