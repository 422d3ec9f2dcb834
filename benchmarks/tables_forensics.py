"""What `docs/results/forensics.md` and README say of examiners."""

from __future__ import annotations

from results import page, plain, read_rows, table

BASELINE = "all forged"
# What others report: pack, the examiner that is the same method or nearest, ours, what is said, and where it
# was read. The numbers of methods that are run again and again in papers could not all be traced.
CASIA = "other pictures of CASIA; Security and Communication Networks 2022, 1090307, table 3"
REPORTED = (
    ("forgery_casia1", "ela", "pixels", "pixel AUROC 0.613, F1 0.214", f"error level analysis, {CASIA}"),
    ("forgery_casia1", "noise_level", "pixels", "pixel AUROC 0.612, F1 0.263", f"Mahdian and Saic, {CASIA}"),
    (
        "forgery_fau_copymove", "keypoints", "images", "TPR 100 %, FPR 2.08 %",
        "SIFT, matched in a hierarchy, the whole set; github.com/YuanmanLi/FE-CMFD-HFPM, ReadMe.txt",
    ),
)  # fmt: skip


def finding() -> str:
    """Each examiner on each pack: images and pixels."""
    rows = [row for row in read_rows("forensics.csv") if row["slice"] == "all"]
    if not rows:
        return ""
    parts = []
    for pack in dict.fromkeys(row["pack"] for row in rows):
        own = [row for row in rows if row["pack"] == pack]
        first = own[0]
        body = [
            [
                _name(row["method"]),
                _spread(row, "auroc"),
                _cell(row, "tpr_at_fpr_1"),
                _percent(row, "answered"),
                _alarms(row),
                _spread(row, "f1"),
                _cell(row, "iou"),
                _cell(row, "mcc"),
                _cell(row, "f1_with_source"),
                _cell(row, "f1_best"),
            ]
            for row in _in_order(own)
            if not _silent(row)
        ]
        head = [
            "examiner", "image AUROC (95 %)", "TPR at FPR 1 %", "answered", "false alarms per 1,000 (95 %)",
            "pixel F1 (95 %)", "IoU", "MCC", "F1 with source", "F1-best (oracle)",
        ]  # fmt: skip
        counts = f"{first['forged']} forged, {first['genuine']} genuine, {first['patients']} groups"
        parts.append(f"### {plain(pack)}: {counts}\n\n{table(*_without_empty(head, body))}")
        parts.append(_of_the_silent(own))
    return page(*parts)


def beside_reported() -> str:
    """Ours and published figures on pictures of the same set."""
    rows = {(row["pack"], row["method"]): row for row in read_rows("forensics.csv") if row["slice"] == "all"}
    body = []
    for pack, method, of, said, where in REPORTED:
        if (row := rows.get((pack, method))) is None:
            continue
        if of == "pixels":
            ours = f"pixel AUROC {float(row['pixel_auroc']):.3f}, F1-best {float(row['f1_best']):.3f}"
        else:
            ours = f"TPR {100 * float(row['sensitivity']):.0f} %, {row['alarms']} of {row['genuine']} accused"
        body.append([plain(pack), _name(method), ours, said, where])
    if not body:
        return ""
    about = (
        "Published figures of such methods on pictures of the same sets, as far as a source could be read. "
        "Maps here are black wherever genuine images may be so, too: that costs pixel AUROC and spares "
        "genuine images. On other sets: SIFT key-points on MICC-F220, precision 0.77, recall 0.90 "
        "(github.com/bughht/CMFD); key-points with colour histograms on the authors' own forged medical "
        "images, recall 97.0 %, F1 98.5 % (Amiri et al., PLoS ONE 2024, abstract)."
    )
    head = ["set", "examiner", "ours", "published", "of what"]
    return f"## Beside published figures\n\n{about}\n\n{table(head, body)}"


