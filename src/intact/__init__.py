"""Intact: is a medical image normal, genuine, safe to share?"""

from intact._version import __version__
from intact.errors import IntactError
from intact.fit import fit
from intact.image import Image
from intact.io import read, write
from intact.model import Model
from intact.screen import screen

__all__ = ["Image", "IntactError", "Model", "__version__", "fit", "read", "screen", "write"]
