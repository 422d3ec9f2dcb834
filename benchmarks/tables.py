"""Fill README's results from the rows in benchmarks/results/, so that no number is typed by hand.

python benchmarks/tables.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from intact.anomaly import METHODS
from results import read_rows

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"
LOAD = "0.0500"  # bits per pixel, of the table in README
TASKS = {
    "coded": "a perturbation in tiles, coded and hidden",
    "seal": "`seal` / `restore`, with digests and encryption",
    "stegano rdh": "Stegano histogram shifting (peer, run here), 4,000 bits",
    "watermarklab PEE": "watermarklab PEE (peer, run here), 4,000 bits",
}
EXAMPLES = {
    "noise": "random signs (control)",
    "fgsm": "FGSM, not reversible",
    "mifgsm": "MI-FGSM, not reversible",
    "nroi_advgan": "NROI-AdvGAN, not reversible",
    "rdh_rae": "`rdh_rae`, of FGSM",
    "rit_rae": "`rit_rae`, of FGSM",
    "yuv_rae": "`yuv_rae`, of MI-FGSM, in colour",
    "yuv_rae_cam": "`yuv_rae` where the network looks",
    "nroi_rae": "`nroi_rae`, of NROI-AdvGAN",
    "keyed": "signs drawn from the key, lungs kept (ours, tried)",
    "tiles": "**`protect`**, lungs kept (ours)",
    "tiles_together": "**`protect`** against three networks, lungs kept (ours)",
    "tiles_but_small_vgg": "the same, DenseNet-121 instead of the small VGG",
    "tiles_but_squeezenet1_1": "the same, DenseNet-121 instead of SqueezeNet",
    "tiles_together_all": "**`protect`** against three networks, the whole image, surer (ours)",
    "tiles_but_small_vgg_all": "the same, DenseNet-121 instead of the small VGG",
    "tiles_but_squeezenet1_1_all": "the same, DenseNet-121 instead of SqueezeNet",
}
CLASSIFIERS = {
    "resnet18": "ResNet-18",
    "small_vgg": "small VGG",
    "squeezenet1_1": "SqueezeNet",
    "densenet121": "DenseNet-121",
}
STRENGTHS = ("1", "2", "4", "8")  # grey levels of 255
# Misread in %, PSNR and SSIM of ResNet-50 by strength: the same paper, table 1.
REPORTED_BY_STRENGTH = {
    "fgsm": ("78 / 48.2 / 0.992", "94 / 42.2 / 0.969", "99 / 36.2 / 0.890", "96 / 30.2 / 0.695"),
    "bim": ("96 / 49.1 / 0.993", "100 / 43.4 / 0.977", "100 / 38.3 / 0.932", "100 / 34.7 / 0.872"),
    "pgd": ("95 / 49.0 / 0.993", "100 / 43.4 / 0.977", "100 / 39.2 / 0.930", "100 / 33.6 / 0.828"),
    "nroi_advgan": ("39 / 48.8 / 0.994", "54 / 43.7 / 0.946", "90 / 37.5 / 0.932", "96 / 31.8 / 0.831"),
}
REPORTED = {  # J. Univ. Shanghai Sci. Technol. 2025, 47(5), tables 1 and 2, ResNet-50
    "fgsm": "95.7, 30.20, 0.695",
    "nroi_advgan": "96.2, 31.83, 0.831",
    "rdh_rae": "88.5, 28.28, 0.610",
    "rit_rae": "84.9, 24.10, 0.651",
    "nroi_rae": "89.3, 29.54, 0.792",
}
COLUMNS = (
    ("brain_mri", "tumor_matched"),
    ("chest_xray", "bacteria"),
    ("chest_xray", "virus"),
    ("lung_ct", "benign"),
    ("lung_ct", "malignant"),
    ("pneumoniamnist", "pneumonia"),
)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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


def plain(name: str) -> str:
    """The name of a folder, as people write it."""
    return name.replace("_", " ")


def gained(row: dict[str, str], name: str) -> str:
    """A difference with its interval."""
    value, low, high = (f"{float(row[f'{name}{end}']):+.3f}" for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def not_measured() -> str:
    """Methods and packs that no time was spent on."""
    seen = {(row["pack"], row["method"]) for row in read_rows("anomaly.csv")}
    lines = []
    for pack in dict.fromkeys(pack for pack, _ in COLUMNS):
        missing = [f"`{method}`" for method in METHODS if (pack, method) not in seen]
        which = "all" if len(missing) == len(METHODS) else ", ".join(missing)
        lines += [f"{which} on {plain(pack)}"] if missing else []
    return f"Not measured: {'; '.join(lines)}." if lines else ""


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
    """How many methods keep the rate of false alarms that was asked for."""
    rows = {(r["pack"], r["method"]): r for r in read_rows("anomaly.csv")}
    broken = [f"`{method}` on {plain(pack)}" for (pack, method), r in rows.items() if r["more_alarms"] != "0"]
    return (
        f"With a false-alarm rate of 5 % asked for, {len(rows) - len(broken)} of {len(rows)} pairs of method "
        "and pack flagged no more fresh normals than chance allows"
        + (f"; more did {', '.join(broken)}." if broken else ".")
    )


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
        body.append([f"`{row['method']}`", finding, *aurocs, gained(row, "auroc_gain"), *ratios])
    head = ["method", "finding", "AUROC, ours", f"AUROC, {peer}", "difference (95 % interval)"]
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


def hidden() -> str:
    """PSNR of every scheme with 10,000 bits in the images of the literature."""
    rows = [r for r in read_rows("hiding.csv") if r["data"] == "natural" and r["load"] == "10000"]
    images = sorted({row["image"] for row in rows})
    body = []
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        own = {row["image"]: row for row in rows if row["scheme"] == scheme}
        cells = []
        for image in images:
            reported = f" ({float(own[image]['reported']):.2f})" if own[image]["reported"] else ""
            cells.append(distortion(own[image]) + reported)
        body.append([f"`{scheme}`", *cells])
    return table(["dB at 10,000 bits", *images], body)


def distortion(row: dict[str, str]) -> str:
    """PSNR, and the passes where there is more than one."""
    passes = f" in {row['passes']}" if row["passes"] not in ("", "1") else ""
    return f"{float(row['psnr']):.2f}{passes}" if row["psnr"] else "does not fit"


def hidden_as_reported() -> str:
    """PSNR beside what a scheme's authors report, at their numbers of bits."""
    body = [
        [
            f"`{row['scheme']}`",
            row["image"],
            f"{int(row['load']):,}",
            distortion(row),
            f"{float(row['reported']):.2f}",
        ]
        for row in read_rows("hiding.csv")
        if row["reported"] and row["load"] != "10000"
    ]
    return table(["scheme", "image", "bits", "dB", "reported"], body)


