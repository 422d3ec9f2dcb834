"""Does a screening run that is killed at any moment end with the results of an unbroken one?

Screens a pack once without a break. Then, again and again, starts the same run, kills all its
processes at a random moment (SIGKILL), runs the same command to its end, and compares findings
and maps byte for byte. Each kill becomes one row of the table.

    python benchmarks/kill_resume.py brain_mri/test --model model

The pack is a folder below INTACT_DATA, the model one that `intact fit` wrote. Exits with 1 when
any run differed.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import intact

RESULTS = Path(__file__).parent / "results" / "kill_resume.csv"


def main() -> None:
    """Kill, resume, compare, write the table and print the verdict."""
    asked = arguments()
    pack = Path(os.environ["INTACT_DATA"]) / asked.pack
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as folder:
        rows = list(kills(pack, asked.model, Path(folder), asked.kills, asked.seed))
    facts = {"pack": asked.pack, "seed": asked.seed, "commit": commit(), "intact": intact.__version__,
             "torch": torch.__version__, "device": f"cpu, {os.cpu_count()} cores"}  # fmt: skip
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    with asked.results.open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], *facts])
        table.writeheader()
        table.writerows(row | facts for row in rows)
    same = sum(row["findings_equal"] == row["maps_equal"] == "yes" for row in rows)
    within = sum(0 < row["rows_at_kill"] < row["rows"] for row in rows)
    print(f"{same} of {len(rows)} killed runs ended with the findings and maps of the unbroken run; "
          f"{within} were killed with some but not all of their rows on disk")  # fmt: skip
    sys.exit(same != len(rows))


def kills(pack: Path, model: Path, folder: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row per killed and resumed run."""
    began = time.monotonic()
    finish(pack, model, folder / "whole")
    unbroken = time.monotonic() - began
    whole = findings(folder / "whole")
    rng = random.Random(seed)  # noqa: S311 - chance, not secrecy
    for number in range(count):
        out = folder / f"killed-{number}"
        moment = rng.uniform(0.0, unbroken)
        kill_after(moment, pack, model, out)
        reached = findings(out).count(b"\n")
        finish(pack, model, out)
        row = {
            "kill": number,
            "moment_s": round(moment, 3),
            "unbroken_s": round(unbroken, 3),
            "rows_at_kill": reached,
            "rows": whole.count(b"\n"),
            "findings_equal": yes(findings(out) == whole),
            "maps_equal": yes(maps(out) == maps(folder / "whole")),
        }
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        yield row
        shutil.rmtree(out)


def command(pack: Path, model: Path, out: Path) -> list[str]:
    """The run, to be started as often as needed."""
    return [sys.executable, "-m", "intact", "screen", str(pack), "--model", str(model), "-o", str(out)]  # fmt: skip


def finish(pack: Path, model: Path, out: Path) -> None:
    """Run to the end; 3, some files could not be read, is an end as well."""
    done = subprocess.run(command(pack, model, out), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"the run ended with exit code {done.returncode}: {done.stderr}")


def kill_after(seconds: float, pack: Path, model: Path, out: Path) -> None:
    """Start a run and kill all its processes after some time."""
    process = subprocess.Popen(
        command(pack, model, out),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):  # it was at its end already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def findings(out: Path) -> bytes:
    """The findings of a run, as far as it came."""
    path = out / "findings.jsonl"
    return path.read_bytes() if path.exists() else b""


def maps(out: Path) -> dict[str, bytes]:
    """The maps of a run by name."""
    return {path.name: path.read_bytes() for path in (out / "maps").iterdir()}


def yes(equal: bool) -> str:
    """A truth value for the table."""
    return "yes" if equal else "no"


def commit() -> str:
    """The commit that was measured, with a mark when files differ from it."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", help="folder of images below INTACT_DATA, such as brain_mri/test")
    parser.add_argument("--model", type=Path, required=True, help="folder that `intact fit` wrote")
    parser.add_argument("--kills", type=int, default=20, help="how many runs to kill")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
