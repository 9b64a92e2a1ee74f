"""`qexp serve` over ten thousand runs: how soon it answers, and what many clients cost a run that
trains beside it.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import qexp
from benchmarks.served_workspace import make
from benchmarks.timing import seconds
from qexp import api

RUNS, CLIENTS = 10_000, 100
MOST_START, MOST_FIRST_PAGE, MOST_RUN_PAGE = 1.5, 1.0, 0.5
"""Seconds: until the address is printed, until the first page has its rows, for the page of a
run.
"""

LEAST_SPEED = 0.97
"""Of a run that trains beside the clients."""

PERIOD, PERIODS = 20.0, 3
"""Seconds with clients, after as many without; and how often."""

PAUSE = 1.0
"""Seconds between two requests of a client."""

TRAINING, CHANGES = "at_work", {"epochs": 1_000_000, "sizes": [2000, 64, 64]}
WARM = 20
"""Epochs of the training run before it is measured."""


@dataclass(frozen=True)
class Serving:
    start: float
    first_page: float
    run_page: float
    speed: float
    """Of the training run beside the clients, divided by that without."""
    answers: dict[str, int] = field(default_factory=dict)
    """Status → requests of the clients; the kind of error where one was lost."""

    @property
    def lost(self) -> int:
        return sum(count for status, count in self.answers.items() if status not in ("200", "304"))

    @property
    def holds(self) -> bool:
        soon = (
            self.start <= MOST_START
            and self.first_page <= MOST_FIRST_PAGE
            and self.run_page <= MOST_RUN_PAGE
        )
        return soon and self.speed >= LEAST_SPEED and not self.lost


def measure(root: Path) -> Serving:
    make(root, RUNS)
    run = qexp.run("mogi_quick", overrides={"epochs": 5}, workspace=root)
    api.reindex(workspace=root)
    with _server(root) as (port, start):
        first_page = seconds(
            lambda: [_get(port, path) for path in ("/runs", "/page.js", "/page.css", "/runs.json")]
        )
        run_page = median(seconds(lambda: _get(port, f"/runs/{run.name}")) for _ in range(5))
        alone, beside, answers = 0, 0, Counter[str]()
        with _training(root) as epochs:
            for _ in range(PERIODS):
                before = epochs()
                time.sleep(PERIOD)
                alone += epochs() - before
                before = epochs()
                answers += asyncio.run(_answers(port))
                beside += epochs() - before
    return Serving(start, first_page, run_page, beside / alone, dict(answers))


@contextmanager
def _server(root: Path) -> Iterator[tuple[int, float]]:
    """Its port, and the seconds until it listened."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "qexp", "serve", "--port", "0", "--workspace", str(root)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        yield urlsplit(address).port or 0, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _get(port: int, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == HTTPStatus.OK, (path, answer.status)


@contextmanager
def _training(root: Path) -> Iterator[Callable[[], int]]:
    """A run that trains in another process, as the number of its epochs until now."""
    changes = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "qexp",
        "run",
        "mogi_quick",
        "--name",
        TRAINING,
        *changes,
        "--workspace",
        str(root),
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    lines = root / f"runs/{TRAINING}/metrics.jsonl"

    def epochs() -> int:
        return lines.read_bytes().count(b"\n") if lines.is_file() else 0

    try:
        while epochs() < WARM:
            assert process.poll() is None, "the run that should train has ended"
            time.sleep(0.1)
        yield epochs
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


async def _answers(port: int) -> Counter[str]:
    """Status, or the kind of error of a request that was lost → requests of all clients in a
    period.
    """
    counts = Counter[str]()
    end = time.monotonic() + PERIOD

    async def client(number: int) -> None:
        await asyncio.sleep(number / CLIENTS * PAUSE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        tag = ""
        while time.monotonic() < end:
            writer.write(f"GET /runs.json HTTP/1.1\r\nHost: localhost\r\n{tag}\r\n".encode())
            try:
                head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode()
                fields = dict(re.findall(r"^([\w-]+): (.*)\r$", head.lower(), re.MULTILINE))
                await reader.readexactly(int(fields.get("content-length", 0)))
            except (OSError, EOFError, TimeoutError) as error:
                counts[type(error).__name__] += 1
                return
            counts[head.split()[1]] += 1
            tag = f"If-None-Match: {fields['etag']}\r\n" if "etag" in fields else tag
            await asyncio.sleep(PAUSE)
        writer.close()

    await asyncio.gather(*map(client, range(CLIENTS)))
    return counts
