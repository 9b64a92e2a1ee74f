"""Signals that a process handles for as long as it does something."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call the handler on these signals, and afterwards what was called before; outside the main thread nothing."""
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
    """Let SIGTERM, a closed terminal and `more` end this process as Ctrl-C does: with nothing left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, *more)
    # What a parent has ignored, as nohup does for the terminal, stays so.
    with handled([number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN], interrupt):
        yield
