"""What a workspace's extensions do when they are executed is done once by a command, or not at all."""

import numpy as np
import pytest

import qexp
from tests.conftest import call, prepare_with

LOGGING = """
from pathlib import Path

with Path({log!r}).open("a") as log:
    print("executed", file=log)
# {remark}
"""


@pytest.fixture
def executions(specs):
    """`executions("run", "sound")`: how often extensions were executed for it, the workspace's or a run's.

    A new remark makes of the file what it is to a new process: one that it has not executed.
    """
    log = specs.root / "log.txt"
    remarks = iter(range(1000))

    def counted(*command):
        text = LOGGING.format(log=str(log), remark=next(remarks))
        for file in (specs.root / "specs/extensions.py", *specs.root.glob("runs/*/code/extensions.py")):
            file.write_text(text)
        for run in specs.root.glob("runs/[!.]*/"):
            prepare_with(run, lambda spec: None)
        log.write_text("")
        if callable(command[0]):
            command[0]()
        else:
            call(*command).done()
        return len(log.read_text().splitlines())

    return counted


@pytest.mark.slow
def test_a_command_executes_extensions_once_at_most_and_reading_ones_never(executions):
    assert executions("validate") == 1
    assert executions("run", "sound", "--device", "cpu", "--set", "epochs=1", "--name", "logged") == 1
    for command in (("show", "logged"), ("ls", "--columns", "name,test.depth.mae"), ("logs", "logged")):
        assert executions(*command) == 0
    assert executions("matrix", "--run", "logged", "--dataset", "sound", "--device", "cpu") == 1
    assert executions("tables", "quantities") == 1
    assert executions("schema", "model") == 1
    images = {"displacement": np.zeros((2, 16, 16))}
    assert executions(lambda: qexp.open_run("logged").predict(**images)) == 1
    assert executions("run", "sound", "--set", "epochs=1", "--seeds", "0:3", "--dry-run") == 1


def test_an_extension_that_was_edited_is_executed_anew(tmp_path):
    from qexp.kinds.tables import tables_with

    file = tmp_path / "extensions.py"
    text = "from qexp.extend import Quantity\nQUANTITIES = {'heat': Quantity('J', 1.0, 'heat')}\n"
    file.write_text(text)
    assert tables_with(file)["quantities"]["heat"].unit == "J"
    file.write_text(text.replace("'J'", "'kJ'"))
    assert tables_with(file)["quantities"]["heat"].unit == "kJ"
    file.unlink()
    assert "heat" not in tables_with(file)["quantities"]
