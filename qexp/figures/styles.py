"""Matplotlib style files: other fonts, sizes and colours of the frame for the same figures."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError

if TYPE_CHECKING:
    from matplotlib import RcParams

NOT_OF_FIGURES = ("backend", "backend_fallback", "interactive", "toolbar", "webagg", "savefig.format")
"""Settings of matplotlib that do not change the look of a figure; a style cannot change them."""


FOR_TEX = ("latex", "dvipng")
"""Programs by which matplotlib lets LaTeX write all texts."""


@contextmanager
def styled(file: Path | None) -> Iterator[None]:
    """Inside the block, figures are drawn in the style of a file; None: with the current settings."""
    import matplotlib

    with matplotlib.rc_context({} if file is None else read_style(file)):
        yield


def read_style(file: Path) -> RcParams:
    """The settings of a matplotlib style file. Raises QexpError that names the line of each mistake."""
    import matplotlib

    if not file.is_file():
        raise NotFoundError(f"--style {file}: there is no such file")
    mistakes = _Mistakes()
    log = logging.getLogger("matplotlib")
    log.addHandler(mistakes)
    before, log.propagate = log.propagate, False
    try:
        settings = matplotlib.rc_params_from_file(file, use_default_template=False)
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{file} cannot be read: {error}") from None
    finally:
        log.removeHandler(mistakes)
        log.propagate = before
    if mistakes.found:
        raise QexpError("\n".join(f"{file}, {mistake}" for mistake in mistakes.found))
    if settings.get("text.usetex") and (lacking := next((one for one in FOR_TEX if shutil.which(one) is None), None)):
        raise QexpError(f"{file}: text.usetex needs LaTeX, and there is no program '{lacking}'; leave that line out")
    for name in [name for name in settings if name.startswith(NOT_OF_FIGURES)]:
        del settings[name]
    return settings


class _Mistakes(logging.Handler):
    """The problems of which matplotlib only warns when it reads a style file."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(_in_words(record.args, record.getMessage()))


def _in_words(arguments: Any, message: str) -> str:
    """The problem and its line, from the arguments of matplotlib's message if they have the known form."""
    import matplotlib

    match arguments:
        case {"key": str(key), "line_no": int(line)}:
            return f"line {line}: no setting '{key}'; {suggestion(key, matplotlib.rcParams)}"
        case (_, int(line), str(text)):
            return f"line {line}: '{text.strip()}' is not a setting, or is set twice; write one 'name: value' per line"
        case (_, int(line), str(text), error):
            return f"line {line}: '{text.strip()}': {error}"
    return message.strip()
