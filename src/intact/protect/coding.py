"""Lossless packing of small integer arrays that are to be hidden in an image, by the shortest of four codes.

Perturbations, sign arrays, location maps and masks are payload, and each bit of payload costs image
quality. `rle` is the coding of NROI-AdvGAN (J. Univ. Shanghai Sci. Technol. 2025, 47(5), 590-602,
equation 15 and the text before it); the others are what it is to be compared with.

A code is one byte (number of the coder, plus 16 times the number of axes), the length of each axis, and
what the coder writes. Such numbers take seven bits of a byte each, lowest first, while 128 says "more".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import zstandard
from jaxtyping import Int32, Int64, Integer, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.context_coding import MOST_IN_CONTEXT, decode_context, encode_context

MOST: Final = 2**26  # values in an array
RUN_WIDTHS = (4, 6, 8, 10, 12)  # bits of a run's length
TRIVIAL = 32  # bytes that are not worth a slower coder
ZSTD_LEVEL = 19
# Level 19 takes 25 ms for a 224x224 perturbation, and `context` is nearly always shorter. So level 3,
# which takes 0.2 ms, must already beat `context` for level 19 to be tried.
ZSTD_TRIAL = 3
ZSTD_AT_ONCE = 512  # bytes up to which level 19 needs no trial: it takes 0.2 ms at most
ZSTD_WINDOW = 2**23  # bytes; level 19 asks for no more, and a decoder allocates no more

Values = Int32[ndarray, "..."]
Bits = UInt8[ndarray, "b"]
Shape = tuple[int, ...]


def pack(values: Integer[ndarray, "..."], *, coder: str = "") -> bytes:
    """Turn an array into few bytes.

    Args:
        values: Integers, or flags, that fit into int32; 0 to 3 axes.
        coder: Key in `CODERS`; by default the one that gives the shortest code.

    Raises:
        ValueError: The array is of another kind, has over 2**26 values, or there is no such coder.
    """
    if coder not in ("", *CODERS):
        raise ValueError(f"there is no coder {coder!r}: choose one of {', '.join(CODERS)}")
    values = _checked(values)
    if coder:
        return _code(coder, values)
    best = _code("bits", values)
    changes = int(np.count_nonzero(np.diff(values.ravel())))
    if not changes or len(best) <= TRIVIAL:
        return best
    raw = _stored(values)[1]
    trial = len(_squeezed(raw, ZSTD_TRIAL))
    if min(trial, len(best)) > TRIVIAL and values.size <= MOST_IN_CONTEXT:
        best = min(best, _code("context", values), key=len)
    if trial < len(best) or len(raw) <= ZSTD_AT_ONCE:
        best = min(best, _code("zstd", values), key=len)
    if 5 * changes < 8 * len(best):  # each change begins a run, and a run takes at least 5 bits
        best = min(best, _code("rle", values), key=len)
    return best


def unpack(data: bytes) -> Values:
    """The array that was packed, as int32. Bytes after the code are ignored.

    Raises:
        ValueError: The code is damaged. Damage may also go unnoticed and give another array.
    """
    name = next((name for name, (number, _, _) in CODERS.items() if data and data[0] % 16 == number), "")
    if not name or data[0] // 16 > 3:
        raise _damaged(f"begins with {data[:1].hex() or 'nothing'}, which stands for no coder")
    shape, body = _read_numbers(data[1:], data[0] // 16)
    if math.prod(max(1, length) for length in shape) > MOST:
        raise _damaged(f"is of an array of shape {shape}, which has over 2**26 values")
    values = CODERS[name][2](body, shape)
    if not _fits(values):
        raise _damaged("gives values beyond 32 bits")
    return values.astype(np.int32, order="C").reshape(shape)


def run_lengths(values: Integer[ndarray, "n"]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Length and value of each run: 4444401112222 gives 5, 1, 3, 4 of 4, 0, 1, 2."""
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    return np.diff(starts, append=values.size), values[starts]


