"""The settings and commands of the page on Slurm, on a real cluster."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from qexp.api.listing import runs
from tests.conftest import call
from tests.documents.reader import BLOCK, PAGES, only_shown
from tests.slurm.conftest import slurm as administrator

PAGE = "docs/how-to/slurm.md"

OF_THIS_CLUSTER = {
    'partition = "gpu"': 'partition = "main"',
    'gres = "gpu:1"\n': "",
    '"module load cuda"': '"export LOADED=cuda"',
    'time = "2-00:00:00"': 'time = "40:00"',
    'nodelist = "node[1-4]", exclusive = true': "exclusive = true",
}
"""What the cluster of the page has and this one does not → what this one has."""


def open_workspace(folder: Path, page: str, table: str, others: Mapping[str, str]) -> None:
    """A workspace with the settings of a page in its `qexp.toml`, with others where this cluster
    has them.
    """
    assert call("init", folder).code == 0
    for name in ("mogi_cnn", "mogi_noisy"):
        path = folder / f"specs/experiences/{name}.json"
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "epochs": 1, "sizes": [512, 32, 32]})
        )
    blocks = [
        block
        for kind, block in BLOCK.findall(PAGES[page])
        if kind == "toml" and f"[{table}" in block
    ]
    written = "\n".join(blocks)
    for on_the_page, here in others.items():
        assert on_the_page in written
        written = written.replace(on_the_page, here)
    (folder / "qexp.toml").write_text(written)


def assert_done(page: str, said: Callable[[str], str], *words: str) -> None:
    """The command of a page submits a run of each experience, and they succeed.

    said  what the cluster says of a job, of which some words are expected
    """
    (line,) = only_shown(page)
    stdout = call(*shlex.split(line.replace("--seeds 0:10", "--seeds 0:1"))[1:]).done()
    submitted = dict(line.split() for line in stdout.splitlines())
    assert submitted.keys() == {"mogi_cnn_0", "mogi_noisy_0"}
    of_the_job = said(submitted["mogi_cnn_0"])
    assert all(word in of_the_job for word in words)
    assert call("wait", *submitted).code == 0
    assert {run["state"] for run in runs()} == {"done"}


@pytest.fixture
def settings(slurm_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_workspace(tmp_path, PAGE, "slurm", OF_THIS_CLUSTER)
    monkeypatch.chdir(tmp_path)


def said_of(job: str) -> str:
    return administrator("scontrol", "show", "job", job)


def test_the_commands_of_the_page_run_on_a_cluster(settings):
    assert_done(PAGE, said_of, "TimeLimit=00:30:00")


def test_the_profile_of_the_page_reaches_the_job(settings):
    given = ("options.hold=true", "options.nice=5", "options.comment=all of them")
    passed_on = (word for option in given for word in ("--option", option))
    name, job = call("run", "mogi_cnn", "--profile", "big", *passed_on).done().split()
    said = said_of(job)
    for words in (
        "TimeLimit=00:40:00",
        "Partition=main",
        "Comment=all of them",
        "Nice=5",
        "Reason=JobHeldUser",
    ):
        assert words in said
    assert call("stop", name).code == 0
