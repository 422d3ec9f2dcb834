"""Everything Intact raises on purpose.

    IntactError
    ├── InputError            something is wrong with a file that was given
    │   ├── UnreadableError       damaged, truncated, empty, encrypted, too large to decode safely
    │   ├── NotAnImageError       a sound file that holds no pixels (text, report, plan, archive)
    │   └── SeriesError           the files of a series do not form one volume
    ├── SealError             an image cannot be sealed, or its seal cannot be opened or trusted
    │   ├── CapacityError         the image cannot hold the payload
    │   ├── UnsealableError       pixels that cannot carry a seal (floating point, bits out of range)
    │   ├── AlreadySealedError    the image carries a seal
    │   ├── NotSealedError        the image carries none
    │   ├── WrongKeyError         it was sealed for other keys
    │   └── AlteredError          it was changed after it was sealed; `what` says what was
    ├── OutputError           a result could not be written (permission, full disk)
    ├── ModelError            a model folder cannot be loaded, and why
    ├── WeightsError          a backbone's weights are nowhere to be found
    ├── NotFittedError        a detector was asked to score before it learned anything
    ├── TooFewNormalsError    not enough normal images for what was asked
    └── UsageError            arguments that contradict each other

and warns of

    IntactWarning
    ├── MisfitWarning         images are not of the kind that a model was fitted on
    └── KeyWarning            others can read a secret key

A message has three parts: what was found, why it cannot be right, what to do about it.
"""


class IntactError(Exception):
    """Base of every error that Intact raises on purpose; the command line prints it plainly."""


class InputError(IntactError):
    """Something is wrong with a file that was given.

    Args:
        name: The file, as the user named it or as it was found.
        reason: What was found and why it cannot be read, without the file's name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class UnreadableError(InputError):
    """The file is damaged, truncated, empty, or too large to decode safely."""


class NotAnImageError(InputError):
    """The file is sound but holds no pixels."""


class SeriesError(InputError):
    """The files of a series do not form one volume."""


class SealError(InputError):
    """An image cannot be sealed, or its seal cannot be opened or trusted."""


class CapacityError(SealError):
    """The image cannot hold the payload.

    Args:
        name: The image.
        needed: Bits to be hidden.
        available: Bits that the image can hold this way.
        advice: What would make them fit.
    """

    def __init__(self, name: str, needed: int, available: int, advice: str) -> None:
        super().__init__(
            name, f"{needed:,} bits have to be hidden and it can hold {available:,} this way; {advice}"
        )
        self.needed = needed
        self.available = available
        self.advice = advice


class UnsealableError(SealError):
    """The pixels cannot carry a seal: floating point, or values that the header does not allow."""


class AlreadySealedError(SealError):
    """The image carries a seal already."""


class NotSealedError(SealError):
    """The image carries no seal."""


class WrongKeyError(SealError):
    """The image was sealed for other keys."""


class AlteredError(SealError):
    """The image was changed after it was sealed.

    Args:
        name: The image.
        reason: What was found.
        what: "pixels", "header", "re-encoded" (stored with loss), "resized" or "truncated".
    """

    def __init__(self, name: str, reason: str, what: str) -> None:
        super().__init__(name, reason)
        self.what = what


class OutputError(IntactError):
    """A result could not be written."""


class ModelError(IntactError):
    """A model folder cannot be loaded."""


class WeightsError(IntactError):
    """A backbone's weights are nowhere to be found."""


class NotFittedError(IntactError):
    """A detector was asked to score before it learned anything."""


class TooFewNormalsError(IntactError):
    """Fewer normal images than the method or the false-alarm rate needs."""


class UsageError(IntactError):
    """Arguments that contradict each other or what is on disk."""


class IntactWarning(UserWarning):
    """Base of every warning that Intact gives on purpose."""


class MisfitWarning(IntactWarning):
    """Images are not of the kind that a model was fitted on."""


class KeyWarning(IntactWarning):
    """A secret key file that other users of the machine can read or change."""
