"""What `docs/results/segment.md` and README say of segmentation."""

from __future__ import annotations

from statistics import mean

from results import page, plain, read_rows, table


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
    titles = [plain(" ".join(filter(None, place))) for place in places]
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
                plain(task),
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


def learned() -> str:
    """Networks, and on whom they were tried."""
    about = (
        "Networks, on patients they never saw, another fifth held out for each seed of `lungs`; "
        "`shipped lungs` learned on made images only. Reported are Dice and pixel accuracy of others, on "
        "their own splits."
    )
    return f"{about}\n\n{learned_masks()}"


def everything() -> str:
    """The page of results."""
    return page(
        "# How well regions are segmented, and what it costs",
        "`make bench` measures all of this anew.",
        "## One object from a click",
        segmenting(),
        "## Networks",
        learned(),
        "## Time",
        segment_seconds(),
    )


def summary() -> str:
    """What README says."""
    return page(
        "### Segmentation",
        learned(),
        "[One object from a click by fourteen classical methods, and what each of all "
        "takes](docs/results/segment.md).",
    )
