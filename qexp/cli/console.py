"""What commands have in common: how they print, the options and arguments that several take, and
their help.

Results go to stdout, messages and progress to stderr, colours and bars to a terminal only. Records,
specs and logs may come from others, so no text reaches a terminal without being `cleaned` here.
"""

from __future__ import annotations

import copy
import inspect
import operator
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from qexp.base.options import (
    InWorkspace,
    Option,
    argument,
    default_of,
    flags_of,
    in_shell,
    option,
    shell_type,
)
from qexp.base.text import Table, cleaned, in_one_line, width_of, without_middle
from qexp.base.workspace import PACKAGE, Workspace
from qexp.cli import completion
from qexp.errors import QexpError, nearest, spelled
from qexp.metrics.meaning import FIGURE_SPACE, POINT_SPACE, aligned

if TYPE_CHECKING:
    from qexp.jobs.launchers import LaunchOptions, Submitted

WORKSPACE: Any = fields(InWorkspace)[0]
JSON = option(False, "Print JSON instead of text.", "--json")
NETWORK = option(
    False, "Show the network: operations, output shapes, weights, multiplications a sample."
)
TO = option(
    None, "Draw the network into this file, whose name ends in .png, .svg or .pdf.", "--to FILE"
)
LATEX = option(False, "Print LaTeX tables, which need booktabs and graphicx.", "--latex")

BOLD, RED, GREEN, YELLOW, CYAN = "1", "31", "32", "33", "36"  # of ANSI terminals

STATE_STYLES = {
    "done": GREEN, "running": CYAN, "interrupted": YELLOW, "preempted": YELLOW,
    "failed": RED, "lost": RED, "out_of_memory": RED, "timeout": RED, "damaged": RED,
}  # fmt: skip


FLAGS: dict[str, str] = {}
"""Argument of the command at work → its option, such as seed → --seed."""


def flag(argument: str) -> str:
    """An argument of Python as the shell writes it."""
    return FLAGS.get(argument, f"--{argument.replace('_', '-')}")


def message(*lines: object) -> None:
    sys.stdout.flush()  # so that both keep their order in one file
    for line in lines:
        print(cleaned(spelled(str(line), flag)), file=sys.stderr)


def warning(*texts: str) -> None:
    message(*(f"warning: {text}" for text in texts))


def error(*mistakes: str | QexpError) -> None:
    for what in mistakes:
        text = what.spelled(flag) if isinstance(what, QexpError) else spelled(what, flag)
        message(f"error: {text}" if "\n" not in text else f"error:\n{text}")


def say_at_work() -> Callable[[], None]:
    """Write a line to the terminal that disappears before any other; returns what removes it."""

    def remove() -> None:
        for stream in (sys.stdout, sys.stderr):
            if vars(stream).pop("write", None) is not None and stream is sys.stderr:
                stream.write("\r\x1b[2K")
                stream.flush()

    def first(write: Callable[[str], int], text: str) -> int:
        remove()
        return write(text)

    sys.stderr.write("working …")
    sys.stderr.flush()
    for stream in (sys.stdout, sys.stderr):
        stream.write = partial(first, stream.write)  # type: ignore[method-assign]
    return remove


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


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> None:
    """Aligned columns. A terminal gets a table that fits its width, units below the titles, a bold
    head and coloured states; a pipe all columns, a line for each row.

    right  the columns that are aligned to the right
    """
    width = terminal_width()
    left_out = list[str]()
    if width is None:
        titles, *cells = [list(map(in_one_line, row)) for row in (columns, *rows)]
        widths = [max(map(width_of, column)) for column in zip(titles, *cells, strict=True)]
        head = [titles]
        lines = list(map(_unbroken, cells))
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
            UNIT.sub(lambda found: f"{found[1]} {found[2].replace(' ', NO_BREAK)}", text)
            for text in left_out
        )
        print_sentence(f"no room in {width} columns: {kept}; see them with: | less -S")


