"""The network as a table and a drawing: of specs before training, of runs, on pages."""

import json

import pytest
from matplotlib.patches import Rectangle

import qexp as package
from qexp.kinds import layouts
from tests.conftest import call


def test_a_model_and_an_experience_show_their_network_before_any_training(specs, qexp, tmp_path):
    told = qexp("validate", "sound", "--network", "--to", "net.svg").done()
    rows = [line.split() for line in told.splitlines()]
    assert rows[0][:2] == ["operation", "what"]
    assert rows[-1][0] == "all"
    network = package.network("sound")
    weights, multiplications = network.totals.values()
    assert rows[-1][1:] == [f"{weights:,}", f"{multiplications:,}"]
    assert network.table().rows[-1][3:] == rows[-1][1:]
    picture = (tmp_path / "net.svg").read_text()
    assert picture.startswith("<?xml")
    assert "<img" in network._repr_html_()
    assert not list(tmp_path.glob("runs/*/run.json"))


def put(path, document):
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["specs/datasets/sound.json", "--network"], "is a dataset, which has no network"),
        (["--network"], "name one model or experience"),
        (["sound", "--to", "net.gif"], "no format 'gif'"),
        (["sound", "--to", "runs/net.png"], "choose another folder"),
        (["sound", "--to", "none/net.png"], "none/net.png"),
        (["specs/models/any.json", "--network"], "name an experience that trains it"),
        (["specs/experiences/program.json", "--network"], "runs a program"),
    ],
)
def test_what_has_no_network_of_its_own_says_what_would_work(specs, qexp, tmp_path, words, message):
    one = {"one": {"module": "mlp", "parameters": {"units": [4]}}}
    unknown = {"inputs": "from dataset", "outputs": "from dataset", "operations": one}
    branch = {"x_name": "from dataset", "y_name": "from dataset", "operations": ["one"]}
    put(tmp_path / "specs/models/any.json", {**unknown, "branches": [branch]})
    put(tmp_path / "specs/experiences/program.json", {"type": "command", "command": ["true"]})
    told = qexp("validate", *words)
    assert told.code == 2
    assert message in told.stderr
    assert not list(tmp_path.rglob("net.*"))


def test_a_run_shows_its_network_also_on_its_report(here, qexp):
    document = json.loads(qexp("show", "sound_0", "--network", "--json").done())
    run = package.open_run("sound_0")
    assert document == json.loads(json.dumps(run.network().document()))
    assert document["weights"] == run.directory.record().weights
    assert [step["module"] for step in document["steps"] if step["module"] == "input"]
    qexp("show", "sound_0", "--to", "net.png").done()
    assert (here / "net.png").read_bytes()[1:4] == b"PNG"
    assert run.network().in_words in run.report(here / "run.html").read_text()


def test_a_run_of_a_program_has_no_network(specs, qexp, tmp_path):
    writes = 'echo \'{{"test": {{"a": {{"b": 1}}}}}}\' > $QEXP_RESULTS'
    document = {"type": "command", "command": ["sh", "-c", writes]}
    put(tmp_path / "specs/experiences/own.json", document)
    call("run", "own").done()
    told = qexp("show", "own_0", "--network")
    assert told.code == 2
    assert "is a run of a program and has no network of qexp" in told.stderr
    assert "Network</h2>" not in package.open_run("own_0").report(tmp_path / "own.html").read_text()


def test_a_run_whose_module_is_gone_says_so_and_has_a_report(here, qexp):
    spec = here / "runs/sound_0/spec.json"
    document = json.loads(spec.read_text())
    next(iter(document["model"]["operations"].values()))["module"] = "own_layers"
    put(spec, document)
    told = qexp("show", "sound_0", "--network")
    assert told.code == 5
    assert "code/extensions.py removed, after the run was prepared" in told.stderr


def test_a_large_network_is_drawn_without_the_layers_of_its_operations(specs, monkeypatch):
    network = package.network("sound")
    drawn = []
    monkeypatch.setattr(layouts, "diagram", drawn.append)
    network.figure()
    monkeypatch.setattr(layouts, "MOST_STEPS", 1)
    network.figure()
    with_layers, operations = drawn
    assert {step.layer for step in operations} == {""}
    assert any(step.layer for step in with_layers)
    assert [step.name for step in operations] == [step.name for step in network.steps if not step.layer]  # fmt: skip
    for steps in drawn:
        for number, step in enumerate(steps):
            assert step.end or all(source < number for source in step.sources)


def test_boxes_do_not_lie_on_each_other(specs):
    figure = package.network("sound").figure()
    patches = figure.axes[0].patches
    boxes = [patch.get_bbox() for patch in patches if isinstance(patch, Rectangle)]
    assert len(boxes) > 1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
