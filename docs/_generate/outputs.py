"""What the commands and scripts of tutorials and gallery print, draw and show.

The commands of a page are run in one new folder, then its Python, as a notebook, in the same
folder: it finds their runs, which are not trained twice.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbclient
import nbformat

from _generate import notebooks, screens
from _generate.pictures import small
from _generate.steps import steps

ROOT = Path(__file__).parents[2]

GALLERY = "gallery"
"""The page that shows pictures alone, its own and those of the tutorials."""

PAGES = [*(f"tutorials/{name}" for name in notebooks.TUTORIALS), GALLERY]

NAMED = re.compile(r"^(?:\S+: )?(\S+\.(?:png|html))$", re.MULTILINE)
"""A line with the name of a picture, or of a page, of which a picture is taken."""

HOME = "/home/me"
"""The folder in which a page is read, as its outputs have it."""

COLUMNS = 100
"""Of the terminal that commands see."""

WIDTH, COLOURS = 900, 192
WIDTH_IN_NOTEBOOK, COLOURS_IN_NOTEBOOK = 640, 48
"""Of pictures that are kept [pixel]."""

SHOWN = ("text/plain", "text/html", "image/png")
"""What is kept of an object that a cell shows."""


@dataclass
class Outcome:
    """What the commands of a step print, and the names of what they draw, by their numbers: from 1,
    or 0 of Python.
    """

    printed: dict[int, str] = field(default_factory=dict)
    pictures: dict[int, list[str]] = field(default_factory=dict)


class FailedStepError(Exception):
    """A command or a script of a page that failed."""


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def made(page: str) -> tuple[list[Outcome], dict[str, bytes], list[list[Any]]]:
    """What each step of a page gives, the pictures by their names, and what each cell of its
    notebook shows.
    """
    text, pictures = text_of(page), Pictures()
    with tempfile.TemporaryDirectory() as place:
        # which the page has its reader save first
        for script in re.findall(r"\]\(([\w-]+\.py)\)", text):
            shutil.copy((ROOT / "docs" / page).with_name(script), place)
        outcomes = list(_in_a_shell(page, text, Path(place), pictures))
        for path in Path(place).glob("*/*"):  # the notebook begins without all but the runs
            if page != GALLERY and path.name != "runs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        cells = [] if page == GALLERY else _in_a_notebook(page, text, Path(place))
    return outcomes, pictures.contents, cells


def say(page: str, step: str) -> None:
    """Which step of a page begins."""
    print(f"{time.strftime('%H:%M:%S')} {page}: {step}", flush=True)


class Pictures:
    """Small pictures by their names, which tell those that look different apart."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, content: bytes, stem: str) -> str:
        """Returns its name."""
        content = small(content, WIDTH, COLOURS)
        names = (f"{stem}{f'-{number}' if number > 1 else ''}.png" for number in itertools.count(1))
        name = next(name for name in names if self.contents.get(name, content) == content)
        self.contents[name] = content
        return name

    def add_page(self, address: str, stem: str) -> list[str]:
        """A picture of a page, if there is a browser."""
        content = screens.picture(address)
        return [] if content is None else [self.add(content, stem)]


def _environment() -> dict[str, str]:
    """Commands find `qexp`, no workspace but their own, and a terminal of a known width."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {name: value for name, value in os.environ.items() if not name.startswith("QEXP_")}
    python_path = os.pathsep.join([str(ROOT), *filter(None, [given.get("PYTHONPATH")])])
    # which notebooks show in red, beside the same in what is shown
    given |= {"PYTHONWARNINGS": "ignore::UserWarning"}
    return {
        **given,
        "PATH": path,
        "PYTHONPATH": python_path,
        "COLUMNS": str(COLUMNS),
        "OMP_NUM_THREADS": "1",
    }


def _in_a_shell(page: str, text: str, place: Path, pictures: Pictures) -> Iterator[Outcome]:
    folder = place
    for step in steps(text):
        outcome, commands = Outcome(), dict(enumerate(step.commands, 1))
        if not commands:
            (folder / "script.py").write_text(step.python, encoding="utf-8")
        for number, command in (
            commands or {0: f"{shlex.quote(sys.executable)} script.py"}
        ).items():
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            say(page, f"$ {command}")
            if command.startswith("qexp serve"):
                with screens.serving(command, folder, _environment()) as address:
                    printed, drawn = "", pictures.add_page(address, "workspace")
            else:
                printed = _printed(page, command, folder)
                drawn = list(_drawn(printed, folder, pictures))
            if printed.strip():
                outcome.printed[number] = printed.replace(str(place), HOME).rstrip() + "\n"
            if drawn:
                outcome.pictures[number] = drawn
        yield outcome


def _printed(page: str, command: str, folder: Path) -> str:
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        executable=shutil.which("bash"),
    )
    if done.returncode:
        raise FailedStepError(f"{page}: `{command}` ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def _drawn(printed: str, folder: Path, pictures: Pictures) -> Iterator[str]:
    for file in (folder / name for name in dict.fromkeys(NAMED.findall(printed))):
        if file.suffix == ".html":
            yield from pictures.add_page(file.as_uri(), file.stem)
        elif file.is_file():
            yield pictures.add(file.read_bytes(), file.stem)


def _in_a_notebook(page: str, text: str, place: Path) -> list[list[Any]]:
    notebook = nbformat.reads(notebooks.notebook(text, []), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(place)}}
    )
    client.on_cell_execute = lambda cell, **_: say(page, f">>> {cell.source.splitlines()[-1]}")
    try:
        client.execute(env=_environment(), stderr=subprocess.DEVNULL)
    except nbclient.exceptions.CellExecutionError as error:
        raise FailedStepError(f"{page}, as a notebook: {error}") from error
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[_output(output, place) for output in cell.outputs] for cell in cells]


def _output(output: Any, place: Path) -> Any:
    """What a cell printed or showed, with small pictures."""
    if output.output_type == "stream":
        return {
            "output_type": "stream",
            "name": output.name,
            "text": output.text.replace(str(place), HOME),
        }
    data = {
        form: text.replace(str(place), HOME) for form, text in output.data.items() if form in SHOWN
    }
    data = {
        form: re.sub(r"(?<=data:image/png;base64,)[\w+/=]+", _small, text)
        for form, text in data.items()
    }
    if "image/png" in data:
        data["image/png"] = _small(data["image/png"])
    return {"output_type": "display_data", "metadata": {}, "data": data}


def _small(picture: str | re.Match[str]) -> str:
    content = base64.b64decode(picture if isinstance(picture, str) else picture[0])
    return base64.b64encode(small(content, WIDTH_IN_NOTEBOOK, COLOURS_IN_NOTEBOOK)).decode()
