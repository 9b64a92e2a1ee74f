"""What the commands and scripts of a page print, draw and show: they are run when the site is built, and shown below.

The commands of a page are run in one new folder, its Python in another, as a notebook. What came out is kept in
build/outputs until a step, the code of qexp or a library changes; a second build runs nothing. What fails, fails the
build.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import nbclient
import nbformat
from docutils import nodes

from _generate import notebooks, screens
from _generate.steps import Step, parts, steps

ROOT = Path(__file__).parents[2]

GALLERY = "gallery"
"""The page that shows pictures alone, its own and those of the tutorials, and begins with all of them in small."""

PAGES = {**{f"tutorials/{name}": ("shell", "python") for name in notebooks.TUTORIALS}, GALLERY: ("shell",)}
"""Page → the languages whose outputs it shows."""

CACHE = ROOT / "build" / "outputs"

MADE_BY = [
    "qexp",
    "specs",
    *(f"docs/_generate/{name}.py" for name in ("outputs", "screens", "steps")),
    "constraints.txt",
]
"""Files and folders that decide what is printed and drawn, besides the page."""

PICTURE = re.compile(r"^(?:\S+: )?(\S+\.(?:png|html))$", re.MULTILINE)
"""A line with the name of a picture, or of a page, of which a picture is taken."""

HOME = "/home/me"
"""The folder in which a page is read, as its outputs have it."""

WIDTH = 100
"""Columns of the terminal that commands see."""

Output = dict[str, str]
"""`text` that is printed, `html` that an object shows, or the file name of a `picture`.

