"""Examiners that were taught, on patients, forgers and kinds of image that they know and do not know -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics_taught.py WORK [--methods backbone pscc]
        [--seeds 0 1 2] [--without operators packs]

Lessons are made from the training images of three real packs, brain MR, chest radiographs and lung CT, each
forged by five operators; some go through JPEG, noise or scaling afterwards, genuine ones as well. One model
of each method and seed learns from all of them together. It is judged on test patients of each pack, with
forged areas of 0.3 to 3 %, on the same with processing (seed 0), and on the two sets of others. With
`--without operators` each operator in turn is kept from the lessons, and the model is judged on that alone;
with `--without packs` each pack is. Examiners that need no lessons are measured on the same cases, as are
fusions.

WORK keeps packs, models and what was measured; the same command goes on from there. Rows go to
benchmarks/results/forensics_taught.csv; a row says what its model never saw in `unseen`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forensics_packs import FORGED, GENUINE, write_pack
from intact.bench.forensics import bench_forensics
from intact.examiner_model import ExaminerModel
from intact.forensics import LEARNED, METHODS
from intact.forge.after import parse_after
from intact.forge.cases import LISTS
from intact.forge.pack import Asked, make_pack
from intact.rows import Row
from intact.teach import AFTER, KINDS, teach
from results import environment, read_rows, replace_rows

ROWS = "forensics_taught.csv"
LEARNED_FROM = 200  # genuine images of each pack
JUDGED = 40  # genuine images of each pack,
PROCESSED = 20  # and of each with processing
SMALL = ((0.003, 0.03),)  # share of the area that is forged in the cases judged
FROM_OTHERS = 60  # forged images of each set of others
EVERYWHERE = "processed"  # the test cases with processing


@dataclass(frozen=True)
class Lesson:
    """What a model learns from.

    Args:
        packs: Whose training images.
        kinds: How they are forged.
        unseen: What is left out, in words; empty for nothing.
    """

    packs: tuple[str, ...]
    kinds: tuple[str, ...]
    unseen: str = ""


ALL = Lesson(tuple(GENUINE), KINDS)
WITHOUT = {
    "operators": [Lesson(ALL.packs, tuple(k for k in KINDS if k != kind), kind) for kind in KINDS],
    "packs": [Lesson(tuple(p for p in ALL.packs if p != pack), KINDS, pack) for pack in ALL.packs],
}


class Work:
    """The folder in which everything is kept that can be used again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, Path(os.environ["INTACT_DATA"])

    def lessons(self, lesson: Lesson) -> Path:
        """The pack that a model learns from."""
        images = [part for pack in lesson.packs for part in self._evenly(pack, "train/good", LEARNED_FROM)]
        asked = Asked(lesson.kinds, {}, parse_after(AFTER), 0, 0, in_turn=True)
        return make_pack(images, self.folder / "lessons", asked)[0]

    def cases(self, pack: str, *, processed: bool = False) -> Path:
        """The pack that a model is judged on."""
        if pack in FORGED:
            place = self.folder / "others" / pack
            if not any((place / name).exists() for name in LISTS):
                write_pack(pack, self.data, place, FROM_OTHERS)
            return place
        images = self._evenly(pack, "test/good", PROCESSED if processed else JUDGED)
        after = parse_after(AFTER) if processed else []
        return make_pack(images, self.folder / "cases", Asked(KINDS, {}, after, 0, 1, shares=SMALL))[0]

    def model(self, method: str, seed: int, lesson: Lesson) -> tuple[Path, float]:
        """A taught examiner, in a folder called like its method, and the seconds it took to teach."""
        about = "all" if not lesson.unseen else f"without-{lesson.unseen}"
        place = self.folder / "models" / f"{about}-{seed}" / method
        took = place.with_name(f"{method}.seconds")
        if not took.exists():
            started = time.process_time()
            place.parent.mkdir(parents=True, exist_ok=True)
            teach([self.lessons(lesson)], method=method, seed=seed).model.save(place)
            took.write_text(f"{time.process_time() - started:.1f}")
        return place, float(took.read_text())

    def _evenly(self, pack: str, part: str, count: int) -> list[Path]:
        found = sorted((self.data / pack / part).iterdir())
        return [found[n] for n in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]


def judged(work: Work, pack: str, model: Path | None, method: str, out: str, *, processed: bool) -> list[Row]:
    """Rows of one examiner on the cases of one pack."""
    benched = bench_forensics(
        [work.cases(pack, processed=processed)],
        work.folder / "judged" / out / (f"{pack}-{EVERYWHERE}" if processed else pack),
        methods=[] if model else [method],
        models=[model] if model else [],
        workers=1,
    )
    return [row for row in benched.rows if row["method"] == method]


def tests_of(lesson: Lesson, seed: int) -> Iterator[tuple[str, bool]]:
    """Pack, and whether with processing, that a model is judged on."""
    if lesson.unseen in GENUINE:
        yield lesson.unseen, False
        return
    yield from ((pack, False) for pack in GENUINE)
    if not lesson.unseen:
        yield from ((pack, False) for pack in FORGED)
        if seed == 0:
            yield from ((pack, True) for pack in GENUINE)


def measure(work: Work, method: str, seed: int, lesson: Lesson) -> None:
    """Teach if need be, judge, and store the rows; what is stored already is left."""
    known = {
        (row["pack"], row["processed"])
        for row in read_rows(ROWS)
        if (row["method"], row["seed"], row["unseen"]) == (method, str(seed), lesson.unseen)
    }
    wanted = [test for test in tests_of(lesson, seed) if (test[0], str(test[1])) not in known]
    if not wanted:
        return
    model, seconds = work.model(method, seed, lesson) if method in LEARNED else (None, 0.0)
    card = ExaminerModel.load(model).card if model else None
    for pack, processed in wanted:
        out = f"{lesson.unseen or 'all'}-{seed}"
        rows = judged(work, pack, model, method, out, processed=processed)
        if lesson.unseen in KINDS:  # all other operators were learned from
            rows = [row for row in rows if (row["slice"], row["value"]) == ("operator", lesson.unseen)]
        about = {
            "pack": pack,
            "method": method,
            "seed": seed,
            "unseen": lesson.unseen,
            "processed": processed,
        }
        taught = {"teach_s": seconds, "lessons": card.genuine + card.forged if card else 0}
        replace_rows(ROWS, about, [about | row | taught | environment() for row in rows])
        whole = rows[0]
        print(*about.values(), f"AUROC {whole['auroc']:.3f}, F1 {whole.get('f1') or 0:.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for packs, models and what was measured")
    parser.add_argument("--methods", nargs="+", default=[*LEARNED, *METHODS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--without", nargs="+", default=[], choices=list(WITHOUT))
    asked = parser.parse_args(arguments)
    work = Work(asked.work.resolve())
    for method in asked.methods:
        for seed in asked.seeds if method in LEARNED else [0]:
            measure(work, method, seed, ALL)
            for part in asked.without if method in LEARNED else []:
                for lesson in WITHOUT[part]:
                    measure(work, method, seed, lesson)


if __name__ == "__main__":
    main()
