"""The page of a verification run: which sealed files are sound, what happened to the others, and where."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from intact.errors import UsageError
from intact.io.atomic import put
from intact.report.page import common_folder, read_rows, render
from intact.report.pictures import image_png
from intact.report.verdicts import (
    ALTERED,
    SOUND,
    STATES,
    UNVERIFIED,
    Card,
    Row,
    by_result,
    gather,
    headline,
    sorted_rows,
)

CARDS = 200  # of altered files, at most, and as many of files not verified
TABLE_ROWS = 50_000  # rows the table holds, at most: browsers stay quick

_PAGE_BYTES = 20_000_000  # of all pictures together
_CARD_BYTES = (100_000, 900_000)  # least and most for the pictures of one card
_SIDES = (512, 384, 256)  # longest side of a picture in pixels: the first that fits

_COLUMNS = (
    ("path", "File", "path"),
    ("result", "Result", "result"),
    ("state", "State", "text"),
    ("altered", "Altered blocks", "count"),
    ("reason", "Reason", "text"),
)


def write_verification(out: Path) -> Path:
    """Write `out/verification.html` from the `verify.json`, `verdicts.jsonl` and pictures of a run.

    Args:
        out: Folder of the run.

    Returns:
        The path of the page, which replaces an earlier one only when it is complete.

    Raises:
        UsageError: `out` is not the folder of a run.
        OutputError: The page could not be written.
    """
    run = _read_run(out)
    rows, torn = read_rows(out / "verdicts.jsonl")
    cards = gather(rows)
    altered, others = (
        [card for card in cards if card.state.result == result] for result in (ALTERED, UNVERIFIED)
    )
    shown = altered[:CARDS] + others[:CARDS]
    _draw(altered[:CARDS], out)
    page = render(
        "verification.html",
        "report.css",
        "verification.css",
        run=run,
        headline=headline(run["counts"]),
        torn=torn,
        disagree=not torn and any(run["counts"][name] != found for name, found in _counted(rows).items()),
        altered=altered[:CARDS],
        others=others[:CARDS],
        files_left_out=sum(len(card.rows) for card in altered[CARDS:] + others[CARDS:]),
        table=_table(rows, shown),
        table_left_out=max(0, len(rows) - TABLE_ROWS),
        root=common_folder([row["path"] for row in rows]),
    )
    # A file name that is not UTF-8 holds what UTF-8 cannot: it is shown with question marks.
    return put(out / "verification.html", page.encode("utf-8", "replace"))


def _read_run(out: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads((out / "verify.json").read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{out} holds no verify.json, so it is not the folder of a verification run: "
            "name the folder that `intact verify` wrote with -o"
        ) from None
    return run


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    """The counts of `verify.json`, taken from the verdicts themselves."""
    return {
        "files": len(rows),
        "sound": by_result(rows, SOUND),
        "altered": by_result(rows, ALTERED),
        "other": by_result(rows, UNVERIFIED),
    }


def _draw(cards: Sequence[Card], out: Path) -> None:
    """Embed the pictures of cards; one that cannot be read becomes a line in its card."""
    drawn = [card for card in cards if card.first["pictures"]]
    least, most = _CARD_BYTES
    budget = min(most, max(least, _PAGE_BYTES // max(1, len(drawn))))
    for card in drawn:
        pictures = card.first["pictures"]
        try:
            for side in _SIDES:
                card.picture, card.recovered = (
                    _picture(out, pictures[name], side) for name in ("image", "recovered")
                )
                if len(card.picture) + len(card.recovered) <= budget:
                    break
            card.damage = _as_it_is(out / pictures["damage"])
            card.wide = pictures.get("wide") or _wide(out / pictures["image"])
        except (OSError, ValueError) as problem:
            card.picture = card.recovered = ""
            card.problems.append(f"The pictures could not be shown: {problem}")


def _picture(out: Path, name: str | None, side: int) -> str:
    if name is None:
        return ""
    with Pillow.open(out / name, formats=["PNG"]) as picture:
        return image_png(np.asarray(picture), side=side)


def _as_it_is(path: Path) -> str:
    """A PNG as a data URI: an overlay is small, and its thin lines would not survive being reduced."""
    with Pillow.open(path, formats=["PNG"]) as picture:
        picture.verify()
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _wide(path: Path) -> float:
    with Pillow.open(path, formats=["PNG"]) as picture:
        return picture.width / picture.height


def _table(rows: Sequence[Row], cards: Sequence[Card]) -> dict[str, Any]:
    """Columns and rows for the page's script; what needs attention comes first."""
    card_of = {id(row): number for number, card in enumerate(cards, start=1) for row in card.rows}
    ranked = sorted_rows(rows)[:TABLE_ROWS]
    cells = [[_cells(row)[name] for name, _, _ in _COLUMNS] + [card_of.get(id(row))] for row in ranked]
    return {"columns": _COLUMNS, "rows": cells}


def _cells(row: Row) -> Mapping[str, Any]:
    """What the table says of a file, by column."""
    return {
        "path": row["path"],
        "result": STATES[row["state"]].result,
        "state": STATES[row["state"]].title,
        "altered": row["blocks"]["altered"] if row["blocks"] else None,
        "reason": row["reason"],
    }
