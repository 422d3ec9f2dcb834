"""The command line as a user meets it, with a small model and archives to screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from made_archive import plane, write_dicom, write_normals, write_png, write_series

import intact
from intact.cli import main

SWITCHES = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FIELDS = {"size": 32, "steps": 60, "latent": 8}


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`intact ARGUMENTS` in this process, which saves the seconds that imports take."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["intact", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return Answer(int(done.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """`python -m intact ARGUMENTS` as a process that leads a process group of its own."""

    def call(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "intact", *map(str, arguments)],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )

    return call


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """The findings of a run."""

    def read(out: Path) -> list[dict[str, Any]]:
        lines = (out / "findings.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture(scope="session")
def normals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 normal 8-bit images, most of them MR."""
    return write_normals(tmp_path_factory.mktemp("normals"), png=28, dicom=32)


@pytest.fixture(scope="session")
def model(normals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on `normals`, 24 of which were held out."""
    folder = tmp_path_factory.mktemp("models") / "head"
    intact.fit([normals], method="ae", fields=FIELDS, calibrate=0.4).model.save(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What archives are like: 62 images, some with a lesion, a series, and files that are none."""
    folder = tmp_path_factory.mktemp("archive")
    for k in range(40):
        write_png(folder / "png" / f"{k:03d}.png", plane(1000 + k, lesion=k % 8 == 0))
    for k in range(20):
        pixels = plane(2000 + k, lesion=k % 5 == 0)
        write_dicom(folder / "ward 3" / f"{k:03d}", pixels, PatientID=f"P-{k}")
    write_series(folder / "series", [plane(3000 + k, lesion=k == 2) for k in range(5)])
    write_png(folder / "Übersicht, größer.png", plane(4000))
    (folder / "png" / "020 notes.txt").write_text("seen by nobody\n")
    (folder / "ward 3" / "010 empty").touch()
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, without what would ask a network."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; afterwards it must have asked for nothing and complained of nothing."""
    pages: list[Any] = []
    complaints: list[str] = []

    def open_page(path: Path, **options: Any) -> Any:
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda problem: complaints.append(str(problem)))
        page.on("request", lambda request: complaints.extend(_foreign(request.url)))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def _foreign(url: str) -> list[str]:
    return [] if url.startswith(("file://", "data:")) else [url]
