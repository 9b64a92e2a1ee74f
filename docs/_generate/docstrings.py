"""Docstrings of this project as Markdown.

An example is the last paragraph, lines as Python shows them after `>>> `, with what they print. It
may use `qexp`, which is imported, in a workspace as `qexp init` makes it;
tests/documents/test_examples.py runs all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from _generate.markdown import prose

ARGUMENT = re.compile(r"(?P<names>[a-z]\w*(?:, \w+)*)  +(?P<meaning>\S.*)")
"""A line `name  meaning`, with two spaces or more."""

RAISES = re.compile(r"(?:^|(?<=\.\s)|(?<=\n))Raises\s.*?\.(?=\s|$)", re.DOTALL)
"""The sentence on the errors of a function."""


@dataclass
class Docstring:
    """The parts of a docstring, as Markdown.

    meanings  argument -> what it is; also of `returns` and `yields`
    """

    text: str
    meanings: dict[str, str] = field(default_factory=dict)
    errors: str = ""
    example: str = ""

    @property
    def summary(self) -> str:
        """The first sentence, or the first paragraph if that does not end sooner."""
        return " ".join(re.split(r"(?<=\.)\s|\n\n", self.text)[0].split())


def taken_apart(docstring: str) -> Docstring:
    text, prompt, example = docstring.partition("\n\n>>> ")
    lines: list[str] = []
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if match := ARGUMENT.fullmatch(line):
            names = match["names"].split(", ")
            meanings |= dict.fromkeys(names, match["meaning"])
        elif names and line.startswith(" "):
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        else:
            names = []
            lines.append(line)
    rest = "\n".join(lines)
    return Docstring(
        text=prose(RAISES.sub("", rest).strip()),
        meanings={name: prose(meaning) for name, meaning in meanings.items()},
        errors=" ".join(" ".join(prose(sentence).split()) for sentence in RAISES.findall(rest)),
        example=f"```pycon\n>>> {example}\n```" if prompt else "",
    )


def as_markdown(docstring: str) -> str:
    """All of it below one heading: paragraphs, a list of the arguments, errors, the example."""
    parts = taken_apart(docstring)
    listed = [
        f"- {name if name in ('returns', 'yields') else f'`{name}`'}: {meaning}"
        for name, meaning in parts.meanings.items()
    ]
    return "\n\n".join(
        part for part in (parts.text, "\n".join(listed), parts.errors, parts.example) if part
    )
