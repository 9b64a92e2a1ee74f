"""Samples that are simulated once by the tasks of an array, on a real cluster."""

import json

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError
from qexp.jobs import launchers
from tests.slurm.test_arrays import wait_for

SIMULATE = ("data", "simulate", "sound", "--count", "60")


def test_jobs_that_share_the_work_make_the_same_bytes_as_this_machine(slurm_cluster, specs, qexp):
    cluster = ("--launcher", "slurm", "-j", "3", "--option", "memory=2G", "--option", "cpus=1")
    jobs = dict(
        line.rsplit("  ", 1)
        for line in qexp(*SIMULATE, "--name", "there", *cluster).done().splitlines()
    )
    assert list(jobs) == ["process 1", "process 2", "process 3"]
    assert set(wait_for([*jobs.values()]).values()) == {"done"}
    file, spec = package.simulate("sound", 60, name="here")
    assert file.with_stem("there").read_bytes() == file.read_bytes()
    there, here = (json.loads(spec.with_stem(name).read_text()) for name in ("there", "here"))
    assert {key for key in here if here[key] != there[key]} == {"path", "made_by"}
    (record,) = (specs.root / "runs/.launches").glob("*/simulation.json")
    assert json.loads(record.read_text())["jobs"] == jobs
    assert not launchers.all_launches(Workspace(specs.root))
    with pytest.raises(NotFoundError, match="is a simulation, which has no runs"):
        launchers.find_launch(record.parent.name, Workspace(specs.root))
