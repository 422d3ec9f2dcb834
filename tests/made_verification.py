"""A verification run made up for tests: its verdicts and its pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from intact.image import Image
from intact.report import draw_damage
from made_run import MARKUP, phantom

KEY = "9f3a61c07be2d458"
HEAD = 16 * "5b1f"
ENVELOPE = "its envelope was lost or changed when other software wrote it anew; its pixels are untouched"
REASONS = {
    "pixels": "its pixels were changed after it was sealed",
    "header": ENVELOPE,
    "re-encoded": "was stored with loss (JPEG) after it was sealed, which no seal survives",
    "resized": "was cropped or resized after it was sealed, from (1, 64, 64) to (1, 32, 32)",
    "truncated": "was cut off or damaged after it was sealed: it is truncated",
    "wrong key": "was sealed for other keys than the one given",
    "not sealed": "carries no seal: JPEG stores with loss, which no seal survives",
    "unreadable": "is a text file; it cannot be read as an image",
    "sound": "",
}
OTHER = ("wrong key", "not sealed", "unreadable")

Row = dict[str, Any]


class MadeVerification:
    """Writes `verify.json`, `verdicts.jsonl` and `pictures/` into a folder.

    Args:
        out: Where to write.
        sound: How many sound files; one of each other state, two localised ones and a second file
            with a changed header come on top, unless there are none.
    """

    def __init__(self, out: Path, *, sound: int = 30) -> None:
        self.out = out
        self.rows: list[Row] = []
        self.ledger: dict[str, Any] | None = {"path": str(out / "ledger.jsonl"), "events": 41, "head": HEAD}
        out.mkdir(parents=True, exist_ok=True)
        if sound:
            self.rows += [verdict(f"set/{state}.dcm", state) for state in REASONS if state != "sound"]
            self.rows.append(verdict("set/header again.dcm", "header"))
            self.rows.append(self.localised(MARKUP, blocks=12))
            self.rows.append(self.localised("set/edited.png", blocks=3))
            self.rows += [verdict(f"set/sound_{k:03d}.png", "sound") for k in range(sound)]
        self.write()

    def localised(self, path: str, *, blocks: int) -> Row:
        """The verdict of an edited image of 128 × 128, with its pictures."""
        number = len(self.rows)
        pixels, _ = phantom(np.random.default_rng(number), (1, 128, 128))
        altered = np.zeros((1, 8, 8), bool)
        altered.flat[16 : 16 + blocks] = True
        unknown = np.zeros_like(altered)
        unknown[0, 6, 1] = True
        masks = [mask.repeat(16, axis=1).repeat(16, axis=2) for mask in (altered, unknown)]
        image = Image(pixels[0])
        pictures = draw_damage(image, *masks, image, masks[0], self.out / "pictures", f"{number:05d}")
        sizes = {"size": 16, "total": 64, "altered": blocks, "unknown": 1}
        return verdict(path, "pixels") | {"localised": True, "blocks": sizes, "pictures": pictures}

    def run(self) -> Row:
        """The record of the run."""
        states = Counter(row["state"] for row in self.rows)
        other = sum(states[state] for state in OTHER)
        return {
            "intact": "0.1.0",
            "started": "2026-03-04T09:12:41+00:00",
            "finished": "2026-03-04T09:13:22+00:00",
            "seconds": 41.3,
            "key": KEY,
            "paths": ["/archive/set"],
            "ledger": self.ledger,
            "counts": {
                "files": len(self.rows),
                "sound": states["sound"],
                "altered": len(self.rows) - states["sound"] - other,
                "other": other,
                "states": dict(states),
            },
            "complete": True,
        }

    def write(self, **changes: Any) -> None:
        """Write record and verdicts anew, with changes to the record."""
        (self.out / "verify.json").write_text(json.dumps(self.run() | changes), "utf-8")
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        (self.out / "verdicts.jsonl").write_text(lines, "utf-8")


def verdict(path: str, state: str) -> Row:
    """One line of `verdicts.jsonl`."""
    return {
        "path": path,
        "state": state,
        "reason": REASONS[state],
        "localised": False,
        "blocks": None,
        "planes": 1,
        "pictures": None,
    }
