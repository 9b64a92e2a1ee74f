"""Collections of garbage take no time in a process of qexp's own, and are as they were in
others.
"""

import subprocess
import sys

import pytest

from qexp.cli import ALLOCATIONS

WATCHED = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))  # called after those of qexp
{}
"""

COMMAND = "from qexp.cli import main; sys.argv = ['qexp', 'tables']; main()"


def collection_of(script: str) -> str:
    """The threshold and whether all objects were frozen, at the very end of a process."""
    words = [sys.executable, "-c", WATCHED.format(script)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


@pytest.mark.heavy
def test_a_command_collects_less_often_and_not_when_it_ends_and_a_program_that_imports_qexp_as_it_did():
    assert collection_of(COMMAND) == f"{ALLOCATIONS} True"
    assert collection_of("import qexp") == collection_of("") != collection_of(COMMAND)
