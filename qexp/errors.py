"""The errors that a user can fix, and their exit codes."""

from __future__ import annotations

import ast
import difflib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

ARGUMENT = re.compile(r"`(?P<name>[a-z][a-z_]*)(?:\[(?P<key>[^`]*)\]|=(?P<value>[^`]*))?`")
"""An argument in the text of an error, perhaps with its value or with one of its keys: `seed`,
`seed=-1`, `part=test`, `fixed={'x': 0}`, `unit=['m', 'mm']`, `fixed[x]`.
"""


class QexpError(Exception):
    """A mistake or a condition that the user can fix; `cli` prints it without a traceback.

    Arguments stand between backquotes in its text, `fixed={'x': 0}`: Python shows them so, the
    shell as options, `--fix x=0`.
    """

    exit_code = 2

    def __str__(self) -> str:
        return in_python(super().__str__())

    def __format__(self, form: str) -> str:
        """The text with the backquotes, so that an error can be a part of another."""
        return format(super().__str__(), form)

    def spelled(self, option: Callable[[str], str]) -> str:
        """The text as the shell shows it.

        option  from the name of an argument to that of the option, such as `--seed`
        """
        return spelled(super().__str__(), option)


def in_python(text: str) -> str:
    """A text with arguments in backquotes as in Python: part="test", fixed={"x": 0}, fixed["x"]."""

    def in_call(match: re.Match[str]) -> str:
        name = match["name"]
        key = match["key"]
        value = match["value"]
        if key is not None:
            return f"{name}[{_literal(key)}]"
        return name if value is None else f"{name}={_literal(_value(value))}"

    return ARGUMENT.sub(in_call, text)


def spelled(text: str, option: Callable[[str], str]) -> str:
    """A text with arguments between backquotes as the shell has them: --part test, --fix x=0,
    --refine.

    option  from the name of an argument to that of the option
    """

    def in_shell(match: re.Match[str]) -> str:
        flag = option(match["name"])
        value = match["value"]
        if match["key"] is not None:
            return f"{flag} {match['key']}".rstrip()
        if value in (None, "True"):
            return flag
        several = _value(value) if value[:1] in ("{", "[", "(") else value
        if isinstance(several, dict):
            words = [shlex.quote(_pair(key, each)) for key, each in several.items()]
        elif isinstance(several, list):
            words = list(map(_quoted, map(_word, several)))
        elif isinstance(several, tuple):
            words = [_quoted(",".join(map(_word, several)))]
        else:
            words = [_quoted(value)]
        return " ".join(f"{flag} {word}" for word in words)

    return ARGUMENT.sub(in_shell, text)


def _quoted(text: str) -> str:
    return shlex.quote(text) if " " in text else text


