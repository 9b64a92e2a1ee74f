"""Pieces of HTML for pages and notebooks: tables, lists, notices, images. They know no runs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import orjson
from markupsafe import Markup, escape

from qexp.base.quantities import in_words
from qexp.base.text import Table, cleaned, in_one_line, key_in_words, measure
from qexp.metrics.built_in import METRICS, metric_in_words
from qexp.metrics.meaning import NONE, Numbers, aligned, printed

if TYPE_CHECKING:
    from jinja2 import Environment
    from markdown_it import MarkdownIt
    from matplotlib.figure import Figure
    from rich.console import Group, RenderableType


@dataclass(frozen=True)
class Drawn:
    title: str
    draw: Callable[[], Markup]
    """Makes the image, for pages and notebooks; terminals show none, and do not wait."""


Piece = Table | Drawn | str
"""Of a page, or of what shows itself."""

Values = dict[str, Any]
"""What a template is filled with, by name."""

# HTML made from templates: all text in it is escaped, and a name that a template does not know is
# an error.


@cache
def environment(*folders: str) -> Environment:
    """The templates of pages and notebooks; before them those of folders below theirs."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader(
        [PackageLoader("qexp.web", f"templates/{folder}") for folder in (*folders, "")]
    )
    templates = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        data=data,
        breakable=breakable,
        for_readers=for_readers,
        prose=prose,
    )
    return templates


def breakable(text: str) -> Markup:
    """A long name that may break after underscores and before points, but not in a unit."""
    words = re.sub(r"\([^()]*\)", lambda unit: unit[0].replace(" ", "\u00a0"), text)
    return Markup(str(escape(words)).replace("_", "_<wbr>").replace(".", "<wbr>."))


# Tables for readers: names in words, numbers below each other, with what a file of the table has
# instead.


@dataclass(frozen=True)
class Cell:
    text: str
    raw: str = ""
    """The key, or the numbers in full digits with a space between; empty if it is the text."""


@dataclass(frozen=True)
class ColumnForReaders:
    title: Cell
    numeric: bool
    cells: Sequence[Cell]


_OF_METRIC = re.compile(
    r"(?:results\.)?(?:(test|validation|train)[. ])?(?:(\S+)[. ])?(\w+)( \(.*\))?"
)


_KEY = re.compile(r"\w+(\.\w+)+")


def heading(title: str) -> str:
    """A column's title for readers: `test depth MAE (km)` for `test.depth.mae (km)`."""
    match = _OF_METRIC.fullmatch(title)
    is_of_model = re.search(r"\.(parameters|operations)\.", title)
    if match is None or match[3] not in METRICS or is_of_model:
        return key_in_words(title) if _KEY.fullmatch(title) else title
    part, output, metric, unit = match.groups()
    words = metric_in_words(metric)
    if output:
        words = measure(in_words(output), words)
    return f"{part or ''} {words}{unit or ''}".strip()


KEYS = ("spec", "key")
"""Titles of columns of keys of specs."""

OUTPUT = "output"
"""Title of the column of outputs; that of metrics has the word metric in it."""

UNIT = "unit"
"""Title of a column that is not shown: units stand behind the row's metric or output."""


def for_readers(table: Table) -> list[ColumnForReaders]:
    """A table's columns: outputs and metrics in words; names of files, runs and keys stay."""
    columns = []
    titles = list(table.columns)
    units = [row[titles.index(UNIT)] for row in table.rows] if UNIT in titles else []
    of_metrics = next((title for title in titles if re.search(r"\bmetric\b", title)), None)
    with_unit = of_metrics or OUTPUT
    writers: dict[str | None, Callable[[str], str]] = dict.fromkeys(KEYS, key_in_words)
    writers |= {OUTPUT: in_words, of_metrics: metric_in_words}
    for index, title in enumerate(titles):
        if title == UNIT and units and with_unit in titles:
            continue
        cells = [row[index] for row in table.rows]
        numeric = title in table.right
        if cells and not any(cells):
            continue  # nobody misses an empty column
        texts = aligned(cells) if numeric else list(map(writers.get(title, as_it_is), cells))
        if title == with_unit and units:
            ends = [f" ({unit})" if unit else "" for unit in units]
            texts = [text + end for text, end in zip(texts, ends, strict=True)]
        pairs = [_cell(text, raw) for text, raw in zip(texts, cells, strict=True)]
        columns.append(ColumnForReaders(_cell(heading(title), title), numeric, pairs))
    return columns


def _cell(text: str, raw: str) -> Cell:
    if isinstance(raw, Numbers):
        raw = " ".join(map(_in_full, raw.values))
    return Cell(text, "" if raw == text else raw)


def as_it_is(cell: str) -> str:
    return printed(cell) if cell == NONE else cell