In the shell, `after` is the number of the command, from 1; in Python `stream` is where text was printed to.
"""


class FailedStepError(Exception):
    """A command or a script of a page that failed."""


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def run_all(app: Any = None) -> None:
    """Run the pages whose outputs are not there, as many at a time as there are cores."""
    if app is not None and not app.config.run_pages:
        return
    which = [(page, language) for page, languages in PAGES.items() for language in languages]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda each: outputs(*each), which))


def outputs(page: str, language: str) -> tuple[Path, list[list[Output]]]:
    """The folder of a page's pictures, and the outputs of each of its steps, which are run if they are not there."""
    text = text_of(page)
    name = f"{page.replace('/', '-')}-{language}"
    folder = CACHE / f"{name}-{_digest(text)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(CACHE / f"{name}.lock"):  # a build and a test at the same time run it once
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as draft, tempfile.TemporaryDirectory() as place:
                run = _in_a_shell if language == "shell" else _in_a_notebook
                result = list(run(page, text, Path(place), Pictures(Path(draft))))
                (Path(draft) / "outputs.json").write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
                for old in CACHE.glob(f"{name}-*"):
                    shutil.rmtree(old)
                shutil.copytree(draft, f"{folder}~")
                Path(f"{folder}~").rename(folder)
    return folder, json.loads((folder / "outputs.json").read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    about = f"{sys.version} {importlib.metadata.version('torch')} {bool(screens.browser())} {steps(text)}"
    digest = hashlib.sha256(about.encode())
    for name in MADE_BY:
        path = ROOT / name
        for file in sorted(path.rglob("*.*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Pictures:
    """A folder of numbered pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def add(self, content: bytes, name: str) -> Output:
        self.count += 1
        file = f"{self.count:02d}-{name}"
        (self.folder / file).write_bytes(content)
        return {"picture": file}

    def add_page(self, address: str, name: str) -> list[Output]:
        """A picture of a page, if there is a browser."""
        content = screens.picture(address)
        return [] if content is None else [self.add(content, f"{name}.png")]


def _environment() -> dict[str, str]:
    """Commands find `qexp`, no workspace but their own, and a terminal of a known width."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {name: value for name, value in os.environ.items() if not name.startswith("QEXP_")}
    python_path = os.pathsep.join([str(ROOT), *filter(None, [given.get("PYTHONPATH")])])
    return {**given, "PATH": path, "PYTHONPATH": python_path, "COLUMNS": str(WIDTH), "OMP_NUM_THREADS": "1"}


def _in_a_shell(page: str, text: str, place: Path, pictures: Pictures) -> Iterator[list[Output]]:
    folder = place
    for step in steps(text):
        shown: list[Output] = []
        commands = step.commands or [f"{shlex.quote(sys.executable)} script.py"]
        for number, command in enumerate(commands, 1):
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            after = {"after": str(number)}
            if command.startswith("qexp serve"):
                with screens.serving(command, folder, _environment()) as address:
                    shown += [page | after for page in pictures.add_page(address, "workspace")]
                continue
            if not step.commands:
                (folder / "script.py").write_text(step.python, encoding="utf-8")
            done = subprocess.run(
                command, shell=True, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, check=False, executable=shutil.which("bash"),
            )  # fmt: skip
            if done.returncode:
                raise FailedStepError(f"{page}: `{command}` ended with {done.returncode}:\n{done.stdout}")
            text = done.stdout.replace(str(place), HOME)
            shown += [{"text": text, **after}] if text.strip() else []
            for file in (folder / name for name in dict.fromkeys(PICTURE.findall(done.stdout))):
                if file.suffix == ".html":
                    shown += [page | after for page in pictures.add_page(file.as_uri(), file.stem)]
                elif file.is_file():
                    shown.append(pictures.add(file.read_bytes(), file.name) | after)
        yield shown


def _in_a_notebook(page: str, text: str, place: Path, pictures: Pictures) -> Iterator[list[Output]]:
    notebook = nbformat.reads(notebooks.notebook(text), as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(place)}})
    try:
        client.execute(env=_environment(), stderr=subprocess.DEVNULL)
    except nbclient.exceptions.CellExecutionError as error:
        raise FailedStepError(f"{page}, as a notebook: {error}") from error
    cells = iter([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    for step in steps(text):
        shown: list[Output] = []
        for output in next(cells) if step.python else []:
            new = _output(output, pictures, place)
            if "stream" in new and shown and shown[-1].get("stream") == new["stream"]:
                shown[-1]["text"] += new["text"]
            else:
                shown.append(new)
        yield shown


def _output(output: Any, pictures: Pictures, place: Path) -> Output:
    """What a cell printed or showed; what went to stderr, which notebooks show in red, says so."""
    if output.output_type == "stream":
        return {"text": output.text.replace(str(place), HOME), "stream": output.name}
    data = output.data
    if "image/png" in data:
        return pictures.add(base64.b64decode(data["image/png"]), "figure.png")
    form, content = ("html", data["text/html"]) if "text/html" in data else ("text", data["text/plain"])
    return {form: content.replace(str(place), HOME)}


# Pages with their outputs.


def add(app: Any, page: str, source: list[str]) -> None:
    """Show below each step what it printed and drew; steps in both languages become tabs."""
    if page in PAGES and app.config.run_pages:
        up = "../" * (page.count("/") + 1)
        shown = {language: [*_shown(page, language, up)] for language in PAGES[page]}
        source[0] = "".join(_with_outputs(source[0], shown))
        if page == GALLERY:
            source[0] = _with_cards(FROM_ELSEWHERE.sub(_from_elsewhere, source[0]))


def read_again(app: Any, environment: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The pages with outputs, whose files do not change when their outputs do."""
    return sorted(environment.found_docs & PAGES.keys())


def _with_outputs(page: str, shown: dict[str, list[str]]) -> Iterator[str]:
    number = 0
    for part in parts(page):
        if isinstance(part, Step):
            texts = {language: each[number] for language, each in shown.items() if getattr(part, language)}
            yield _tabs(texts) if len(texts) == 2 else "".join(texts.values()) or f"```python\n{part.python}```\n"
            number += 1
        else:
            yield part


def _tabs(texts: dict[str, str]) -> str:
    tabs = (
        f"`````````{{tab-item}} {language.title()}\n:sync: {language}\n\n{text}\n`````````\n"
        for language, text in texts.items()
    )
    return "``````````{tab-set}\n:sync-group: language\n\n" + "".join(tabs) + "``````````\n"


def _shown(page: str, language: str, up: str) -> Iterator[str]:
    """Each step of a page as Markdown, with what its commands, or its Python, printed and drew below."""
    folder, results = outputs(page, language)
    for step, result in zip(steps(text_of(page)), results, strict=True):
        below = [_below(output, f"{up}{folder.relative_to(ROOT)}", page == GALLERY) for output in result]
        if language == "python":
            yield f"```python\n{step.python}```\n" + "".join(below)
            continue
        text, waiting = "", ""
        for number, command in enumerate(step.commands, 1):
            waiting += f"$ {command}\n"
            if outcome := "".join(
                each for each, output in zip(below, result, strict=True) if output["after"] == str(number)
            ):
                text += f"```console\n{waiting}```\n{outcome}"
                waiting = ""
        yield text + (f"```console\n{waiting}```\n" if waiting else "")


def _below(output: Output, folder: str, pictures_alone: bool) -> str:
    if "picture" in output:
        return _image(f"{folder}/{output['picture']}")
    if pictures_alone:
        return ""
    if "html" in output:
        return f'\n```````{{raw}} html\n<div class="output">{output["html"]}</div>\n```````\n'
    return f"\n```````{{code-block}} text\n:class: output\n\n{output['text'].rstrip()}\n```````\n"


def _image(path: str) -> str:
    words = re.sub(r"^\d+-", "", Path(path).stem).replace("_", " ")
    return f"\n```{{image}} {path}\n:class: output\n:alt: {words}\n```\n"


# The gallery.

FROM_ELSEWHERE = re.compile(r"^<!-- picture: (?P<page>\S+) (?P<name>\S+) -->$", re.MULTILINE)
"""Stands for a picture that another page draws, and for the commands that made it."""


def _from_elsewhere(mark: re.Match[str]) -> str:
    folder, results = outputs(mark["page"], "shell")
    for step, result in zip(steps(text_of(mark["page"])), results, strict=True):
        for output in result:
            if fnmatch.fnmatch(re.sub(r"^\d+-", "", output.get("picture", "")), mark["name"]):
                image = _image(f"../{folder.relative_to(ROOT)}/{output['picture']}")
                return f"```console\n{step.shell}```\n{image}"
    raise FailedStepError(f"{GALLERY}: no step of {mark['page']} draws {mark['name']}")


def _with_cards(page: str) -> str:
    """A page that begins with the first picture of each section, in small."""
    start, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    cards = ""
    for section in sections:
        title, text = section.split("\n", 1)
        picture = re.search(r"\{image\} (\S+)|!\[[^\]]*\]\((\S+)\)", text)
        if picture:
            cards += (
                f"````{{grid-item-card}} {title}\n:img-top: {picture[1] or picture[2]}\n"
                f":link: '#{nodes.make_id(title)}'\n````\n\n"
            )
    grid = f"`````{{grid}} 2 2 3 3\n:gutter: 2\n:class-container: gallery\n\n{cards}`````\n\n"
    return "\n## ".join([start + grid, *sections])
