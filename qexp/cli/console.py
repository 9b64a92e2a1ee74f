"""Printing: results to stdout, messages and progress to stderr, colours and bars on a terminal only.

Records, specs and logs may come from others, so no text reaches a terminal without being `cleaned` here.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from qexp.base.text import Table, cleaned, in_one_line, width_of, without_middle
from qexp.errors import QexpError, spelled
from qexp.metrics.meaning import FIGURE_SPACE, POINT_SPACE, aligned

WorkspaceOption = Annotated[
    str | None,
    typer.Option("--workspace", metavar="DIR", help="The directory that holds specs/; searched upwards if left out."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
LatexOption = Annotated[bool, typer.Option("--latex", help="Print LaTeX tables, which need booktabs and graphicx.")]

BOLD, RED, GREEN, YELLOW, CYAN = "1", "31", "32", "33", "36"  # of ANSI terminals

STATE_STYLES = {
    "done": GREEN, "running": CYAN, "interrupted": YELLOW, "preempted": YELLOW,
    "failed": RED, "lost": RED, "out_of_memory": RED, "timeout": RED, "damaged": RED,
}  # fmt: skip


FLAGS: dict[str, str] = {}
"""Argument of the command at work → its option, such as seed → --seed."""


def option(argument: str) -> str:
    """An argument of Python as the shell writes it."""
    return FLAGS.get(argument, f"--{argument.replace('_', '-')}")


def message(*lines: object) -> None:
    for line in lines:
        print(cleaned(spelled(str(line), option)), file=sys.stderr)


def warning(*texts: str) -> None:
    message(*(f"warning: {text}" for text in texts))


def error(*mistakes: str | QexpError) -> None:
    for what in mistakes:
        text = what.spelled(option) if isinstance(what, QexpError) else spelled(what, option)
        message(f"error: {text}" if "\n" not in text else f"error:\n{text}")


def result(*lines: object) -> None:
    for line in lines:
        print(cleaned(str(line)))


def piece(text: str) -> None:
    """A part of a result, without an end of the line."""
    sys.stdout.write(cleaned(text))


def print_json(document: Any) -> None:
    from qexp.base.formats import json_bytes

    sys.stdout.write(json_bytes(document).decode())


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from qexp.base.formats import csv_text

    text = csv_text(columns, rows)
    sys.stdout.write(cleaned(text) if sys.stdout.isatty() else text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Aligned columns. A terminal gets a table that fits its width, units below the titles, a bold head and coloured
    states; a pipe all columns, a line for each row.

    right  the columns that are aligned to the right
    """
    width, left_out = terminal_width(), list[str]()
    if width is None:
        head, lines = [list(map(in_one_line, columns))], [[[in_one_line(cell)] for cell in row] for row in rows]
        widths = [
            max(map(width_of, cells))
            for cells in zip(*head, *([cell[0] for cell in row] for row in lines), strict=True)
        ]
    else:
        head, lines, widths, left_out = fit(columns, rows, right, width)
    styled = width is not None and "NO_COLOR" not in os.environ
    aligned = [name in right for name in columns[: len(widths)]]
    for texts in head:
        print(_line(texts, widths, aligned, lambda _: BOLD if styled else None))
    for row in lines:
        for number in range(max(map(len, row))):
            texts = [cell[number] if number < len(cell) else "" for cell in row]
            print(_line(texts, widths, aligned, STATE_STYLES.get if styled else lambda _: None))
    if left_out and width is not None:
        kept = ", ".join(
            UNIT.sub(lambda found: f"{found[1]} {found[2].replace(' ', NO_BREAK)}", text) for text in left_out
        )
        print_sentence(f"no room in {width} columns: {kept}; see them with: | less -S")


def _line(
    texts: Sequence[str], widths: Sequence[int], right: Sequence[bool], style: Callable[[str], str | None]
) -> str:
    cells = []
    for text, width, at_right in zip(texts, widths, right, strict=True):
        space = " " * (width - width_of(text))
        padded = space + text if at_right else text + space
        cells.append(f"\x1b[{styled}m{padded}\x1b[0m" if (styled := style(text)) else padded)
    return GAP.join(cells).rstrip()


def print_sentence(text: str) -> None:
    """A sentence in one line; a terminal breaks it between words."""
    width = terminal_width()
    line = in_one_line(text)
    print(line if width is None else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False))


