"""The command line: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact import (
    cli_bank,
    cli_bench,
    cli_bench_anomaly,  # noqa: F401 - adds its command to bench_app
    cli_bench_forensics,  # noqa: F401 - adds its command to bench_app
    cli_choose,
    cli_classify,
    cli_forge,
    cli_keys,
    cli_protect,
    cli_record,
    cli_segment,
    cli_start,
    cli_teach,
    cli_variant,
)
from intact.cli_shared import (
    DONE,
    EXIT_CODES,
    FLAGGED,
    STOPPED,
    UNREADABLE,
    WRONG_USE,
    AsJson,
    by_method,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
    warnings_said,
)
from intact.errors import InputError, IntactError, OutputError, UsageError

if TYPE_CHECKING:
    from intact.ensemble import EnsembleFit
    from intact.fit import Fit

INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Is a medical image normal? Is it safe to share? Screen images against what normal looks like; "
    "segment them; seal, restore and verify them.",
    epilog=EXIT_CODES,
)


@app.command(epilog=EXIT_CODES)
def fit(
    normals: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...", help="Files, folders or zips: normal images only, or those with masks."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="Folder for the model.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="See `intact methods`; several make an ensemble. By default patchcore; auto with --masks, "
            "resnet18 with --classes, nroi_advgan with --against."
        ),
    ] = None,
    combine: Annotated[
        str, typer.Option(help="How an ensemble's methods are joined: fisher, or harmonic (one suffices).")
    ] = "fisher",
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change a hyper-parameter, of an ensemble METHOD.FIELD=VALUE; may be repeated.",
        ),
    ] = None,
    calibrate: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Share of the images held out for p-values, or to measure."),
    ] = 0.25,
    group_by: Annotated[
        str,
        typer.Option(help="Calibrate per group: a DICOM keyword (Manufacturer, ...) or 'folder'."),
    ] = "",
    masks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=FOLDER",
            help="Learn to segment instead: masks called like the images; may be repeated.",
        ),
    ] = None,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Learn to classify instead: each folder is a class, called like it."),
    ] = False,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="CLASSIFIER", help="Learn to make it misread images instead; may be repeated."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="CENTRE,WIDTH", help="A window in HU, one channel each; may be repeated."),
    ] = None,
    region: Annotated[
        str,
        typer.Option(
            help="Look only at body, head, lungs or field_of_view, in screening too; with --against, "
            "leave it alone."
        ),
    ] = "",
    neighbours: Annotated[
        int,
        typer.Option(min=0, help="Planes of a volume on each side that are seen with every plane (2.5-D)."),
    ] = 0,
    smooth_mm: Annotated[
        float,
        typer.Option(min=0.0, help="Smooth the maps of volumes in 3-D: standard deviation in mm; 0: not."),
    ] = 0.0,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="START",
            help="From `intact start`: begin there, for few images; it brings its method and fields.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the split and all chance in the method.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn what normal looks like, from normal images only; or to segment, classify or mislead classifiers.

    Whole patients are held out to calibrate p-values, or to measure; no detector ever learns from
    disease labels. Examples: `intact fit normals/ -o model`,
    `intact fit normals/ -o model --method patchcore --method skip_ts`,
    `intact fit few_normals/ --start start -o model`,
    `intact fit images/ --masks lungs=masks/ -o lung_model`,
    `intact fit normal/ pneumonia/ --classes -o classifier`,
    `intact fit images/ --against classifier --region lungs -o generator`
    """
    from intact.ensemble import fit_ensemble
    from intact.fit import fit as fit_model
    from intact.store import check_place

    check_place(output)
    methods = method or []
    if len(methods) > 1 and (masks or classes or against):
        raise UsageError("several methods make an ensemble of detectors: give one --method here")
    if start and (len(methods) > 1 or masks or classes or against):
        raise UsageError("--start is for a detector of one method: leave it out here")
    begin = cli_start.load(start, output) if start else None
    network = "".join(methods)
    for_detectors = group_by or window or (region and not against) or neighbours or smooth_mm
    if (masks or classes or against) and for_detectors:
        raise UsageError(
            "--group-by, --window, --region, --neighbours and --smooth-mm are for detectors only"
        )
    if sum(map(bool, (masks, classes, against))) > 1:
        raise UsageError("give one of --masks, --classes and --against")
    if against:
        asked = network or "nroi_advgan"
        cli_protect.learn(normals, output, against, asked, fields or [], region, calibrate, seed, as_json)
    if classes:
        cli_classify.learn(normals, output, network, fields or [], calibrate, seed, as_json)
    if masks:
        cli_segment.learn(normals, output, masks, network or "auto", fields or [], calibrate, seed, as_json)
    settings: dict[str, Any] = {
        "calibrate": calibrate,
        "group_by": group_by,
        "windows": [_window(text) for text in window or []],
        "region": region,
        "neighbours": neighbours,
        "smooth_mm": smooth_mm,
        "seed": seed,
    }
    given = parsed_fields(fields or [])
    result: Fit | EnsembleFit
    with showing_progress():
        if len(methods) > 1:
            result = fit_ensemble(normals, methods, combine=combine, fields=by_method(given), **settings)
        else:
            result = fit_model(normals, method=network or None, fields=given, start=begin, **settings)
        result.model.save(output)
    card = result.model.card
    for note in result.notes:
        say(note)
    say_left_out(result.rejected)
    if as_json:
        print(json.dumps(dataclasses.asdict(card) | {"rejected": len(result.rejected)}))
    else:
        print(
            f"{output}: {card.method} learned from {card.normals_fitted} normal images and is calibrated on "
            f"{card.normals_calibrated} held out; p-values down to {1 / (card.normals_calibrated + 1):.2g}"
        )
    raise typer.Exit(UNREADABLE if result.rejected else DONE)