def _unbroken(cells: list[str]) -> list[list[str]]:
    return [[cell] for cell in cells]


def _line(
    texts: Sequence[str],
    widths: Sequence[int],
    right: Sequence[bool],
    style: Callable[[str], str | None],
) -> str:
    cells = []
    for text, width, at_right in zip(texts, widths, right, strict=True):
        space = " " * (width - width_of(text))
        padded = space + text if at_right else text + space
        styled = style(text)
        cells.append(f"\x1b[{styled}m{padded}\x1b[0m" if styled else padded)
    return GAP.join(cells).rstrip()


def print_sentence(text: str) -> None:
    """A sentence in one line; a terminal breaks it between words."""
    width = terminal_width()
    line = in_one_line(text)
    print(
        line
        if width is None
        else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
    )


def print_entry(key: str, text: str, width: int, indent: str = "") -> None:
    """A key and what belongs to it; further lines are set in, so that none can pass for another
    key's.

    width   of the keys
    indent  stands before each line
    """
    first = f"{indent}{in_one_line(key):<{width}} "
    further = " " * (len(indent) + width + 1)
    columns = terminal_width()
    for line in cleaned(text).split("\n"):
        broken = [line]
        if columns is not None and columns - len(further) >= LEAST_FLOWING_WIDTH:
            broken = textwrap.wrap(
                line, columns - len(further), break_long_words=False, break_on_hyphens=False
            )
        for piece_of_line in broken or [""]:
            print(f"{first}{piece_of_line}".rstrip())
            first = further


def print_network(network: Any, to: Path | None, as_json: bool = False) -> None:
    """Print the table of a network, and draw it into a file."""
    if to is not None:
        network.draw(to)
    if as_json:
        print_json(network.document())
        return
    print_parts([network.table()])
    message(network.in_words)


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables with their titles, each behind an empty line unless it is the first, and sentences."""
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
"""Least width of a last column of words that flows, and that for which others are shortened."""

NAME_WIDTH, TEXT_WIDTH = 28, 20
"""Widths to which names in the first column, and other texts, are shortened for room."""

NO_BREAK = "\u00a0"

UNIT = re.compile(r"(.*\S) (\([^()]*(?:\([^()]*\)[^()]*)*\))")
"""A title and its unit, as in `depth mae (km)`."""


def terminal_width() -> int | None:
    """The columns of the terminal to which results are printed; None if they go elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Fitted(NamedTuple):
    """A table in a width."""

    head: list[list[str]]
    """Lines of titles, of which the last has the units, if there are any."""
    lines: list[list[list[str]]]
    """Row → cell → its lines."""
    widths: list[int]
    left_out: list[str]
    """Titles of the columns that do not fit, and of those whose texts are shortened."""


def fit(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], width: int
) -> Fitted:
    """A table of at most that width: titles fold, words flow, names shorten, columns drop out."""
    fitting = []
    texts = dict[int, int]()
    for number, title in enumerate(columns):
        fitting.append(_Fitting(in_one_line(title), [row[number] for row in rows], title in right))
    if _total([max(column.widest, width_of(column.name)) for column in fitting]) > width:
        for column in fitting:
            column.fold()
    widths = [max(column.widest, *map(width_of, column.lines)) for column in fitting]
    for number, column in enumerate(fitting):
        if not column.of_numbers:
            least = TEXT_WIDTH if number else NAME_WIDTH
            texts[number] = max(least, *map(width_of, column.lines))
    shown = len(columns)
    whole = widths
    last = fitting[-1].cells
    flows = shown > 1 and shown - 1 in texts and any(" " in cell for cell in last)
    if flows and _total(widths) > width:
        texts[shown - 1] = max(LEAST_FLOWING_WIDTH, *map(_longest_word, last))
        others = _squeezed(widths[:-1], texts, width - len(GAP) - EASY_FLOWING_WIDTH)
        room = width - _total([*others, 0])
        if room >= texts[shown - 1]:
            widths = [*others, room]
    while _total(widths) > width:
        widths = _squeezed(whole[:shown], texts, width)
        if shown == 1 or _total(widths) <= width:
            break
        shown -= 1
    kept = fitting[:shown]
    widths = [min(wide, width) for wide in widths[:shown]]
    height = max(len(column.lines) for column in kept)
    titles = [[""] * (height - len(column.lines)) + column.lines for column in kept]
    head = [[*line] for line in zip(*titles, strict=True)]
    if any(column.unit for column in kept):
        head.append([column.unit for column in kept])
    broken = [column.broken(wide) for column, wide in zip(kept, widths, strict=True)]
    cut = [column for column, wide in zip(kept, widths, strict=True) if column.is_cut_at(wide)]
    left_out = [f"all of '{column.name}'" for column in cut]
    left_out += [column.title for column in fitting[shown:]]
    return Fitted(head, [[*row] for row in zip(*broken, strict=True)], widths, left_out)


