"""Context arithmetic coding of small integer images, coarse to fine so that it runs in NumPy.

A context is what the known neighbours predict of a value and of its magnitude; every context has its
own adaptive probabilities, as in Weinberger, Seroussi, Sapiro, "LOCO-I", IEEE Trans. Image Process.
2000, and the range coder of Martin, 1979 (package constriction) turns them into bits.

Traded for speed: the usual order (pixel by pixel, contexts from west and north) needs a loop per
pixel. Here a coarse lattice goes first, and every halving of its step adds two sets of pixels, each in
one go. The early ones have only far neighbours, the last ones known neighbours all around. Measured on
attacks on 8 chest X-rays, next to an ideal causal coder with adaptive contexts of four neighbours: PGD
noise is 1 to 2 % longer, FGSM 6 %; 2x2 tiles are a fifth shorter, 8x8 tiles a fifth longer, and a smooth
mask is almost twice as long, since its outline is met again at every step.
"""

from __future__ import annotations

import math
from typing import Any, Final

import constriction
import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

MOST_IN_CONTEXT: Final = 2**24  # values in an array; decoding takes 0.1 s per million
LARGEST: Final = 128  # magnitude a symbol may have
SHIFTS: Final = 25  # by 0 to 24 bits, which -2**31 needs
FIRST_LATTICE = 64  # pixels at most
FIRST_CHUNK = 128  # symbols coded before counts are learned from them; the next chunk ends 4 times later
SEEN = 32  # weight of a symbol seen, so that a prior can weigh less than one
PRIOR = 3  # symbols seen that the overall histogram counts for in each context
KEPT = (5, 16)  # share of the counts that is kept when neighbours come closer
UNIT = 32  # weights of neighbours are integers from -UNIT to UNIT, in 1/UNIT
FITTED = 4096  # pixels that weights are fitted on, about
RIDGE = 4.0  # in squared values; keeps the weight of a neighbour that tells nothing at 0
# Where bins of the predictions begin, in % of the largest value; tuned on attacks on chest X-rays.
VALUE_BINS = (10, 35, 90)
SIZE_BINS = (1, 15, 35, 60, 95)
CONTEXTS: Final = (len(VALUE_BINS) + 1) * (len(SIZE_BINS) + 1)
# The two sets of pixels that halve a step: first row, first column, step in columns, known neighbours.
SETS = (
    (0, 1, 2, ((0, -1), (0, 1), (-2, -1), (-2, 1), (2, -1), (2, 1))),
    (1, 0, 1, ((-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))),
)

