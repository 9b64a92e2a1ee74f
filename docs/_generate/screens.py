"""Pictures of pages that a browser shows: reports, and the start page of `qexp serve`; Chromium
takes them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from qexp.web.report import PROGRAMS

SIZE = (1400, 900)
"""Width and height of the window."""

PATIENCE = 120
"""Seconds after which a browser has failed."""


def browser() -> str | None:
    """The path of Chromium; without one the site has no pictures of pages."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def picture(address: str) -> bytes | None:
    """The upper end of a page as PNG, or None without a browser."""
    program = browser()
    if program is None:
        print(f"no Chromium on the PATH: the site has no picture of {address}", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "page.png")
        # its sandbox needs another user than root
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            program,
            "--headless",
            *alone,
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={folder}/profile",
            "--window-size={},{}".format(*SIZE),
            f"--screenshot={target}",
            address,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
        if not target.exists():
            raise OSError(f"{program} took no picture of {address}:\n{done.stderr}")
        return target.read_bytes()


@contextmanager
def serving(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address that `qexp serve` prints, at a port that is free."""
    process = subprocess.Popen(
        [*command.split(), "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
