"""What `docs/results/anomaly.md` and README say of detectors."""

from __future__ import annotations

from collections.abc import Sequence

import tables_choose
import tables_few
from intact.anomaly import METHODS
from results import page, plain, read_rows, table

COLUMNS = (
    ("brain_mri", "tumor_matched"),
    ("chest_xray", "bacteria"),
    ("chest_xray", "virus"),
    ("lung_ct", "benign"),
    ("lung_ct", "malignant"),
    ("pneumoniamnist", "pneumonia"),
)


def detection() -> str:
    """AUROC of each method for each kind of finding, best on the first column first."""
    rows = {(r["pack"], r["kind"], r["method"]): r for r in read_rows("anomaly.csv")}
    methods = dict.fromkeys(method for _, _, method in rows)
    packs = dict.fromkeys(pack for pack, _ in COLUMNS)

    seconds = {(row["pack"], row["method"]): float(row["fit_s"]) for row in rows.values()}

    def first(method: str) -> float:
        row = rows.get((*COLUMNS[0], method))
        return float(row["auroc"]) if row else 0.0

    body = []
    for method in sorted(methods, key=first, reverse=True):
        own = [rows.get((*column, method)) for column in COLUMNS]
        minutes = [
            f"{seconds[pack, method] / 60:.0f}" if (pack, method) in seconds else "–" for pack in packs
        ]
        name = "`patchcore`, shipped backbone" if method == "patchcore_shipped" else f"`{method}`"
        body.append([name, *(auroc(row) for row in own), " / ".join(minutes)])
    floors = [floor_of([row for key, row in rows.items() if key[:2] == column]) for column in COLUMNS]
    body.append(["plain PatchCore (floor)", *floors, ""])
    alone = {(r["pack"], r["kind"]): r for r in read_rows("sharpness.csv") if r["method"] == "three_numbers"}
    body.append(["three numbers of the whole image", *(three_numbers(alone.get(c)) for c in COLUMNS), ""])
    titles = (plain(f"{pack} {kind}") for pack, kind in COLUMNS)
    return table(["AUROC (95 % interval)", *titles, "minutes to fit"], body)


def auroc(row: dict[str, str] | None) -> str:
    """With its interval, and the seeds where there are several."""
    if row is None:
        return "not measured"
    spread = f"{float(row['auroc']):.3f} ({float(row['auroc_low']):.3f}–{float(row['auroc_high']):.3f})"
    return spread if row["seeds"] == "1" else f"{spread}, {row['seeds']} seeds"


def three_numbers(row: dict[str, str] | None) -> str:
    """AUROC of mean, deviation and gradient."""
    return f"{float(row['auroc']):.3f}" if row else "not measured"


def floor_of(rows: Sequence[dict[str, str]]) -> str:
    """The floor's AUROC, which each row of a kind tells as its own less the gain."""
    if not rows:
        return "not measured"
    row = rows[0]
    return f"{float(row['auroc']) - float(row['above_floor']):.3f}, {row['floor_seeds']} seeds"


def not_measured() -> str:
    """Methods and packs that no time was spent on."""
    seen = {(row["pack"], row["method"]) for row in read_rows("anomaly.csv")}
    lines = []
    for pack in dict.fromkeys(pack for pack, _ in COLUMNS):
        missing = [f"`{method}`" for method in METHODS if (pack, method) not in seen]
        which = "all" if len(missing) == len(METHODS) else ", ".join(missing)
        lines += [f"{which} on {plain(pack)}"] if missing else []
    return f"Not measured: {'; '.join(lines)}." if lines else ""


def margins() -> str:
    """By how much the best single method is above the floor, kind by kind, and what of that is sharpness."""
    equal = {(row["pack"], row["kind"], row["method"]): row for row in read_rows("sharpness.csv")}
    body = []
    for pack, kind in COLUMNS:
        rows = [r for r in read_rows("anomaly.csv") if (r["pack"], r["kind"]) == (pack, kind)]
        if not rows:
            continue
        best = max(rows, key=lambda row: float(row["auroc"]))
        told = [plain(f"{pack} {kind}"), f"`{best['method']}`", gained(best, "above_floor")]
        if (among := equal.get((pack, kind, best["method"]))) is not None:
            value, gain = float(among["equally_sharp"]), float(among["above_floor"])
            told += [f"{value:.3f}", f"{value - gain:.3f}", gained(among, "above_floor")]
        body.append(told + ["not measured"] * (6 - len(told)))
    head = ["finding", "best method", "above the floor (95 % interval)"]
    return table([*head, "among equally sharp pairs", "floor there", "above it"], body)


