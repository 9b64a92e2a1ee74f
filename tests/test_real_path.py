"""Links that other processes make and remove while they are followed."""

import subprocess
import sys
import time

import pytest

from qexp.base.files import real_path

FLICKER = """
import sys
from pathlib import Path

link = Path(sys.argv[1])
print("ready", flush=True)
while True:
    link.symlink_to(sys.argv[2])
    link.unlink()
"""


@pytest.mark.heavy
def test_a_link_that_comes_and_goes_leads_to_its_target_or_to_itself(tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    with subprocess.Popen(
        [sys.executable, "-c", FLICKER, link, target], stdout=subprocess.PIPE
    ) as flicker:
        assert flicker.stdout is not None
        flicker.stdout.readline()
        places = {real_path(link) for _ in range(20_000)}
        end = time.monotonic() + 60
        # a busy machine may not have run the other process yet
        while len(places) < 2 and time.monotonic() < end:
            places.add(real_path(link))
        flicker.kill()
    assert places == {link, target}
