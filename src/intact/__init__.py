"""Intact: is a medical image normal, genuine, safe to share?

The public names are fetched when they are first asked for: `intact --help` needs no PyTorch, and seconds
count where one command follows another.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from intact._version import __version__

if TYPE_CHECKING:
    from intact.errors import IntactError
    from intact.fit import fit
    from intact.image import Image
    from intact.io import read, write
    from intact.meta import learn_start
    from intact.model import Model
    from intact.screen import screen
    from intact.start import Start
    from intact.teach import teach

__all__ = [
    "Image",
    "IntactError",
    "Model",
    "Start",
    "__version__",
    "fit",
    "learn_start",
    "read",
    "screen",
    "teach",
    "write",
]

_HOMES = {
    "Image": "image",
    "IntactError": "errors",
    "Model": "model",
    "Start": "start",
    "fit": "fit",
    "learn_start": "meta",
    "read": "io",
    "screen": "screen",
    "teach": "teach",
    "write": "io",
}


class _Package(ModuleType):
    """The package: `intact.fit` is the function, also after the module of that name was imported."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