def per(kind: str) -> str:
    """Image AUROC and pixel F1 of each examiner per operator, area or processing."""
    rows = [row for row in read_rows("forensics.csv") if row["slice"] == kind]
    if not rows:
        return ""
    parts = []
    for pack in dict.fromkeys(row["pack"] for row in rows):
        own = [row for row in rows if row["pack"] == pack]
        values = list(dict.fromkeys(row["value"] for row in own))
        body = []
        for method in dict.fromkeys(row["method"] for row in own if not _silent(row)):
            by_value = {row["value"]: row for row in own if row["method"] == method}
            cells = [_both(by_value[value]) if value in by_value else "" for value in values]
            body.append([_name(method), *cells])
        parts.append(f"### {plain(pack)}\n\n{table(['AUROC / F1', *map(plain, values)], body)}")
    return page(*parts)


def copies() -> str:
    """Which kinds of copies each examiner detects."""
    rows = read_rows("forensics_copies.csv")
    if not rows:
        return ""
    parts = []
    for pack in dict.fromkeys(row["pack"] for row in rows):
        own = [row for row in rows if row["pack"] == pack]
        kinds = list(dict.fromkeys(row["copy"] for row in own))
        body = []
        for method in dict.fromkeys(row["method"] for row in own):
            by_kind = {row["copy"]: row for row in own if row["method"] == method}
            cells = [_found(by_kind[kind]) if kind in by_kind else "" for kind in kinds]
            body.append([_name(method), *cells])
        most = max(own, key=lambda row: int(row["forged"]))
        title = f"### {plain(pack)}: {most['forged']} images, each copied in every way"
        parts.append(f"{title}\n\n{table(['detected, AUROC / F1', *kinds], body)}")
    about = (
        "A region of 0.3 to 3 % of the image was copied within it. Detected: the examiner's p-value is at "
        "most 1 %. AUROC against genuine images that were processed alike; F1 of both ends of the copy."
    )
    return page(about, *parts)


def refused() -> str:
    """Packs on which nothing was measured, and why."""
    rows = [row for row in read_rows("forensics.csv") if row["slice"] == "refused"]
    return page(*(f"{row['pack']}: {row['value']}." for row in rows))


def alarms() -> str:
    """False alarms against the promised rate."""
    rows = read_rows("forensics_alarms.csv")
    if not rows:
        return ""
    packs = list(dict.fromkeys(row["pack"] for row in rows))
    by = {(row["pack"], row["method"], row["alpha"]): row for row in rows}
    body = []
    for method, alpha in dict.fromkeys((row["method"], row["alpha"]) for row in rows):
        own = [by.get((pack, method, alpha)) for pack in packs]
        if method in ("all", "headers and slices") or any(row and int(row["alarms"]) for row in own):
            body.append([_name(method), f"{1000 * float(alpha):g}", *map(_accused, own)])
    counts = ", ".join(
        f"{plain(pack)} {next(row['images'] for row in rows if row['pack'] == pack)}" for pack in packs
    )
    about = (
        f"Genuine images: {counts}. Alarms per 1,000 with the exact binomial 95 % interval, beside the rate "
        "that was promised; `all` is what `screen` decides from pixels, every examiner together. Headers and "
        "slices have no rate. A dash: nobody spoke. Examiners that are not listed raised nothing."
    )
    return f"{about}\n\n{table(['examiner', 'promised', *map(plain, packs)], body)}"


def tampered_series() -> str:
    """Which operators on series are found, and which innocent changes are not."""
    rows = read_rows("forensics_series.csv")
    if not rows:
        return ""
    body = []
    for operator, fields in dict.fromkeys((row["operator"], row["fields"]) for row in rows):
        own = [row for row in rows if (row["operator"], row["fields"]) == (operator, fields)]
        found, tried = (sum(int(row[name]) for row in own) for name in ("found", "tried"))
        missed = [plain(row["subject"]) for row in own if int(row["found"]) < int(row["tried"])]
        innocent = operator == "innocent"
        body.append([operator, fields, f"{found} of {tried}", "" if innocent else ", ".join(missed)])
    about = (
        "DICOM series, and NIfTI volumes written as DICOM, tampered by every operator of `intact forge`, "
        "several seeds each: how many are told as unusual or impossible. `innocent` changes must not be. A "
        "series that was turned around as a whole follows as well as before: only a record of what it was "
        "(`intact record`) tells it."
    )
    return f"{about}\n\n{table(['operator', 'how', 'found', 'missed some of'], body)}"


