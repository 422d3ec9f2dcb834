"""Sealing files: their very bytes return, a change to any byte has a name, other software can read them."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import shutil
import subprocess
import zlib
from contextlib import suppress
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    XRayAngiographicImageStorage,
)

from intact.errors import (
    AlreadySealedError,
    AlteredError,
    CapacityError,
    InputError,
    NotAnImageError,
    NotSealedError,
    UnreadableError,
    UnsealableError,
    WrongKeyError,
)
from intact.protect import Key, Verdict, restore, restore_file, seal_file, verify, verify_file
from intact.protect.container import digest_of
from intact.protect.derived import CREATOR, DESCRIPTION, RESTORED
from intact.protect.envelope import MAGIC, Envelope, original_file
from intact.protect.files import examine, read_image
from intact.protect.seal import planes_of

KEY, OTHER, FRIEND = (Key(bytes(range(k, k + 32))) for k in (0, 1, 2))


def waves(*shape, dtype=np.uint8, seed=0, noise=1.0, middle=100):
    """Smooth planes with a little noise, of any shape."""
    rng = np.random.default_rng(seed)
    colour = shape[-1] == 3
    y, x = np.indices(shape[-3:-1] if colour else shape[-2:])
    plane = middle + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)
    return ((plane[..., None] if colour else plane) + rng.normal(0, noise, shape)).round().astype(dtype)


def data_set(pixels, syntax=None, **elements):
    """What a scanner might write, with private elements, around the pixels of one or more frames."""
    made = pydicom.dataset.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    made.SOPClassUID = XRayAngiographicImageStorage
    made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4", "1.2.3"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Modality, made.PatientID, made.PatientName = "XA", "HOSPITAL-4711", "Mustermann^Erika"
    made.SeriesDescription = "Angio"
    made.private_block(0x0009, "VENDOR", create=True).add_new(0x10, "UN", b"\1\2\3\4")
    colour = pixels.shape[-1] == 3
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if pixels.ndim - colour == 3:
        made.NumberOfFrames = len(pixels)
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    made.PixelData = data + bytes(len(data) % 2)
    made["PixelData"].VR = "OW" if pixels.itemsize > 1 or syntax == ImplicitVRLittleEndian else "OB"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    made.HighBit = made.BitsStored - 1
    return made


def written(made):
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def dicom(pixels, syntax=None, **elements):
    return written(data_set(pixels, syntax, **elements))


def compressed(made, syntax, plugin="pylibjpeg"):
    """The file of a data set, compressed by another library than ours."""
    loss = {"j2k_cr": [20]} if syntax == JPEG2000 else {}
    made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False, **loss)
    return written(made)


def without_preamble(pixels):
    made = data_set(pixels, ImplicitVRLittleEndian)
    del made.file_meta
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return stream.getvalue()


def picture(pixels, kind="PNG", mode=None, **options):
    stream = io.BytesIO()
    made = Pillow.fromarray(pixels)
    (made.convert(mode) if mode else made).save(stream, kind, **options)
    return stream.getvalue()


def with_text():
    text = PngInfo()
    text.add_text("Comment", "seen by nobody")
    text.add_itxt("Ort", "Größe")
    return picture(waves(70, 81), pnginfo=text, dpi=(300, 300))


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def nifti(pixels, kind=nib.Nifti1Image, extra=b"", **header):
    image = kind(pixels.T, np.diag([2.0, 1.0, 3.0, 1.0]))
    for name, value in header.items():
        image.header[name] = value
    if extra:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", extra))
    return image.to_bytes()


def big_endian(pixels, affine):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(pixels.dtype.newbyteorder(">"))
    return nib.Nifti1Image(pixels, affine, header)


def npy(pixels):
    stream = io.BytesIO()
    np.save(stream, pixels)
    return stream.getvalue()


VOLUME = waves(4, 60, 64, dtype=np.int16, noise=2)

FILES = {
    "little.dcm": lambda: dicom(waves(72, 80, dtype=np.uint16, middle=2000), BitsStored=12),
    "big.dcm": lambda: dicom(waves(72, 80, dtype=np.int16), ExplicitVRBigEndian),
    "implicit.dcm": lambda: dicom(waves(72, 80, dtype=np.int16), ImplicitVRLittleEndian),
    "deflated.dcm": lambda: dicom(waves(72, 80, dtype=np.uint16), DeflatedExplicitVRLittleEndian),
    "odd.dcm": lambda: dicom(waves(71, 81)),
    "odd implicit.dcm": lambda: dicom(waves(71, 81), ImplicitVRLittleEndian),
    "no preamble": lambda: without_preamble(waves(72, 80, dtype=np.uint16)),
    "own preamble.dcm": lambda: b"II*\0" + bytes(range(124)) + dicom(waves(72, 80))[128:],
    "rle.dcm": lambda: compressed(data_set(waves(72, 80, dtype=np.uint16)), RLELossless),
    "jls.dcm": lambda: compressed(
        data_set(waves(72, 80, dtype=np.uint16), BitsStored=12), JPEGLSLossless, "pyjpegls"
    ),
    "j2k.dcm": lambda: compressed(data_set(waves(72, 80, dtype=np.uint16)), JPEG2000Lossless),
    "lossy.dcm": lambda: compressed(data_set(waves(72, 80)), JPEG2000),
    "padded.dcm": lambda: dicom(waves(72, 80)) + b"\xfc\xff\xfc\xffOB\0\0\x64\0\0\0" + bytes(100),
    "frames.dcm": lambda: dicom(waves(5, 40, 48, dtype=np.uint16)),
    "colour.dcm": lambda: dicom(waves(64, 72, 3)),
    "colour frames.dcm": lambda: dicom(waves(2, 64, 72, 3)),
    "32 bits.dcm": lambda: dicom(waves(72, 80, dtype=np.uint32, middle=2**31)),
    "1.png": lambda: picture(waves(90, 90, noise=0.1) > 120),
    "8.png": lambda: picture(waves(72, 80)),
    "16.png": lambda: picture(waves(72, 80, dtype=np.uint16, middle=40000)),
    "colour.png": lambda: picture(waves(64, 72, 3)),
    "alpha.png": lambda: picture(waves(64, 72, 3), mode="RGBA"),
    "grey and alpha.png": lambda: picture(waves(64, 72), mode="LA"),
    "text.png": with_text,
    "palette.png": lambda: picture(waves(64, 72), mode="P"),
    "behind the end.png": lambda: picture(waves(72, 80)) + b"appended",
    "8.tif": lambda: tiff(waves(72, 80)),
    "big-endian 16.tif": lambda: tiff(waves(72, 80, dtype=np.uint16), byteorder=">"),
    "big.tif": lambda: tiff(waves(72, 80), bigtiff=True),
    "deflate.tif": lambda: tiff(waves(72, 80, dtype=np.int16), compression="zlib", predictor=True),
    "pages.tif": lambda: tiff(waves(5, 60, 64), photometric="minisblack"),
    "colour.tif": lambda: tiff(waves(64, 72, 3), photometric="rgb"),
    "inverse.tif": lambda: tiff(waves(64, 72), photometric="miniswhite"),
    "lzw.tif": lambda: picture(waves(72, 80), "TIFF", compression="tiff_lzw"),
    "volume.nii": lambda: nifti(VOLUME, scl_slope=2.0, scl_inter=-5.0),
    "extended.nii": lambda: nifti(VOLUME, extra=b"of no meaning", descrip=b"made"),
    "two.nii": lambda: nifti(waves(4, 60, 64, dtype=np.uint8), nib.Nifti2Image),
    "swapped.nii": lambda: nifti(VOLUME, big_endian),
    "flat.nii": lambda: nifti(waves(72, 80, dtype=np.int16)[None, None]),
    "series.nii": lambda: nifti(waves(3, 2, 40, 44, dtype=np.int16, noise=2)),
    "colour.nii": lambda: nifti(waves(64, 72, 3).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]),
    "volume.nii.gz": lambda: gzip.compress(nifti(VOLUME), mtime=1),
    "two members.nii.gz": lambda: gzip.compress(nifti(VOLUME)[:500], mtime=1)
    + gzip.compress(nifti(VOLUME)[500:], mtime=2),
    "grey.jpg": lambda: picture(waves(72, 80), "JPEG"),
    "colour.jpg": lambda: picture(waves(72, 80, 3), "JPEG"),
    "colour.bmp": lambda: picture(waves(72, 80, 3), "BMP"),
    "moving.gif": lambda: picture(
        waves(60, 64), "GIF", save_all=True, append_images=[Pillow.fromarray(waves(60, 64, seed=1))]
    ),
    "array.npy": lambda: npy(waves(72, 80)),
    "signed.npy": lambda: npy(waves(72, 80, dtype=np.int32)),
    "flags.npy": lambda: npy(waves(90, 90, noise=0.1) > 120),
}  # fmt: skip
GAINS = {".jpg": ".png", ".bmp": ".png", ".gif": ".tif", ".npy": ".png"} | {"signed.npy": ".tif"}
# What is sealed in each format, as small as can be: changed byte by byte below.
SEALED = ("little.dcm", "big.dcm", "implicit.dcm", "8.png", "8.tif", "volume.nii", "volume.nii.gz")
RAW = ("little.dcm", "big.dcm", "implicit.dcm", "odd.dcm", "frames.dcm", "8.tif", "volume.nii")
every_file = pytest.mark.parametrize("name", FILES)


@pytest.fixture(scope="module")
def sealed():
    """Sealed files by name, each made once."""
    made = {}

    def of(name, **options):
        known = (name, *sorted(options.items()))
        if known not in made:
            made[known] = seal_file(FILES[name](), name, KEY, **options)[0]
        return made[known]

    return of


def changed(data, *places):
    hit = bytearray(data)
    for place in places:
        hit[place] ^= 1 + place % 255
    return bytes(hit)


def digest(image):
    return digest_of(planes_of(image))


def laid_out(data, name):
    """Where the pixels lie in a file that does not compress them."""
    pixels = planes_of(read_image(data, name))
    for order in "<>":
        if (at := data.find(pixels.astype(pixels.dtype.newbyteorder(order)).tobytes())) >= 0:
            return at, at + pixels.nbytes
    raise AssertionError(f"{name} does not hold its pixels as they are")


@every_file
def test_the_very_bytes_return(name):
    original = FILES[name]()
    data, as_name = seal_file(original, name, KEY)
    gained = GAINS.get(name, GAINS.get(name[name.rfind(".") :], ""))
    assert as_name == name + gained
    assert data != original and verify_file(data, as_name, KEY) == Verdict("sound")
    assert restore_file(data, "renamed", KEY) == (original, name)
    before, after = read_image(original, name), read_image(data, as_name)
    assert (planes_of(after) != planes_of(before)).any()
    np.testing.assert_array_equal(restore(after, KEY).pixels, before.pixels, strict=True)


@every_file
def test_the_envelope_can_carry_all(name):
    original = FILES[name]()
    data, as_name = seal_file(original, name, KEY, carrier="envelope")
    before, after = read_image(original, name), read_image(data, as_name)
    np.testing.assert_array_equal(after.pixels, before.pixels, strict=True)
    assert restore_file(data, as_name, KEY) == (original, name)
    assert verify_file(data, as_name, KEY).sound


@pytest.mark.parametrize("name", ["little.dcm", "colour.png", "volume.nii.gz", "pages.tif"])
def test_localised_seals_of_files(name):
    original = FILES[name]()
    data, as_name = seal_file(original, name, KEY, localise=True)
    assert restore_file(data, as_name, KEY) == (original, name)
    assert examine(data, as_name, KEY).header.localise


@pytest.mark.parametrize(
    "name",
    [
        "4711.dcm",
        "Größe, äußere.png",
        "x" * 200,
        ".hidden",
        "a\nb.png",
        os.fsdecode(b"caf\xe9.png"),
    ],
)
def test_any_name_returns(name):
    assert restore_file(seal_file(FILES["8.png"](), name, KEY)[0], "", KEY)[1] == name


def test_two_seals_of_one_file_differ_and_both_return():
    original = FILES["8.png"]()
    once, again = (seal_file(original, "8.png", KEY)[0] for _ in range(2))
    assert once != again
    assert restore_file(once, "", KEY) == restore_file(again, "", KEY) == (original, "8.png")


def test_parts_of_two_sealed_files_do_not_mix(sealed):
    """An envelope, or pixels, under those of another file of the same key."""
    one, other = sealed("little.dcm"), seal_file(dicom(waves(72, 80, dtype=np.uint16, seed=5)), "b", KEY)[0]
    start, end = laid_out(one, "one")
    first, last = laid_out(other, "other")
    mixed = one[:start] + other[first:last] + one[end:]
    assert verify_file(mixed, "mixed", KEY).state == "pixels"
    with pytest.raises(AlteredError):
        restore_file(mixed, "mixed", KEY, accept_header=True)


# The sealed DICOM file


def test_a_sealed_dicom_file_is_marked_as_derived():
    made = data_set(waves(72, 80, dtype=np.uint16))
    data, _ = seal_file(written(made), "a", KEY)
    found = pydicom.dcmread(io.BytesIO(data))
    assert found.SOPInstanceUID != made.SOPInstanceUID and found.SOPInstanceUID.is_valid
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert found.SeriesInstanceUID != made.SeriesInstanceUID and found.SeriesInstanceUID.is_valid
    assert found.StudyInstanceUID == made.StudyInstanceUID and found.SOPClassUID == made.SOPClassUID
    assert found.ImageType == ["DERIVED", "PRIMARY", "AXIAL"]
    assert found.DerivationDescription == DESCRIPTION
    assert found.SeriesDescription == "Angio (sealed)"
    [source] = found.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == made.SOPInstanceUID
    assert source.ReferencedSOPClassUID == made.SOPClassUID
    [item] = found.OriginalAttributesSequence
    [replaced] = item.ModifiedAttributesSequence
    assert replaced.ImageType == made.ImageType and replaced.SeriesDescription == "Angio"
    assert replaced.SOPInstanceUID == made.SOPInstanceUID
    assert replaced.SeriesInstanceUID == made.SeriesInstanceUID
    assert item.ReasonForTheAttributeModification == "COERCE" and item.ModifyingSystem == "Intact"
    assert "SourceOfPreviousValues" in item and item.AttributeModificationDateTime[-5:] == "+0000"
    assert found.PatientName == made.PatientName and found[0x0009, 0x1010].value == b"\1\2\3\4"


def test_every_instance_is_new_and_a_series_stays_together():
    def header(key, **elements):
        data = dicom(waves(72, 80), **elements)
        return pydicom.dcmread(io.BytesIO(seal_file(data, "a", key)[0]))

    first, second = (header(KEY, SOPInstanceUID=f"1.2.3.{k}", InstanceNumber=k) for k in (1, 2))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    others = header(KEY, SeriesInstanceUID="1.2.3.9"), header(OTHER)
    assert first.SeriesInstanceUID not in {other.SeriesInstanceUID for other in others}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ORIGINAL", "SECONDARY", "X"], ["DERIVED", "SECONDARY", "X"]),
        (["DERIVED", "PRIMARY"], ["DERIVED", "PRIMARY"]),
        ("ORIGINAL", ["DERIVED", "PRIMARY"]),
        (None, ["DERIVED", "PRIMARY"]),
    ],
    ids=str,
)
def test_image_types(before, after):
    data = dicom(waves(72, 80), ImageType=before)
    found = pydicom.dcmread(io.BytesIO(seal_file(data, "a", KEY)[0]))
    assert found.ImageType == after
    assert restore_file(seal_file(data, "a", KEY)[0], "", KEY)[0] == data


def test_what_was_derived_before_keeps_its_history():
    source, item = Dataset(), Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = XRayAngiographicImageStorage, "1.2"
    item.ModifiedAttributesSequence, item.SourceOfPreviousValues = [Dataset()], "PACS"
    history = {"SourceImageSequence": [source], "OriginalAttributesSequence": [item]}
    data = dicom(waves(72, 80), DerivationDescription="x" * 1020, SeriesDescription="y" * 64, **history)
    found = pydicom.dcmread(io.BytesIO(seal_file(data, "a", KEY)[0]))
    assert [one.ReferencedSOPInstanceUID for one in found.SourceImageSequence] == ["1.2", "1.2.3.4.5"]
    assert [one.SourceOfPreviousValues for one in found.OriginalAttributesSequence] == ["PACS", ""]
    assert len(found.DerivationDescription) <= 1024 and found.DerivationDescription.endswith(DESCRIPTION)
    assert len(found.SeriesDescription) <= 64 and found.SeriesDescription.endswith("(sealed)")


def test_signatures_and_padding_go_and_return():
    signature = Dataset()
    signature.Signature = bytes(64)
    made = data_set(waves(72, 80), DataSetTrailingPadding=bytes(30))
    made.DigitalSignaturesSequence, made.MACParametersSequence = [signature], [Dataset()]
    original = written(made)
    data, _ = seal_file(original, "a", KEY)
    found = pydicom.dcmread(io.BytesIO(data))
    for keyword in ("DigitalSignaturesSequence", "MACParametersSequence", "DataSetTrailingPadding"):
        assert keyword not in found
    assert restore_file(data, "a", KEY)[0] == original


@pytest.mark.parametrize("group", [None, 0x7FE1, 0x7FE3, 0x9001])
def test_the_envelope_is_the_last_element_behind_private_ones(group):
    made = data_set(waves(72, 80))
    if group:
        made.private_block(group, "VENDOR", create=True).add_new(0x01, "OB", b"ab")
        made.private_block(group, CREATOR, create=True).add_new(0x01, "OB", b"not an envelope ")
    original = written(made)
    data, _ = seal_file(original, "a", KEY)
    found = pydicom.dcmread(io.BytesIO(data))
    last = found[max(found.keys())]
    assert last.tag.is_private and last.private_creator == CREATOR and last.value.startswith(MAGIC)
    assert data.endswith(last.value)
    assert restore_file(data, "a", KEY)[0] == original


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".dcm")])
def test_dcmtk_reads_sealed_files(sealed, tmp_path, name):
    if not shutil.which("dcmdump"):
        pytest.skip("dcmtk is not installed")
    path = tmp_path / "a.dcm"
    path.write_bytes(sealed(name))
    dumped = subprocess.run(["dcmdump", "-q", "+L", path], capture_output=True, text=True, check=False)
    assert (dumped.returncode, dumped.stderr) == (0, "")
    assert CREATOR in dumped.stdout and "DERIVED" in dumped.stdout


# Other software


@pytest.mark.parametrize(
    "name", ["little.dcm", "big.dcm", "deflated.dcm", "jls.dcm", "frames.dcm", "colour.dcm"]
)
def test_pydicom_decodes_the_same_pixels(sealed, name):
    np.testing.assert_array_equal(
        pixel_array(io.BytesIO(sealed(name)), raw=True), read_image(sealed(name), name).pixels
    )


@pytest.mark.parametrize("name", ["8.png", "16.png", "colour.png", "text.png", "palette.png", "grey.jpg"])
def test_pillow_reads_sealed_pictures(sealed, name):
    with Pillow.open(io.BytesIO(sealed(name))) as shown:
        shown.verify()
    with Pillow.open(io.BytesIO(sealed(name))) as shown:
        np.testing.assert_array_equal(np.asarray(shown), read_image(sealed(name), name).pixels)


def test_chunks_of_a_sealed_png_are_sound(sealed):
    data, at, kinds = sealed("8.png"), 8, []
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        crc = int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        assert zlib.crc32(data[at + 4 : at + 8 + size]) == crc
        kinds, at = [*kinds, kind], at + 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"inTC", b"IEND"] and at == len(data)


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz", "two.nii", "series.nii"])
def test_nibabel_reads_sealed_volumes(sealed, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(sealed(name))
    volume = nib.load(path)
    raw = np.asarray(volume.dataobj.get_unscaled())
    np.testing.assert_array_equal(raw.T, read_image(sealed(name), name).pixels)
    if name.endswith(".gz"):
        assert gzip.decompress(path.read_bytes()).startswith(gzip.decompress(sealed(name))[:400])
        if shutil.which("gzip"):
            assert subprocess.run(["gzip", "-t", path], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["8.tif", "big-endian 16.tif", "pages.tif", "colour.tif"])
def test_tifffile_and_pillow_read_sealed_tiffs(sealed, name):
    pixels = read_image(sealed(name), name).pixels
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(sealed(name))), pixels)
    with Pillow.open(io.BytesIO(sealed(name))) as shown:
        np.testing.assert_array_equal(np.asarray(shown), pixels[0] if name == "pages.tif" else pixels)


# Changes to a sealed file


@pytest.mark.parametrize("carrier", ["pixels", "envelope"])
@pytest.mark.parametrize("name", SEALED)
def test_a_change_to_any_byte_is_refused(sealed, name, carrier):
    data = sealed(name, carrier=carrier)
    rng = np.random.default_rng(0)
    ends = rng.choice(200, 50, replace=False)
    for place in (*ends, *(len(data) - 1 - ends), *rng.integers(0, len(data), 80)):
        hit = changed(data, place)
        with pytest.raises(InputError):
            restore_file(hit, name, KEY)
        verdict = verify_file(hit, name, KEY)
        assert not verdict.sound and verdict.reason
        with pytest.raises(InputError):
            restore_file(hit, name, OTHER)


@pytest.mark.parametrize("name", SEALED)
def test_what_a_change_of_one_byte_is_called(sealed, name):
    """Whatever it is, never "not sealed" or "wrong key"."""
    data = sealed(name)
    rng = np.random.default_rng(1)
    packed = name.endswith(".gz")
    for place in rng.integers(0, len(data), 60):
        state = verify_file(changed(data, place), name, KEY).state
        assert state in ("pixels", "header", "truncated", "resized") or (packed and state == "unreadable")


@pytest.mark.parametrize("carrier", ["pixels", "envelope"])
@pytest.mark.parametrize("name", RAW)
def test_changed_pixel_bytes_are_called_pixels(sealed, name, carrier):
    data = sealed(name, carrier=carrier)
    start, end = laid_out(data, name)
    for place in (start, end - 1, *np.random.default_rng(0).integers(start, end, 40)):
        hit = changed(data, place)
        assert verify_file(hit, name, KEY).state == "pixels"
        with pytest.raises(AlteredError, match="pixels were changed") as caught:
            restore_file(hit, name, KEY, accept_header=True)
        assert caught.value.what == "pixels" and caught.value.name == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("little.dcm", b"Mustermann"),
        ("implicit.dcm", b"HOSPITAL-4711"),
        ("little.dcm", b"VENDOR"),
        ("little.dcm", b"AXIAL"),
        ("extended.nii", b"made"),
        ("8.tif", b"tifffile.py"),
        ("little.dcm", MAGIC),
        ("8.png", MAGIC),
        ("8.tif", MAGIC),
        ("volume.nii", MAGIC),
    ],
)
def test_changed_header_bytes_are_called_header(sealed, name, text):
    data = sealed(name)
    place = data.rfind(text) + len(text) // 2
    hit = changed(data, place)
    with pytest.raises(AlteredError, match="its pixels are untouched") as caught:
        restore_file(hit, name, KEY)
    assert caught.value.what == "header" and verify_file(hit, name, KEY).state == "header"
    if text != MAGIC:
        assert restore_file(hit, name, KEY, accept_header=True) == (FILES[name](), name)


@pytest.mark.parametrize("name", ["little.dcm", "big.dcm", "implicit.dcm", "8.tif", "volume.nii"])
def test_changed_envelopes_are_called_header(sealed, name):
    """PNG and gzip have checksums of their own, so that a change of one byte there makes them unreadable."""
    data, original = sealed(name), read_image(FILES[name](), name)
    at = data.rfind(MAGIC)
    for place in (*range(at, at + 46), *np.random.default_rng(0).integers(at + 46, len(data), 30)):
        hit = changed(data, place)
        assert verify_file(hit, name, KEY).state == "header"
        assert digest(restore(read_image(hit, name), KEY)) == digest(original)


@pytest.mark.parametrize("carrier", ["pixels", "envelope"])
@pytest.mark.parametrize("name", SEALED)
def test_a_file_cut_off_anywhere_is_never_restored(sealed, name, carrier):
    data, original = sealed(name, carrier=carrier), FILES[name]()
    rng = np.random.default_rng(0)
    for size in (0, 1, 8, 132, 200, *range(len(data) - 50, len(data)), *rng.integers(200, len(data), 30)):
        with pytest.raises(InputError):
            restore_file(data[:size], name, KEY)
        assert not verify_file(data[:size], name, KEY).sound
        with suppress(InputError):  # where the pixels are whole, they may be asked for
            restored, as_name = restore_file(data[:size], name, KEY, accept_header=True)
            assert (restored, as_name) == (original, name) or as_name == f"pixels-of-{name}"
            assert digest(read_image(restored, name)) == digest(read_image(original, name))


def test_a_file_cut_off_in_its_pixels_but_with_its_envelope_is_called_truncated(sealed):
    data = sealed("little.dcm")
    start, end = laid_out(data, "a")
    hit = data[: start + 100] + data[end - 50 :]
    assert verify_file(hit, "a", KEY).state == "truncated"
    with pytest.raises(AlteredError, match="was cut off or damaged after it was sealed"):
        restore_file(hit, "a", KEY)


@pytest.mark.parametrize("name", SEALED)
def test_bytes_behind_the_end_are_refused(sealed, name):
    for added in (b"\0", b"\0\0", b"appended", sealed(name)):
        with pytest.raises(InputError):
            restore_file(sealed(name) + added, name, KEY)


def test_twice_the_envelope_is_refused(sealed):
    data = sealed("8.tif")
    with pytest.raises(AlteredError):
        restore_file(data + data[data.rfind(MAGIC) :], "a", KEY)


def test_lossy_dicom_is_called_so(sealed):
    made = pydicom.dcmread(io.BytesIO(sealed("odd.dcm")))
    hit = compressed(made, JPEG2000)
    verdict = verify_file(hit, "a", KEY)
    assert verdict.state == "re-encoded" and "JPEG 2000 Image Compression" in verdict.reason
    with pytest.raises(AlteredError, match="stored with loss"):
        restore_file(hit, "a", KEY, accept_header=True)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression_changes_the_file_but_not_the_pixels(sealed, syntax):
    made = pydicom.dcmread(io.BytesIO(sealed("odd.dcm")))
    hit = compressed(made, syntax, "pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    assert verify_file(hit, "a", KEY).state == "header"
    assert restore_file(hit, "a", KEY, accept_header=True) == (FILES["odd.dcm"](), "odd.dcm")


@pytest.mark.parametrize("quality", [50, 95, 100])
def test_a_picture_saved_as_jpeg_says_that_no_seal_survives(sealed, quality):
    with Pillow.open(io.BytesIO(sealed("8.png"))) as shown:
        hit = picture(np.asarray(shown), "JPEG", quality=quality)
    with pytest.raises(NotSealedError, match="JPEG stores with loss, which no seal survives"):
        restore_file(hit, "a.jpg", KEY)
    assert verify_file(hit, "a.jpg", KEY).state == "not sealed"


def test_resized_dicom_is_called_so(sealed):
    made = pydicom.dcmread(io.BytesIO(sealed("little.dcm")))
    pixels = made.pixel_array[::2, ::2]
    made.Rows, made.Columns, made.PixelData = *pixels.shape, pixels.tobytes()
    hit = written(made)
    verdict = verify_file(hit, "a", KEY)
    assert verdict.state == "resized" and "from (1, 72, 80) to (1, 36, 40)" in verdict.reason
    with pytest.raises(AlteredError):
        restore_file(hit, "a", KEY, accept_header=True)


@pytest.mark.parametrize("change", [{"PatientComments": "seen"}, {"PatientName": "A^B"}, {"WindowWidth": 7}])
def test_a_header_that_an_archive_rewrote_is_accepted_only_if_asked_for(sealed, change):
    made = pydicom.dcmread(io.BytesIO(sealed("little.dcm")))
    for keyword, value in change.items():
        setattr(made, keyword, value)
    hit = written(made)
    verdict = verify_file(hit, "a", KEY)
    assert verdict.state == "header" and "header or another part outside the pixels" in verdict.reason
    with pytest.raises(AlteredError):
        restore_file(hit, "a", KEY)
    assert restore_file(hit, "a", KEY, accept_header=True) == (FILES["little.dcm"](), "little.dcm")


def no_envelope_dicom(data):
    made = pydicom.dcmread(io.BytesIO(data))
    made.remove_private_tags()
    return written(made)


def no_envelope_png(data):
    with Pillow.open(io.BytesIO(data)) as shown:
        return picture(np.asarray(shown))


def no_envelope_nifti(data):
    volume = nib.Nifti1Image.from_bytes(data)
    return nib.Nifti1Image(np.asarray(volume.dataobj.get_unscaled()), volume.affine).to_bytes()


@pytest.mark.parametrize(
    ("name", "strip"),
    [
        ("little.dcm", no_envelope_dicom),
        ("big.dcm", no_envelope_dicom),
        ("8.png", no_envelope_png),
        ("16.png", no_envelope_png),
        ("8.tif", lambda data: tiff(tifffile.imread(io.BytesIO(data)), compression="zlib")),
        ("volume.nii", no_envelope_nifti),
        ("little.dcm", lambda data: tiff(pixel_array(io.BytesIO(data), raw=True))),
    ],
)
def test_without_its_envelope_the_pixels_still_return(sealed, name, strip):
    hit = strip(sealed(name))
    assert Envelope.find(hit) is None
    assert verify_file(hit, name, KEY).state == "header"
    with pytest.raises(AlteredError, match="its envelope was lost") as caught:
        restore_file(hit, name, KEY)
    assert caught.value.what == "header"
    image, original = read_image(hit, name), read_image(FILES[name](), name)
    assert verify(image, KEY).sound
    np.testing.assert_array_equal(restore(image, KEY).pixels, original.pixels)
    for accept in (False, True):
        with pytest.raises(WrongKeyError):
            restore_file(hit, name, OTHER, accept_header=accept)
    restored, as_name = restore_file(hit, f"a folder/{name}", KEY, accept_header=True)
    assert as_name == f"pixels-of-{name}"
    np.testing.assert_array_equal(read_image(restored, name).pixels, original.pixels, strict=True)
    assert verify_file(restored, name, KEY).state == "not sealed"


def test_pixels_under_another_header_are_a_new_instance(sealed):
    hit = no_envelope_dicom(sealed("little.dcm"))
    before = pydicom.dcmread(io.BytesIO(hit))
    found = pydicom.dcmread(io.BytesIO(restore_file(hit, "a", KEY, accept_header=True)[0]))
    assert found.SOPInstanceUID not in (before.SOPInstanceUID, "1.2.3.4.5")
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert found.DerivationDescription.endswith(RESTORED)
    assert found.SeriesInstanceUID == before.SeriesInstanceUID and found.PatientID == before.PatientID


def test_damage_is_located_in_files():
    pixels = waves(128, 144, dtype=np.uint16, noise=2)
    data, _ = seal_file(dicom(pixels), "a", KEY, localise=True)
    start, _ = laid_out(data, "a")
    hit = changed(data, start + 2 * (40 * 144 + 100))
    verdict = verify_file(hit, "a", KEY)
    assert verdict.state == "pixels" and np.argwhere(verdict.damage.altered).tolist() == [[0, 2, 6]]
    assert verify_file(changed(data, data.find(b"Mustermann")), "a", KEY).damage is None
    shown, known = examine(hit, "a", KEY).recovered()
    assert shown.pixels.shape == pixels.shape and known.sum() == 256


# Keys


@pytest.mark.parametrize("carrier", ["pixels", "envelope"])
@pytest.mark.parametrize("name", SEALED)
def test_recipients_restore_and_strangers_do_not(name, carrier):
    original = FILES[name]()
    data, _ = seal_file(original, name, KEY, recipients=[FRIEND.public, OTHER.public], carrier=carrier)
    for key in (KEY, FRIEND, OTHER):
        assert restore_file(data, "", key) == (original, name)
        assert verify_file(data, "", key).sound
    with pytest.raises(WrongKeyError, match="sealed for other keys"):
        restore_file(data, "", Key(bytes(32)))
    assert verify_file(data, "", Key(bytes(32))).state == "wrong key"


@pytest.mark.parametrize("name", SEALED)
def test_strangers_are_refused(sealed, name):
    with pytest.raises(WrongKeyError):
        restore_file(sealed(name), "", OTHER)
    with pytest.raises(WrongKeyError):
        restore_file(sealed(name, carrier="envelope"), "", OTHER)


def test_the_key_wrapped_for_a_recipient_is_guarded():
    original = FILES["little.dcm"]()
    data, _ = seal_file(original, "a", KEY, recipients=[FRIEND.public, OTHER.public])
    at = data.rfind(MAGIC) + Envelope.HEAD.size
    for place in (at + 8, at + 60, at + 87):
        hit = changed(data, place)
        with pytest.raises(AlteredError, match="envelope was changed"):
            restore_file(hit, "a", FRIEND)
        for key in (KEY, OTHER):
            assert verify_file(hit, "a", key).state == "header"
    renamed = changed(data, at)  # whom it was wrapped for
    with pytest.raises(WrongKeyError):
        restore_file(renamed, "a", FRIEND)


def test_a_recipient_cannot_be_added_or_removed():
    original = FILES["little.dcm"]()
    data, _ = seal_file(original, "a", KEY, recipients=[FRIEND.public])
    envelope = Envelope.find(data)
    content = envelope.content(FRIEND)
    assert content == envelope.content(KEY) and envelope.open(content).name == "a"
    for wrapped in ((), envelope.wrapped * 2, (bytes(88),)):
        with pytest.raises(AlteredError):
            replace(envelope, wrapped=wrapped).open(content)
    at = data.rfind(MAGIC)
    tail = data[at + len(envelope.to_bytes()) :]
    hit = data[:at] + replace(envelope, wrapped=()).to_bytes() + bytes(88) + tail
    with pytest.raises(InputError):
        restore_file(hit, "a", KEY)


def test_only_what_matches_the_digest_of_the_original_is_given_back(sealed):
    envelope = Envelope.find(sealed("little.dcm"))
    origin = envelope.open(envelope.content(KEY))
    planes = planes_of(read_image(FILES["little.dcm"](), "a"))
    assert original_file(origin, planes) == FILES["little.dcm"]()
    for wrong in (planes ^ 1, planes[:, ::-1]):
        with pytest.raises(AlteredError, match="does not match the digest of the original"):
            original_file(origin, wrong)


@pytest.mark.parametrize(
    ("name", "order"),
    [("little.dcm", 0), ("big.dcm", 1), ("colour.dcm", 2), ("frames.dcm", 0), ("8.tif", 0),
     ("big-endian 16.tif", 1), ("colour.tif", 2), ("swapped.nii", 1), ("volume.nii", 0), ("array.npy", 0)],
)  # fmt: skip
def test_pixels_that_are_not_compressed_are_not_stored_twice(sealed, name, order):
    original = FILES[name]()
    envelope = Envelope.find(sealed(name))
    origin = envelope.open(envelope.content(KEY))
    pixels = planes_of(read_image(original, name))
    assert origin.order == order and len(origin.rest) == len(original) - pixels.nbytes


def test_nothing_of_the_original_can_be_read_without_a_key(sealed):
    for secret in (b"text.png", b"Comment", b"seen by nobody"):
        assert secret in FILES["text.png"]() + b"text.png"
        assert secret not in sealed("text.png")


# What cannot be sealed


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tiny.png", picture(waves(12, 12))),
        ("tiny.dcm", dicom(waves(5, 4, dtype=np.uint16))),
        ("noise.png", picture(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))),
    ],
)
def test_what_its_pixels_cannot_hold_its_envelope_can(name, data):
    with pytest.raises(CapacityError, match="let the file's envelope carry the seal"):
        seal_file(data, name, KEY)
    guarded(data, name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("float.nii", nifti(VOLUME.astype(np.float32) / 3)),
        ("float.nii.gz", gzip.compress(nifti(VOLUME.astype(np.float64) * np.nan))),
        ("float.tif", tiff(waves(20, 21, dtype=np.float32))),
        ("half.npy", npy(waves(20, 21, dtype=np.float16))),
        ("long.npy", npy(waves(20, 21, dtype=np.int64))),
    ],
)
def test_floating_point_images_are_sealed_by_their_envelope(name, data):
    with pytest.raises(UnsealableError, match="envelope as carrier"):
        seal_file(data, name, KEY)
    guarded(data, name)


def guarded(original, name):
    data, as_name = seal_file(original, name, KEY, carrier="envelope")
    assert restore_file(data, as_name, KEY) == (original, name)
    assert verify_file(data, as_name, KEY).sound
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        with pytest.raises(InputError):
            restore_file(changed(data, place), as_name, KEY)


@pytest.mark.parametrize("name", ["little.dcm", "8.png", "8.tif", "volume.nii.gz"])
def test_a_sealed_file_is_not_sealed_again(sealed, name):
    for before, carrier in itertools.product(("pixels", "envelope"), repeat=2):
        with pytest.raises(AlreadySealedError, match="restore it first"):
            seal_file(sealed(name, carrier=before), name, KEY, carrier=carrier)


def test_a_picture_of_sealed_pixels_is_not_sealed_again(sealed):
    with pytest.raises(AlreadySealedError):
        seal_file(no_envelope_png(sealed("8.png")), "a.png", OTHER)


@pytest.mark.parametrize("name", ["little.dcm", "8.png", "grey.jpg", "8.tif", "volume.nii", "volume.nii.gz"])
def test_unsealed_files_are_told(name):
    with pytest.raises(NotSealedError, match=name):
        restore_file(FILES[name](), name, KEY)
    assert verify_file(FILES[name](), name, KEY).state == "not sealed"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", NotAnImageError),
        (b"a note", NotAnImageError),
        (MAGIC, NotAnImageError),
        (FILES["8.png"]()[:300], UnreadableError),
        (dicom(waves(72, 80))[:400], UnreadableError),
        (nifti(VOLUME).replace(b"n+1\0", b"ni1\0"), UnsealableError),
        (npy(np.zeros((0, 80), np.uint8)), UnreadableError),
    ],
    ids=["empty", "text", "magic", "half a picture", "half a header", "half of a pair", "no rows"],
)
def test_what_is_no_image_is_refused(data, kind):
    with pytest.raises(InputError) as caught:
        seal_file(data, "a", KEY)
    assert isinstance(caught.value, kind) or MAGIC in data
    with pytest.raises(InputError):
        restore_file(data, "a", KEY)
    assert verify_file(data, "a", KEY).state in ("unreadable", "truncated")


UNWRITABLE = {
    "an unknown type of value": (b"\x10\0\x10\0PN", b"\x10\0\x10\0ZN"),
    "an element of a network command": (b"\x08\0\x08\0CS", b"\0\0\x08\0CS"),
    "an element of the file's own head": (b"\x10\0\x20\0LO", b"\x02\0\x20\0LO"),
}


@pytest.mark.parametrize("carrier", ["pixels", "envelope"])
@pytest.mark.parametrize(("old", "new"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_header_that_can_be_read_but_not_written_is_refused(sealed, old, new, carrier):
    data = dicom(waves(72, 80)).replace(old, new)
    read_image(data, "a")
    with pytest.raises(UnsealableError, match="damaged header, which can be read but not written"):
        seal_file(data, "a", KEY, carrier=carrier)
    hit = no_envelope_dicom(sealed("little.dcm")).replace(old, new)
    assert verify_file(hit, "a", KEY).state == "header"
    with pytest.raises(InputError, match="correct it first"):
        restore_file(hit, "a", KEY, accept_header=True)


def test_what_unpacks_to_more_than_any_image_is_not_unpacked(sealed, monkeypatch):
    assert Envelope.find(sealed("volume.nii.gz")) is not None
    monkeypatch.setattr("intact.protect.envelope.MAX_BYTES", 20_000)
    assert Envelope.find(sealed("volume.nii.gz")) is None
