"""Intact: is a medical image normal, genuine, safe to share?"""

from intact._version import __version__
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
