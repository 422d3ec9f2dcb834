import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from intact.errors import NotAnImageError, UnreadableError, UsageError
from intact.image import Image
from intact.io import read, write
from intact.io.raster import read_raster

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)
RAMP16 = np.arange(65536, dtype=np.uint16).reshape(256, 256)
LOSSLESS = (".png", ".tif", ".npy")


def saved(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def bare_png(samples, colour_type):
    """An unfiltered 16-bit PNG, written independently of the code under test."""
    height, width = samples.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("ramp", [RAMP12, RAMP16], ids=["12 bits", "16 bits"])
def test_a_full_ramp_survives(tmp_path, suffix, ramp):
    back = read(write(Image(ramp), tmp_path / f"ramp{suffix}"))
    np.testing.assert_array_equal(back.pixels, ramp, strict=True)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_a_16_bit_colour_ramp_survives(tmp_path, suffix):
    colour = np.stack([RAMP16, RAMP16[::-1], RAMP16.T], axis=-1)
    back = read(write(Image(colour, photometric="RGB"), tmp_path / f"ramp{suffix}"))
    np.testing.assert_array_equal(back.pixels, colour, strict=True)
    assert back.photometric == "RGB"


@settings(max_examples=40, deadline=None)
@given(
    pixels=st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda dtype: arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9)))
    )
)
def test_png_gives_every_value_back_and_pillow_agrees(tmp_path_factory, pixels):
    path = write(Image(pixels), tmp_path_factory.mktemp("png") / "a.png")
    np.testing.assert_array_equal(read(path).pixels, pixels, strict=True)
    np.testing.assert_array_equal(np.asarray(Pillow.open(path)), pixels)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_any_number_survives_in_a_volume(tmp_path, suffix, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 5, 7, np.dtype(dtype).itemsize), dtype=np.uint8)
    pixels = np.nan_to_num(pixels.view(dtype)[..., 0])
    back = read(write(Image(pixels, spacing=(3.0, 0.7, 0.1)), tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(back.pixels, pixels, strict=True)
    assert suffix == ".npy" or back.spacing == (3.0, 0.7, 0.1)


@pytest.mark.parametrize(("samples", "kept"), [(2, 1), (3, 3), (4, 3)])
def test_16_bit_png_with_several_samples_keeps_all_its_bits(samples, kept):
    rng = np.random.default_rng(samples)
    stored = rng.integers(0, 65536, (6, 5, samples), dtype=np.uint16)
    image = read_raster(bare_png(stored, {2: 4, 3: 2, 4: 6}[samples]), "a.png")
    expected = stored[..., 0] if kept == 1 else stored[..., :3]
    np.testing.assert_array_equal(image.pixels, expected, strict=True)
    assert any("alpha" in note for note in image.notes) == (samples != 3)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_png_keeps_its_stored_values_and_depth(tmp_path, bits):
    pixels = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, axis=0)
    path = write(Image(pixels, bits=bits), tmp_path / "a.png")
    back = read(path)
    np.testing.assert_array_equal(back.pixels, pixels, strict=True)
    assert back.bits == bits
    stretched = np.asarray(Pillow.open(path).convert("L"))
    np.testing.assert_array_equal(stretched, pixels * (255 // (2**bits - 1)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_keep_indices_and_colours(tmp_path, suffix):
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image(pixels, photometric="PALETTE COLOR", palette=palette)
    back = read(write(image, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(back.pixels, pixels, strict=True)
    np.testing.assert_array_equal(back.palette, palette, strict=True)
    np.testing.assert_array_equal(back.display(), palette[pixels])


def test_monochrome1_survives_in_tiff_and_is_refused_by_png(tmp_path):
    image = Image(RAMP12, photometric="MONOCHROME1")
    assert read(write(image, tmp_path / "a.tif")).photometric == "MONOCHROME1"
    with pytest.raises(UsageError, match="MONOCHROME1"):
        write(image, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("image", "suffix", "reason"),
    [
        (Image(np.zeros((2, 2), np.float32)), ".png", "float32"),
        (Image(np.zeros((2, 2), np.int32)), ".png", "int32"),
        (Image(np.zeros((2, 2), np.int16)), ".png", "int16"),
        (Image(np.zeros((3, 2, 2), np.uint8)), ".png", "shape"),
        (Image(np.zeros((2, 2), np.uint8)), ".jpg", "JPEG"),
        (Image(np.zeros((2, 2), np.uint8)), ".docx", "extension"),
        (Image(np.zeros((2, 2, 3), np.uint8), photometric="YBR_FULL"), ".tif", "YBR_FULL"),
        (Image(np.zeros((4, 5, 3), np.uint8)), ".npy", "read back as something else"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, image, suffix, reason):
    with pytest.raises(UsageError, match=reason):
        write(image, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_jpeg_turned_by_exif_stays_as_stored_with_a_note():
    picture = Pillow.fromarray(np.zeros((4, 9), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    image = read_raster(saved(picture, "JPEG", exif=exif), "a.jpg")
    assert image.shape == (4, 9)
    assert "orientation 6" in image.notes[0]


def test_cmyk_jpeg_becomes_rgb_with_a_note():
    image = read_raster(saved(Pillow.new("CMYK", (9, 4)), "JPEG"), "a.jpg")
    assert image.photometric == "RGB"
    assert any("CMYK" in note for note in image.notes)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
def test_other_pictures_are_read(kind):
    picture = Pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image = read_raster(saved(picture, kind, **({"lossless": True} if kind == "WEBP" else {})), "a")
    np.testing.assert_array_equal(
        image.display()[..., 0] if image.colour or image.palette is not None else image.pixels,
        np.asarray(picture),
    )


def test_float_tiff_keeps_nan(tmp_path):
    pixels = np.array([[1.5, np.nan], [-np.inf, 0.0]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, pixels, strict=True)
    np.testing.assert_array_equal(image.padding_mask(), [[False, True], [True, False]])


def test_lzw_tiff_keeps_16_bits():
    image = read_raster(saved(Pillow.fromarray(RAMP12), "TIFF", compression="tiff_lzw"), "a.tif")
    np.testing.assert_array_equal(image.pixels, RAMP12, strict=True)


def test_imagej_spacing_is_used_and_print_resolution_is_not(tmp_path):
    stack = np.zeros((2, 4, 5), np.uint16)
    tifffile.imwrite(
        tmp_path / "j.tif",
        stack,
        imagej=True,
        resolution=(2, 4),
        metadata={"spacing": 2.5, "unit": "mm", "axes": "ZYX"},
    )
    assert read(tmp_path / "j.tif").spacing == (2.5, 0.25, 0.5)
    tifffile.imwrite(tmp_path / "p.tif", stack[0], resolution=(300, 300), resolutionunit="INCH")
    printed = read(tmp_path / "p.tif")
    assert printed.spacing is None
    assert any("no unit of length" in note for note in printed.notes)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_truncated_pictures_are_unreadable(kind, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = saved(Pillow.fromarray(noise), kind)
    with pytest.raises(UnreadableError, match=r"damaged|truncated"):
        read_raster(data[: int(part * len(data))], "cut")


def test_a_truncated_array_says_expected_and_found(tmp_path):
    np.save(tmp_path / "a.npy", RAMP12)
    data = (tmp_path / "a.npy").read_bytes()
    with pytest.raises(UnreadableError, match=r"8,192 bytes .* expected .* 8,092 found"):
        read_raster(data[:-100], "a.npy")


def test_a_pickled_array_is_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(NotAnImageError, match="object"):
        read(tmp_path / "a.npy")


def test_a_picture_that_claims_to_be_huge_is_refused_before_decoding():
    data = bytearray(saved(Pillow.new("L", (8, 8)), "PNG"))
    data[16:24] = struct.pack(">II", 200_000, 200_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(UnreadableError):
        read_raster(bytes(data), "bomb.png")
