"""Arrays of jobs on a real cluster: how they are cut, limited, submitted and refused."""

import itertools
import shlex
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from qexp.errors import QexpError, SchedulerError
from qexp.jobs.launchers import LAUNCHERS, options_of
from qexp.jobs.scheduler import Submission
from qexp.jobs.slurm import Slurm
from qexp.store.directory import RunDirectory
from tests.slurm.cluster import LONGEST_ARRAY, until
from tests.slurm.conftest import slurm as administrator


def folders(parent: Path, count: int) -> list[RunDirectory]:
    """Directories in which something can be run, although there is no run in them."""
    paths = [parent / f"run {number}" for number in range(count)]
    for path in paths:
        path.mkdir(parents=True)
    return [RunDirectory(path) for path in paths]


def submit_jobs(
    launcher: str,
    folder: Path,
    count: int,
    *setup: str,
    at_most: int | None = None,
    **options: str | int,
) -> list[str]:
    """Submit jobs that do nothing but their setup lines."""
    chosen = options_of(launcher, {launcher: options}, {"setup": setup})
    runs = folders(folder, count)
    return [
        *LAUNCHERS[launcher]
        .submit(Submission(folder / "launch", "2 jobs", chosen, at_most), runs)
        .values()
    ]


submit = partial(submit_jobs, "slurm", memory="10M", time=5)


def options(setup: Sequence[str]) -> dict[str, str | list[str]]:
    return options_of("slurm", {"slurm": {"memory": "10M", "time": 5}}, {"setup": setup})


def wait_for(jobs: Sequence[str]) -> dict[str, str]:
    until(
        lambda: not {*Slurm().states(jobs).values()} & {"queued", "running"}, "the end of all jobs"
    )
    return Slurm().states(jobs)


def test_a_launch_longer_than_the_longest_array_is_cut_and_its_limit_holds_for_all_of_it(
    slurm_cluster, tmp_path
):
    runs = folders(tmp_path / "runs", LONGEST_ARRAY + 2)
    stamped = ['date +%s.%N > "$run/began"', "sleep 0.2", 'date +%s.%N > "$run/ended"', "exit 0"]
    jobs = Slurm().submit(Submission(tmp_path / "launch", "long", options(stamped), 8), runs)
    assert list(jobs) == [run.name for run in runs]
    first, second = (
        list(group)
        for _, group in itertools.groupby(jobs.values(), lambda job: job.partition("_")[0])
    )
    assert [job.partition("_")[2] for job in first] == [str(task) for task in range(LONGEST_ARRAY)]
    assert [job.partition("_")[2] for job in second] == ["0", "1"]
    assert wait_for([*jobs.values()]) == dict.fromkeys(jobs.values(), "done")

    began, ended = (
        [float((run.path / name).read_text()) for run in runs] for name in ("began", "ended")
    )
    assert (
        max(sum(b <= moment < e for b, e in zip(began, ended, strict=True)) for moment in began)
        <= 8
    )


def test_the_script_that_is_kept_can_be_submitted_again_by_hand(slurm_cluster, tmp_path):
    folder = tmp_path / "its 100%a/launch"
    wait_for(submit(folder.parent, 2, 'echo "$run"', "exit 0"))
    line = next(
        line for line in (folder / "array_1.sh").read_text().splitlines() if "sbatch" in line
    )
    again = subprocess.run(
        shlex.split(line.lstrip("# ")), cwd=folder, capture_output=True, text=True, check=True
    )
    wait_for([f"{again.stdout.strip()}_{task}" for task in range(2)])
    assert (folder / "output/run 1.txt").read_text() == f"{folder.parent / 'run 1'}\n" * 2


def test_a_code_of_the_setup_lines_is_the_jobs(slurm_cluster, tmp_path):
    (job,) = submit(tmp_path, 1, "exit 7")
    assert wait_for([job]) == {job: "failed"}
    code = administrator(
        "squeue", "--array", "--states=all", "--noheader", "--Format=exit_code", f"--jobs={job}"
    )
    assert code == str(7 << 8)


def test_a_wrong_partition_is_refused_in_the_words_of_sbatch(slurm_cluster, tmp_path):
    with pytest.raises(SchedulerError, match="invalid partition specified: nowhere") as caught:
        submit(tmp_path, 2, partition="nowhere")
    assert caught.value.exit_code == 6


def test_what_was_submitted_before_a_refusal_is_cancelled(slurm_cluster, tmp_path):
    runs = folders(tmp_path / "runs", LONGEST_ARRAY + 1)
    runs[-1] = RunDirectory(tmp_path / "a path\nof two lines")
    with pytest.raises(QexpError, match="line break"):
        Slurm().submit(Submission(tmp_path / "launch", "halved", options(["sleep 600"])), runs)
    assert {
        *administrator("squeue", "--noheader", "--name=halved", "--format=%T").splitlines()
    } <= {"COMPLETING"}


def test_waiting_jobs_are_cancelled_and_known_to_be_and_ended_ones_are_left_alone(
    slurm_cluster, tmp_path
):
    setup = ('[ "$run" = "${run%0}" ] || exit 0', "sleep 600")
    ended, running, waiting = submit(tmp_path, 3, *setup, at_most=1)
    until(
        lambda: Slurm().states([ended, running]) == {ended: "done", running: "running"},
        "the second job",
    )
    assert Slurm().cancel([ended, running, waiting, "4000000_1"]) == {waiting: "interrupted"}
    assert wait_for([running]) == {running: "interrupted"}
    assert Slurm().states([ended]) == {ended: "done"}
    assert Slurm().cancel([ended, running]) == {}


def test_a_job_that_slurm_does_not_know_is_left_out(slurm_cluster):
    assert Slurm().states(["3999999_0"]) == {}
    assert Slurm().states([]) == {}


def test_a_controller_that_is_not_there_is_an_error_of_the_scheduler(
    slurm_cluster, tmp_path, monkeypatch
):
    text = slurm_cluster.read_text().replace("SlurmctldPort=", "MessageTimeout=1\nSlurmctldPort=1")
    nowhere = tmp_path / "slurm.conf"
    nowhere.write_text(text.replace("AuthInfo=socket=", "AuthInfo=socket=/nowhere"))
    monkeypatch.setenv("SLURM_CONF", str(nowhere))
    with pytest.raises(SchedulerError, match="squeue refused"):
        Slurm().states(["1_0"])


def test_without_sbatch_it_is_said_where_to_submit_from(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QexpError, match="no sbatch on the PATH") as caught:
        submit(tmp_path, 1)
    assert caught.value.exit_code == 2


def test_a_folder_that_slurm_cannot_name_is_refused(slurm_cluster, tmp_path):
    with pytest.raises(QexpError, match="backslash"):
        submit(tmp_path / "back\\slash", 1)
