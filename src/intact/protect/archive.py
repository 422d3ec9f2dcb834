"""Seal, restore and verify whole folders: one file after the other, none lost, all in a ledger.

Files are worked on in processes that may die; each result is written whole, and then its event is
appended to the ledger. A run that was stopped goes on with the same call: files whose events and
results are there, unchanged, are passed over.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from intact import progress
from intact.engine import local
from intact.errors import UsageError
from intact.io.atomic import sweep
from intact.io.walk import files, roots
from intact.model import batched
from intact.protect.cloak import Against
from intact.protect.envelope import Carrier
from intact.protect.keys import Key, PublicKey
from intact.protect.ledger import Ledger
from intact.protect.workers import Done, Item, Masks, Restorer, Sealer, Worker, make_folder

LEDGER = "ledger.jsonl"
BATCH = 4  # files per unit of work
TIMEOUT = 300.0  # seconds that one file may take
PATIENCE = 3600.0  # where classifiers are to misread it: an attack takes seconds for every plane
Act = Literal["protect", "restore"]


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        out: Folder with the results and the ledger.
        results: One for each file, in the order of their names.
        head: The last hash of the ledger, to be noted elsewhere.
        events: How many events the ledger holds.
    """

    out: Path
    results: list[Done]
    head: str
    events: int

    @property
    def counts(self) -> Counter[str]:
        """How many files ended in which state."""
        return Counter(done.state for done in self.results)

    @property
    def refused(self) -> list[Done]:
        """The files without a result."""
        return [done for done in self.results if done.refused]

    @property
    def misread(self) -> dict[str, tuple[int, int]]:
        """By classifier, how many of the changed files it misreads, and of how many."""
        told = [done.details.get("misread", {}) for done in self.results]
        names = dict.fromkeys(name for one in told for name in one)
        of = {name: [one[name] for one in told if name in one] for name in names}
        return {name: (sum(found), len(found)) for name, found in of.items()}


def seal_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    key: Key,
    *,
    recipients: Sequence[PublicKey] = (),
    keep: str | Path | None = None,
    against: Against | None = None,
    localise: bool = False,
    carrier: Carrier = "pixels",
    workers: int | None = None,
) -> Outcome:
    """Seal every image file of some folders into the same folders below `out`.

    Args:
        paths: Files and folders.
        out: Folder for the sealed files and the ledger; never written outside.
        key: Of the one who seals.
        recipients: Others who may restore and verify.
        keep: What stays bit for bit: a region that Intact finds itself, a key of
            `intact.segment.REGIONS` such as "lungs"; a mask (not zero: kept); or a folder that
            holds one for each image, of the same name but for the extension.
        against: Classifiers that are to misread the sealed images, and how that is brought about.
        localise: As for `seal_file`.
        carrier: As for `seal_file`.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: A path does not exist, or `out` is where an input is.
        LedgerError: The ledger in `out` is broken or of another key.
        ModelError: A classifier cannot be read.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    if against:
        against.check(carrier)
        cores = len(os.sched_getaffinity(0))
        asked = cores if workers is None else workers
        against = replace(against, threads=max(1, cores // asked) if asked else 0)
    masks = None if keep is None else Masks(str(keep))
    sealer = Sealer(Path(out), key, tuple(recipients), masks, against, localise, carrier)
    return _run("protect", sealer, paths, Path(out), key, workers)


def restore_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    key: Key,
    *,
    accept_header: bool = False,
    workers: int | None = None,
) -> Outcome:
    """Restore every sealed file of some folders below `out`, under the names of the originals.

    Args:
        paths: Files and folders.
        out: Folder for the originals and a ledger.
        key: Of the one who sealed, or of a recipient.
        accept_header: As for `restore_file`.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: A path does not exist, or `out` is where an input is.
        LedgerError: The ledger in `out` is broken or of another key.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    return _run("restore", Restorer(Path(out), key, accept_header), paths, Path(out), key, workers)


def find(paths: Sequence[str | Path], out: Path | None) -> list[Item]:
    """Every file below some paths but for what is in `out` and for ledgers, by name.

    Raises:
        UsageError: A path does not exist, or there is no file.
    """
    own = out.resolve() if out else None
    tops = roots([Path(path) for path in paths])
    if any(top.resolve() == own for top in tops):
        raise UsageError(f"{out} is the input itself, which is never overwritten: choose another -o")
    found = []
    for top in tops:
        for path, trail in files([top], lambda path: path.resolve() == own or path.name == LEDGER):
            trail = trail or (path.name,)
            name = "/".join((top.name, *trail) if len(tops) > 1 and top.is_dir() else trail)
            found.append(Item(path, name))
    if not found:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no files")
    if twice := [name for name, count in Counter(item.name for item in found).items() if count > 1]:
        raise UsageError(f"two files would both become {twice[0]} in {out}: give their folders one by one")
    found.sort(key=lambda item: item.name)
    return [replace(item, number=number) for number, item in enumerate(found)]


def processes(workers: int | None, items: Sequence[Item]) -> int:
    """How many processes to use: one per core unless asked otherwise, and none for a single file."""
    asked = len(os.sched_getaffinity(0)) if workers is None else workers
    return 0 if len(items) == 1 else min(asked, -(-len(items) // BATCH))


def _run(
    act: Act, worker: Worker, paths: Sequence[str | Path], out: Path, key: Key, workers: int | None
) -> Outcome:
    items = find(paths, out)
    make_folder(out)
    results: list[Done] = []
    with Ledger(out / LEDGER, key) as ledger:
        sweep(out)
        earlier = _last_events(out / LEDGER, act)
        items = [replace(item, before=earlier.get(item.name)) for item in items]
        what = {"protect": "sealing", "restore": "restoring"}[act]
        timeout = PATIENCE if isinstance(worker, Sealer) and worker.against else TIMEOUT
        for batch in local.run(
            worker, batched(items, BATCH), worker.lost, workers=processes(workers, items), timeout=timeout
        ):
            for done in batch:
                if done.state != "kept" and done.details != earlier.get(done.name):
                    ledger.append("refuse" if done.refused else act, done.name, done.details)
            results += batch
            progress.report(what, len(results), len(items))
        return Outcome(out, results, ledger.head, ledger.events)


def _last_events(path: Path, act: Act) -> dict[str, dict[str, Any]]:
    """The details of the last event of each file in a ledger that was just checked."""
    last: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            event = json.loads(line)
            if event["event"] in (act, "refuse"):
                last[event["name"]] = event["details"]
    return last