def hidden_in_packs() -> str:
    """PSNR of every scheme at one load in real medical images."""
    rows = [r for r in read_rows("hiding.csv") if r["data"] != "natural" and r["load"] == LOAD]
    packs = list(dict.fromkeys(row["data"] for row in rows))
    body = []
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        own = {row["data"]: row for row in rows if row["scheme"] == scheme}
        cells = [
            f"{float(own[p]['psnr']):.1f}"
            if own[p]["psnr"]
            else f"{own[p]['held']} of {own[p]['images']} hold it"
            for p in packs
        ]
        body.append([f"`{scheme}`", *cells])
    return table([f"dB at {float(LOAD):g} bits per pixel", *(p.replace("_", " ") for p in packs)], body)


def hiding_time() -> str:
    """Milliseconds to hide and to take out, on one core."""
    rows = [row for row in read_rows("hiding_speed.csv") if row["hide_ms"]]
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    body = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = {row["size"]: row for row in rows if row["task"] == task}
        cells = [
            f"{float(own[s]['hide_ms']):.1f} / {float(own[s]['restore_ms']):.1f}"
            if s in own
            else "8-bit only"
            for s in sizes
        ]
        body.append([TASKS.get(task, f"`{task}`, 4,000 bits"), *cells])
    return table(["ms, one core: hide / restore", *sizes], body)