class _Fitting:
    """A column of a table that is to fit a width."""

    def __init__(self, title: str, cells: list[str], of_numbers: bool) -> None:
        found = UNIT.fullmatch(title)
        self.title, self.of_numbers = title, of_numbers
        self.name, self.unit = (found[1], found[2]) if found else (title, "")
        if of_numbers:  # those below each other have their decimal points so
            cells = [text.translate(_PLAIN) for text in aligned(cells)]
        self.cells = list(map(in_one_line, cells))
        self.widest = max(map(width_of, [self.unit, *self.cells]))
        self.lines = [self.name]

    def fold(self) -> None:
        """Break its name into lines."""
        width = max(1, self.widest, _longest_word(self.name))
        self.lines = textwrap.wrap(self.name, width, break_on_hyphens=False) or [""]

    def broken(self, width: int) -> list[list[str]]:
        return [_broken(cell, width) for cell in self.cells]

    def is_cut_at(self, width: int) -> bool:
        return max(map(_longest_word, self.cells), default=0) > width


_PLAIN = str.maketrans({FIGURE_SPACE: " ", POINT_SPACE: " ", "−": "-", "–": "-"})
"""Signs that one can copy from a terminal to where a number is read."""


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _squeezed(widths: Sequence[int], least: Mapping[int, int], room: int) -> list[int]:
    """Widths of columns of which some are made narrower, the widest first, until all have room or
    none can be narrower.

    least  column that can be narrower → its least width
    """
    squeezed = list(widths)
    while (excess := _total(squeezed) - room) > 0:
        wide = {}
        for column, end in least.items():
            if column < len(squeezed) and squeezed[column] > end:
                wide[column] = squeezed[column]
        if not wide:
            break
        widest, most = max(wide.items(), key=operator.itemgetter(1))
        next_wide = max((width for width in wide.values() if width < most), default=0)
        squeezed[widest] = max(most - excess, min(next_wide, most - 1), least[widest])
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


# Commands that may be jobs of a cluster.


def on_a_cluster(options: LaunchOptions) -> bool:
    """Whether jobs are asked for. Raises QexpError for options of a scheduler without one."""
    from qexp.jobs.launchers import LOCAL  # which most commands do not need

    if options.launcher == LOCAL and options.profile is None and options.options:
        raise QexpError("--option is for the scheduler of a cluster; name it with --launcher")
    return options.launcher != LOCAL or options.profile is not None


def print_submitted(submitted: Submitted, home: Workspace) -> None:
    result(*(f"{made}  {job}" for made, job in submitted.jobs.items()))
    message(f"output of the jobs: {home.shown(submitted.folder / 'output')}")


# Arguments that several commands take, with what the shell completes for them, and help texts.
#
# Rich would read words in square brackets, such as [actions.NAME], as markup, and typer would keep
# the ends of a docstring's lines.