def _encode_rle(values: Values) -> bytes:
    """Runs of |P|, then runs of the sign array Q = (P < 0), equation 15."""
    sizes = np.abs(values.ravel().astype(np.int64))
    depth = max(1, int(sizes.max(initial=0)).bit_length())
    size_count, size_width, size_bits = _shortest_runs(sizes, depth)
    sign_count, sign_width, sign_bits = _shortest_runs((values.ravel() < 0).astype(np.int64), 1)
    numbers = _write_numbers(depth, size_count, size_width, sign_count, sign_width)
    return numbers + np.packbits(np.concatenate([size_bits, sign_bits])).tobytes()


def _decode_rle(body: bytes, shape: Shape) -> Int64[ndarray, "n"]:
    (depth, size_count, size_width, sign_count, sign_width), body = _read_numbers(body, 5)
    if depth > 32 or not {size_width, sign_width} <= set(RUN_WIDTHS):
        raise _damaged(f"has fields of {depth}, {size_width} and {sign_width} bits, which `rle` never writes")
    bits = np.unpackbits(np.frombuffer(body, np.uint8))
    sizes, bits = _read_runs(bits, size_count, size_width, depth, math.prod(shape))
    signs, _ = _read_runs(bits, sign_count, sign_width, 1, math.prod(shape))
    return np.where(signs, -sizes, sizes)


def _shortest_runs(values: Int64[ndarray, "n"], depth: int) -> tuple[int, int, Bits]:
    """Number of runs, bits of a run's length that suit them best, and all their bits."""
    whole, kinds = run_lengths(values)
    width = min(RUN_WIDTHS, key=lambda width: (width + depth) * int(((whole - 1 >> width) + 1).sum()))
    pieces = (whole - 1 >> width) + 1  # a longer run is split
    runs = np.full(pieces.sum(), 1 << width)
    runs[np.cumsum(pieces) - 1] = whole - (pieces - 1 << width)
    bits = [_to_bits(runs - 1, width), _to_bits(np.repeat(kinds, pieces), depth)]
    return runs.size, width, np.concatenate(bits)


def _read_runs(bits: Bits, count: int, width: int, depth: int, size: int) -> tuple[NDArray[np.int64], Bits]:
    """`size` values from `count` runs, and the bits after them."""
    runs = _from_bits(bits, count, width) + 1
    kinds = _from_bits(bits[count * width :], count, depth)
    if runs.sum() != size:
        raise _damaged(f"has runs of {runs.sum()} values in all for an array of {size}")
    return np.repeat(kinds, runs), bits[count * (width + depth) :]


def _encode_bits(values: Values) -> bytes:
    """The lowest value, and what the others have above it in the fewest bits."""
    low = int(values.min()) if values.size else 0
    above = values.ravel().astype(np.int64) - low
    depth = int(above.max(initial=0)).bit_length()
    # 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
    numbers = _write_numbers(2 * low if low >= 0 else -2 * low - 1, depth)
    return numbers + np.packbits(_to_bits(above, depth)).tobytes()


