"""qexp: declare experiments in JSON, train networks that invert models, see where they can be
trusted.
"""

import lazy_loader

import qexp.figures
import qexp.runs
from qexp.base.machine import wait_without_spinning
from qexp.errors import hint

# Loading a subpackage binds its name here, once; loaded first, it leaves the name to the function.
del qexp.figures, qexp.runs
_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _attribute(name)
    except AttributeError:
        raise AttributeError(f"qexp has no '{name}'{hint(name, __all__)}") from None


wait_without_spinning()  # no import above loads torch

__version__ = "1.0.0"
