"""Texts with a form: dotted paths of documents, placeholders in commands, tables as text."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qexp.errors import suggestion

Steps = Sequence[str | int]


def keys_of(steps: Steps, document: Any) -> list[str | int]:
    """A path, divided at all dots, as the keys of a document: `["fixed", "chamber.depth"]`.

    Of the keys that a path may continue with, the longest is taken. A new key that begins like
    others with a dot has two steps: `chamber.x` beside `chamber.depth`.
    """
    keys: list[str | int] = []
    while steps:
        count = _steps_of_key(steps, document) if isinstance(document, Mapping) else 1
        key = ".".join(map(str, steps[:count])) if count > 1 else steps[0]
        keys.append(key)
        steps = steps[count:]
        if isinstance(document, Mapping):
            document = document.get(str(key))
        else:
            in_list = isinstance(document, list) and isinstance(key, int) and key < len(document)
            document = document[key] if in_list else None
    return keys


NOTHING = object()
"""What is at a path whose key is missing, as opposed to null."""


def value_at(document: Any, steps: Steps, below_null: Any = NOTHING) -> Any:
    """The value at a path in a document; NOTHING if a key is missing, `below_null` below null."""
    for key in keys_of(steps, document):
        step = str(key)
        if document is None:
            return below_null
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and is_index(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return NOTHING
    return document


def is_index(step: str) -> bool:
    """Whether a step of a dotted path is a list index; with more than nine digits it is a key."""
    return step.isdecimal() and step.isascii() and len(step) <= 9


def _steps_of_key(steps: Steps, document: Mapping[str, Any]) -> int:
    alike = len(steps) > 1 and any(key.startswith(f"{steps[0]}.") for key in document)
    for count in range(len(steps), 0, -1):
        if ".".join(map(str, steps[:count])) in document:
            return count
    return 2 if alike else 1


def leaves(
    document: Mapping[str, Any], start: str = "", separator: str = "."
) -> Iterator[tuple[str, Any]]:
    """The dotted paths of a document with their values; lists and empty objects are values."""
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{start}{key}{separator}", separator)
        else:
            yield f"{start}{key}", value


RESULT = "result"
"""The output of metrics that are given without one."""


def measure(output: str, metric: str) -> str:
    """`depth mae`; `mse` alone for a metric that was given without an output."""
    return metric if output == RESULT else f"{output} {metric}"


def output_and_metric(path: str) -> tuple[str, str]:
    """`("chamber.depth", "mae")` of `chamber.depth.mae`: a metric has no dots."""
    output, _, metric = path.rpartition(".")
    return output, metric


def number_in(text: str) -> float | None:
    """The number that a text is for Python; None if it is none."""
    with suppress(ValueError):
        return float(text)
    return None


def natural(text: str) -> list[tuple[float, str]]:
    """A key by which numbers sort as numbers, also inside of words: `run_9` before `run_10`."""
    pieces = _NUMBER.split(text)  # words and numbers by turns
    return [
        (float(piece), "") if index % 2 else (math.inf, piece)
        for index, piece in enumerate(pieces)
        if piece
    ]


_NUMBER = re.compile(r"((?:(?<![\w.])-)?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)", re.ASCII)


# Placeholders in commands: `python plot.py {run.path}`; `{{` and `}}` stand for braces.
#
# A command is divided into words first, as a shell does it, and values are put into the words
# afterwards; no shell is called. A value with spaces, quotes or a semicolon therefore stays inside
# its word.


PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def words_of(command: str) -> list[str]:
    """The words of a command. Raises ValueError, in words, for an open quotation or brace."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be divided into words: {str(error).lower()}") from None
    for word in words:
        brace = single_brace(word)
        if brace is not None:
            raise ValueError(f"has a single '{brace}' in {word!r}; write '{brace * 2}' for a brace")
    return words


def names_in(text: str) -> list[str]:
    """The names of the placeholders in a text."""
    return [match[1] for match in PIECE.finditer(text) if match[1] is not None]


def single_brace(text: str) -> str | None:
    """The first brace that is neither of a placeholder nor doubled; None if there is none."""
    return next((match[0] for match in PIECE.finditer(text) if match[0] in ("{", "}")), None)


def trouble_with_command(command: str, placeholders: Collection[str]) -> str | None:
    """What is wrong with a command that may have these placeholders, in words; None if nothing."""
    try:
        names = [name for word in words_of(command) for name in names_in(word)]
    except ValueError as error:
        return str(error)
    for name in names:
        if name not in placeholders:
            return f"has no placeholder {{{name}}}; {suggestion(name, placeholders)}"
    return None


def filled(text: str, value: Callable[[str], str]) -> str:
    """The text, with each placeholder replaced by the value of its name."""
    return PIECE.sub(lambda match: match[0][0] if match[1] is None else value(match[1]), text)


# Tables in Markdown, and in LaTeX with booktabs.


@dataclass(frozen=True, repr=False)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    """Columns that are aligned to the right."""
    strong: frozenset[tuple[int, int]] = frozenset()
    """Row and column of highlighted cells."""

    def __repr__(self) -> str:
        return markdown([self]).rstrip()