def seconds() -> str:
    """What examiners cost on one core."""
    rows = read_rows("forensics_speed.csv")
    if not rows:
        return ""
    ours = {(row["method"], row["size"]): row for row in rows if not row["peer"]}
    others = {row["method"]: row for row in rows if row["peer"]}
    body = []
    for (method, size), row in ours.items():
        other = others.get(method)
        beside = "" if other is None else other["said"] or f"{float(other['seconds']):.2f} ({other['peer']})"
        taken = f"{float(row['seconds']):.2f}" + (f" ({row['said']})" if row["said"] else "")
        body.append([f"`{method}`", size.replace("x", " × "), taken, beside])
    about = (
        "Processor seconds on one core; 16-bit slices of a phantom and a DICOM series made of them. Reading "
        "is a row of its own."
    )
    return f"{about}\n\n{table(['examiner', 'image', 'seconds', 'public implementation'], body)}"


def everything() -> str:
    """The page of results."""
    return page(
        "# What examiners find, and what they raise falsely",
        "Genuine brain MR slices, chest radiographs and lung CT slices were forged by Intact itself, both "
        "classes written by one program; two sets of pictures were forged by others. An audit that looks at "
        "formats, sizes, histograms and compression alone had to fail before anything was measured. "
        "`all forged` calls every pixel forged: the line to beat. F1, IoU and MCC are of the map cut at 0.5, "
        "the mean over forged images; F1-best looks at the truth and flatters. Abstentions count as not "
        "detected. `make bench` measures all of this anew.",
        refused(),
        "## All forgeries",
        finding(),
        beside_reported(),
        "## By operator",
        "No examiner here learned from any operator, so each is as good as left out.",
        per("operator"),
        "## By share of the image that is forged",
        per("area"),
        "## After processing of the whole image",
        per("processing"),
        "## Copies, by what was done to them",
        copies(),
        "## Accusing genuine images",
        alarms(),
        "## Series",
        tampered_series(),
        "## Time",
        seconds(),
    )


def summary() -> str:
    """What README says."""
    parts = [_copies_of_all_packs(), _others_sets(), _series_in_short(), _alarms_in_short()]
    if not any(parts):
        return ""
    return page(
        "### Is it genuine?",
        *parts,
        "[Every kind of forgery, area and processing by itself, false alarms of each examiner, and time]"
        "(docs/results/forensics.md).",
    )


def _copies_of_all_packs() -> str:
    """Share of copies that each examiner detects, whatever the pack."""
    if not (rows := read_rows("forensics_copies.csv")):
        return ""
    kinds = list(dict.fromkeys(row["copy"] for row in rows))
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for kind in kinds:
            own = [row for row in rows if (row["method"], row["copy"]) == (method, kind)]
            forged = sum(int(row["forged"]) for row in own)
            found = sum(float(row["detected"]) * int(row["forged"]) for row in own)
            cells.append(f"{100 * found / forged:.0f} %" if forged else "")
        body.append([_name(method), *cells])
    packs = ", ".join(plain(pack) for pack in dict.fromkeys(row["pack"] for row in rows))
    about = (
        f"Copies of 0.3 to 3 % of the image within genuine images ({packs}), detected at a false-alarm rate "
        "of 1 %, by what was done to the copy:"
    )
    return f"{about}\n\n{table(['detected', *kinds], body)}"


