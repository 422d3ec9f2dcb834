"""What the pages of Intact share: one self-contained file each, made from a template and JSON lines.

A page loads nothing: style, script, rows and pictures are part of it, and its content security
policy forbids everything else. The script it may run is named there by its digest, so a file name
that holds markup stays text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from intact.report.words import FILTERS

_HERE = Path(__file__).parent


def render(template: str, *styles: str, **content: Any) -> str:
    """The page of a template, with the shared script and some style sheets inside."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(template).render(**content, **_inlined(styles))


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a file of JSON lines and how many lines were torn, as by a run that was killed."""
    rows, torn = [], 0
    # Not `splitlines`, which also parts where a file name holds a Unicode line separator.
    for line in path.read_text("utf-8").split("\n") if path.exists() else ():
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            torn += 1
    return rows, torn


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all paths share, with its separator, left out where paths are listed."""
    try:
        folder = os.path.commonpath([str(Path(path).parent) for path in paths])
    except ValueError:  # no paths, or some are absolute and some are not
        return ""
    return folder.rstrip(os.sep) + os.sep if folder else ""


def _inlined(styles: Sequence[str]) -> dict[str, str]:
    """Style and script as they stand, and the script's digest for the security policy."""
    script = (_HERE / "report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    style = "".join((_HERE / name).read_text("utf-8") for name in styles)
    return {"style": Markup(style), "script": Markup(script), "script_digest": digest}  # noqa: S704
