"""How many of qexp's source files a reader opens to follow a command: those of which a function is
executed.

Functions that are called while a module is imported do not count. Run: python -m
benchmarks.opened_files [-v]
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

import numpy as np

import qexp
from benchmarks.intervals import MODELS, SILL, observed, points_anywhere
from qexp.observations.observation import CorrelatedNoise, write_observation

PACKAGE = Path(qexp.__file__).parent

COMMANDS = """
run mogi_quick --name quick --set epochs=2 --set sizes=[200,64,64] --device cpu
ls
show quick
matrix quick --dataset mogi_test --axis depth=0.5:4:4 --axis delta_volume=0.5:2:4
run mogi_posterior --name head --set epochs=1 --set sizes=[200,64,64] --device cpu
calibrate head --observations 64 --draws 64
invert observation.nc --to inverted --posterior
"""


def files_of(arguments: list[str]) -> tuple[list[str], int]:
    """The files of which functions run in a command, and its exit code."""
    from qexp.cli import app

    executed: set[str] = set()
    importing = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal importing
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(str(PACKAGE)):
            importing += {"call": 1, "return": -1}.get(event, 0)
        elif (
            event == "call" and not importing and code.co_flags & inspect.CO_OPTIMIZED
        ):  # of classes, the methods
            executed.add(code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(output),
        ):
            app(arguments, prog_name="qexp")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        print(output.getvalue(), file=sys.stderr)
    return (
        sorted(
            str(Path(file).relative_to(PACKAGE))
            for file in executed
            if Path(file).is_relative_to(PACKAGE)
        ),
        code,
    )


def write_an_observation(file: Path) -> None:
    random = np.random.default_rng(0)
    points = points_anywhere(CorrelatedNoise("exponential", SILL, 3e3))
    write_observation(observed(MODELS["mogi"], MODELS["mogi"].truth(random), points, random), file)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QEXP_FIGURES"] = "yes"
        qexp.api.init(folder)
        os.chdir(folder)
        write_an_observation(Path("observation.nc"))
        for command in COMMANDS.strip().splitlines():
            if os.fork() == 0:  # what another command has loaded does not run in this one
                files, code = files_of(command.split())
                folders = {Path(file).parent for file in files}
                print(
                    f"{len(files):4} files in {len(folders):2} folders: qexp {command}", flush=True
                )
                if "-v" in sys.argv:
                    print("    ", " ".join(files), flush=True)
                os._exit(code)
            os.wait()


if __name__ == "__main__":
    main()