def sealing() -> str:
    """How many seals came back exactly, and how many changes were refused."""
    rows = read_rows("seal_exact.csv")
    made, files = (
        {
            key: sum(int(row.get(key) or 0) for row in chosen)
            for key in ("images", "too_small", "exact", "wrong_key_refused", "changed_pixel_refused",
                        "in_envelope", "changes", "changes_refused")
        }
        for chosen in (
            [row for row in rows if row["kind"] != "DICOM pack"],
            [row for row in rows if row["kind"] == "DICOM pack" and row["seed"] == "0"],
        )
    )  # fmt: skip
    sealed = made["images"] - made["too_small"]
    return (
        f"Of {made['images']:,} made images of every depth, sign, saturation and shape, {made['exact']:,} of "
        f"the {sealed:,} that can hold a seal came back bit for bit; a wrong key was refused "
        f"{made['wrong_key_refused']:,} times and one changed pixel {made['changed_pixel_refused']:,} times. "
        f"Of the DICOM pack, {files['exact']} of {files['images']} files came back byte for byte, "
        f"{files['in_envelope']} of them sealed in the envelope alone (tiny, or floating point), and "
        f"{files['changes_refused']:,} of {files['changes']:,} changed or cut-off copies were refused."
    )


def localising() -> str:
    """How many edits were localised, and what came back."""
    rows = read_rows("localise.csv")
    edits = [row for row in rows if row["what"] == "edits"]
    exact, count = (sum(int(row[key]) for row in edits) for key in ("exact", "edits"))
    back = "; ".join(
        f"{row['pack'].replace('_', ' ')} {float(row['psnr']):.1f} dB "
        f"({100 * float(row['share_back']):.0f} % back, sealed image {float(row['sealed_psnr']):.1f} dB)"
        for row in rows
        if row["what"] == "recovery"
    )
    return (
        f"With `--localise`, {exact:,} of {count:,} random edits of real images were named to the block. "
        f"The painted-over middle quarter recovered from reduced copies, median PSNR: {back}."
    )


def protecting() -> str:
    """Reversible adversarial examples, ours beside published schemes."""
    rows = read_rows("reversible.csv")
    if not rows:
        return ""
    about = (
        "Chest X-rays of three classes, told right by a ResNet-18 that learned from 450 others; saved, read "
        "back. The first row is the control, random signs of the same strength: of networks that learn "
        "without noise it misleads most, and then no other row means anything. Transfer: to those of the "
        "networks that the attack did not see, of images that these tell right. All that fit came back bit "
        "for bit. Milliseconds on one core, for hiding and restoring the median. Published figures are of "
        "other data and networks, with 5 ms for an example and 1,891 ms for a reversible one."
    )
    parts = [
        about,
        examples(rows, "resnet18"),
        "The same with a small VGG attacked:",
        examples(rows, "small_vgg"),
    ]
    return "\n\n".join(parts)


def examples(rows: Sequence[dict[str, str]], network: str) -> str:
    """Everything that was tried against a network, at 8 grey levels."""
    own = {row["row"]: row for row in rows if row["network"] == network and row["epsilon"] == "8"}
    others = [name for name in CLASSIFIERS if name != network]
    body = []
    for key, name in EXAMPLES.items():
        if key not in own:
            continue
        row, reported = own[key], REPORTED.get(key, "") if network == "resnet18" else ""
        if not int(row["fits"]):
            body.append([name, f"0 of {row['images']}", *["" for _ in range(6)], reported])
            continue
        seconds = [row["seconds_attack"], row["seconds_embed_median"], row.get("seconds_restore_median")]
        seconds = [] if name.startswith("the same") else seconds  # it is the same method
        reversible = row["scheme"] != "none"
        body.append(
            [
                name,
                f"{row['fits']} of {row['images']}" if reversible else "",
                f"{100 * float(row['asr']):.1f} ({100 * float(row['before_of_fitting']):.1f})",
                f"{float(row['psnr']):.1f}",
                f"{float(row['ssim']):.3f}",
                f"{float(row['region_pixels_changed']):.0f}",
                ", ".join(
                    f"{100 * float(row[f'transfer_{other}']):.0f}"
                    for other in others
                    if other not in row["against"].split()
                ),
                " + ".join(f"{1000 * float(one):.0f}" for one in seconds[: 3 if reversible else 1] if one),
                reported,
            ]
        )
    titles = ["ε = 8/255", "fit", "misread, % (before hiding)", "PSNR", "SSIM", "lung pixels changed"]
    titles += [f"transfer to {', '.join(CLASSIFIERS[name] for name in others)}, %"]
    titles += ["ms: change + hide + restore", "reported: %, dB, SSIM"]
    return table(titles, body)


