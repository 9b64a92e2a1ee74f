"""A workspace's own table entries, in specs/extensions.py, are like the built-in ones."""

import json

import numpy as np
import pytest
import torch

import qexp as package
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import tables_with
from tests.conftest import call, prepare_with

EXTENSIONS = '''
import math

import scipy.stats
import torch
from torch import nn

from qexp.extend import DeformationImages, Distribution, Entry, Quantity, Source


def dyke(source, stations):
    """Up over a strip around the centre; a toy, not physics."""
    depth, aperture = source[:, None, :].unbind(-1)
    up = aperture * torch.exp(-(stations[..., 0] / depth) ** 2)
    return torch.stack([torch.zeros_like(up), torch.zeros_like(up), up], dim=-1)


def triangular(low: float, high: float, peak: float = 0.5):
    if not low < high:
        raise ValueError(f"'low' must be less than 'high', but {low:g} is not less than {high:g}")
    between = scipy.stats.triang(peak, loc=low, scale=high - low)
    return Distribution(between.ppf, between.support())


def log_cosh():
    return lambda estimate, truth: torch.log(torch.cosh(estimate - truth)).mean()


class Amplify(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


NUMBER = {"type": "number"}
BOUNDS = {"low": NUMBER, "high": NUMBER, "peak": {"type": "number", "minimum": 0, "maximum": 1}}
GENERATORS = {
    "dyke": Entry(
        lambda: DeformationImages(Source(("depth", "aperture"), dyke)), {}, "A toy dyke.", {"type": "dyke"}
    ),
}
DISTRIBUTIONS = {
    "triangular": Entry(
        build=triangular,
        parameters={"properties": BOUNDS, "required": ["low", "high"]},
        help="Most likely at a peak between two bounds.",
        example={"type": "triangular", "parameters": {"low": 0, "high": 2}},
    ),
}
LOSSES = {"log_cosh": Entry(log_cosh, {}, "Smooth absolute error.", {"type": "log_cosh"})}
MODULES = {
    "amplify": Entry(
        build=lambda shape, /, factor=2.0: Amplify(factor),
        parameters={"properties": {"factor": NUMBER}},
        help="Times a factor.",
        example={"module": "amplify"},
    ),
}
QUANTITIES = {"aperture": Quantity("m", 1.0, "aperture of the dyke", at_least=0.0)}
'''

TRIANGULAR = {"type": "triangular", "parameters": {"low": 0, "high": 3}}


@pytest.fixture
def extended(specs):
    """A workspace whose specs use entries of its own, one of each of four tables."""
    (specs.root / "specs" / "extensions.py").write_text(EXTENSIONS)
    specs.spoil(
        "dataset",
        ("generation_type", "dyke"),
        ("fixed.x", ...),
        ("fixed.y", ...),
        ("varyings", {"depth": [[0.2, 0.4]], "aperture": [[0.6, 0.7]]}),
        ("distributions", {"depth": TRIANGULAR, "aperture": TRIANGULAR}),
        ("matrix", ...),
    )
    outputs = ("outputs", ["depth", "aperture"])
    amplify = {"module": "amplify", "parameters": {"factor": 1.5}}
    specs.spoil("model", outputs, ("operations.look", amplify), ("branches.2.y_name", "aperture"))
    specs.spoil(
        "experience",
        outputs,
        ("losses", {"depth": "log_cosh", "aperture": "mae"}),
        ("metrics", ...),
    )
    return specs


def test_specs_may_name_the_entries_of_their_workspace(extended, qexp):
    assert qexp("validate") == (0, "", "3 specs are right\n")


