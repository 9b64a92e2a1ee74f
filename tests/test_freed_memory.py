"""Memory that training frees stays with the process until training ends, and no longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os
import numpy as np
from qexp.base.machine import freed_memory_kept

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def use():
    arrays = [np.ones(5_000_000) for _ in range(5)]  # 40 MB each
    return resident()

before = resident()
with freed_memory_kept():
    used = use()
    freed = resident()
after = resident()
free = [np.empty(5_000_000) for _ in range(5)]  # takes, untouched, what lies free below something that is in use
use()
print(json.dumps([one - before for one in (used, freed, after, resident())]))
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is counted as on Linux"
)


def measured(**settings: str) -> list[float]:
    """Megabytes that are taken, with arrays, without them, after the block, and after arrays
    outside of it.
    """
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_"))
    }
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=inherited | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(number) for number in json.loads(finished.stdout)]


@pytest.mark.heavy
def test_it_stays_inside_the_block_and_is_given_back_behind_it():
    used, freed, after, outside = measured()
    assert used > 195
    assert freed > 195
    assert after < 50
    assert outside < 50


@pytest.mark.heavy
def test_settings_of_the_user_are_left_alone():
    used, freed, _, _ = measured(MALLOC_TOP_PAD_="0")
    assert used > 195
    assert freed < 50
