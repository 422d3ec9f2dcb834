"""Everything that can be said of one image without training: its headers, its slices, its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread

from intact.errors import UsageError
from intact.forensics.base import Evidence, Finding, Severity, Witness
from intact.forensics.header.examine import examine_headers
from intact.forensics.instance import Series
from intact.forensics.ledger import Ledger
from intact.forensics.signature import verify
from intact.forensics.slices.cine import examine_cine
from intact.forensics.slices.continuity import examine_continuity
from intact.image import Image
from intact.io.dicom import quiet
from intact.io.source import Source

_RATES = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")
_WEIGHT = {"valid": Severity.INFORMATION, "broken": Severity.IMPOSSIBLE, "unreadable": Severity.UNUSUAL}


@dataclass(frozen=True, eq=False)
class Examination:
    """What was said of one image.

    Args:
        findings: Of headers, slices and signatures, the heaviest first.
        evidence: Of pixels, by method; with those that abstained.
    """

    findings: tuple[Finding, ...]
    evidence: dict[str, Evidence]

    @property
    def weight(self) -> Severity:
        """The heaviest finding's."""
        return max((finding.severity for finding in self.findings), default=Severity.INFORMATION)


def examine(
    image: Image,
    examiners: Mapping[str, Witness],
    series: Series | None = None,
    sources: Sequence[Source] = (),
    ledger: Ledger | None = None,
) -> Examination:
    """Examine an image and the files it came from.

    An examiner that fails abstains and says so: one odd image must not end a run over an archive.

    Args:
        image: A plane, a volume or a film.
        examiners: By name.
        series: Its DICOM files, if it came from such.
        sources: The same files as bytes, for signatures.
        ledger: What their pixels were earlier.
    """
    found = [*examine_headers(series), *examine_signatures(series, sources)] if series else []
    if series and ledger:
        found += _compared_with(ledger, series)
    if image.made:
        said = f"The file says that it is no record of a patient: {image.made}."
        files = series.names if series else (image.identity.path,)
        found.append(Finding("made", Severity.INFORMATION, "", said, files))
    if is_volume(image):
        names = series.names if series else (image.identity.path,) * image.planes
        found += examine_continuity(image.pixels, names)
    elif is_film(image):
        frames = image.pixels.mean(axis=-1) if image.colour else image.pixels
        found += examine_cine(frames, image.identity.path)
    evidence = {name: _asked(examiner, image) for name, examiner in examiners.items()}
    return Examination(tuple(sorted(found, key=lambda finding: -finding.severity)), evidence)


def examine_signatures(series: Series, sources: Sequence[Source]) -> list[Finding]:
    """B3: whether what is signed is still the same; nothing of files that are not signed."""
    signed = {one.name for one in series.instances if "DigitalSignaturesSequence" in one.header}
    found = []
    for source in sources:
        if source.name in signed:
            with quiet():
                verdicts = verify(dcmread(BytesIO(source.read()), force=True))
            found += [Finding("B3", _WEIGHT[v.state], "", v.explanation, (source.name,)) for v in verdicts]
    return found


def _compared_with(ledger: Ledger, series: Series) -> list[Finding]:
    try:
        return ledger.verify(series)
    except UsageError as error:  # files that no record can name
        return [Finding("B11", Severity.INFORMATION, "", f"{error}.", series.names)]


def is_volume(image: Image) -> bool:
    """Whether its planes follow one another in space, at a known distance."""
    return (
        len(image.shape) == 3 and not image.colour and image.spacing is not None and len(image.spacing) == 3
    )


def is_film(image: Image) -> bool:
    """Whether its planes follow one another in time: frames of a DICOM file that states their rate."""
    header = image.header if isinstance(image.header, Dataset) else Dataset()
    return len(image.shape) == 3 and image.palette is None and any(rate in header for rate in _RATES)


def _asked(examiner: Witness, image: Image) -> Evidence:
    try:
        return examiner.examine(image)
    except UsageError as error:
        why = str(error)
    except Exception as error:  # whatever it is, the other examiners still have something to say
        why = f"it failed ({type(error).__name__}: {error})"
    return Evidence(examiner.kind, math.nan, None, "", abstained=why)
