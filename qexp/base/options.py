"""Options of a command, each declared once: a field of a frozen dataclass, with its help and its
form in the shell.

The shell makes an option of each field, a Python function takes the fields as keywords, the engine
takes the object whole, and a job on a cluster gets it back as words of a command line:

    @dataclass(frozen=True)
    class Repeats(Opening):
        count: int = option(1, "Noise realisations per cell.", "N")

    @takes(Repeats)
    def repeat(run: str, options: Repeats) -> None: ...

    repeat("mogi_3", count=2)
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, update_wrapper, wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from qexp.base.workspace import Workspace, find
from qexp.errors import QexpError, hint, in_python, shortened

DOCSTRING_WIDTH = 120


@dataclass(frozen=True)
class Option:
    """The form of a field in the shell.

    help      a sentence for the shell and for the docstring; other fields stand between backquotes
              in it
    also      a sentence that the shell alone adds, such as "0:10 for 0 to 9."
    example   a value of it in Python, where that does not go without saying
    flags     how it is written; `--field-name` if there are none
    metavar   what stands for its value in the help
    repeated  whether it is given once for each of several values
    shell     the type that the shell reads; if it is None, that of the field's annotation
    read      makes the field's value of what the shell has read; takes the option's name and that
    write     makes the texts of a value again, one for each time that the option is given
    complete  the function of `cli.completion` that completes its values
    least     the smallest number that the shell takes
    shown     whether the help shows the default
    argument  whether it is given by its position
    optional  whether the shell has another way to give it, so that None stands for what is left out
    """

    help: str
    also: str = ""
    example: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    repeated: bool = False
    shell: Any = None
    read: Callable[[str, Any], Any] | None = None
    write: Callable[[Any], Iterable[str]] | None = None
    complete: str | None = None
    least: float | None = None
    shown: bool = True
    argument: bool = False
    optional: bool = False


def option(default: Any, help: str, usage: str = "", **form: Any) -> Any:
    """A field of options with a default; `...` stands for none.

    usage  as the help shows it, such as "-j --jobs N" or "--axis NAME=VALUE ...", where the points
           say that it may be repeated
    form   see `Option`
    """
    words = usage.split()
    flags = tuple(word for word in words if word.startswith("-"))
    repeated = words[-1:] == ["..."]
    metavar = " ".join(words[len(flags) : len(words) - repeated]) or None
    if repeated:
        form["also"] = f"{form.get('also', '')} Repeat for more.".lstrip()
    about = {"option": Option(help, flags=flags, metavar=metavar, repeated=repeated, **form)}
    if default is ...:
        return dataclasses.field(metadata=about)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=about)
    return dataclasses.field(default=default, metadata=about)


def argument(default: Any, help: str, usage: str = "", **form: Any) -> Any:
    """A field that the shell takes by its position."""
    return option(default, help, usage, argument=True, **form)


def print_width() -> Any:
    """A field for the width of figures in print."""
    help = (
        "Width for print: one column of a page (3.35 inches) or two (6.7), with texts of 8 points,"
        " laid out for that; PNG with 300 dots per inch."
    )
    return option(None, help, "single|double")


def figure_formats() -> Any:
    """A field for the formats in which figures are written."""
    return option(
        ("png",),
        "File format.",
        "--format png|pdf|svg",
        also="Repeat for more. png if left out.",
        complete="figure_formats",
        example='("png", "pdf")',
    )


def python_only(default: Any, help: str) -> Any:
    """A field that the shell does not have, such as a function that is told the progress."""
    return dataclasses.field(default=default, metadata={"help": help})


def flags_of(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """How a field is written in the shell."""
    return _option_of(field).flags or (f"--{field.name.replace('_', '-')}",)


def help_of(field: dataclasses.Field[Any]) -> str:
    """What a field means, in Python."""
    if "help" in field.metadata:
        return str(field.metadata["help"])
    about = _option_of(field)
    return f"{about.help} In Python `{about.example}`." if about.example else about.help


def in_shell(options: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Option]]:
    """The fields that the shell has, those of a class before those that it inherits."""
    fields = own_first(options)
    return ((field, _option_of(field)) for field in fields if "option" in field.metadata)


def own_first(options: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields of a class: those by position, its own, and those that it has from others."""
    others = [base for base in options.__mro__[1:] if dataclasses.is_dataclass(base)]
    inherited = {field.name for base in others for field in dataclasses.fields(base)}
    fields = dataclasses.fields(options)
    return sorted(
        fields,
        key=lambda field: (bool(field.kw_only), bool(field.kw_only) and field.name in inherited),
    )


