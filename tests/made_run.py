"""A screening run made up for tests: its files, its images, and how to read them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile

from intact.image import Image, Window

ALPHA = 0.05
NORMALS = 120
SCALE = (1.0, 2.0)
KINDS = ("good", "tumour", "copy_move")
MARKUP = 'set/<script>document.title="owned"</script>&"\'.png'
UNREADABLE = "set/flagged_but_gone.png"
VOLUME = "set/series_7"

Row = dict[str, Any]


class MadeRun:
    """Writes `run.json`, `findings.jsonl` and `maps/` into a folder.

    Args:
        out: Where to write.
        images: How many 2-D images, kinds in turn; one volume and three errors come on top.
        labelled: Whether the truth is known.
        detectors: Names of the detectors; each writes a row per image.
    """

    def __init__(
        self,
        out: Path,
        *,
        images: int = 39,
        labelled: bool = True,
        detectors: tuple[str, ...] = ("padim",),
    ) -> None:
        self.out, self.labelled, self.detectors = out, labelled, detectors
        self.images: dict[str, Image] = {}
        self.rows: list[Row] = []
        self.rng = np.random.default_rng(7)
        (out / "maps").mkdir(parents=True)
        for place in range(images):
            self._add_plane(place, KINDS[place % len(KINDS)])
        self._add_volume()
        self._add_errors()
        self.write()

    def read(self, name: str) -> Image:
        """The image of a path, as a caller of `write_report` would read it again."""
        if name not in self.images:
            raise FileNotFoundError(f"{name} is gone")
        return self.images[name]

    def write(self) -> None:
        """Write the run's files as they stand now."""
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        (self.out / "findings.jsonl").write_text(lines, "utf-8")
        (self.out / "run.json").write_text(json.dumps(self.run()), "utf-8")

    def run(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return {
            "intact": "0.1.0",
            "started": "2026-03-04T09:12:30+00:00",
            "finished": "2026-03-04T09:13:12+00:00",
            "seconds": 41.7,
            "command": ["intact", "screen", "set", "-o", "out", "--model", "brain"],
            "paths": ["/archive/set"],
            "reference": [],
            "alpha": ALPHA,
            "models": [self._model(name) for name in self.detectors],
            "counts": {
                "images": len({row["path"] for row in self.rows if not row["error"]}),
                "flagged": len({row["path"] for row in self.rows if row["flagged"]}),
                "manipulated": 0,
                "silenced": 0,
                "errors": sum(row["error"] is not None for row in self.rows),
                "files": len(self.rows) + 19,
                "warnings": sum(len(row["warnings"]) for row in self.rows),
            },
            "labels": self._labels() if self.labelled else None,
            "versions": {"python": "3.11.9", "torch": "2.9.0", "numpy": "2.3.1"},
            "device": "cpu",
            "complete": True,
        }

    def _add_plane(self, place: int, kind: str) -> None:
        height, width = 128, 96 + 32 * (place % 2)
        pixels, lesion = phantom(self.rng, (1, height, width))
        strength = 0.5 if kind == "good" else float(self.rng.uniform(1.0, 3.2))
        path = {1: MARKUP, 4: UNREADABLE}.get(place, f"set/{kind}/{place:03d}.png")
        if place in (1, 4):
            strength = 3.0
        if path != UNREADABLE:
            spacing = (0.8, 0.8) if place % 3 else None
            self.images[path] = Image(pixels[0], spacing=spacing, modality="MR")
        for detector in self.detectors:
            scores = (0.3 + strength * lesion).astype(np.float32)[0]
            name = f"maps/{place:04d}_{detector}.tif"
            tifffile.imwrite(self.out / name, scores)
            notes = ["no pixel spacing in a PNG file"] if place % 3 == 0 else []
            image = self.images.get(path) or Image(pixels[0])
            self._add_row(path, detector, image, scores[None], kind, name, notes)

    def _add_volume(self) -> None:
        pixels, lesion = phantom(self.rng, (20, 128, 128))
        image = Image(
            pixels,
            spacing=(3.0, 0.9, 0.9),
            modality="MR",
            windows=(Window(1800.0, 3600.0),),
        )
        self.images[VOLUME] = image
        scores = (0.3 + 3.4 * lesion).astype(np.float32)
        for detector in self.detectors:
            name = f"maps/volume_{detector}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(scores.T, np.eye(4)), self.out / name)
            self._add_row(VOLUME, detector, image, scores, "tumour", name, [])

    def _add_errors(self) -> None:
        reasons = (
            "Pixel Data ends after 1204 of 65536 bytes, the file is truncated: copy it again",
            "Pixel Data ends after 88 of 65536 bytes, the file is truncated: copy it again",
            "the file holds no pixels but a structured report: leave it out",
        )
        for place, reason in enumerate(reasons):
            row = self._row(f"set/broken_{place}.dcm", "read", [], None, "tumour", None, [])
            self.rows.append(row | {"label": None, "error": reason, "files": 1})

    def _add_row(
        self,
        path: str,
        detector: str,
        image: Image,
        scores: np.ndarray,
        kind: str,
        name: str,
        notes: list[str],
    ) -> None:
        score = float(scores.max() + self.rng.normal(0, 0.35))
        p = (1 + np.floor(NORMALS * np.exp(-2.2 * max(0.0, score - 0.45)))) / (NORMALS + 1)
        row = self._row(path, detector, list(image.shape), score, kind, name, notes)
        row |= {"p_value": float(p), "flagged": bool(p <= ALPHA)}
        row["spacing"] = list(image.spacing) if image.spacing else None
        if row["flagged"]:
            row["regions"] = [region(scores, image.spacing)]
        self.rows.append(row)

    def _row(
        self,
        path: str,
        detector: str,
        shape: list[int],
        score: float | None,
        kind: str,
        name: str | None,
        notes: list[str],
    ) -> Row:
        return {
            "path": path,
            "study": "1.2.3",
            "series": "1.2.3.7" if path == VOLUME else "",
            "instance": "",
            "patient": "Doe^Jane",
            "modality": "MR",
            "shape": shape,
            "spacing": None,
            "files": 20 if path == VOLUME else 1,
            "label": kind if self.labelled else None,
            "detector": detector,
            "family": "anomaly",
            "score": score,
            "p_value": None,
            "flagged": False,
            "silenced": False,
            "regions": [],
            "map": name,
            "twin": None,
            "warnings": notes,
            "error": None,
        }

    def _model(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "method": "padim",
            "family": "anomaly",
            "modality": "MR",
            "normals_fitted": 480,
            "normals_calibrated": NORMALS,
            "digest": "sha256:3f1c90a7e2",
            "fitted": "2026-02-27T16:40:00+00:00",
            "fields": {"backbone": "resnet18", "features": 100, "ridge": 0.01},
            "preparation": {"size": [224, 224], "intensity": "percentile 0.5 to 99.5"},
            "smallest_p": 1 / (NORMALS + 1),
            "map_scale": list(SCALE),
        }

    def _labels(self) -> dict[str, Any]:
        per_kind = [
            {
                "detector": detector,
                "kind": kind,
                "n": 13,
                "auroc": [0.93, 0.86, 0.98],
                "average_precision": [0.9, 0.81, 0.96],
                "flagged_rate": [0.77, 0.5, 0.92],
            }
            for detector in self.detectors
            for kind in KINDS[1:]
        ]
        alarms = [
            {"detector": d, "n": 13, "rate": 0.077, "lo": 0.014, "hi": 0.333, "alpha": ALPHA}
            for d in self.detectors
        ]
        pixel = [
            {
                "detector": d,
                "n": 26,
                "aupro": [0.81, 0.75, 0.86],
                "pixel_ap": [0.44, 0.35, 0.52],
                "dice_at_5_fpr": [0.41, 0.33, 0.48],
            }
            for d in self.detectors
        ]
        return {"per_kind": per_kind, "false_alarm_rate": alarms, "pixel": pixel}


def phantom(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A head of 12-bit values and a smooth lesion somewhere in it, both [D,H,W]."""
    depth = shape[0]
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else [0.0] for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (0.5 * z) ** 2)
    at_y, at_x = rng.uniform(-0.4, 0.4, 2)
    lesion = np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2 + (2 * z - 0.5 * (depth > 1)) ** 2) / 0.03)
    texture = rng.normal(0, 60, shape)
    head = 1500 * (radius < 0.9) + 1200 * ((radius > 0.85) & (radius < 0.95)) + 1100 * lesion
    return np.clip(head + texture * (radius < 1), 0, 4095).astype(np.uint16), lesion


def region(scores: np.ndarray, spacing: tuple[float, ...] | None) -> Row:
    """The part of a map [D,H,W] above half its peak, on the plane of the peak."""
    plane, row, column = (int(i) for i in np.unravel_index(scores.argmax(), scores.shape))
    rows, columns = np.nonzero(scores[plane] > scores.max() / 2)
    box = [int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1]
    size = None
    if spacing:
        size = [(box[2] - box[0]) * spacing[-2], (box[3] - box[1]) * spacing[-1]]
    return {
        "plane": plane,
        "box": box,
        "area_mm2": len(rows) * spacing[-2] * spacing[-1] if spacing else None,
        "area_px": len(rows),
        "extent_mm": size,
        "center": [plane, row, column],
        "peak": float(scores.max()),
        "p_value": 1 / (NORMALS + 1),
        "side": "patient's left",
        "nearest": [],
        "variant": None,
    }