def strengths() -> str:
    """Attacks alone, by strength."""
    every = read_rows("attack_success.csv")
    parts = []
    for network in dict.fromkeys(row["network"] for row in every):
        rows = [row for row in every if row["network"] == network and not row["without"]]
        found = {(row["method"], row["kept"], row["epsilon"]): row for row in rows}
        body = []
        for method, kept in dict.fromkeys((row["method"], row["kept"]) for row in rows):
            own = [found.get((method, kept, epsilon)) for epsilon in STRENGTHS]
            if not any(own):  # the attack has no bound
                own = [None] * 3 + [found[method, kept, "0"]]
            cells = [told(row) if row else "" for row in own]
            seconds = float(next(row for row in reversed(own) if row)["seconds"])
            body.append([f"`{method}`{', lungs kept' if kept == 'True' else ''}", *cells, f"{seconds:.2f}"])
        if network == "resnet18":
            for method, cells in REPORTED_BY_STRENGTH.items():
                body.append([f"`{method}`, reported, ResNet-50", *cells, ""])
        title = f"attack of {CLASSIFIERS[network]} alone: misread % / dB / SSIM"
        parts.append(table([title, *(f"ε = {e}" for e in STRENGTHS), "s per image"], body))
    return "\n\n".join(parts)


def told(row: dict[str, str]) -> str:
    """Success, PSNR and SSIM in a cell."""
    return f"{100 * float(row['asr']):.0f} / {float(row['psnr']):.1f} / {float(row['ssim']):.3f}"


def left_out() -> str:
    """NROI-AdvGAN without one of its parts."""
    rows = [
        row
        for row in read_rows("attack_success.csv")
        if (row["method"], row["epsilon"]) == ("nroi_advgan", "8")
    ]
    body = []
    for row in rows:
        name = f"without {row['without']}" if row["without"] else "complete"
        name = name if row["kept"] == "True" else "without region module"
        body.append([name, *told(row).split(" / ")])
    about = (
        "NROI-AdvGAN without one of its parts, 2,000 steps each. Its discriminator takes part once four of "
        "five images mislead, which these never reached: without it the generator is the same."
    )
    return about + "\n\n" + table(["ResNet-18, ε = 8", "misread, %", "PSNR", "SSIM"], body) if body else ""


def treated() -> str:
    """Whether images are still misread after what may happen to files."""
    every = read_rows("protect_trials.csv")
    parts = []
    for against in dict.fromkeys(row["against"] for row in every):
        rows = [row for row in every if row["against"] == against]
        networks = dict.fromkeys(row["classifier"] for row in rows)
        found = {(row["treatment"], row["classifier"]): row for row in rows}
        body = [
            [
                treatment,
                *(
                    f"{100 * float(found[treatment, name]['misread']):.0f} "
                    f"({100 * float(found[treatment, name]['misread_unprotected']):.0f})"
                    for name in networks
                ),
            ]
            for treatment in sorted(
                dict.fromkeys(row["treatment"] for row in rows), key="crop to region".__ne__
            )
        ]
        titles = [f"{CLASSIFIERS[name]}{'' if name in against.split() else ', unseen'}" for name in networks]
        attacked = ", ".join(CLASSIFIERS[name] for name in against.split())
        parts.append(
            f"`protect` against {attacked}, {rows[0]['images']} images, after what happens to files: % "
            "misread, in brackets of the originals after the same."
        )
        parts.append(table(["after", *titles], body))
    return "\n\n".join(parts)


def worked_against() -> str:
    """What is left when somebody works against protection."""
    rows = {row["what"]: row for row in read_rows("protection_lasts.csv") if row["confidence"] == "1"}
    if len(rows) < 7:
        return ""
    share = {what: f"{100 * float(row['asr']):.0f} %" for what, row in rows.items() if row["asr"]}
    return (
        f"**When somebody works against it**: of {rows['as saved']['tested']} images, {share['as saved']} "
        "are misread as saved. A ResNet-18 that learned from protected images misreads "
        f"{share['retraining']} of protected and {share['retraining, of clean']} of clean ones. "
        f"Less what protected images have in common, {share['averaging']} are misread "
        f"({share['averaging, of clean']} of clean ones). A small network tells protected from clean images "
        "with AUROC "
        f"{float(rows['detector']['auroc']):.3f}."
    )


