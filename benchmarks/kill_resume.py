"""Does a screening run that is killed at any moment end with the results of an unbroken one?

Screens a pack once without a break. Then, again and again, starts the same run, kills all its
processes (SIGKILL) at a random moment, runs the same command to its end, and compares findings and
maps byte for byte. Each kill becomes one row of the table.

    python benchmarks/kill_resume.py brain_mri/test --model model

The pack is a folder below INTACT_DATA, the model one that `intact fit` wrote. Exits with 1 when
any run differed.
"""

from __future__ import annotations

import argparse
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

from results import environment, replace_rows

LATER = 0.2  # seconds that a kill may come after the row it was aimed at: about one batch


def main() -> None:
    """Kill, resume, compare, write the table and print the verdict."""
    asked = arguments()
    pack = Path(os.environ["INTACT_DATA"]) / asked.pack
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as folder:
        rows = list(kills(pack, asked.model, Path(folder), asked.kills, asked.seed))
    measured = {"pack": asked.pack, "seed": asked.seed}
    replace_rows(asked.results, measured, [measured | row | environment() for row in rows])
    same = sum(row["findings_equal"] == row["maps_equal"] == "yes" for row in rows)
    within = sum(0 < row["rows_at_kill"] < row["rows"] for row in rows)
    print(
        f"{same} of {len(rows)} killed runs ended with the findings and maps of the unbroken "
        f"run; {within} were killed with some but not all of their rows on disk"
    )
    sys.exit(same != len(rows))


def kills(pack: Path, model: Path, folder: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row per killed and resumed run."""
    finish(pack, model, folder / "whole")
    whole = findings(folder / "whole")
    rng = random.Random(seed)  # noqa: S311 - chance, not secrecy
    for number in range(count):
        out = folder / f"killed-{number}"
        aim = rng.randrange(whole.count(b"\n"))
        moment = kill_at(aim, rng.uniform(0.0, LATER), pack, model, out)
        reached = findings(out).count(b"\n")
        finish(pack, model, out)
        row = {
            "kill": number,
            "moment_s": round(moment, 3),
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
    words = ["screen", str(pack), "--no-forensics", "--model", str(model), "-o", str(out)]
    return [sys.executable, "-m", "intact", *words]


def finish(pack: Path, model: Path, out: Path) -> None:
    """Run to the end; 3, some files could not be read, is an end as well."""
    done = subprocess.run(command(pack, model, out), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"the run ended with exit code {done.returncode}: {done.stderr}")


def start(pack: Path, model: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the run as the head of a process group of its own."""
    return subprocess.Popen(
        command(pack, model, out),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_at(rows: int, later: float, pack: Path, model: Path, out: Path) -> float:
    """Kill all processes of a run some time after so many rows are on disk; returns the moment."""
    began = time.monotonic()
    process = start(pack, model, out)
    while process.poll() is None and findings(out).count(b"\n") < rows:
        time.sleep(0.005)
    time.sleep(later)
    moment = time.monotonic() - began
    with suppress(ProcessLookupError):  # it was at its end already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return moment


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


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", help="folder of images below INTACT_DATA, such as brain_mri/test")
    parser.add_argument("--model", type=Path, required=True, help="folder that `intact fit` wrote")
    parser.add_argument("--kills", type=int, default=20, help="how many runs to kill")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--results", default="kill_resume.csv", help="file in benchmarks/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
