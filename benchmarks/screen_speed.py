"""How much of the machine `screen` keeps: images/s beside the bare forward pass and the bare decode.

    INTACT_DATA=... INTACT_WEIGHTS=... python benchmarks/screen_speed.py [--images 2000] [--memory]

All three use every core, in the same run, on the same DICOM files (chest X-rays written as 12-bit
DICOM). Forward is the detector's backbone on ready tensors, as PyTorch runs it in the detector's
precision, the faster of one process per core and one process with all cores; `own_forward` is the
same network as Intact runs it, batch norms folded, in processes settled like its workers. Decode is
`intact.read`. All are measured in rounds, and medians are kept. `--memory` also screens 100 and
10,000 images and compares the highest memory of all processes together.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import psutil
import torch

import intact
from intact.engine.local import settle_for_long_work
from intact.image import Image
from intact.nets.features import build_backbone
from intact.nets.weights import load_weights
from results import environment, replace_rows

CORES = len(os.sched_getaffinity(0))
FORWARD_BATCH = 16


def make_archive(source: Path, folder: Path, count: int) -> list[Path]:
    """`count` DICOM files: real chest X-rays, each copy with its own noise in the low bits."""
    rng = np.random.default_rng(0)
    pictures = [intact.read(path).pixels for path in sorted(source.iterdir())[:200]]
    folder.mkdir(parents=True)
    paths = []
    for i, pixels in enumerate(islice(cycle(pictures), count)):
        noisy = (pixels.astype(np.uint16) << 4) | rng.integers(0, 16, pixels.shape, np.uint16)
        paths.append(folder / f"{i:05d}.dcm")
        intact.write(Image(noisy, modality="DX", bits=12), paths[-1])
    return paths


def _decode(paths: list[Path]) -> None:
    for path in paths:
        intact.read(path)


def plain_forward(model: Path) -> Callable[[torch.Tensor], object]:
    """The backbone as PyTorch runs it: batch norms of their own, precision by autocast."""
    detector = intact.Model.load(model).detector
    net = build_backbone(detector.backbone, detector.layers).eval().to(memory_format=torch.channels_last)
    net.load_state_dict(load_weights(detector.backbone), strict=False)

    def forward(images: torch.Tensor) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=detector.precision == "bfloat16"):
            return net(images)

    return forward


def own_forward(model: Path) -> Callable[[torch.Tensor], object]:
    """The backbone as a worker of `screen` runs it."""
    settle_for_long_work()
    return intact.Model.load(model).detector.net


def _forward(
    make: Callable[[Path], Callable[[torch.Tensor], object]],
    model: Path,
    seconds: float,
    threads: int,
    ready: object,
    counts: object,
) -> None:
    torch.set_num_threads(threads)
    net = make(model)
    images = torch.rand(FORWARD_BATCH, 1, 224, 224)
    net(images)
    ready.wait()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        net(images)
        count += FORWARD_BATCH
    counts.put(count / (time.perf_counter() - started))


def forward_rate(
    make: Callable[[Path], Callable[[torch.Tensor], object]],
    model: Path,
    processes: int,
    seconds: float = 8.0,
) -> float:
    """Images/s of the backbone alone."""
    context = mp.get_context("spawn")
    ready, counts = context.Barrier(processes), context.Queue()
    crew = [
        context.Process(target=_forward, args=(make, model, seconds, CORES // processes, ready, counts))
        for _ in range(processes)
    ]
    for process in crew:
        process.start()
    rate = sum(counts.get() for _ in crew)
    for process in crew:
        process.join()
    return rate


def decode_rate(paths: list[Path]) -> float:
    """Images/s of reading alone, one process per core."""
    with mp.get_context("spawn").Pool(CORES) as pool:
        pool.map(_decode, [paths[:4]] * CORES)  # imports
        started = time.perf_counter()
        pool.map(_decode, [paths[i::CORES] for i in range(CORES)])
        return len(paths) / (time.perf_counter() - started)


def screen_rate(paths: list[Path], model: Path, out: Path) -> tuple[float, float]:
    """Images/s of `screen` between two lengths, so that start-up does not count, and with it."""
    seconds = []
    for count in (len(paths) // 4, len(paths)):
        folder = out / f"first-{count}"
        folder.mkdir(parents=True)
        for path in paths[:count]:
            os.link(path, folder / path.name)
        started = time.perf_counter()
        intact.screen([folder], out / f"out-{count}", models=[model], forensics=False)
        seconds.append(time.perf_counter() - started)
    steady = (len(paths) - len(paths) // 4) / (seconds[1] - seconds[0])
    return steady, len(paths) / seconds[1]


def peak_memory(work: Callable[[], object]) -> float:
    """Highest memory in MB, unshared pages of this process and its children, while `work` runs."""
    peak, stop = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        me = psutil.Process()
        while not stop.wait(0.25):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue
            peak = max(peak, total / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        stop.set()
        watcher.join()
    return peak


def measure(paths: list[Path], model: Path, out: Path) -> dict[str, float]:
    """Everything once, one after the other: other work on a shared machine then hits all alike."""
    forward = max(forward_rate(plain_forward, model, processes) for processes in (CORES, 1))
    steady, whole = screen_rate(paths, model, out)
    own = forward_rate(own_forward, model, CORES)
    decode = decode_rate(paths)
    row = {
        "screen_per_s": steady,
        "screen_with_start_per_s": whole,
        "forward_per_s": forward,
        "own_forward_per_s": own,
        "decode_per_s": decode,
        "kept": steady / min(forward, decode),
        "kept_of_own": steady / min(own, decode),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements; medians are kept")
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    pack = Path(os.environ["INTACT_DATA"]) / "chest_xray"
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        model = here / "model"
        intact.fit([pack / "train" / "good"]).model.save(model)
        paths = make_archive(pack / "test" / "good", here / "all", asked.images)
        rounds = [measure(paths, model, here / str(i)) for i in range(asked.rounds)]
        row = {"images": asked.images, "rounds": asked.rounds}
        row |= {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        row["precision"] = intact.Model.load(model).detector.precision
        print(row)
        replace_rows("screen_speed.csv", {}, [row | environment()])
        if asked.memory:
            peaks = []
            for count in (100, 10_000):
                folder = here / f"memory-{count}"
                make_archive(pack / "test" / "good", folder, count)
                work = partial(
                    intact.screen, [folder], here / f"out-{count}", models=[model], forensics=False
                )
                peaks.append({"images": count, "peak_mb": peak_memory(work)})
                print(peaks[-1])
            replace_rows("screen_memory.csv", {}, [row | environment() for row in peaks])


if __name__ == "__main__":
    main()
