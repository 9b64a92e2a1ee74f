"""The machine's memory, as its files tell it, and as it is refused."""

import errno
import json
import subprocess
import sys

import pytest
import torch

from qexp.base import machine


def test_control_groups_limit_a_process_with_all_groups_around_its_own(tmp_path):
    groups, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "user/session").mkdir(parents=True)
    (root / "user/session/memory.max").write_text("max\n")
    (root / "user/memory.max").write_text("3000000000\n")
    groups.write_text("0::/user/session\n")
    assert list(machine.cgroup_limits(groups, root)) == [3_000_000_000]
    (root / "user/session/memory.max").write_text("2000000000\n")
    assert min(machine.cgroup_limits(groups, root)) == 2_000_000_000


def test_control_groups_of_the_first_version_and_of_a_container_are_found_too(tmp_path):
    groups, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "memory").mkdir(parents=True)
    (root / "memory/memory.limit_in_bytes").write_text("1000000000\n")
    groups.write_text(
        "11:cpu,cpuacct:/docker/abc\n10:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/docker/abc\n"
    )
    assert list(machine.cgroup_limits(groups, root)) == [1_000_000_000]
    assert list(machine.cgroup_limits(tmp_path / "not there", root)) == []


PROGRAM = """
import json, resource
from qexp.base import machine
before = machine.memory()
resource.setrlimit(resource.RLIMIT_AS, (before // 2, before // 2))
print(json.dumps([before, machine.memory()]))
"""


@pytest.mark.slow
def test_a_limit_of_the_address_space_is_one_of_memory():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, limited = json.loads(done.stdout)
    assert limited == before // 2


def test_memory_that_is_refused_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50)
    assert machine.ran_out_of_memory(refused.value)
    assert machine.ran_out_of_memory(MemoryError())
    assert machine.ran_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not machine.ran_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    assert not machine.ran_out_of_memory(ValueError("MemoryError"))
    with pytest.raises(RuntimeError) as other:
        torch.zeros(2) @ torch.zeros(3)
    assert not machine.ran_out_of_memory(other.value)


def test_signals_of_real_time_have_no_name():
    assert [machine.signal_name(number) for number in (9, 40)] == ["SIGKILL", "signal 40"]