def _others_sets() -> str:
    """The best examiner on sets that others forged."""
    rows = [row for row in read_rows("forensics.csv") if row["slice"] == "all"]
    said = []
    for pack in ("forgery_fau_copymove", "forgery_casia1"):
        own = [row for row in rows if row["pack"] == pack and row["method"] != BASELINE and row["f1"]]
        if own:
            best = max(own, key=lambda row: (float(row["f1"]), float(row["auroc"])))
            guess = next(row for row in rows if row["pack"] == pack and row["method"] == BASELINE)
            said.append(
                f"{plain(pack)} ({best['forged']} pictures): `{best['method']}`, image AUROC "
                f"{_cell(best, 'auroc')}, pixel F1 {_cell(best, 'f1')} (all forged: {_cell(guess, 'f1')})"
            )
    return f"Sets that others forged, the best examiner: {'; '.join(said)}." if said else ""


def _series_in_short() -> str:
    rows = read_rows("forensics_series.csv")
    if not rows:
        return ""
    told = {True: [0, 0], False: [0, 0]}
    for row in rows:
        count = told[row["operator"] == "innocent"]
        count[0] += int(row["found"])
        count[1] += int(row["tried"])
    (found, tried), (accused, innocent) = told[False], told[True]
    return (
        f"Tampered series (headers, slices, the public attack on chest CT): {found} of {tried} found; of "
        f"{innocent} untouched, compressed or consistently anonymised ones {accused} accused."
    )


def _alarms_in_short() -> str:
    rows = [row for row in read_rows("forensics_alarms.csv") if row["method"] == "all"]
    said = [f"{plain(row['pack'])} {_accused(row)}" for row in rows if float(row["alpha"]) == 0.01]
    return (
        f"Genuine images accused for their pixels, per 1,000, at a promised 10: {', '.join(said)}."
        if said
        else ""
    )


def _in_order(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """By AUROC; the baseline last."""
    return sorted(rows, key=lambda row: (row["method"] == BASELINE, -float(row["auroc"] or 0)))


def _silent(row: dict[str, str]) -> bool:
    """Whether an examiner said the same of every image, and marked nothing."""
    if row["method"] == BASELINE:
        return False
    return row["auroc_low"] == row["auroc_high"] and not float(row["f1"] or 0) and float(row["auroc"]) == 0.5


def _of_the_silent(rows: list[dict[str, str]]) -> str:
    """Who had nothing to say, and who did not speak."""
    found_nothing = [_name(row["method"]) for row in rows if _silent(row) and float(row["answered"] or 0)]
    abstained = [_name(row["method"]) for row in rows if _silent(row) and not float(row["answered"] or 0)]
    parts = [(found_nothing, "found nothing"), (abstained, "abstained")]
    return " ".join(f"{', '.join(who)} {did}." for who, did in parts if who)


def _without_empty(head: list[str], body: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    kept = [at for at in range(len(head)) if any(line[at] for line in body)]
    return [head[at] for at in kept], [[line[at] for at in kept] for line in body]


def _name(method: str) -> str:
    return method if method in (BASELINE, "together") else f"`{method}`"


def _cell(row: dict[str, str], name: str) -> str:
    return f"{float(row[name]):.3f}" if row.get(name) else ""


def _percent(row: dict[str, str], name: str) -> str:
    return f"{100 * float(row[name]):.0f} %" if row.get(name) else ""


def _spread(row: dict[str, str], name: str) -> str:
    if not row.get(name):
        return ""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def _alarms(row: dict[str, str]) -> str:
    if not row.get("false_alarms_per_1000"):
        return ""
    value, low, high = (float(row[f"false_alarms_per_1000{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.0f} ({low:.0f}–{high:.0f})"


def _accused(row: dict[str, str] | None) -> str:
    if row is None:
        return "–"
    broken = "" if row["kept"] == "True" or row["method"].startswith("headers") else " **broken**"
    return f"{float(row['per_1000']):.0f} ({float(row['low']):.0f}–{float(row['high']):.0f}){broken}"


def _found(row: dict[str, str]) -> str:
    return f"{100 * float(row['detected']):.0f} %, {_both(row)}"


def _both(row: dict[str, str]) -> str:
    return f"{_cell(row, 'auroc')} / {_cell(row, 'f1') or '–'}"