def _value(text: str) -> Any:
    """The number, list or mapping that a text is in Python, or else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _literal(value: Any, nested: bool = False) -> str:
    """A value in Python's spelling; words in capitals in others stand for what is filled in."""
    if isinstance(value, str):
        is_placeholder = nested and re.fullmatch("[A-Z]+", value)
        return value if is_placeholder else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        pairs = [f"{_literal(key)}: {_literal(each, True)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        items = ", ".join(_literal(each, True) for each in value)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _pair(key: Any, value: Any) -> str:
    """An item of a mapping for the shell: `x=0`, or JSON if a name has a comma or a '='."""
    texts = [text for text in (key, value) if isinstance(text, str)]
    if {*",="} & {*"".join(texts)}:
        return json.dumps({key: value}, ensure_ascii=False)
    return f"{key}={_word(value)}"


def _word(value: Any) -> str:
    """A value as the shell takes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ("," if isinstance(value, list) else ":").join(map(_word, value))
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


EXTRAS = {
    "geo": ("rasterio", "pyproj"),
    "export": ("onnx", "onnxscript"),
    "spectra": ("xraydb",),
    "page": ("starlette", "uvicorn", "httptools"),
    "posterior": ("zuko", "emcee", "arviz_stats"),
    "tune": ("optuna", "cmaes"),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "qanat": ("yaml",),
    "htcondor": ("htcondor2",),
    "zarr": ("zarr", "numcodecs"),
    "remote": ("s3fs", "sshfs"),
}
"""Libraries that not all users need, by the extra that installs them: `pip install 'qexp[geo]'`."""


class MissingExtraError(QexpError):
    """A library is not installed that this capability needs and that an extra of qexp brings."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the import of an extra's library. Raises MissingExtraError if it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS[name]:
            raise
        raise MissingExtraError(
            f"this needs {library}, which is not installed; the extra {name} brings it: pip install"
            f" 'qexp[{name}]'"
        ) from None


class NotFoundError(QexpError):
    """A run, spec, file or matrix does not exist."""

    exit_code = 3


class UntrustedCodeError(QexpError):
    """A command needs code that was imported with a run and is not trusted."""


class RunFailedError(QexpError):
    """A run ended without a result."""

    exit_code = 1


class ProgramError(RunFailedError):
    """A program that a run started ended without a result."""


class ProgramMemoryError(ProgramError, MemoryError):
    """A program that a run started needed more memory than it may use."""


class PartlyFailedError(QexpError):
    """Some of several files or runs failed; the others are done."""

    exit_code = 4


class DamagedError(QexpError):
    """The catalog or a run directory cannot be read."""

    exit_code = 5


class SchedulerError(QexpError):
    """The scheduler of a cluster refused; with its own message."""

    exit_code = 6


class InterruptedRunError(QexpError):
    """A run was stopped by a signal; it can be resumed."""

    exit_code = 130


class TakenOverError(QexpError):
    """Another process has taken over a run; this one must not write to it any more."""


@dataclass(frozen=True)
class Problem:
    """One problem of a document: where, what, and what would work."""

    file: str
    path: tuple[str | int, ...]
    message: str

    def __str__(self) -> str:
        return f"{self.file} at {pointer(self.path)}: {self.message}"


class SpecError(QexpError):
    """A document has problems; `problems` holds all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DatasetError(QexpError):
    """Data cannot be used; carries all problems, each with the argument that it is about."""

    def __init__(self, findings: Iterable[tuple[tuple[str | int, ...], str]]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(message for _, message in self.findings))


LONGEST_SHOWN = 200
"""The largest number of characters of a user's input that an error repeats."""


def shortened(text: str) -> str:
    """A user's input, shortened for an error."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many there are besides: `a, b, c, d, e and 7 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def pointer(path: Iterable[str | int]) -> str:
    """`$.branches[2].operations` for ("branches", 2, "operations")."""
    text = "$"
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text


# Suggestions for a name that is not known: "did you mean …?".


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant, also by a word or initials; None if none is near."""
    candidates = list(names)
    initials, parts = [], []
    for other in candidates:
        words = re.split("[_-]", other.rpartition(".")[2].lower())
        if len(name) > 1 and name.lower() == "".join(word[:1] for word in words):
            initials.append(other)
        if len(words) > 1 and name.lower() in words:
            parts.append(other)
    # `size` is rather `sizes` than `batch_size`
    alike = difflib.get_close_matches(name, candidates, 1, 0.85)
    if name not in candidates and (initials or (len(parts) == 1 and not alike)):
        return min(initials or parts, key=len)  # `lr`, `batch`
    close = difflib.get_close_matches(name, candidates, cutoff=0.6)
    if close:
        # letters that are swapped
        return next((other for other in close if sorted(other) == sorted(name)), close[0])
    squeezed = {other.lower().replace("_", "").replace("-", ""): other for other in candidates}
    return squeezed.get(name.lower().replace("_", "").replace("-", ""))


def hint(name: str, names: Iterable[str], separator: str = "; ") -> str:
    """The nearest known name as a question, after the separator; empty if none is similar."""
    guess = nearest(name, names)
    return "" if guess is None else f"{separator}did you mean '{guess}'?"


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, else the first 16."""
    candidates = sorted(names)
    question = hint(name, candidates, "")
    if question:
        return question
    if not candidates:
        return "there are none"
    first = ", ".join(candidates[:16]) + (", …" if len(candidates) > 16 else "")
    return f"known: {first}"