def gained(row: dict[str, str], name: str) -> str:
    """A difference with its interval."""
    value, low, high = (f"{float(row[f'{name}{end}']):+.3f}" for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def ladder() -> str:
    """AUROC of the floor, and of what makes Intact's PatchCore of it, step by step."""
    rows = {(r["rung"], r["summary"], r["pack"], r["kind"]): r["auroc"] for r in read_rows("above_floor.csv")}
    columns = [(pack, kind) for pack, kind in COLUMNS if any(key[2:] == (pack, kind) for key in rows)]
    body = []
    for rung in dict.fromkeys(rung for rung, *_ in rows):
        both = [[rows[rung, how, *column] for how in ("largest distance", "mean")] for column in columns]
        body.append([rung, *(" / ".join(f"{float(value):.3f}" for value in values) for values in both)])
    return table(["each with the changes above it", *(plain(f"{p} {k}") for p, k in columns)], body)


def false_alarms() -> str:
    """Which methods keep the rate of false alarms that was asked for, pack by pack."""
    rows = {(r["pack"], r["method"]): r for r in read_rows("anomaly.csv")}
    lines = []
    for pack in dict.fromkeys(pack for pack, _ in rows):
        own = {method: row["more_alarms"] == "0" for (p, method), row in rows.items() if p == pack}
        more = [f"`{method}`" for method, kept in own.items() if not kept]
        kept = [f"`{method}`" for method, kept in own.items() if kept]
        named = ", ".join(more) if len(more) <= len(kept) else f"all but {', '.join(kept)}"
        lines.append([plain(pack), f"{len(kept)} of {len(own)}", named if more else "none"])
    about = (
        "With a false-alarm rate of 5 % asked for, so many methods flagged no more fresh normals than chance "
        "allows. PneumoniaMNIST's normal test images differ from those to learn from."
    )
    return f"{about}\n\n{table(['pack', 'kept the rate', 'flagged more'], lines)}"


def beside(peer: str) -> str:
    """Ours and another implementation of the same method: AUROC on the same images, and what it costs."""
    rows = [row for row in read_rows(f"{'peer_' * (peer == 'anomalib')}{peer}.csv") if row["kind"] != "all"]
    body = []
    for row in rows:
        if (row["pack"], row["kind"]) not in COLUMNS:
            continue
        aurocs = (f"{float(row[f'auroc_{side}']):.3f}" for side in ("ours", peer))
        ratios = (f"{float(row[f'{cost}_ratio']):.2f}" for cost in ("fit_s", "images_s", "peak_mib"))
        finding = plain(f"{row['pack']} {row['kind']}")
        body.append([f"`{row['method']}`", row["seed"], finding, *aurocs, gained(row, "auroc_gain"), *ratios])
    head = ["method", "seed", "finding", "AUROC, ours", f"AUROC, {peer}", "difference (95 % interval)"]
    told = table([*head, "fit time, ratio", "images/s, ratio", "memory, ratio"], body)
    above = sum(float(row["auroc_gain_low"]) > 0 for row in rows)
    below = sum(float(row["auroc_gain_high"]) < 0 for row in rows)
    return (
        f"{told}\n\nOver all kinds of findings, {len(rows)} comparisons: ours is above in {above}, below "
        f"in {below}; in the others the interval holds zero. Each side is fitted once: the intervals are of "
        "the images, not of the training."
    )


def screened() -> str:
    """Whole runs of both programs, and what they say to a DICOM series."""
    rows = {(row["method"], row["side"]): row for row in read_rows("peer_screen.csv")}
    lines, answers = [], {}
    for method in dict.fromkeys(method for method, _ in rows):
        ours, theirs = rows[method, "intact"], rows[method, "anomalib"]
        ratio = float(ours["images_s"]) / float(theirs["images_s"])
        lines.append(f"`{method}` {per_second(ours)} and {per_second(theirs)} images/s, ratio {ratio:.1f}")
        answers = {"Intact": ours["dicom_series"], "anomalib": f"`{theirs['dicom_series']}`"}
        about = (
            f"From {int(ours['images']):,} files (the test images of {plain(ours['pack'])}, several times "
            f"over) to decisions ({ours['device']})"
        )
    if not lines:
        return ""
    return (
        f"{about}, `intact screen`, which starts its processes and writes findings and heat maps, beside "
        f"anomalib's Engine, which writes none, in turn (median, and the slowest and fastest run): "
        f"{'; '.join(lines)}. To a DICOM series of 4,096 grey levels "
        + "; ".join(f"{name} says: {answer}" for name, answer in answers.items())
        + "."
    )


def per_second(row: dict[str, str]) -> str:
    """How many images a second, and between what."""
    speed, least, most = (float(row[name]) for name in ("images_s", "images_s_least", "images_s_most"))
    return f"{speed:.1f} ({least:.1f}–{most:.1f})"


def speed() -> str:
    """Throughput and memory in a sentence each."""
    lines = [
        f"`screen` with the default detector does {float(row['screen_per_s']):.0f} images/s on "
        f"{row['device']}; the bare backbone as PyTorch runs it does {float(row['forward_per_s']):.0f}, bare "
        f"decoding {float(row['decode_per_s']):.0f}: {100 * float(row['kept']):.0f} % of the slower is kept. "
        f"Alone, with its batch norms folded as in Intact, it does {float(row['own_forward_per_s']):.0f}."
        for row in read_rows("screen_speed.csv")
    ]
    peaks = [
        f"{float(r['peak_mb']):.0f} MB at {int(r['images']):,} images" for r in read_rows("screen_memory.csv")
    ]
    if peaks:
        lines.append(f"Highest memory of all processes together: {', '.join(peaks)}.")
    return " ".join(lines)


def remembered() -> str:
    """What the memory bank needs while it grows, and what forgetting leaves."""
    nights, forgot = read_rows("bank_growth.csv"), read_rows("bank_forget.csv")
    if not nights or not forgot:
        return ""
    peaks = [float(night["peak_mb"]) for night in nights]
    last = forgot[-1]
    seconds, disk = sum(float(night["seconds"]) for night in nights), int(last["bytes"]) / 1e6
    equal = all(last[name] == "yes" for name in ("entries_equal", "model_equal", "scores_equal"))
    return (
        f"A memory bank of {int(last['images']):,} images of {int(last['patients']):,} patients "
        f"(`narrow_resnet18`, 64 x 64) took {min(peaks):.0f} to {max(peaks):.0f} MB of memory from the first "
        f"night to the last, {seconds:.0f} s in all, and {disk:.0f} MB on disk. One patient of "
        f"{last['removed']} images was forgotten in {float(last['forget_seconds']):.0f} s; the bank's memory "
        f"and its scores of {last['scores_compared']} test images then {'equal' if equal else 'DIFFER FROM'} "
        "those of a bank that never saw the patient, bit for bit (`benchmarks/bank.py`)."
    )


def volumes() -> str:
    """Ways to look at volumes, side by side."""
    rows = read_rows("volumes.csv")
    if not rows:
        return ""
    body = [
        [
            row["way"],
            auroc(row | {"seeds": "1"}),
            *(f"{float(row[name]):.0f}" for name in ("fit_s", "screen_s")),
        ]
        for row in rows
    ]
    return page(
        "## Volumes",
        f"CT phantoms, {rows[0]['learned_from']} to learn from (fewer where some are held out) and "
        f"{rows[0]['tested']} with one lesion of some millimetres to test, and as many without; no set of "
        "real volumes with lesions was at hand, so this says how the ways compare, not how well they do on "
        "patients (`benchmarks/volumes.py`).",
        table(["", "AUROC of volumes (95 % interval)", "seconds to fit", "to screen"], body),
    )


def variants() -> str:
    """What a mark of a normal variant lets pass."""
    rows = [row for row in read_rows("variants.csv") if row["used"] == "1"]
    if not rows:
        return ""
    body = [
        [plain(row["pack"]), row["images"], *(f"{float(row[name]):.1%}" for name in ("again", "others"))]
        for row in rows
    ]
    return page(
        "## Marked as normal variants",
        "Suspicious regions marked one by one (`intact variant mark`): how often the mark then lets pass the "
        "same region seen again (moved by pixels, brighter, noisier), and, which is what it costs, another "
        "patient's flagged region at the same place (`benchmarks/variants.py`).",
        table(["", "images flagged", "the same again", "others at its place"], body),
    )


def everything() -> str:
    """The page of results."""
    return page(
        "# What detectors find, and what it costs",
        "Real images, each method with its defaults, learned from the pack's normals only; the brain pack is "
        "judged by tumours collected the same way as its normals. `make bench` measures all of this anew; "
        "the score of every test image is in `benchmarks/results/anomaly/`, with a page for each pack.",
        detection(),
        not_measured(),
        "Benign findings on lung CT are hardly told from healthy slices: all methods are near chance there, "
        "and the best of them is the best of many.",
        "## Above the floor",
        "The best method of each column beside the floor on the same images; it owes a part to luck, as the "
        "best of many. Abnormal images of these packs are also more or less sharp than normal ones, so that "
        "three numbers of the whole image, its mean, deviation and mean gradient, tell some apart without "
        "seeing a lesion; on the right, only pairs of a normal and an abnormal image that are equally sharp "
        "(`benchmarks/sharpness.py`).",
        margins(),
        "Why Intact's PatchCore is above the plain one, a change at a time: AUROC with an image's score the "
        "largest distance of its patches / their mean, 3 seeds (`benchmarks/above_floor.py`). Features of "
        "equal weight and a coreset help to find tumours, which are spots; pneumonia fills a lung, and the "
        "mean finds it better. Neither backbone is better everywhere.",
        ladder(),
        "## False alarms",
        false_alarms(),
        tables_choose.everything(),
        tables_few.everything(COLUMNS),
        volumes(),
        variants(),
        "## Speed and memory",
        speed(),
        screened(),
        remembered(),
        "## Beside other implementations",
        "The same methods in anomalib 2.7.0 and in their authors' own code, on the same tensors, weights, "
        "steps and processor; a ratio is ours to theirs (`benchmarks/peer_anomalib.py`, `official.py`). "
        "anomalib learns from all normals and does not calibrate.",
        beside("anomalib"),
        beside("official"),
        "Authors' code that was not run here: EDC and EA2D (ResNet-50 only, whose weights are not at hand), "
        "UniAD (EfficientNet-B4, likewise), f-AnoGAN (TensorFlow 1.2), GANomaly (asks for torch 1.2), STFPM "
        "(GPL), AnoDDPM, pDDPM and SQUID (networks sized for days on a GPU); FastFlow, AE-FLOW and P-VQ have "
        "none that the authors published; AAE, ceVAE and Skip-TS were left out for time.",
    )


def summary() -> str:
    """What README says."""
    rows = {(r["pack"], r["kind"], r["method"]): r for r in read_rows("anomaly.csv")}
    own = {column: [row for key, row in rows.items() if key[:2] == column] for column in COLUMNS}
    measured = {method for _, _, method in rows} & set(METHODS)
    best = [max(own[column], key=lambda row: float(row["auroc"])) for column in COLUMNS]
    body = [
        ["`patchcore`, the default", *(auroc(rows[(*column, "patchcore")]) for column in COLUMNS)],
        ["`patchcore`, shipped backbone", *(auroc(rows.get((*c, "patchcore_shipped"))) for c in COLUMNS)],
        [f"best of {len(measured)} methods", *(f"`{row['method']}` {auroc(row)}" for row in best)],
        ["a plain PatchCore", *(floor_of(own[column]) for column in COLUMNS)],
    ]
    return page(
        "### Is it normal?",
        "Real images, learned from the pack's normals only, every method with its defaults. The best of many "
        "owes a part to luck; benign findings on lung CT stay near chance.",
        table(["AUROC (95 % interval)", *(plain(f"{pack} {kind}") for pack, kind in COLUMNS)], body),
        tables_choose.in_short(),
        screened(),
        "[All methods, false alarms, costs, and the same methods in anomalib and in their authors' "
        "code](docs/results/anomaly.md).",
    )