@app.command(epilog=EXIT_CODES)
def screen(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips: DICOM, NIfTI, PNG, TIFF, ...")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            help="A model from `intact fit`, or an examiner from `intact teach`; may be repeated. Without "
            "one, no anomalies are looked for."
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="False-alarm rate: the share of normal, and of genuine images flagged.")
    ] = 0.05,
    forensics: Annotated[
        bool, typer.Option(help="Examine every image, header and series for tampering, too.")
    ] = True,
    genuine: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="GENUINE",
            help="Images known to be genuine, from the same sources, for examiners that can only compare; or "
            "the genuine.json of an earlier run; may be repeated.",
        ),
    ] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What `intact record` wrote: tells which pixels changed since."),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="NORMALS",
            help="Normal images: the report shows beside each region what looks most like it there; may be "
            "repeated.",
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(metavar="SITE", help="What `intact variant mark` wrote: what this site lets pass."),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(help="'folder': truth from folder names (good = normal), masks in ground_truth/."),
    ] = "",
    identify: Annotated[
        bool, typer.Option("--identify", help="Put patient IDs into findings and report.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; one per core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Screen images: are they normal, are they genuine? Write findings, heat maps and a report.

    A run that was stopped goes on with the same command.
    Example: `intact screen archive/ --model model -o out`
    """
    from intact.screen import screen as screen_images

    if labels not in ("", "folder"):
        raise UsageError(
            f"--labels {labels}: the truth can only be taken from folder names, with --labels folder"
        )
    with showing_progress(), warnings_said():
        outcome = screen_images(
            paths,
            output,
            models=model or [],
            alpha=alpha,
            forensics=forensics,
            genuine=genuine or [],
            recorded=recorded,
            reference=reference or [],
            variants=variants,
            labels="folder" if labels else None,
            identify=identify,
            workers=workers,
        )
    if as_json:
        print(json.dumps(outcome.run))
    else:
        _print_outcome(outcome.run, output)
    raise typer.Exit(UNREADABLE if outcome.errors else FLAGGED if outcome.flagged else DONE)


@app.command(epilog=EXIT_CODES)
def methods(as_json: AsJson = False) -> None:
    """List all methods, their papers and their parameters."""
    from intact.anomaly import METHODS as DETECTORS
    from intact.forensics import LEARNED
    from intact.forensics import METHODS as EXAMINERS
    from intact.forge import KINDS, SERIES_KINDS
    from intact.protect.attack import METHODS as ATTACKS
    from intact.segment import METHODS as SEGMENTERS

    listed: list[tuple[str, str, Any]] = [
        *((name, "detect", kind) for name, kind in DETECTORS.items()),
        *((name, "examine", kind) for name, kind in EXAMINERS.items()),
        *((name, "teach", kind) for name, kind in LEARNED.items()),
        *((name, "segment", kind) for name, kind in SEGMENTERS.items()),
        *((name, "forge", kind) for name, kind in (KINDS | SERIES_KINDS).items()),
        *((name, "protect", kind) for name, kind in ATTACKS.items()),
    ]
    fields = {name: {f.name: f.default for f in dataclasses.fields(kind)} for name, _, kind in listed}
    if as_json:
        described = {
            name: {"task": task, "family": kind.family, "source": kind.source, "fields": fields[name]}
            for name, task, kind in listed
        }
        print(json.dumps(described))
        return
    table = Table("method", "task", "family", "paper", "fields (change with --set)", show_lines=True)
    for name, task, kind in listed:
        shown = ", ".join(f"{field}={value}" for field, value in fields[name].items())
        table.add_row(name, task, kind.family, kind.source, shown)
    Console().print(table)


@app.command(epilog=EXIT_CODES)
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for everything.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
) -> None:
    """Make a phantom archive, fit, screen and report: the whole tour without any data."""
    from intact.demo import run_demo

    with showing_progress():
        outcome, notes = run_demo(output, seed)
    for note in notes:
        say(note)
    _print_outcome(outcome.run, outcome.out)


for command in (
    cli_choose.choose,
    cli_start.start,
    cli_teach.teach,
    cli_segment.segment,
    cli_forge.forge,
    cli_record.record,
    cli_protect.protect,
    cli_protect.restore,
    cli_protect.verify,
):
    app.command(epilog=EXIT_CODES)(command)
app.add_typer(cli_keys.key_app, name="key")
app.add_typer(cli_keys.ledger_app, name="ledger")
app.add_typer(cli_bench.bench_app, name="bench")
app.add_typer(cli_bank.bank_app, name="bank")
app.add_typer(cli_variant.variant_app, name="variant")


def main() -> None:
    """Run the command line with errors as one plain message and the exit codes of `EXIT_CODES`."""
    try:
        code = app(standalone_mode=False)  # that of typer.Exit, which typer does not let through
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped; the same command goes on where this one stopped")
        sys.exit(STOPPED)
    except OutputError as error:
        say(f"error: {error}")
        sys.exit(STOPPED)
    except InputError as error:
        say(f"error: {error}")
        sys.exit(UNREADABLE)
    except IntactError as error:
        say(f"error: {error}")
        sys.exit(WRONG_USE)
    except typer.TyperException as error:
        if message := error.format_message():  # else the help was printed
            say(f"error: {message}; see --help")
        sys.exit(WRONG_USE)
    except Exception:
        traceback.print_exc()  # not raised: Python would exit with 1, which means flagged
        sys.exit(STOPPED)


def _window(text: str) -> tuple[float, float]:
    try:
        centre, width = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--window {text}: write it as CENTRE,WIDTH in HU, such as 40,400") from None
    return centre, width


def _print_outcome(run: dict[str, Any], out: Path) -> None:
    counts = run["counts"]
    judged = f"{counts['flagged']} flagged at a false-alarm rate of {run['alpha']:g}"
    if run["forensics"]:
        judged += f" ({counts['manipulated']} as manipulated)"
    elif not run["models"]:
        judged = "read only, as no model was given"
    print(
        f"{counts['images']} images, {judged}, {counts['errors']} could not be read, {run['seconds']:.1f} s"
    )
    if counts["silenced"]:
        print(f"{counts['silenced']} more look like normal variants of this site: see the report")
    if counts["warnings"]:
        print(f"{counts['warnings']} of them with warnings (unlike the model's images, say): see the report")
    if run["labels"]:
        _print_labels(run["labels"])
    print(f"report: {out / 'report.html'}")


def _print_labels(labels: dict[str, Any]) -> None:
    table = Table("detector", "kind", "n", box=SIMPLE_HEAD)
    for title in ("AUROC", "average precision", "flagged"):
        table.add_column(title, min_width=13)  # a narrow terminal must not cut numbers
    for row in labels["per_kind"]:
        spans = [_two_lines(row[key]) for key in ("auroc", "average_precision", "flagged_rate")]
        table.add_row(row["detector"], row["kind"], str(row["n"]), *spans)
    for row in labels["false_alarm_rate"]:
        span = _two_lines([row["rate"], row["lo"], row["hi"]])
        table.add_row(row["detector"], "good (false alarms)", str(row["n"]), "", "", span)
    Console().print(table)
    for row in labels["pixel"]:
        print(
            f"{row['detector']} pixels: AUPRO {_span(row['aupro'])}, "
            f"average precision {_span(row['pixel_ap'])}, "
            f"Dice at 5 % false positives {_span(row['dice_at_5_fpr'])}"
        )


def _span(triple: list[float]) -> str:
    value, low, high = triple
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def _two_lines(triple: list[float]) -> str:
    """Narrow enough for three such columns in 80 characters."""
    return _span(triple).replace(" ", "\n")