class PlainCommand(TyperCommand):
    @property
    def help(self) -> str:  # read when it is asked for
        """The help of a copy, else that of the command's function."""
        return self._help or str(vars(self.callback)["__wrapped__"].help)

    @help.setter
    def help(self, text: str | None) -> None:
        self._help = text

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        command = vars(self.callback)["__wrapped__"]
        if command.arranged.passed_on:
            end = args.index("--") if "--" in args else len(args)
            command.words = args[end + 1 :]
            args = args[:end]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        escaped = _escape_command(self)
        if examples := examples_of(ctx.command_path):
            escaped.epilog = _escaped("\n\n".join(["Examples:", *examples]))
        TyperCommand.format_help(escaped, ctx, formatter)

    def get_help_option(self, ctx: Any) -> Any:
        about = super().get_help_option(ctx)
        if about is not None and any(
            getattr(each, "rich_help_panel", None) for each in self.params
        ):
            about.rich_help_panel = OTHERS  # type: ignore[attr-defined]
        return about


def examples_of(command: str) -> list[str]:
    """Lines that call a command, such as `qexp data show`, with what they do."""
    lines = Path(__file__).with_name("examples.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if f"{line} ".startswith(f"{command} ")]


class PlainGroup(TyperGroup):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        escaped = _escape_command(self)
        escaped.commands = {name: _escape(command) for name, command in self.commands.items()}
        TyperGroup.format_help(escaped, ctx, formatter)


def _escape_command(command: Any) -> Any:
    """A copy of a command whose texts, and those of its parameters, rich takes as plain text."""
    escaped = _escape(command)
    escaped.params = [_escape(parameter) for parameter in command.params]
    return escaped


def _escape(helped: Any) -> Any:
    escaped = copy.copy(helped)
    if text := getattr(helped, "help", None):
        escaped.help = _escaped(
            "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
        )
    return escaped


def _escaped(text: str) -> str:
    from rich.markup import escape  # only help needs it

    return escape(text)


RUN = argument(..., "A run: name, unique prefix or path.", complete="runs")
RUNS, OTHER_RUNS = (
    argument(
        default,
        "Runs: names, unique prefixes, paths, or quoted patterns such as 'mogi_*'.",
        "RUN...",
        complete="runs",
    )
    for default in (..., ())
)


def named_once(
    words: Sequence[str] | None, by_option: Sequence[str] | None, example: str
) -> list[str]:
    """The runs that a command line names, with words or with --run. Raises QexpError for none, and
    for two choices.

    example  a command line, for the error
    """
    first = list(words or ())
    second = list(by_option or ())
    if not (first or second):
        raise QexpError(f"name the run: {example}")
    if first and second and first != second:
        raise QexpError(
            f"both {' '.join(first)} and --run {' '.join(second)} name a run; keep one of them:"
            f" {example}"
        )
    return first or second


class CheckedGroup(PlainGroup):
    """Commands that refuse options with an empty value, and two values of an option that takes one.

    A shell's variable that is not set gives an empty value; an empty path would be the current
    folder. Of two values the first would be lost without a word.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:
            try:
                _require_values(self, ctx, args)
            except QexpError as mistake:  # before there is a command that would print it
                ctx.fail(mistake.spelled(flag))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, words = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            FLAGS.clear()
            FLAGS.update(
                {name: max(each.opts, key=len) for name, each in _options_of(command).items()}
            )
            _require_values(command, typer.Context(command, parent=ctx, info_name=name), words)
        return name, command, words


def _options_of(command: Any) -> dict[str, Any]:
    return {each.name: each for each in command.params if each.param_type_name == "option"}


def _meant_by(option: str, known: Collection[str]) -> str | None:
    """What is meant by an option that a command does not have: a key of a spec, or another word."""
    keys = completion.written_names()["choices"]["keys of experiences"] if "--set" in known else []
    key = option.strip("-").replace("-", "_")
    if key in keys:
        return f"--set {key}=VALUE"
    for words in (["--to", "--output", "--out"], ["--overwrite", "--force"]):
        if option in words and {*words} & {*known}:
            return next(word for word in words if word in known)
    if guess := nearest(option.strip("-"), [word.strip("-") for word in known]):
        return f"--{guess}"
    guess = nearest(key, keys)
    return guess and f"--set {guess}=VALUE"


def _require_values(command: Any, context: Any, words: list[str]) -> None:
    """Raise QexpError for an option with an empty value, and for several values of one."""
    options = _options_of(command)
    try:
        values, _, order = command.make_parser(context).parse_args(list(words))
    except Exception as mistake:
        if not hasattr(mistake, "possibilities"):  # which typer knows for an unknown option
            raise
        unknown = vars(mistake)["option_name"]
        meant = _meant_by(unknown, sorted(max(each.opts, key=len) for each in options.values()))
        context.fail(f"No such option: {unknown}.{f' Did you mean {meant}?' if meant else ''}")
    for name, value in values.items():
        if name in options and "" in (value if isinstance(value, list | tuple) else [value]):
            raise QexpError(f"{options[name].opts[0]} is empty; give it a value, or leave it out")
    for name, times in Counter(each.name for each in order).items():
        repeated = options.get(name)
        if (
            repeated is None
            or times == 1
            or repeated.multiple
            or repeated.is_flag
            or repeated.count
        ):
            continue
        if "," in (repeated.metavar or ""):
            given = [word for option, word in pairwise(words) if option in repeated.opts]
            raise QexpError(
                f"{repeated.opts[0]} is given {times} times; write {repeated.opts[0]}"
                f" {','.join(given)}"
            )
        raise QexpError(
            f"{repeated.opts[0]} is given {times} times, but takes one value; keep one of them"
        )


# Commands, made from functions whose parameters are declared as fields of options are.


EVERYDAY, OTHERS = "Everyday", "Others"
"""Titles of the first and the last box of options in the help of a command with several."""

TOLD: dict[str, Any] = {"warn": warning, "tell": message}
"""Field that the shell does not have → what takes its texts."""


@dataclass(frozen=True)
class arranged:  # noqa: N801 - a decorator
    """Says what the parameters of a command do not.

    everyday    parameters that its help shows first
    described   the function of `qexp.api` that it calls, if that has another name
    leave_out   fields that are not given, or in another way
    with_words  from what is given to the same with fields that stand among its words, such as a run
    passed_on   the parameter that gets the words behind --, as they are
    """

    everyday: str = ""
    described: str = ""
    leave_out: str = ""
    with_words: Callable[[dict[str, Any]], dict[str, Any]] = dict
    passed_on: str = ""

    def __call__(self, command: Callable[..., None]) -> Callable[..., None]:
        vars(command)["arranged"] = self
        return command


API = PACKAGE / "api"

ARGUMENTS = re.compile(r"^(?:[a-z]\w*(?:, \w+)*  +\S|returns |Raises |>>> )", re.MULTILINE)
"""Where a docstring turns from what a function does to what it takes and returns."""


def described(function: str) -> str:
    """What a function of `qexp.api` does, as its docstring says; empty if there is no such one.

    It is read from the source: to load the function takes longer than help may.
    """
    docstring = re.compile(rf'^def {function}\(.*?"""(.*?)"""', re.MULTILINE | re.DOTALL)
    for file in API.glob("*.py"):
        found = docstring.search(file.read_text(encoding="utf-8"))
        if found:
            text = ARGUMENTS.split(inspect.cleandoc(found[1]))[0]
            return re.sub(r";\s+see\s+`qexp\s[a-z\s-]+`", "", text).strip()
    return ""


class Command:
    """What the shell calls for a function: its parameters, and the fields of those that are
    dataclasses of options, are options of the shell; fields of the same name are one option.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.arranged = getattr(function, "arranged", arranged())
        self._function = function
        self._kinds = dict[str, type[Any]]()
        self._fields: dict[str, list[tuple[Field[Any], Option]]] = {}
        self.words = list[str]()
        left_out = self.arranged.leave_out.split()
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
            kind: Any = parameter.annotation
            if name == self.arranged.passed_on:
                continue
            if isinstance(kind, type) and is_dataclass(kind):
                self._kinds[name] = kind
                several = [each for each in in_shell(kind) if each[0].name not in left_out]
                self._fields[name] = several
            else:
                field = copy.copy(parameter.default)
                field.name = name
                field.type = function.__annotations__[name]
                self._fields[name] = [(field, field.metadata["option"])]
        of_all = [each for several in self._fields.values() for each in several]
        self._flags = {field.name: flags_of(field)[-1] for field, _ in of_all}
        self.__doc__, self.__name__, self.__annotations__ = None, function.__name__, {}
        self.__signature__ = inspect.Signature(self._parameters())

    def __call__(self, **values: Any) -> None:
        values = self.arranged.with_words(values)
        given = dict[str, Any]()
        if self.arranged.passed_on:
            given[self.arranged.passed_on] = self.words
        for name, several in self._fields.items():
            read = {field.name: self._value(field, about, values) for field, about in several}
            if name in self._kinds:
                kind = self._kinds[name]
                told = {field.name for field in fields(kind)} & TOLD.keys()
                given[name] = kind(**read, **{field: TOLD[field] for field in told})
            else:
                given[name] = read[name]
        self._function(**given)

    @property
    def help(self) -> str:
        """The docstring of its function, behind that of the function of `qexp.api`."""
        own = inspect.getdoc(self._function) or ""
        name = self.arranged.described
        if own and not name:
            return own
        text = spelled(described(name or self.__name__), lambda each: self._flags.get(each, each))
        return f"{text}\n\n{own}".rstrip()

    def _value(self, field: Field[Any], about: Option, values: Mapping[str, Any]) -> Any:
        """What a field is given, or its default, as what reads it makes of the words."""
        value = values[field.name]
        if value is None or value == []:
            return None if about.optional else default_of(field)
        return value if about.read is None else about.read(self._flags[field.name], value)

    def _parameters(self) -> list[inspect.Parameter]:
        """The options in the order of their boxes in the help."""
        boxes = dict.fromkeys(self.arranged.everyday.split(), EVERYDAY)
        for kind in self._kinds.values():
            for title, names in getattr(kind, "panels", {}).items():
                boxes |= {name: title for name in names.split() if boxes.get(name) != EVERYDAY}
        order = list(boxes)
        rest = OTHERS if boxes else None
        made: dict[str, inspect.Parameter] = {}
        for several in self._fields.values():
            for field, about in several:
                box = boxes.get(field.name, rest)
                made.setdefault(field.name, self._parameter(field, about, box))
        return sorted(
            made.values(),
            key=lambda each: order.index(each.name) if each.name in boxes else len(order),
        )

    def _parameter(self, field: Field[Any], about: Option, box: str | None) -> inspect.Parameter:
        kind: Any = shell_type(field)
        default = default_of(field)
        text = spelled(about.help, lambda name: self._flags.get(name, name))
        form: dict[str, Any] = {"help": f"{text} {about.also}".rstrip(), "metavar": about.metavar}
        form |= {"min": about.least, "rich_help_panel": box}
        if about.complete is not None:
            form["autocompletion"] = getattr(completion, about.complete)
        if about.argument:
            declared = typer.Argument(**{**form, "rich_help_panel": None})
        else:
            declared = typer.Option(*flags_of(field), show_default=about.shown, **form)
        usual = inspect.Parameter.empty if default is ... else default
        is_read = about.optional or about.read is not None
        if is_read or default is None or isinstance(default, tuple | dict):
            kind, usual = kind | None, None
        annotation = Annotated[kind, declared]
        keyword = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(field.name, keyword, default=usual, annotation=annotation)
