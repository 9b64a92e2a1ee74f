"""A record says what happened, and is believed only where that can be true."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from qexp.api.handles import open_run
from qexp.base.workspace import find
from qexp.errors import QexpError, RunFailedError
from qexp.kinds.experiments import experience
from qexp.runs.plan import plan_run
from qexp.runs.prepare import prepare
from qexp.store.process import alive, process_start, this_process

BREAKING_LOSS = """
from qexp.extend import Entry

def breaking():
    calls = []
    def loss(estimate, truth):
        calls.append(1)
        if len(calls) > 4:
            raise ZeroDivisionError("the fifth batch is too much")
        return (estimate - truth).abs().mean()
    return loss

LOSSES = {"breaking": Entry(breaking, {}, "Breaks at the fifth batch.", {"type": "breaking"})}
"""


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_a_done_run_has_all_that_the_design_promises_and_its_error_is_that_of_the_kept_predictions(
    train,
):
    run = train(seed=3)
    record = run.record
    assert (record["state"], record["name"], record["seed"]) == ("done", "mogi_quick_3", 3)
    assert {"mae", "rmse", "bias", "r2", "mre"} <= record["results"]["test"]["depth"].keys()
    for file in (
        "run.json",
        "spec.json",
        "environment.json",
        "metrics.jsonl",
        "attempts/01/log.txt",
        "attempts/01/command.json",
        "attempts/01/heartbeat",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "results/test_predictions.nc",
        "results/figures/learning_curve.png",
    ):
        assert (run.path / file).is_file(), file
    assert list((run.path / "tensorboard").glob("events*"))
    assert len(run.metrics) == 3
    table = xarray.load_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf")
    error = float(
        np.abs(table["depth_estimate"].astype(float) - table["depth"].astype(float)).mean()
    )
    assert run.results["test"]["depth"]["mae"] == pytest.approx(error)
    assert table["depth"].attrs["units"] == "km"


@pytest.mark.heavy
def test_a_finished_run_is_not_worked_on_again_and_unharmed_where_another_spec_has_its_name(train):
    run = train(seed=1)
    before = (run.path / "run.json").read_bytes()
    assert train(seed=1).path == run.path
    with pytest.raises(QexpError, match="another name with name"):
        train(seed=1, learning_rate=0.01)
    with pytest.raises(QexpError, match="seed"):
        train(seed=2, name="mogi_quick_1")
    assert (run.path / "run.json").read_bytes() == before


@pytest.mark.heavy
def test_an_error_in_training_exits_with_1_and_is_kept_in_log_record_and_show(workspace, qexp):
    (workspace / "specs/extensions.py").write_text(BREAKING_LOSS)
    change = 'losses={"depth": "breaking", "delta_volume": "mae"}'
    stderr = qexp(
        "run", "mogi_quick", "--set", change, "--set", "sizes=[96,32,32]", "--name", "broken"
    ).refused(1)
    run = open_run("broken")
    log = (run.path / "attempts/01/log.txt").read_text()
    assert "Traceback" in log
    for text in (log, stderr, qexp("show", "broken").stdout):
        assert "ZeroDivisionError: the fifth batch is too much" in text
    assert "log.txt" in stderr
    assert (run.state, run.results) == ("failed", {})


GREEDY = """
import torch

from qexp.extend import Entry


class Greedy(torch.nn.Module):
    def forward(self, x):
        torch.empty(1 << 50, device=x.device)
        return x