def _option_of(field: dataclasses.Field[Any]) -> Option:
    about: Option = field.metadata["option"]
    return about


def shell_type(field: dataclasses.Field[Any]) -> Any:
    """What the shell reads for a field: a type, or a list of one."""
    about = _option_of(field)
    kinds = kinds_of(str(field.type))
    if about.shell is not None:
        return about.shell
    if about.repeated or {TEXTS, PATHS, DICTIONARY} & {*kinds}:
        return list[str]
    return str if about.read else next(kind.shell for kind in KINDS.values() if kind in kinds)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field; `...` if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ... if field.default is dataclasses.MISSING else field.default


def part_of(options: Any, kind: type[Any]) -> dict[str, Any]:
    """The values of the fields of a class that the options extend."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


def words_of(options: Any, leave_out: Iterable[str] = ()) -> list[str]:
    """The words of a command line that give these options; those at their defaults are left out."""
    words: list[str] = []
    for field, about in in_shell(type(options)):
        value = getattr(options, field.name)
        if field.name in leave_out or value == default_of(field):
            continue
        flag = flags_of(field)[-1]
        if value is True:
            words.append(flag)
            continue
        texts = about.write(value) if about.write else [str(value)]
        words += [word for text in texts for word in (flag, text)]
    return words


# Fields that the options of many commands have, and functions that are told something.

Report = Callable[[str], None]
"""Receives a line of text."""

Counted = Callable[[int, int], None]
"""Takes how many of something are done, and of how many."""


def as_warning(text: str) -> None:
    """A warning of Python, at the line outside of qexp that led to it."""
    frame = sys._getframe(1)
    level = 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "qexp":
        frame = frame.f_back
        level = level + 1
    warnings.warn(in_python(text), stacklevel=level)


def ignore(text: str) -> None: ...


def uncounted(done: int, total: int) -> None: ...


DISPLAYED = ContextVar("DISPLAYED", default=True)
"""Whether bars are shown where there is a terminal or a notebook."""


@contextmanager
def displayed(display: Any) -> Iterator[None]:
    """Show no bar until the end if display is False."""
    token = DISPLAYED.set(DISPLAYED.get() and display is not False)
    try:
        yield
    finally:
        DISPLAYED.reset(token)


@dataclass(frozen=True, kw_only=True)
class Displaying:
    """Options of what shows its progress."""

    display: Any = python_only(
        None, "Shows the progress: a bar on a terminal or notebook if left out; False: none."
    )


@dataclass(frozen=True, kw_only=True)
class Trusting:
    """Options of a command that may execute the code of runs."""

    trust_code: bool = option(
        False, "Execute the code of imported runs, code/extensions.py; only if you trust it."
    )


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    device: str = option("auto", "Compute device: auto, cpu or cuda.", complete="devices")


@dataclass(frozen=True, kw_only=True)
class InWorkspace:
    workspace: str | Path | None = option(
        None, "The directory that holds specs/; searched upwards if left out.", "DIR", shell=str
    )

    @property
    def home(self) -> Workspace:
        """The workspace. Raises QexpError if there is none."""
        return find(self.workspace)


@dataclass(frozen=True, kw_only=True)
class Opening(InWorkspace, Trusting):
    """Options of a command that opens runs."""


@dataclass(frozen=True, kw_only=True)
class Computing(Opening, OnDevice):
    """Options of a command that computes with networks of runs."""


# Functions that take fields as keywords.

Subject = TypeVar("Subject")
Options = TypeVar("Options")
Returned = TypeVar("Returned")
Keywords = ParamSpec("Keywords")


def is_number(value: Any) -> bool:
    """Whether a value is a number, also of NumPy; True and False are none."""
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return is_number(value) and (hasattr(value, "__index__") or float(value).is_integer())


@dataclass(frozen=True, eq=False)
class Kind:
    """What the values of an argument are.

    words     what they are called
    fits      whether a value is one of them; numbers of NumPy are, too
    shell     the type that the shell reads, where it reads such values itself
    of_files  whether they name files
    """

    words: str
    fits: Callable[[Any], bool]
    shell: type | None = None
    of_files: bool = False


TEXTS = Kind(
    "a list of texts",
    lambda value: isinstance(value, str | Iterable) and not isinstance(value, bytes),
)
PATHS = dataclasses.replace(TEXTS, of_files=True)
DICTIONARY, ANYTHING = (
    Kind("a dictionary", lambda value: isinstance(value, Mapping)),
    Kind("", lambda value: True),
)

KINDS = {
    "bool": Kind(
        "True or False", lambda value: isinstance(value, int) or hasattr(value, "__bool__"), bool
    ),
    "int": Kind("a whole number", _is_whole, int),
    "float": Kind("a number", is_number, float),
    "Path": Kind("a path", lambda value: isinstance(value, str | os.PathLike), Path, of_files=True),
    "str": Kind("a text", lambda value: isinstance(value, str | os.PathLike), str),
    **dict.fromkeys(("Collection[str]", "Iterable[str]", "Sequence[str]", "list[str]"), TEXTS),
    "Sequence[str | Path]": PATHS,
}
"""A word of an annotation → what such values are; the shell reads the first of these."""


@cache
def kinds_of(annotation: str) -> tuple[Kind, ...]:
    """What the values of an annotation are besides None, in its order; a word that is not in the
    table is anything.

    The texts of annotations are enough for that: to look up what they mean would load modules that
    start-up needs not.
    """
    words = [word for word in re.split(r" \| (?![^\[]*\])", annotation) if word != "None"]
    others = {word: DICTIONARY for word in words if word.startswith("Mapping[")}
    return tuple({**KINDS, **others}.get(word, ANYTHING) for word in words)


NAMES_OF_SPECS = ("experience", "dataset", "model")
OF_SPECS = "write a spec to a file below specs/, and give its name"
"""Arguments that are given the name of a spec, and what to do with a spec itself."""

OTHER_NAMES = {"out": "to", "output": "to"}
"""Keyword → what other functions call it."""


@dataclass(frozen=True)
class Argument:
    """An argument of a function.

    example    a value of it, where that does not go without saying
    elsewhere  what takes several of them, if anything does
    """

    name: str
    kinds: tuple[Kind, ...]
    example: str = ""
    elsewhere: str = ""

    @property
    def is_path(self) -> bool:
        return any(kind.of_files for kind in self.kinds)

    def is_left_out(self, value: Any) -> bool:
        """None stands for what is left out, and so does False for a path."""
        return value is None or (value is False and self.is_path)

    def read(self, value: Any) -> Any:
        """A value as the function takes it; a text alone is a list of one. Raises QexpError."""
        if isinstance(value, str | Path) and self.kinds[0] in (TEXTS, PATHS):
            return [value]
        if any(kind.fits(value) for kind in self.kinds):
            return value
        given = " or ".join(kind.words for kind in self.kinds)
        if DICTIONARY in self.kinds:
            such = f", such as {self.example}" if self.example else ""
            raise QexpError(f"`{self.name}={value}`: give {given}{such}")
        meant = ""
        if isinstance(value, Mapping) and self.name in NAMES_OF_SPECS:
            meant = f"; {OF_SPECS}"
        elif self.elsewhere and isinstance(value, Iterable) and not isinstance(value, str):
            meant = f"; {self.elsewhere}"
        raise QexpError(f"`{self.name}`: give {given}, not {shortened(repr(value))}{meant}")


class takes(Generic[Keywords, Options]):  # noqa: N801 - a decorator
    """Lets a function of options, and of what they are for, take the fields of the options as
    keywords.

    Its docstring gets a line for each of them, before that of what it returns and its example.

    elsewhere  keyword that the function does not have, or not of several values → what has it
    """

    def __init__(
        self, options: Callable[Keywords, Options], elsewhere: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._elsewhere = elsewhere or {}

    @overload
    def __call__(self, function: Callable[[Options], Returned]) -> Callable[Keywords, Returned]: ...
    @overload
    def __call__(
        self, function: Callable[[Subject, Options], Returned]
    ) -> Callable[Concatenate[Subject, Keywords], Returned]: ...
    @overload  # of any number of subjects, which no type of Python tells beside keywords
    def __call__(self, function: Callable[..., Returned]) -> Callable[..., Returned]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        make: Any = self._options
        declared = inspect.signature(function)
        subjects = [each for each in declared.parameters.values() if each.name != "options"]
        several = bool(subjects) and subjects[-1].kind is inspect.Parameter.VAR_POSITIONAL
        signature = declared.replace(parameters=[*subjects, *self._keywords(by_name=several)])
        fields = {field.name: self._argument(field) for field in own_first(make)}

        def called(*arguments: Any, **keywords: Any) -> Any:
            bound = _bound(function, signature, arguments, keywords, make, self._elsewhere)
            given = [bound.pop(parameter.name, ()) for parameter in subjects]
            if several:
                given += given.pop()
            read = {}
            for name, value in bound.items():
                if value is True and fields[name].is_path:
                    why = f"`{name}` is a path, or left out, and not True"
                    raise TypeError(f"{function.__name__}: {why}")
                if not fields[name].is_left_out(value):
                    read[name] = fields[name].read(value)
            options = make(**read)
            with displayed(getattr(options, "display", None)):
                return function(*given, options=options)

        update_wrapper(called, function)
        called.__doc__ = documented(inspect.getdoc(function) or "", make)
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {**function.__annotations__, **make.__init__.__annotations__}
        return called

    def _keywords(self, by_name: bool) -> Iterator[inspect.Parameter]:
        """The fields as parameters of the function; by_name: none of them by its position"""
        make: Any = self._options
        parameters = inspect.signature(make).parameters
        for field in own_first(make):
            parameter = parameters[field.name]
            if field.default_factory is dict:
                parameter = parameter.replace(default={})
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) if by_name else parameter

    def _argument(self, field: dataclasses.Field[Any]) -> Argument:
        example = getattr(field.metadata.get("option"), "example", "")
        kinds = kinds_of(str(field.type))
        return Argument(field.name, kinds, example, self._elsewhere.get(field.name, ""))


def checks_keywords(function: Callable[Keywords, Returned]) -> Callable[Keywords, Returned]:
    """Lets a function without options answer a misspelt keyword as those with options do."""
    signature = inspect.signature(function)

    @wraps(function)
    def called(*arguments: Keywords.args, **keywords: Keywords.kwargs) -> Returned:
        for name, value in _bound(function, signature, arguments, keywords).items():
            if value is not None:
                Argument(name, kinds_of(str(signature.parameters[name].annotation))).read(value)
        return function(*arguments, **keywords)

    return called


def _bound(
    function: Callable[..., Any],
    signature: inspect.Signature,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    options: type[Any] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Parameter → argument. Raises TypeError with the keyword that was probably meant.

    options    whose fields are the keywords; their names in the shell are known
    elsewhere  as of `takes`
    """
    try:
        return signature.bind(*arguments, **keywords).arguments
    except TypeError as error:
        unknown = next((name for name in keywords if name not in signature.parameters), "")
        in_the_shell: dict[str, str] = {}
        for field, _ in in_shell(options) if options else ():
            in_the_shell |= {flag.lstrip("-"): field.name for flag in flags_of(field)}
        several = "; give several as one list" if "too many positional" in str(error) else ""
        other = in_the_shell.get(unknown, OTHER_NAMES.get(unknown))
        if elsewhere and unknown in elsewhere:
            meant = f"; {elsewhere[unknown]}"
        elif other in signature.parameters:
            meant = f"; it is called '{other}'"
        else:
            meant = hint(unknown, signature.parameters)
        raise TypeError(f"{getattr(function, '__name__', '')}: {error}{several}{meant}") from None


def documented(docstring: str, options: type[Any]) -> str:
    """A docstring with a line for each field, before those on what is returned and raised."""
    fields = own_first(options)
    lines = docstring.splitlines()
    ends = ("returns ", "Raises ", ">>> ")
    end = next((row for row, line in enumerate(lines) if line.startswith(ends)), len(lines))
    width = max(len(field.name) for field in fields) + 2
    wrapper = textwrap.TextWrapper(DOCSTRING_WIDTH - 4, break_on_hyphens=False)
    wrapper.subsequent_indent = " " * width
    table = []
    for field in fields:
        table += wrapper.wrap(f"{field.name:{width}}{help_of(field)}")
    if lines[end:] and lines[end].startswith(">>> "):
        table.append("")
    return "\n".join([*lines[:end], *table, *lines[end:]])