@pytest.mark.heavy
def test_an_experience_of_a_workspaces_own_entries_trains(extended, qexp):
    qexp("run", "sound", "--device", "cpu").done()
    record = json.loads(qexp("show", "sound_0", "--json").stdout)
    assert record["state"] == "done"
    assert record["units"] == {"depth": "km", "aperture": "m"}
    assert (extended.root / "runs/sound_0/code/extensions.py").read_text() == EXTENSIONS
    (extended.root / "specs/extensions.py").write_text(EXTENSIONS + "# edited\n")
    said = "with another specs/extensions.py (the spec is the same) exists already"
    stderr = qexp("run", "sound", "--device", "cpu").refused()
    assert said in stderr
    assert "see what differs: diff runs/sound_0/code/extensions.py specs/extensions.py" in stderr


def test_entries_of_a_workspace_are_checked_like_the_others(extended, problems):
    dataset = json.loads((extended.root / "specs/datasets/sound.json").read_text())
    for name, parameters, complaint in (
        (
            "triangular",
            {"low": 3, "high": 3},
            ".parameters: 'low' must be less than 'high', but 3 is not less than 3",
        ),
        (
            "triangular",
            {"low": 0, "high": 3, "peek": 1},
            ".parameters.peek: unknown key 'peek'; did you mean 'peak'?",
        ),
        (
            "triangulr",
            {"low": 0, "high": 3},
            ".type: no distribution 'triangulr'; did you mean 'triangular'?",
        ),
    ):
        dataset["distributions"]["depth"] = {"type": name, "parameters": parameters}
        where = "specs/datasets/sound.json at $.distributions.depth"
        assert problems(extended.write("dataset", dataset)) == [f"{where}{complaint}"]


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        (
            "(up), up]",
            "(up)]",
            "dyke: it returned (2, 4096, 2); it must return (batch, station, 3) = (2, 4096, 3)",
        ),
        ("source[:, None, :]", "source", "dyke: RuntimeError: The size of tensor a (4096)"),
        (
            "up = aperture",
            "up = apertur",
            "dyke: NameError: name 'apertur' is not defined (line 14: up = apertur * t",
        ),
    ],
)
def test_a_source_of_a_workspace_is_called_once_before_anything_is_trained(
    extended, problems, right, wrong, complaint
):
    assert right in EXTENSIONS
    (extended.root / "specs/extensions.py").write_text(EXTENSIONS.replace(right, wrong))
    (problem,) = problems("specs/datasets/sound.json")
    assert problem.startswith(
        f"specs/datasets/sound.json at $.generation_type: specs/extensions.py: {complaint}"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "warned"),
    [
        ('QUANTITIES = {"aperture"', 'QUANTITIES = {"opened"', ["'aperture' has no quantity"]),
        (
            'QUANTITIES = {"aperture"',
            'QUANTITIES = {"apertur"',
            [
                "declare it in QUANTITIES of specs/extensions.py, where 'apertur' is spelt"
                " differently"
            ],
        ),
        ('"m", 1.0', '"Gm", 1e9', ["'displacement' reaches 1."]),
        ('"m", 1.0', '"nm", 1e-9', ["far below the noise of"]),
        (
            "at_least=0.0",
            "plausible=(0, 0.1)",
            ["98 % of 'aperture' lie between 0.2121 and 2.788, beyond"],
        ),
        ("at_least=0.0", "plausible=(0, 5)", []),
    ],
)
def test_sources_whose_units_or_values_are_doubtful_get_a_warning(
    extended, qexp, right, wrong, warned
):
    assert right in EXTENSIONS
    (extended.root / "specs/extensions.py").write_text(EXTENSIONS.replace(right, wrong))
    dataset = json.loads((extended.root / "specs/datasets/sound.json").read_text())
    extended.write("dataset", {**dataset, "fixed": {**dataset["fixed"], "noise": 0.01}})
    said = qexp("validate", "specs/datasets/sound.json").stderr.splitlines()[:-1]
    assert len(said) == len(warned)
    assert all(words in line for words, line in zip(warned, said, strict=True))


def test_tables_list_and_describe_the_entries_of_a_workspace(extended, qexp):
    entries = {
        "generators": "dyke",
        "distributions": "triangular",
        "losses": "log_cosh",
        "modules": "amplify",
    }
    for table, entry in entries.items():
        assert entry in json.loads(qexp("tables", "--json").stdout)[table]
        assert entry in qexp("tables", table).stdout
        assert qexp("tables", table, entry).stdout.startswith(f"{entry}: ")