def print_entry(key: str, text: str, width: int, before: str = "") -> None:
    """A key and what belongs to it; further lines are set in, so that none can pass for another key's.

    width   of the keys
    before  stands before each line
    """
    first, further = f"{before}{in_one_line(key):<{width}} ", " " * (len(before) + width + 1)
    columns = terminal_width()
    for line in cleaned(text).split("\n"):
        broken = [line]
        if columns is not None and columns - len(further) >= LEAST_FLOWING_WIDTH:
            broken = textwrap.wrap(line, columns - len(further), break_long_words=False, break_on_hyphens=False)
        for piece_of_line in broken or [""]:
            print(f"{first}{piece_of_line}".rstrip())
            first = further


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables with their titles, each after an empty line unless it is the first part, and sentences."""
    for number, part in enumerate(parts):
        if isinstance(part, str):
            print_sentence(part)
            continue
        if number:
            result("")
        if part.title:
            print_sentence(part.title)
        print_table(part.columns, part.rows, right=list(part.right))


# Tables that fit a terminal.

GAP = "  "

LEAST_FLOWING_WIDTH, EASY_FLOWING_WIDTH = 20, 32
"""Least width of a last column of words that continues below itself, rather than being left out; and the width for
which other texts are shortened."""

NAME_WIDTH, TEXT_WIDTH = 28, 20
"""Widths to which names in the first column, and other texts, are shortened where room is wanted."""

NO_BREAK = "\u00a0"

UNIT = re.compile(r"(.*\S) (\([^()]*(?:\([^()]*\)[^()]*)*\))")
"""A title and its unit, as in `depth mae (km)`."""


def terminal_width() -> int | None:
    """The columns of the terminal to which results are printed; None if they go elsewhere."""
    if not sys.stdout.isatty():
        return None
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


class Fitted(NamedTuple):
    """A table in a width."""

    head: list[list[str]]
    """Lines of titles, of which the last has the units, if there are any."""
    lines: list[list[list[str]]]
    """Row → cell → its lines."""
    widths: list[int]
    left_out: list[str]
    """Titles of the columns that do not fit, and of those whose texts are shortened."""


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], width: int) -> Fitted:
    """A table that is not wider than that: titles are folded, words continue below themselves, names are shortened in
    their middle, and then columns are left out, the last one first.
    """
    titles = [in_one_line(column) for column in columns]
    units = [found[2] if (found := UNIT.fullmatch(title)) else "" for title in titles]
    names = [title.removesuffix(f" {unit}") if unit else title for title, unit in zip(titles, units, strict=True)]
    cells = [[in_one_line(cell) for cell in _as_printed(columns[at], rows, at, right)] for at in range(len(columns))]
    widest = [max(map(width_of, [unit, *column])) for unit, column in zip(units, cells, strict=True)]
    folded = [[name] for name in names]
    if _total([max(wide, width_of(name)) for wide, name in zip(widest, names, strict=True)]) > width:
        folded = [
            textwrap.wrap(name, max(1, wide, _longest_word(name)), break_on_hyphens=False) or [""]
            for wide, name in zip(widest, names, strict=True)
        ]
    widths = [max(wide, *map(width_of, lines)) for wide, lines in zip(widest, folded, strict=True)]
    shown, whole = len(columns), widths
    texts = {
        at: max(TEXT_WIDTH if at else NAME_WIDTH, *map(width_of, folded[at]))
        for at, column in enumerate(columns)
        if column not in right
    }
    flows = shown > 1 and shown - 1 in texts and any(" " in cell for cell in cells[-1])
    if flows and _total(widths) > width:
        texts[shown - 1] = max(LEAST_FLOWING_WIDTH, *map(_longest_word, cells[-1]))
        before = _squeezed(widths[:-1], texts, width - len(GAP) - EASY_FLOWING_WIDTH)
        room = width - _total([*before, 0])
        if room >= texts[shown - 1]:
            widths = [*before, room]
    while _total(widths) > width and _total(widths := _squeezed(whole[:shown], texts, width)) > width and shown > 1:
        shown -= 1
    widths = [min(wide, width) for wide in widths[:shown]]
    height = max(map(len, folded[:shown]))
    head = [[*lines] for lines in zip(*([""] * (height - len(lines)) + lines for lines in folded[:shown]), strict=True)]
    if any(units[:shown]):
        head.append(units[:shown])
    lines = [[_broken(row[at], widths[at]) for at in range(shown)] for row in zip(*cells, strict=True)]
    cut = [at for at in range(shown) if any(_longest_word(cell) > widths[at] for cell in cells[at])]
    left_out = [*(f"all of '{names[at]}'" for at in cut), *titles[shown:]]
    return Fitted(head, lines, widths, left_out)


def _as_printed(column: str, rows: Sequence[Sequence[str]], at: int, right: Sequence[str]) -> list[str]:
    """The cells of a column; numbers below each other have their decimal points so."""
    cells = [row[at] for row in rows]
    return [text.translate(_PLAIN) for text in aligned(cells)] if column in right else cells


_PLAIN = str.maketrans({FIGURE_SPACE: " ", POINT_SPACE: " ", "−": "-", "–": "-"})
"""Signs that one can copy from a terminal to where a number is read."""


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _squeezed(widths: Sequence[int], least: Mapping[int, int], room: int) -> list[int]:
    """Widths of columns of which some are made narrower, the widest first, until all have room or none can be narrower.

    least  column that can be narrower → its least width
    """
    squeezed = list(widths)
    while (excess := _total(squeezed) - room) > 0:
        wide = [at for at, end in least.items() if at < len(squeezed) and squeezed[at] > end]
        if not wide:
            break
        widest = max(wide, key=lambda at: squeezed[at])
        next_wide = max((squeezed[at] for at in wide if squeezed[at] < squeezed[widest]), default=0)
        squeezed[widest] = max(squeezed[widest] - excess, min(next_wide, squeezed[widest] - 1), least[widest])
    return squeezed


def _longest_word(text: str) -> int:
    return max(map(width_of, text.split()), default=0)


def _broken(text: str, width: int) -> list[str]:
    """The lines of a text, broken between words; of one with a longer word the ends alone."""
    if width_of(text) <= width:
        return [text]
    if _longest_word(text) > width:
        return [without_middle(text, width)]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