def markdown(tables: Sequence[Table], remarks: Sequence[str] = ()) -> str:
    parts = ["\n".join(_markdown_lines(table)) for table in tables]
    parts += ["\n".join(f"- {_markdown_text(text)}" for text in remarks)] if remarks else []
    return "\n\n".join(parts) + "\n"


def _markdown_lines(table: Table) -> Iterator[str]:
    yield f"{_markdown_text(table.title)}:\n"
    rules = ["---:" if column in table.right else "---" for column in table.columns]
    rows = [list(map(_markdown_text, table.columns)), rules]
    for number, row in enumerate(table.rows):
        rows.append(list(map(_markdown_text, row)))
        for column, cell in enumerate(rows[-1]):
            if (number, column) in table.strong:
                rows[-1][column] = f"**{cell}**"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _markdown_text(text: str) -> str:
    """Text with Markdown's special characters escaped; underscores inside words stay."""
    escaped = re.sub(r"([\\`*|<>~]|\](?=[(\[:]))", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)


def latex(tables: Sequence[Table], remarks: Sequence[str] = ()) -> str:
    """One float per table, preceded by the remarks as comments."""
    head = [
        "% needs \\usepackage{booktabs,graphicx}",
        *(f"% {' '.join(text.split())}" for text in remarks),
    ]
    return "\n".join([*head, *(line for table in tables for line in _latex_lines(table))]) + "\n"


def _latex_lines(table: Table) -> Iterator[str]:
    yield "\\begin{table}"
    yield f"\\caption{{{_latex_text(table.title)}}}"
    yield "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}"
    alignment = "".join("r" if column in table.right else "l" for column in table.columns)
    # A table wider than the text is shrunk.
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield f"\\begin{{tabular}}{{@{{}}{alignment}@{{}}}}"
    yield "\\toprule"
    yield " & ".join(map(_latex_text, table.columns)) + " \\\\"
    yield "\\midrule"
    for number, row in enumerate(table.rows):
        cells = [_latex_text(cell) for cell in row]
        for column, cell in enumerate(cells):
            if (number, column) in table.strong:
                cells[column] = f"\\textbf{{{cell}}}"
        if cells and cells[0].startswith(("[", "*")):  # an argument of the preceding \\ else
            cells[0] = f"{{{cells[0]}}}"
        yield " & ".join(cells) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}}"
    yield "\\end{table}"


SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def _latex_text(text: str) -> str:
    """Any text in plain LaTeX; powers become superscripts, the minus of a number a minus sign."""
    from pylatexenc.latexencode import (
        RULE_REGEX,
        UnicodeToLatexConversionRule,
        UnicodeToLatexEncoder,
    )

    rules = [
        (
            re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"),
            lambda match: f"\\ensuremath{{^{{{match[0].translate(SUPERSCRIPTS)}}}}}",
        ),
        (re.compile(r"(?<!\w)-(?=[\d.])"), r"\\ensuremath{-}"),
        (re.compile(r"-(?=-)"), r"-{}"),  # two hyphens would become a dash
        (re.compile(r"\|"), r"\\textbar{}"),
        (re.compile(r"[\x00-\x1f\x7f]"), r" "),
    ]
    encoder = UnicodeToLatexEncoder(
        conversion_rules=[UnicodeToLatexConversionRule(RULE_REGEX, rules), "defaults"],
        replacement_latex_protection="braces",
        unknown_char_policy="unihex",
        unknown_char_warning=False,
    )
    return str(encoder.unicode_to_latex(text))


# Texts of others, such as records, specs and logs, made harmless for a terminal.


def cleaned(text: str) -> str:
    r"""A text whose control characters, which would act on a terminal, are written as escapes:
    \x1b, \u202e.

    Lines and tabs stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        (
            letter
            # Spaces of some width are not printable, but harmless.
            if letter in "\n\t" or letter.isprintable() or unicodedata.category(letter) == "Zs"
            else letter.encode("unicode_escape").decode()
        )
        for letter in text
    )


def width_of(text: str) -> int:
    """Columns of a terminal for a line: East Asian letters take two, marks on others none."""
    if text.isascii():
        return len(text)
    letters = [letter for letter in text if not unicodedata.combining(letter)]
    return len(letters) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in letters)


def without_end(text: str, longest: int) -> str:
    """A text of at most so many characters, the last of which is … where it goes on."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def without_middle(text: str, width: int) -> str:
    """A text that keeps its ends, with … between them, if it is wider than that."""
    if width_of(text) <= width:
        return text
    for kept in range(max(min(width, len(text)) - 1, 0), -1, -1):
        shorter = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if width_of(shorter) <= width:
            break
    return shorter


def in_one_line(text: str) -> str:
    return text if text.isprintable() else cleaned(re.sub(r"[\n\t\r\v\f]", " ", text))


def key_in_words(path: str) -> str:
    """A key of a spec: `model, dense: filters` for `model.operations.dense.parameters.filters`."""
    steps = [step for step in path.split(".") if step not in ("operations", "parameters")]
    return f"{', '.join(steps[:-1])}: {steps[-1]}" if len(steps) > 1 else "".join(steps) or path