_Model = constriction.stream.model.Categorical
_Uniform = constriction.stream.model.Uniform
# Neighbours that tell little are the most common; any fixed table would do.
_WEIGHTS = _Model(1.0 + 64 // (1 + np.abs(np.arange(-UNIT, UNIT + 1))), perfect=False)


def encode_context(values: Int32[ndarray, "..."]) -> bytes:
    """Code an array; planes stand under each other.

    Raises:
        ValueError: It has over 2**24 values.
    """
    if values.size > MOST_IN_CONTEXT:
        raise ValueError(f"{values.size} values are over 2**24, too many for `context`: use another coder")
    writer = Writer()
    _code_values(writer, values.reshape(_image(values.shape)))
    return writer.to_bytes()


def decode_context(code: bytes, shape: tuple[int, ...]) -> Int64[ndarray, "n"]:
    """The values of an array of this shape, in C order; zeros may follow the code.

    Raises:
        ValueError: The code is damaged. Damage may also give other values.
    """
    if math.prod(shape) > MOST_IN_CONTEXT:
        raise ValueError(f"the code is of an array of shape {shape}, over 2**24 values: it is damaged")
    return _code_values(Reader(code), np.zeros(_image(shape), np.int32)).ravel()


def encode_flags(flags: Bool[ndarray, "n"], contexts: UInt8[ndarray, "n"]) -> bytes:
    """Code flags of which the decoder knows the contexts, which are numbers below `CONTEXTS`."""
    writer = Writer()
    _code_symbols(writer, Counts(2), flags.astype(np.int32), contexts)
    return writer.to_bytes()


def decode_flags(code: bytes, contexts: UInt8[ndarray, "n"]) -> Bool[ndarray, "n"]:
    """The flags, one for each context; zeros may follow the code.

    Raises:
        ValueError: The code is damaged. Damage may also give other flags.
    """
    symbols = np.zeros(contexts.size, np.int32)
    return _code_symbols(Reader(code), Counts(2), symbols, contexts).astype(bool)


def _image(shape: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(shape[:-1]), math.prod(shape[-1:])


class Writer:
    """Takes symbols and keeps their code."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, model: Any, symbols: Int32[ndarray, "n"]) -> Int32[ndarray, "n"]:
        """Append symbols that share one probability model; returns them."""
        self._coder.encode(symbols, model)
        return symbols

    def number(self, limit: int, number: int) -> int:
        """Append one number from 0 to limit - 1; returns it."""
        return int(self.code(_Uniform(limit), np.array([number], np.int32))[0])

    def to_bytes(self) -> bytes:
        """All that was appended; zeros may follow, and those at the end are left out."""
        return self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class Reader:
    """Gives back the symbols of a `Writer` when asked in the same order."""

    def __init__(self, data: bytes) -> None:
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4")
        self._coder = constriction.stream.queue.RangeDecoder(words.astype(np.uint32))

    def code(self, model: Any, symbols: Int32[ndarray, "n"]) -> Int32[ndarray, "n"]:
        """The next symbols, as many as are given; what is given does not matter.

        Raises:
            ValueError: No writer can have written this.
        """
        try:
            return self._coder.decode(model, len(symbols))
        except AssertionError as error:
            raise ValueError("no values have this arithmetic code: it is damaged") from error

    def number(self, limit: int, number: int) -> int:
        """The next number; the one that is given does not matter."""
        return int(self.code(_Uniform(limit), np.array([number], np.int32))[0])


class Counts:
    """How often every symbol was seen in every context.

    Probabilities are ratios of these integers, which float64 holds exactly: the same everywhere.
    """

    def __init__(self, symbols: int) -> None:
        self._overall = np.ones(symbols, np.int64)
        self._seen = np.zeros((CONTEXTS, symbols), np.int64)

    def models(self, contexts: NDArray[np.intp]) -> list[Any]:
        """One probability model for each context."""
        prior = PRIOR * SEEN * self._overall // self._overall.sum() + 1
        return [_Model(row, perfect=False) for row in (self._seen[contexts] + prior).astype(np.float64)]

    def learn(self, contexts: UInt8[ndarray, "n"], symbols: Int32[ndarray, "n"]) -> None:
        """Count symbols in their contexts."""
        cells = contexts.astype(np.intp) * self._seen.shape[1] + symbols
        seen = np.bincount(cells, minlength=self._seen.size).reshape(self._seen.shape)
        self._seen += SEEN * seen
        self._overall += 2 * seen.sum(axis=0)  # twice, beside the 1 at the start: the KT estimator

    def fade(self) -> None:
        """Let what is seen from now on count more."""
        self._seen = self._seen * KEPT[0] // KEPT[1]


def _code_values(port: Writer | Reader, values: Int32[ndarray, "h w"]) -> Int64[ndarray, "h w"]:
    """Write values, or read as many as are given; returns them.

    What exceeds `LARGEST` is coded without its lowest bits, which follow as they are. The image that is
    coded holds ranks among the magnitudes in use: -8, 0, 8 are coded as -1, 0, 1.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    shift = next(shift for shift in range(SHIFTS) if max(high >> shift, -(low >> shift)) <= LARGEST)
    shift = port.number(SHIFTS, shift)
    coarse, rest = values >> shift, values & ((1 << shift) - 1)
    largest = port.number(LARGEST + 1, int(np.abs(coarse).max(initial=0)))
    used = np.bincount(np.abs(coarse).ravel(), minlength=largest + 1)[1:] > 0
    used = port.code(_Uniform(2), used.astype(np.int32))
    rank = np.cumsum([0, *used], dtype=np.int16)
    if values.size and rank[-1]:
        image = _mirrored(rank)[coarse + largest]
        _code_image(port, image, int(rank[-1]))
        coarse = _mirrored(np.flatnonzero([1, *used]))[image + rank[-1]]
    if shift:
        rest = port.code(_Uniform(1 << shift), rest.ravel()).reshape(values.shape)
    return coarse.astype(np.int64) << shift | rest


def _mirrored(sizes: NDArray[Any]) -> NDArray[Any]:
    """0, a, b becomes -b, -a, 0, a, b."""
    return np.concatenate([-sizes[:0:-1], sizes])


def _code_image(port: Writer | Reader, values: Int16[ndarray, "h w"], largest: int) -> None:
    """Write an image, or read one into `values`, which go from -largest to largest, at least 1."""
    h, w = values.shape
    step = 1
    while -(-h // step) * -(-w // step) > FIRST_LATTICE:
        step *= 2
    counts = Counts(2 * largest + 1)
    lattice = values[::step, ::step]
    symbols = lattice.ravel() + np.int32(largest)
    symbols = _code_symbols(port, counts, symbols, np.zeros(symbols.size, np.uint8))
    lattice[...] = symbols.reshape(lattice.shape) - largest
    while step > 1:
        step //= 2
        _halve_step(port, counts, values[::step, ::step], largest)


def _halve_step(port: Writer | Reader, counts: Counts, values: Int16[ndarray, "h w"], largest: int) -> None:
    """Code the pixels of odd rows and of odd columns; those of even rows and columns are known."""
    h, w = values.shape
    known = np.zeros((h + 4, w + 4), np.int16)
    known[2:-2, 2:-2] = values
    sizes = np.abs(known)
    for row, column, column_step, offsets in SETS:
        places = [
            np.s_[2 + row + r : 2 + h + r : 2, 2 + column + c : 2 + w + c : column_step]
            for r, c in ((0, 0), *offsets)
        ]
        wanted = known[places[0]]
        if not wanted.size:
            continue
        value = _predict(port, wanted, [known[place] for place in places[1:]])
        size = _predict(port, sizes[places[0]], [sizes[place] for place in places[1:]])
        contexts = _bins(size, SIZE_BINS, largest) * np.uint8(len(VALUE_BINS) + 1)
        contexts += _bins(np.abs(value), VALUE_BINS, largest)
        # Mirrored where the prediction is negative, so that both signs teach the same context.
        sign = value >> 15 | 1
        symbols = (wanted * sign).ravel() + np.int32(largest)
        symbols = _code_symbols(port, counts, symbols, contexts.ravel())
        known[places[0]] = (symbols.reshape(wanted.shape) - largest) * sign
        sizes[places[0]] = np.abs(wanted)
        counts.fade()
    values[...] = known[2:-2, 2:-2]


def _predict(
    port: Writer | Reader, wanted: Int16[ndarray, "h w"], neighbours: list[Int16[ndarray, "h w"]]
) -> Int16[ndarray, "h w"]:
    """The weighted sum of neighbours nearest to what is wanted, times `UNIT`; weights are sent."""
    weights = np.zeros(len(neighbours), np.int32)
    if isinstance(port, Writer):
        every = wanted.size // FITTED | 1  # odd, so that it meets all phases of tiles
        seen = np.array([n.ravel()[::every] for n in (*neighbours, wanted)], np.float32)
        x, y = seen[:-1], seen[-1]
        best = np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x), dtype=np.float32), x @ y)
        weights = np.clip(np.rint(best * UNIT), -UNIT, UNIT).astype(np.int32)
    weights = port.code(_WEIGHTS, weights + UNIT) - UNIT
    total = np.zeros(wanted.shape, np.int16)  # at most 6 neighbours * UNIT * LARGEST = 24576
    for weight, neighbour in zip(weights.astype(np.int16), neighbours, strict=True):
        if weight:
            total += weight * neighbour
    return total