def test_schemas_and_the_table_of_quantities_hold_the_entries_of_a_workspace(extended, qexp):
    schema = json.loads(qexp("schema", "dataset").stdout)
    assert "triangular" in json.dumps(schema["$defs"]["distribution"])
    assert "dyke" in json.dumps(schema["$defs"]["generator"])
    assert "aperture" in json.loads(qexp("tables", "quantities", "--json").stdout)


def test_another_workspace_knows_nothing_of_them(extended, qexp, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "specs").mkdir()
    assert qexp("tables", "losses", "log_cosh", "--workspace", other).code == 3
    assert qexp("tables", "losses", "log_cosh").code == 0


def test_the_text_of_the_extensions_is_part_of_what_a_run_is(extended):
    home = Workspace(extended.root)
    before = experience("sound", {}, home)
    home.extensions.write_text(EXTENSIONS + "\n# another remark\n")
    after = experience("sound", {}, home)
    assert after.document == before.document
    assert after.digest != before.digest


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("LOSSES = {'mine': lambda: 0}", "LOSSES['mine'] must be a qexp.extend.Entry"),
        (
            "from qexp.extend import Entry\nLOSSES = {'mae': Entry(lambda: 0, {}, '', {})}",
            "LOSSES has 'mae', which qexp has already; rename it",
        ),
        (
            (
                "from qexp.extend import Quantity\nQUANTITIES = {'depth': Quantity('mm', 1e-3,"
                " 'depth in millimetres')}"
            ),
            "QUANTITIES has 'depth', which qexp has already; rename it",
        ),
        (
            "from qexp.extend import Quantity\nQUANTITIES = {'heat': Quantity(1e3, 'kJ', 'heat')}",
            (
                "QUANTITIES['heat'] cannot be used: its unit must be a text, but is 1000.0; the"
                " arguments are Quantity("
            ),
        ),
        ("LOSSES = [1]", "LOSSES"),
        ("LOSSES = None", "LOSSES"),
        ("from qexp.extend import Entry\nLOSSES = {3: Entry(dict, {}, '', {})}", "LOSSES"),
        ("raise SystemExit(0)", "SystemExit"),
        (
            (
                "from qexp.extend import Entry\n"
                "LOSSES = {'mine': Entry(dict, {'properties': {'a': {'type': 'number'}}}, '', {})}"
            ),
            "LOSSES['mine']",  # a builder without a signature
        ),
    ],
)
@pytest.mark.parametrize(
    "command",
    [("tables",), ("validate",), ("schema", "model"), ("run", "sound")],
    ids=lambda command: command[0],
)
def test_extensions_that_cannot_be_used_are_an_error_that_names_the_file(
    specs, qexp, text, complaint, command
):
    (specs.root / "specs" / "extensions.py").write_text(text)
    stderr = qexp(*command).refused()
    assert str(specs.root / "specs" / "extensions.py") in stderr
    assert complaint in stderr
    assert not (specs.root / "runs").exists()


def test_reading_another_workspace_changes_no_units_of_the_first(extended, tmp_path_factory):
    (extended.root / "specs/extensions.py").write_text(
        EXTENSIONS.replace('Quantity("m", 1.0,', 'Quantity("cm", 0.01,')
    )
    ours = tables_with(extended.root / "specs/extensions.py")
    dataset = dataset_of(
        json.loads((extended.root / "specs/datasets/sound.json").read_text()), ours
    )
    values = {"depth": np.array([1.0]), "aperture": np.array([50.0])}
    before = dataset.observe(values, torch.Generator())["displacement"]
    other = tmp_path_factory.mktemp("other") / "extensions.py"
    assert "aperture" not in tables_with(other)["quantities"]
    other.write_text(EXTENSIONS)
    assert tables_with(other)["quantities"]["aperture"].unit == "m"
    assert ours["quantities"]["aperture"].unit == "cm"
    assert torch.equal(dataset.observe(values, torch.Generator())["displacement"], before)


