"""What tests share: where the real data are, and what a missing piece means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("intact", deadline=None)  # no test measures time
settings.load_profile("intact")


def _missing(what: str) -> None:
    """A test that cannot run is skipped at home and fails in CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}: not allowed in CI")
    pytest.skip(what)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The packs of real images."""
    folder = Path(os.environ.get("INTACT_DATA", ""))
    if not os.environ.get("INTACT_DATA") or not folder.is_dir():
        _missing("INTACT_DATA does not name the folder of real images")
    return folder


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """ImageNet backbones."""
    folder = Path(os.environ.get("INTACT_WEIGHTS", ""))
    if not os.environ.get("INTACT_WEIGHTS") or not folder.is_dir():
        _missing("INTACT_WEIGHTS does not name the folder of backbones")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that opens reports."""
    found = shutil.which("chromium")
    if found is None:
        _missing("chromium is not installed")
    return str(found)
