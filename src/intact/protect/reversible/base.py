"""What published schemes of reversible adversarial examples share, so that they can be compared.

Each takes an image and its adversarial example, and gives an image that networks misread as that
example, and from which the image can be had back, bit for bit. None of them has a key: whoever knows
the scheme can undo it. They are here to be measured; `intact protect` seals instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Integer, UInt8
from numpy import ndarray

from intact.errors import UsageError
from intact.protect.coding import unpack
from intact.protect.hiding import DamagedError

Grey = UInt8[ndarray, "h w"]
Bits = UInt8[ndarray, "n"]  # of 0 and 1


@dataclass(frozen=True)
class Reversible(ABC):
    """A reversible adversarial example from an adversarial one.

    A scheme is a frozen dataclass: its fields are the paper's parameters.
    """

    source: ClassVar[str]  # short citation, for listings
    attack: ClassVar[str]  # key in `intact.protect.attack.METHODS` of the attack that the paper uses

    @final
    def embed(self, original: Grey, adversarial: Grey) -> UInt8[ndarray, "h w *c"]:
        """The reversible adversarial example.

        Args:
            original: 8-bit grey values; left as they are.
            adversarial: What networks are to see.

        Returns:
            uint8, grey as given, or [h,w,3] in a scheme that needs colour.

        Raises:
            CapacityError: What is needed to undo the change does not fit.
            UsageError: The images are not 8-bit grey, or not of one size.
        """
        for image in (original, adversarial):
            if image.dtype != np.uint8 or image.ndim != 2 or image.shape != original.shape:
                raise UsageError(
                    f"give two 8-bit grey images of one size, not {original.dtype} {original.shape} and "
                    f"{adversarial.dtype} {adversarial.shape}"
                )
        return self._embed(original, adversarial)

    @final
    def restore(self, marked: UInt8[ndarray, "h w *c"]) -> Grey:
        """The original, bit for bit.

        Raises:
            DamagedError: The pixels were changed since, or are no such example.
        """
        try:
            return self._restore(marked)
        except ValueError as error:
            raise DamagedError(f"this image hides nothing that gives an original back: {error}") from error

    @abstractmethod
    def _embed(self, original: Grey, adversarial: Grey) -> UInt8[ndarray, "h w *c"]:
        """What `embed` gives, of images that were checked."""

    @abstractmethod
    def _restore(self, marked: UInt8[ndarray, "h w *c"]) -> Grey:
        """What `restore` gives.

        Raises:
            ValueError: What is hidden makes no sense.
        """


def bits_of(code: bytes) -> Bits:
    """A code as bits to hide."""
    return np.unpackbits(np.frombuffer(code, np.uint8))


def without_change(adversarial: Integer[ndarray, "h w"], bits: Bits) -> Grey:
    """The original, given the packed change that was hidden.

    Raises:
        ValueError: No change of this image was.
    """
    original = adversarial - unpack(np.packbits(bits).tobytes()).reshape(adversarial.shape)
    if (original != original.astype(np.uint8)).any():
        raise ValueError("without the hidden change, pixels are beyond 0 to 255")
    return original.astype(np.uint8)
