"""qexp: declare experiments in JSON, train networks that invert models, see where they can be trusted."""

# Python binds a subpackage to its name when it is loaded first; loaded here, it leaves the name to the function after it.
import qexp.runs  # noqa: I001
from qexp.api import Run, matrix, open_run, run, runs

__version__ = "0.1.0"

__all__ = ["Run", "matrix", "open_run", "run", "runs"]