def segmenting() -> str:
    """Dice of each classical method on the lesion phantom and on real images, beside a library's own."""
    rows = read_rows("segment_classical.csv")
    if not rows:
        return ""
    places = list(dict.fromkeys((row["data"], row["setting"]) for row in rows))
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for place in places:
            own = [r for r in rows if r["method"] == method and (r["data"], r["setting"]) == place]
            library = [float(r["dice"]) for r in own if r["which"] == "library" and r["dice"]]
            ours = next((r for r in own if r["which"] == "ours" and r["dice"]), None)
            best = f" / {max(library):.2f}" if library else ""
            cells.append(f"{float(ours['dice']):.3f}{best}" if ours else "")
        body.append([f"`{method}`", *cells])
    titles = [" ".join(filter(None, place)).replace("_", " ") for place in places]
    about = (
        "One object, its seed given, with our defaults and with the library's (the better of its calls): on "
        "a lesion phantom, ten each, on a brain tumour in MR and on lungs in radiographs. The library's "
        "snake starts from the true radius."
    )
    return about + "\n\n" + table(["mean Dice, ours / library", *titles], body)


def learned_masks() -> str:
    """How well networks segment patients they never saw."""
    rows = read_rows("segment_learned.csv")
    body = []
    for task, method in dict.fromkeys((row["task"], row["method"]) for row in rows):
        own = [row for row in rows if (row["task"], row["method"]) == (task, method)]
        dice = [float(row["dice"]) for row in own]
        each = ", ".join(f"{value:.3f}" for value in dice)
        body.append(
            [
                task.replace("_", " "),
                f"`{method}`",
                f"{own[0]['images']} / {own[0]['tested']}",
                f"{mean(dice):.3f}" + (f" ({each})" if len(own) > 1 else ""),
                f"{mean(float(row['pixel_accuracy']) for row in own):.3f}",
                " / ".join(
                    f"{float(own[0][name]):.3f}"
                    for name in ("reported_dice", "reported_pixel_accuracy")
                    if own[0].get(name)
                ),
            ]
        )
    titles = ["task", "method", "learned from / tested on", "Dice (each seed)", "pixel accuracy", "reported"]
    return table(titles, body)


def segment_seconds() -> str:
    """How long one plane and one volume take."""
    rows = read_rows("segment_speed.csv")
    if not rows:
        return ""
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    seconds = {(row["method"], row["size"]): float(row["seconds"]) for row in rows}
    body = [
        [
            f"`{method}`",
            *(f"{seconds[method, size]:.2f}" if (method, size) in seconds else "" for size in sizes),
        ]
        for method in dict.fromkeys(row["method"] for row in rows)
    ]
    about = "Seconds on one core, reading and writing not counted; objects with their seed given."
    return about + "\n\n" + table(["seconds", *(size.replace("x", " × ") for size in sizes)], body)


def main() -> None:
    """Replace what stands between the two marks."""
    text = README.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    parts = [
        "### Is it normal?",
        "Real images, each method with its defaults, learned from the pack's normals only; the brain pack is "
        "judged by tumours collected the same way as its normals. Made by `make bench`.",
        detection(),
        not_measured(),
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
        false_alarms(),
        speed(),
        remembered(),
        "The same methods in anomalib 2.7.0 and in their authors' own code, on the same tensors, weights, "
        "steps and processor; a ratio is ours to theirs (`benchmarks/peer_anomalib.py`, `official.py`).",
        beside("anomalib"),
        screened(),
        beside("official"),
        "### Is it safe to share?",
        sealing(),
        localising(),
        protecting(),
        strengths(),
        left_out(),
        treated(),
        worked_against(),
        hiding_time(),
        "Reversible hiding alone, 8-bit test images of the literature; in brackets what the method's authors "
        "report, `in 2` where it took two passes. All side information is in the image.",
        hidden(),
        "At the numbers of bits that authors report on. What they report counts no side information; with it "
        "Baboon's two highest peaks cannot hold 5,421 bits, and a third pass is needed.",
        hidden_as_reported(),
        "The same on real medical images, medians over 20 of each pack; lungs are left untouched in `cxr "
        "lung masks`, and `dicom` holds 9 to 16 bits. The curves are in `benchmarks/results/hiding.csv`.",
        hidden_in_packs(),
        "### Segmentation",
        segmenting(),
        "Networks, on patients they never saw, another fifth held out for each seed of `lungs`; "
        "`shipped lungs` learned on made images only. Reported are Dice and pixel accuracy of others, on "
        "their own splits.",
        learned_masks(),
        segment_seconds(),
    ]
    filled = "\n\n".join(part for part in parts if part)
    README.write_text(f"{before}{START}\n{filled}\n{END}{after}")


if __name__ == "__main__":
    main()
