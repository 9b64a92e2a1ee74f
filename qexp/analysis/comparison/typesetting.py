"""Tables in Markdown, and in LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    """Columns that are aligned to the right."""
    strong: frozenset[tuple[int, int]] = frozenset()
    """Row and column of highlighted cells."""


def markdown(tables: Sequence[Table], remarks: Sequence[str] = ()) -> str:
    parts = ["\n".join(_markdown_lines(table)) for table in tables]
    return (
        "\n\n".join([*parts, *(["\n".join(f"- {_markdown_text(text)}" for text in remarks)] if remarks else [])]) + "\n"
    )


def _markdown_lines(table: Table) -> Iterator[str]:
    yield f"{_markdown_text(table.title)}:\n"
    yield "| " + " | ".join(map(_markdown_text, table.columns)) + " |"
    yield "| " + " | ".join("---:" if column in table.right else "---" for column in table.columns) + " |"
    for i, row in enumerate(table.rows):
        cells = [_markdown_text(cell) for cell in row]
        yield "| " + " | ".join(f"**{c}**" if (i, j) in table.strong else c for j, c in enumerate(cells)) + " |"


def _markdown_text(text: str) -> str:
    """Text with Markdown's special characters escaped; an underscore inside a word is not special."""
    escaped = re.sub(r"([\\`*|<>~]|\](?=[(\[:]))", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)


def latex(tables: Sequence[Table], remarks: Sequence[str] = ()) -> str:
    """One float per table, preceded by the remarks as comments."""
    head = ["% needs \\usepackage{booktabs,graphicx}", *(f"% {' '.join(text.split())}" for text in remarks)]
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
    for i, row in enumerate(table.rows):
        cells = [_latex_text(cell) for cell in row]
        # In braces, since a row that begins with [ would be an argument of the preceding \\.
        cells = [f"\\textbf{{{c}}}" if (i, j) in table.strong else f"{{{c}}}" for j, c in enumerate(cells)]
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
        (re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"), lambda found: f"\\ensuremath{{^{{{found[0].translate(SUPERSCRIPTS)}}}}}"),
        (re.compile(r"(?<!\w)-(?=[\d.])"), r"\\ensuremath{-}"),
        (re.compile(r"-(?=-)"), r"-{}"),  # two hyphens would become a dash
        (re.compile(r"\|"), r"\\textbar{}"),
        (re.compile(r"[\x00-\x1f\x7f]"), r" "),
    ]
    encoder = UnicodeToLatexEncoder(
        conversion_rules=[UnicodeToLatexConversionRule(RULE_REGEX, rules), "defaults"],
        replacement_latex_protection="braces-all",
        unknown_char_policy="unihex",
        unknown_char_warning=False,
    )
    return str(encoder.unicode_to_latex(text))