def _bins(predicted: Int16[ndarray, "h w"], percents: tuple[int, ...], largest: int) -> UInt8[ndarray, "h w"]:
    """How many of the bins' beginnings a prediction reaches."""
    found = np.zeros(predicted.shape, np.uint8)
    for percent in percents:
        found += (predicted >= np.int16(-(-percent * largest * UNIT // 100))).view(np.uint8)
    return found


def _code_symbols(
    port: Writer | Reader,
    counts: Counts,
    symbols: Int32[ndarray, "n"],
    contexts: UInt8[ndarray, "n"],
) -> Int32[ndarray, "n"]:
    """Code symbols in chunks, and in each chunk context after context; learn after each chunk."""
    chunks = _chunks(symbols.size)
    keys = np.repeat(np.arange(len(chunks), dtype=np.uint8) * CONTEXTS, chunks) + contexts
    order = np.argsort(keys, kind="stable")
    ready, contexts = symbols[order], contexts[order]
    start = 0
    for numbers in np.bincount(keys, minlength=len(chunks) * CONTEXTS).reshape(-1, CONTEXTS):
        used = np.flatnonzero(numbers)
        begin = start
        for model, number in zip(counts.models(used), numbers[used].tolist(), strict=True):
            ready[begin : begin + number] = port.code(model, ready[begin : begin + number])
            begin += number
        counts.learn(contexts[start:begin], ready[start:begin])
        start = begin
    coded = np.empty_like(ready)
    coded[order] = ready
    return coded


def _chunks(symbols: int) -> list[int]:
    """Sizes of chunks that grow with what was learned."""
    ends = [0]
    while ends[-1] < symbols:
        ends.append(min(symbols, max(FIRST_CHUNK, 4 * ends[-1])))
    return np.diff(ends).tolist()