def _in_full(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


# Texts of authors.


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    rules = ["heading", "list", "table", "emphasis", "backticks", "link", "newline"]
    markdown = MarkdownIt("zero", {"breaks": True}).enable(rules)
    markdown.validateLink = re.compile("https?://").match  # type: ignore[method-assign, assignment]
    return markdown


def prose(text: str) -> Markup:
    """Escaped Markdown: paragraphs, headings, lists, tables, emphasis, code and links."""
    tokens = _markdown().parse(cleaned(text))
    for token in tokens:
        token.attrs.pop("style", None)  # which the policy of a page forbids
        token.tag = "h3" if token.type.startswith("heading") else token.tag
    return Markup(_markdown().renderer.render(tokens, _markdown().options, {}))


def data(value: Any) -> Markup:
    """A value as JSON inside a `<script type="application/json">`, which no text of it can end."""
    from jinja2.utils import htmlsafe_json_dumps

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return htmlsafe_json_dumps(value, lambda value: orjson.dumps(value, option=options).decode())


# Pictures inside of a page or a notebook.


def picture(title: str, file: Path) -> Drawn:
    """A PNG file."""
    return Drawn(title, lambda: _image(title, file.read_bytes(), "png"))


def pictures(paths: Iterable[Path]) -> list[Drawn]:
    """The PNG files among some files, named by their names."""
    files = [path for path in paths if path.suffix == ".png" and path.is_file()]
    return [picture(path.stem.replace("_", " "), path) for path in files]


def drawn(title: str, figure: Callable[[], Figure], words: str = "") -> Drawn:
    """A figure of matplotlib. It is an image of its own, so that a page's policy and other figures
    do not touch it.

    words  what it shows, for those who do not see it; its title if left out
    """

    def draw() -> Markup:
        from qexp.figures.writing import compact_svg

        with DRAWING:
            return _image(words or title, compact_svg(figure()), "svg+xml")

    return Drawn(title, draw)


DRAWING = Lock()
"""Settings of matplotlib are those of the process, and a server has several threads."""


def _image(words: str, content: bytes, kind: str) -> Markup:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Markup('<img src="{}" alt="{}">').format(source, words)


# Objects that show themselves: as HTML in a notebook, as tables in a terminal.


@dataclass(frozen=True)
class View:
    """What is shown of an object, the important first."""

    title: str
    state: str = ""
    cautions: Sequence[str] = ()
    """Empty ones are left out."""
    error: str = ""
    parts: Sequence[Piece] = ()
    more: Mapping[str, Sequence[Piece]] = field(default_factory=dict)
    """Title → parts that a reader unfolds; a terminal does not show them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cautions", [text for text in self.cautions if text])


def html(view: View) -> str:
    """A view for a notebook, with its own style and without scripts. All text in it is escaped.

    Notebooks that are not trusted lose styles and SVG: what matters is seen without a style, and
    drawings are images.
    """
    return environment().get_template("notebook.html").render(view=view)


def plain_text(content: RenderableType, width: int) -> str:
    """What rich would print, as text without an end of the last line."""
    from rich.console import Console

    console = Console(
        width=width,
        no_color=True,
        force_terminal=False,
        force_jupyter=False,
    )
    with console.capture() as printed:
        console.print(content, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in printed.get().rstrip().splitlines())


class Shown:
    """An object with a view. Notebooks and terminals with rich or IPython ask it to show itself."""

    def __init_subclass__(cls) -> None:
        # IPython asks the first class that has this or a `__repr__` of its own.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def view(self) -> View:
        raise NotImplementedError

    def text_view(self) -> View:
        """What text shows, where that differs from what a notebook does."""
        return self.view()

    def _repr_html_(self) -> str:
        return html(self.view())

    def text(self) -> str:
        """The view as plain text."""
        return plain_text(self.__rich__(), 200)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        is_element = len(getattr(printer, "stack", ())) > 1  # of a list or a dictionary
        printer.text(repr(self) if is_element else self.text())

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        view = self.text_view()
        title = f"{in_one_line(view.title)}  {view.state}".rstrip()
        lines: list[RenderableType] = [Text(title, style="bold")]
        lines += [Text(cleaned(text), style="yellow") for text in view.cautions]
        lines += [Text(cleaned(view.error), style="red")] if view.error else []
        for part in view.parts:
            if isinstance(part, str):
                lines.append(Text(cleaned(part)))
            elif not isinstance(part, Drawn):
                lines += [Text("")] if lines[1:] else []
                lines += [Text(in_one_line(part.title))] if part.title else []
                lines.append(_on_terminal(part))
        return Group(*lines)


class Titled(Shown):
    """Prints its view, and stands by its title inside of others."""

    __str__ = Shown.text

    def __repr__(self) -> str:
        return f"<{in_one_line(self.view().title)}>"


class Pictures(Titled, list[Path]):
    """Paths of pictures. A notebook shows those that are PNG files."""

    def view(self) -> View:
        title = f"{len(self)} picture{'s' * (len(self) != 1)}"
        files = Table("", ["file"], [[str(path)] for path in self])
        return View(title, parts=[*pictures(self), files] if self else [])


def fields_of(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass, to make another of a type below it that shows itself."""
    return {field.name: getattr(instance, field.name) for field in fields(instance)}


def _on_terminal(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn_table = RichTable(box=None)
    for column in table.columns:
        side: Literal["left", "right"] = "right" if column in table.right else "left"
        drawn_table.add_column(Text(in_one_line(column)), justify=side, overflow="fold")
    for row in table.rows:
        drawn_table.add_row(*(Text(in_one_line(cell)) for cell in row))
    return drawn_table