ALSO = 'QUANTITIES["opening"] = Quantity("{unit}", {factor}, "opening of the dyke", at_least=0.0)\n'


@pytest.mark.parametrize(("unit", "factor", "code"), [("m", 1.0, 0), ("cm", 0.01, 2)])
def test_a_quantity_may_have_the_name_of_a_built_in_one_only_in_its_unit(
    extended, qexp, unit, factor, code
):
    (extended.root / "specs/extensions.py").write_text(
        EXTENSIONS + ALSO.format(unit=unit, factor=factor)
    )
    answer = qexp("validate")
    assert answer.code == code, answer.stderr
    assert ("QUANTITIES has 'opening', which qexp has already; rename it" in answer.stderr) == (
        code == 2
    )


@pytest.mark.heavy
def test_a_run_keeps_its_own_entries_although_qexp_has_got_some_of_their_names(extended, qexp):
    assert qexp("run", "sound", "--device", "cpu").code == 0
    (extended.root / "specs/extensions.py").unlink()
    own_entry = 'GENERATORS["okada"] = GENERATORS["dyke"]\n' + ALSO.format(unit="cm", factor=0.01)
    (extended.root / "runs/sound_0/code/extensions.py").write_text(EXTENSIONS + own_entry)
    prepare_with(extended.root / "runs/sound_0", lambda spec: None)
    assert qexp("export", "sound_0", "--format", "onnx", "--to", "network").code == 0


# What extensions do when they are executed is done once by a command, or not at all.


LOGGING = """
from pathlib import Path

with Path({log!r}).open("a") as log:
    print("executed", file=log)
# {remark}
"""


@pytest.mark.heavy
def test_a_command_executes_extensions_once_at_most_and_reading_ones_never(specs):
    log, remarks = specs.root / "log.txt", iter(range(1000))

    def executions(*command):
        """How often extensions were executed for it, the workspace's or a run's."""
        # A new remark makes of the file what it is to a new process: one that it has not executed.
        text = LOGGING.format(log=str(log), remark=next(remarks))
        for file in (
            specs.root / "specs/extensions.py",
            *specs.root.glob("runs/*/code/extensions.py"),
        ):
            file.write_text(text)
        for run in specs.root.glob("runs/[!.]*/"):
            prepare_with(run, lambda spec: None)
        log.write_text("")
        if callable(command[0]):
            command[0]()
        else:
            call(*command).done()
        return len(log.read_text().splitlines())

    assert executions("validate") == 1
    assert (
        executions("run", "sound", "--device", "cpu", "--set", "epochs=1", "--name", "logged") == 1
    )
    for command in (
        ("show", "logged"),
        ("ls", "--columns", "name,test.depth.mae"),
        ("logs", "logged"),
    ):
        assert executions(*command) == 0
    assert executions("matrix", "logged", "--dataset", "sound", "--device", "cpu") == 1
    assert executions("tables", "quantities") == 1
    assert executions("schema", "model") == 1
    assert (
        executions(lambda: package.open_run("logged").predict(displacement=np.zeros((2, 16, 16))))
        == 1
    )
    assert executions("run", "sound", "--set", "epochs=1", "--seeds", "0:3", "--dry-run") == 1


def test_an_extension_that_was_edited_is_executed_anew(tmp_path):
    file = tmp_path / "extensions.py"
    text = "from qexp.extend import Quantity\nQUANTITIES = {'heat': Quantity('J', 1.0, 'heat')}\n"
    file.write_text(text)
    assert tables_with(file)["quantities"]["heat"].unit == "J"
    file.write_text(text.replace("'J'", "'kJ'"))
    assert tables_with(file)["quantities"]["heat"].unit == "kJ"
    file.unlink()
    assert "heat" not in tables_with(file)["quantities"]
