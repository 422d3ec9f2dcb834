"""What the page says about the files of a verification run, as plain data for its template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intact.report.words import count, plural, rate

Row = Mapping[str, Any]  # one line of verdicts.jsonl

SOUND, ALTERED, UNVERIFIED = "sound", "altered", "not verified"
PATHS = 50  # listed in a card, at most


@dataclass(frozen=True)
class State:
    """What a state is called and what a reader has to know.

    Args:
        result: `SOUND`, `ALTERED` or `UNVERIFIED`.
        title: As a heading.
        counted: As it follows a number of files.
        meaning: What is known, and what is not.
        advice: What to do about it.
    """

    result: str
    title: str
    counted: str
    meaning: str
    advice: str


STATES = {  # in the order of the page
    "pixels": State(
        ALTERED,
        "Pixels changed",
        "in the pixels",
        "At least one pixel differs from what was sealed. That may be retouching, text burnt into the "
        "image or a single bit; the seal tells that it happened, not who did it or why.",
        "Do not read or pass on this file. Fetch the sealed file again from where it was first stored, "
        "and ask which system or person wrote this one since.",
    ),
    "header": State(
        ALTERED,
        "Header changed",
        "outside the pixels only",
        "The pixels are bit for bit those that were sealed. Something around them is not: names, dates "
        "or other header fields, or the envelope that holds the original header. Archives and viewers "
        "that write headers anew do this, and so does whoever moves an image to another patient.",
        "Check the patient and the study against the order. Running intact restore --accept-header gives the "
        "original back, header and all: compare the two, and seal it anew if only software was at work.",
    ),
    "re-encoded": State(
        ALTERED,
        "Stored with loss",
        "stored with loss",
        "Lossy compression changed pixels all over the image, mostly by little. No seal survives that, "
        "so neither the original nor the place of a further change can be told from this file.",
        "Switch lossy compression off on the way (modality, router, archive or export), and send the "
        "sealed file again.",
    ),
    "resized": State(
        ALTERED,
        "Cropped or resized",
        "cropped or resized",
        "The image no longer has the rows, columns or planes that were sealed, so its pixels cannot be "
        "compared with them.",
        "Fetch the sealed file again. If the crop was meant, restore first, crop, and seal the result.",
    ),
    "truncated": State(
        ALTERED,
        "Cut off or damaged",
        "cut off or damaged",
        "The file carries a seal but can no longer be read as an image. A transfer that broke off or a "
        "failing disk is the usual cause.",
        "Copy it again and compare the sizes; if it is damaged at its source too, take it from a backup.",
    ),
    "wrong key": State(
        UNVERIFIED,
        "Another key",
        "sealed for another key",
        "The file is sealed, but not for the key given here. Without its own key nobody can tell "
        "whether it was changed.",
        "Verify it with the key of whoever sealed it, or have it sealed with your key as a recipient.",
    ),
    "not sealed": State(
        UNVERIFIED,
        "No seal",
        "without a seal",
        "No seal was found. Either there never was one, or it was lost with the pixels that held it, as "
        "by lossy compression, resizing or deliberate removal.",
        "Look in the ledger of sealing whether this file should carry one. If so, treat it as altered.",
    ),
    "unreadable": State(
        UNVERIFIED,
        "Not readable",
        "not readable",
        "The file could not be read as an image, and nothing in it says that it was ever sealed.",
        "Leave it out if it is no image; otherwise copy it again from its source.",
    ),
    "sound": State(
        SOUND,
        "Sound",
        "sound",
        "Not a byte was changed since the file was sealed.",
        "Nothing has to be done.",
    ),
}
_PLACES = list(STATES)


@dataclass
class Card:
    """An altered file with its pictures, or all files of one state that have the same reason.

    Args:
        rows: Their verdicts.
        picture: Data URI of the plane; empty where there is none.
        damage: Of what lies over it.
        recovered: Of the plane with reduced copies; empty where there is none.
        wide: Width of the pictures over their height.
        problems: What went wrong with the pictures.
    """

    rows: list[Row]
    picture: str = ""
    damage: str = ""
    recovered: str = ""
    wide: float = 1.0
    problems: list[str] = field(default_factory=list)

    @property
    def first(self) -> Row:
        """The file that the card shows."""
        return self.rows[0]

    @property
    def state(self) -> State:
        """What is known of all its files."""
        return STATES[self.first["state"]]

    @property
    def reason(self) -> str:
        """Why, as a sentence."""
        return sentence(self.first["reason"])

    @property
    def note(self) -> str:
        """What the pictures show."""
        return str(self.first["pictures"]["note"])

    @property
    def paths(self) -> list[str]:
        """Files to be listed: none where the heading names the only one."""
        return [row["path"] for row in self.rows[:PATHS]] if len(self.rows) > 1 else []

    @property
    def blocks(self) -> str:
        """How many blocks were altered."""
        blocks = self.first["blocks"]
        return _of(blocks["altered"], blocks["total"]) if blocks else ""

    @property
    def facts(self) -> dict[str, str]:
        """Numbers by name."""
        blocks = self.first["blocks"]
        if not blocks:
            return {}
        side = blocks["size"]
        facts = {f"Altered blocks of {side} × {side}": _of(blocks["altered"], blocks["total"])}
        if blocks["unknown"]:
            facts["Nothing known of"] = _of(blocks["unknown"], blocks["total"])
        if self.first["planes"] > 1:
            facts["Planes"] = count(self.first["planes"])
        return facts

    @property
    def doubts(self) -> list[str]:
        """What the seal cannot tell of this file, then what went wrong with its pictures."""
        row, said = self.first, []
        if row["state"] == "pixels":
            if not row["localised"]:
                said.append(
                    "Where it was changed cannot be told: it was sealed without localising, or the seal in "
                    "its pixels is gone."
                )
            elif not row["blocks"]:
                said.append("Where it was changed cannot be told: the seal in its pixels is damaged.")
        return said + self.problems


def sorted_rows(rows: Iterable[Row]) -> list[Row]:
    """Altered files first, by state and by how many of their blocks were altered; sound ones last."""
    return sorted(rows, key=lambda row: (_PLACES.index(row["state"]), -_altered_blocks(row)))


def gather(rows: Iterable[Row]) -> list[Card]:
    """A card for each altered file with blocks; one for all others of the same state and reason.

    Sound files have none. Reasons that differ in nothing but numbers are the same.
    """
    groups: dict[tuple[str, ...], Card] = {}
    for row in sorted_rows(rows):
        if row["state"] != "sound":
            alone = row["path"] if row["blocks"] else ""
            key = row["state"], re.sub(r"\d+", "#", row["reason"]), alone
            groups.setdefault(key, Card([])).rows.append(row)
    return list(groups.values())


def headline(counts: Mapping[str, Any]) -> list[str]:
    """The result of a run in a sentence or two."""
    files, sound, altered, other = (counts[name] for name in ("files", "sound", "altered", "other"))
    if not files:
        return ["No file was verified."]
    if sound == files:
        return [f"{'The file is' if files == 1 else f'All {count(files)} files are'} exactly as sealed."]
    said = []
    if altered:
        of = f"{count(altered)} of {count(files)} {plural(files, 'file')}"
        were = "was" if altered == 1 else "were"
        said.append(f"{of} {were} changed after sealing: {_how(counts['states'], ALTERED)}.")
    if other:
        of = f"{count(other)} of {count(files)} {plural(files, 'file')}"
        said.append(f"{of} could not be verified: {_how(counts['states'], UNVERIFIED)}.")
    if sound:
        rest = "is" if sound == 1 else "are"
        said.append(f"The other {f'{count(sound)} ' if sound > 1 else ''}{rest} exactly as sealed.")
    return said


def sentence(reason: str) -> str:
    """A reason, which continues the name of its file, as a sentence of its own."""
    if re.match(r"(is|has|was|carries|holds|claims|ends|cannot|does)\b", reason):
        reason = f"it {reason}"
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")


def _how(states: Mapping[str, int], result: str) -> str:
    """The states with that result: `2 in the pixels, 1 cropped or resized`, or the only one."""
    found = [name for name, state in STATES.items() if state.result == result and states.get(name)]
    if len(found) == 1:
        return STATES[found[0]].counted
    return ", ".join(f"{count(states[name])} {STATES[name].counted}" for name in found)


def _altered_blocks(row: Row) -> int:
    return row["blocks"]["altered"] if row["blocks"] else -1


def _of(part: int, whole: int) -> str:
    return f"{count(part)} of {count(whole)} ({rate(part / whole)})"


def by_result(rows: Sequence[Row], result: str) -> int:
    """How many files have that result."""
    return sum(STATES[row["state"]].result == result for row in rows)
