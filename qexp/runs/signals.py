"""Signal handlers for the duration of a block of code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle these signals inside the block, then restore the former handlers; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def terminable(*more: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, a closed terminal and `more`, so that the process ends as after Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, *more)
    # A signal that the parent process ignores (as nohup does with a closed terminal) stays ignored.
    with handled([number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN], interrupt):
        yield