def _decode_bits(body: bytes, shape: Shape) -> NDArray[np.int64]:
    (low, depth), body = _read_numbers(body, 2)
    if depth > 32:
        raise _damaged(f"has values of {depth} bits")
    lowest = np.int64(low // 2 if low % 2 == 0 else -(low // 2) - 1)
    if not depth:
        return np.broadcast_to(lowest, shape)
    return _from_bits(np.unpackbits(np.frombuffer(body, np.uint8)), math.prod(shape), depth) + lowest


def _encode_zstd(values: Values) -> bytes:
    kind, raw = _stored(values)
    return bytes([kind]) + _squeezed(raw, ZSTD_LEVEL)


def _decode_zstd(body: bytes, shape: Shape) -> NDArray[Any]:
    kind, size = body[:1], math.prod(shape)
    if kind not in (b"\0", b"\1", b"\2", b"\4"):
        raise _damaged(f"has values of {kind.hex() or 'no'} bytes")
    length = size * kind[0] or -(-size // 8)
    # No frame gets shorter than 4 bytes for each 128 KiB block, RFC 8878, section 3.1.1.2.
    if length > len(body) * 2**15:
        raise _damaged(f"has {len(body)} bytes for {length}, shorter than zstd can make them")
    decoder = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=ZSTD_WINDOW)
    try:
        raw = decoder.stream_reader(body[1:]).read(length)
    except zstandard.ZstdError as error:
        raise _damaged(f"is no zstd frame ({error})") from error
    if len(raw) != length:
        raise _damaged(f"gives {len(raw)} bytes where {length} belong")
    if not kind[0]:
        return np.unpackbits(np.frombuffer(raw, np.uint8), count=size)
    return np.frombuffer(raw, f"<i{kind[0]}")


def _stored(values: Values) -> tuple[int, bytes]:
    """Bytes per value (0: a bit) and the values stored so, in C order."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low == 0 and high <= 1:
        return 0, np.packbits(values.ravel().astype(np.uint8)).tobytes()
    size = next(size for size in (1, 2, 4) if -low <= 2 ** (8 * size - 1) > high)
    return size, values.astype(f"<i{size}").tobytes()


def _squeezed(raw: bytes, level: int) -> bytes:
    """A zstd frame without what the decoder knows: magic number and length."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(raw), format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(raw)


def _to_bits(numbers: NDArray[Any], depth: int) -> Bits:
    """All lowest bits, then all second lowest, ..."""
    bits = np.empty((depth, numbers.size), np.uint8)
    for place in range(depth):
        bits[place] = numbers >> place & 1
    return bits.ravel()


def _from_bits(bits: Bits, count: int, depth: int) -> NDArray[np.int64]:
    if count * depth > bits.size:
        raise _damaged(f"ends {count * depth - bits.size} bits early")
    numbers = np.zeros(count, np.int64)
    for place in range(depth):
        numbers |= bits[place * count : (place + 1) * count].astype(np.int64) << place
    return numbers


def _write_numbers(*numbers: int) -> bytes:
    data = bytearray()
    for number in numbers:
        while number > 127:
            data.append(number % 128 + 128)
            number >>= 7
        data.append(number)
    return bytes(data)


def _read_numbers(data: bytes, count: int) -> tuple[tuple[int, ...], bytes]:
    """`count` numbers and the bytes after them."""
    numbers = []
    for _ in range(count):
        number = 0
        for place, byte in enumerate(data[:5]):
            number += byte % 128 << 7 * place
            if byte < 128:
                break
        else:
            raise _damaged(f"has a number without an end: {data[:5].hex() or 'nothing'}")
        numbers.append(number)
        data = data[place + 1 :]
    return tuple(numbers), data


def _code(coder: str, values: Values) -> bytes:
    """What `unpack` reads."""
    number, encode, _ = CODERS[coder]
    return bytes([number + 16 * values.ndim]) + _write_numbers(*values.shape) + encode(values)


def _checked(values: Integer[ndarray, "..."]) -> Values:
    """As int32, in C order."""
    values = np.asarray(values)
    extent = math.prod(max(1, length) for length in values.shape)
    if values.dtype.kind not in "biu" or values.ndim > 3 or extent > MOST:
        raise ValueError(
            f"an array of {values.dtype} with shape {values.shape} cannot be packed: it takes "
            "integers, at most 3 axes and at most 2**26 values"
        )
    if not _fits(values):
        raise ValueError(f"values from {values.min()} to {values.max()} do not fit into 32 bits: reduce them")
    return values.astype(np.int32, order="C", copy=False)


def _fits(values: NDArray[Any]) -> bool:
    return int(values.min(initial=0)) >= -(2**31) and int(values.max(initial=0)) < 2**31


def _damaged(what: str) -> ValueError:
    return ValueError(f"the code {what}: it is damaged or cut off, so pack the array again")


Encode = Callable[[Values], bytes]
Decode = Callable[[bytes, Shape], NDArray[Any]]

# Name: number in the first byte (which must never change), and both directions.
CODERS: Final[dict[str, tuple[int, Encode, Decode]]] = {
    "bits": (0, _encode_bits, _decode_bits),
    "rle": (1, _encode_rle, _decode_rle),
    "zstd": (2, _encode_zstd, _decode_zstd),
    "context": (3, encode_context, decode_context),
}
