"""qexp status"""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from qexp import api
from qexp.cli.console import JsonOption, WorkspaceOption, message, piece, print_json, result, warning
from qexp.cli.listing import print_columns
from qexp.errors import QexpError
from qexp.files import in_bytes

PAUSE = 2.0
"""Seconds between two looks of --live."""

SHOWN = 20
"""Unfinished runs that are listed."""

CLEARED = "\x1b[H\x1b[J"
"""Brings a terminal's cursor to its first line, and clears what follows."""


def status(
    live: Annotated[
        bool, typer.Option("--live", help=f"Look again every {PAUSE:g} s, without sizes, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show how many runs are in each state, which are running or waiting, and how much disk space they use."""
    if not live:
        _show(api.status(warn=warning, workspace=workspace), as_json)
        return
    if as_json or not sys.stdout.isatty():
        raise QexpError("--live needs a terminal; leave it out to print the status once")
    while True:
        seen = api.status(sizes=False, workspace=workspace)
        sys.stdout.write(CLEARED)
        _show(seen, as_json=False)
        sys.stdout.flush()
        time.sleep(PAUSE)


def _show(seen: api.Status, as_json: bool) -> None:
    if as_json:
        print_json(seen.document())
        return
    from qexp.runs.record.state import State

    counts = ", ".join(f"{count:,} {State(state).words}" for state, count in seen.counts.items())
    result(counts or "no runs")
    if seen.unfinished:
        piece("\n")
        print_columns(list(seen.unfinished[:SHOWN]), ["name", "state", "epochs", "started"])
        if len(seen.unfinished) > SHOWN:
            message(f"and {len(seen.unfinished) - SHOWN} more; see them with qexp ls")
    if seen.sizes:
        piece("\n")
        named = {"runs": "runs", "trash": "trash", "cache": "cache of data", "free": "free on this disk"}
        result(", ".join(f"{in_bytes(seen.sizes[key])} {words}" for key, words in named.items()))
