"""Pages as PDF, printed by a Chromium of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from qexp import files
from qexp.errors import QexpError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")

PATIENCE = 120
"""Seconds after which printing has failed."""


def browser() -> str:
    """The program that prints. Raises QexpError if there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise QexpError(
            "a PDF is printed by Chromium, which is not on the PATH; install it (on Debian and Ubuntu: apt install "
            "chromium), or write HTML and print that in a browser"
        )
    return found


def print_page(program: str, page: str, target: Path) -> None:
    """Print a page to a file. Raises QexpError if that fails; nothing is left half-written."""
    with tempfile.TemporaryDirectory(prefix="qexp-print-") as folder:
        source, printed = Path(folder) / "page.html", Path(folder) / "page.pdf"
        source.write_text(page, encoding="utf-8")
        # Chromium's own sandbox needs another user than root.
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            program, "--headless", *alone, "--disable-gpu", "--no-first-run", "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}", source.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise QexpError(f"{program} did not print the page: {error}") from None
        if not printed.is_file():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise QexpError(f"{program} did not print the page: {said}")
        files.write_bytes(target, printed.read_bytes())