MODULES = {"greedy": Entry(lambda shape, /: Greedy(), {}, "Wants a petabyte.", {"module": "greedy"})}
"""


@pytest.mark.heavy
def test_memory_that_the_processor_is_refused_is_told_from_other_failures(workspace, train):
    (workspace / "specs/extensions.py").write_text(GREEDY)
    with pytest.raises(RunFailedError, match=r"out of memory: RuntimeError: .*DefaultCPUAllocator"):
        train(**{"model.operations.silu": {"module": "greedy"}})
    assert open_run("mogi_quick_0").state == "out_of_memory"


@pytest.mark.heavy
def test_a_loss_that_is_no_number_fails_the_run_and_names_epoch_and_batch(train):
    with pytest.raises(RunFailedError, match=r"epoch 1, batch \d+ of 6"):
        train(learning_rate=1e30, optimizer="sgd", schedule="constant")
    assert open_run("mogi_quick_0").state == "failed"


@pytest.mark.heavy
def test_done_is_not_believed_without_the_results(train, qexp):
    run = train()
    (run.path / "results/test_predictions.nc").unlink()
    assert (
        "some of its results are missing"
        in qexp("matrix", run.name, "--dataset", "mogi_test").failed()
    )


@pytest.mark.heavy
def test_execute_needs_nothing_but_the_directory(workspace, tmp_path):
    """A prepared directory, moved away from its workspace, trains in a process that knows nothing
    else.
    """
    (workspace / "specs/extensions.py").write_text(
        "import torch\nfrom qexp.extend import Entry\nENTRY = Entry(lambda shape, /:"
        ' torch.nn.Identity(), {}, "Does nothing.", {"module": "same"})\nMODULES = {"same":'
        " ENTRY}\n"
    )
    changes = {"epochs": 1, "sizes": [32, 16, 16], "model.operations.silu": {"module": "same"}}
    prepared = prepare(
        plan_run(experience("mogi_quick", changes, find()), 0, "moved", find()), find()
    )
    target = tmp_path / "elsewhere" / "moved"
    target.parent.mkdir()
    shutil.move(prepared.path, target)
    shutil.rmtree(workspace)
    subprocess.run([sys.executable, "-m", "qexp", "execute", str(target)], cwd=tmp_path, check=True)
    assert json.loads((target / "run.json").read_text())["state"] == "done"


@pytest.mark.heavy
def test_storage_elsewhere_leaves_a_link(train, tmp_path, qexp):
    run = train(storage_path=tmp_path / "large disk")
    assert run.path.readlink().parent == tmp_path / "large disk"
    assert (run.path.readlink() / "run.json").is_file()
    assert qexp("ls", "-q").stdout == f"{run.name}\n"


@pytest.mark.heavy
def test_a_run_can_start_from_the_weights_of_another_and_those_that_do_not_fit_are_listed(train):
    parent = train(seed=1)
    child = train(seed=2, pretrain=parent.name, learning_rate=1e-12, epochs=1)
    assert child.record["parents"] == [parent.name]
    # With a learning rate of nothing the child is the parent, judged on its own samples.
    images = np.random.default_rng(0).normal(0, 0.01, (4, 64, 64))
    np.testing.assert_allclose(
        child.predict(displacement=images)["depth"],
        parent.predict(displacement=images)["depth"],
        rtol=1e-4,
    )
    with pytest.raises(
        QexpError, match=r"network\.operations\.depth\.1\.weight: missing here|do not fit"
    ) as caught:
        train(seed=2, pretrain=parent.name, model="vdi_resnet", name="second")
    assert "network.operations.resnet_block_1" in str(caught.value)
    assert not (parent.path.parent / "second").exists()


def test_a_run_to_start_from_must_be_there_and_done(workspace, train):
    with pytest.raises(QexpError, match="no run 'mogi_quick_9'"):
        train(pretrain="mogi_quick_9")
    assert not list((workspace / "runs").glob("mogi*"))


@pytest.mark.heavy
def test_the_size_of_a_run_does_not_grow_with_epochs_but_for_its_lines(train):
    def size(run, without="nothing"):
        files = [
            path
            for path in run.path.rglob("*")
            if path.is_file() and not re.search(without, path.name)
        ]
        return sum(path.stat().st_size for path in files)

    short, long = train(epochs=2, name="short"), train(epochs=12, name="long")
    growing = r"metrics\.jsonl|log\.txt|events|\.png$"
    assert abs(size(long, growing) - size(short, growing)) < 1000
    assert size(long) < 4e6


def test_this_process_is_alive_and_one_of_another_boot_is_not(tmp_path):
    me = this_process()
    assert alive(me, tmp_path / "none")
    assert not alive(replace(me, boot_id="another"), tmp_path / "none")
    assert not alive(replace(me, start="another"), tmp_path / "none")


def test_a_process_that_has_ended_is_not_alive_even_before_its_parent_looks(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = replace(this_process(), pid=child.pid, start=process_start(child.pid) or "")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert not alive(process, tmp_path / "none")
    child.wait()
    assert not alive(process, tmp_path / "none")


def test_a_process_of_another_machine_is_believed_while_its_heart_beats(tmp_path):
    heartbeat: Path = tmp_path / "heartbeat"
    elsewhere = replace(this_process(), host="another-machine", pid=1, start="0")
    assert not alive(elsewhere, heartbeat)
    heartbeat.touch()
    assert alive(elsewhere, heartbeat)
    os.utime(heartbeat, (0, 0))
    assert not alive(elsewhere, heartbeat)


@pytest.mark.heavy
def test_a_small_network_trains_on_one_thread_and_the_callers_setting_is_left_alone(
    train, monkeypatch
):
    import torch

    from qexp.kinds.objects import threads_for
    from qexp.kinds.tables import BUILT_IN

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run = train()
        assert json.loads((run.path / "environment.json").read_text())["threads"] == 1
        assert torch.get_num_threads() == 2
        assert threads_for(experience("mogi_standard", {}, find()).document, BUILT_IN) == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert threads_for(run.spec, BUILT_IN) == 2
    finally:
        torch.set_num_threads(before)
