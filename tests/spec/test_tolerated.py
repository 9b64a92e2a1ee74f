"""What nothing reads, and what VDI reads otherwise than it is written: accepted with a warning that
names it.
"""

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import SpecError
from qexp.kinds.experiments import experience
from tests.conftest import SOUND, located, put


@pytest.fixture
def warnings(qexp):
    """What `qexp validate FILE` warns of, a line each; the file must be right."""

    def said(file):
        *lines, last = qexp("validate", file).messages().splitlines()
        assert last == "1 spec is right"
        return lines

    return said


def whole(specs, **overrides):
    return experience("sound", overrides, Workspace(specs.root))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(
            ("dataset", path)
            for path in ("comment", "matrix.comment", "distributions.depth.comment")
        ),
        *(
            ("model", f"{part}.comment")
            for part in ("inputs.displacement", "operations.look", "branches.0")
        ),
        ("model", "architecture"),
        *(("experience", path) for path in ("comment", "author")),
    ],
)
def test_a_key_that_nothing_reads_is_named_in_a_warning_and_changes_nothing(
    specs, warnings, kind, path
):
    before = whole(specs)
    expected = located(
        kind, path, f"nothing reads the key '{path.rpartition('.')[2]}'; it changes nothing"
    )
    assert warnings(specs.spoil(kind, (path, {"by": "hand"}))) == [f"warning: {expected}"]
    after = whole(specs)
    assert (after.document, after.digest, after.warnings) == (
        before.document,
        before.digest,
        (expected,),
    )


def test_the_unread_keys_of_specs_inside_an_experience_are_told_with_their_place(specs, warnings):
    inside = {
        "dataset": {**SOUND["dataset"], "comment": 1},
        "model": {**SOUND["model"], "architecture": "graph"},
    }
    file = specs.write("experience", {**SOUND["experience"], **inside})
    places = [line.partition(" at ")[2].partition(":")[0] for line in warnings(file)]
    assert places == ["$.dataset.comment", "$.model.architecture"]


def test_a_run_is_told_what_nothing_reads(specs, qexp):
    specs.spoil("dataset", ("comment", "mine"))
    stderr = qexp("run", "sound", "--seeds", "0:2", "--dry-run").stderr
    assert (
        stderr.count(
            "warning: specs/datasets/sound.json at $.comment: nothing reads the key 'comment'"
        )
        == 1
    )


@pytest.mark.parametrize(
    ("kind", "path", "complaint"),
    [
        ("model", "branches.0.operation", "unknown key 'operation'; did you mean 'operations'?"),
        ("experience", "batchSize", "unknown key 'batchSize'; did you mean 'batch_size'?"),
        # Without an unknown parameter an operation would be another.
        (
            "model",
            "operations.block.parameters.dilation_rate",
            "unknown key 'dilation_rate'; known: ",
        ),
    ],
)
def test_a_key_that_is_probably_misspelt_and_an_unknown_parameter_stay_errors(
    specs, problems, kind, path, complaint
):
    (message,) = problems(specs.spoil(kind, (path, 1)))
    assert message.startswith(located(kind, path, complaint))


@pytest.mark.parametrize("key", ["comment", "dataset.comment", "model.operations.look.comment"])
def test_an_unread_key_on_the_command_line_stays_an_error(specs, key):
    with pytest.raises(SpecError, match="unknown key 'comment'"):
        whole(specs, **{key: 1})


# A variable in two places, noise that is true, and shares that leave something


def test_a_variable_that_is_fixed_and_varies_varies(specs, warnings):
    before = whole(specs).digest
    (said,) = warnings(specs.spoil("dataset", ("fixed.depth", 1.0)))
    assert (
        said
        == "warning: specs/datasets/sound.json at $.fixed.depth: 'depth' is fixed and varies: it"
        " varies, and this value is not used"
    )
    assert whole(specs).digest == before


def test_a_variable_that_varies_cannot_be_fixed_on_the_command_line(specs):
    with pytest.raises(
        SpecError, match=r"'depth' is fixed and varies; keep it in 'fixed' or in 'varyings'"
    ):
        whole(specs, **{"dataset.fixed.depth": 1.0})


def test_noise_that_is_true_is_a_metre_as_in_vdi_and_varies_where_it_varies(specs, warnings):
    (said,) = warnings(specs.spoil("dataset", ("fixed.noise", True)))
    assert said.startswith(
        "warning: specs/datasets/sound.json at $.fixed.noise: true is read as a standard deviation"
    )
    true = whole(specs)
    specs.spoil("dataset", ("fixed.noise", 1.0))
    assert true.digest == whole(specs).digest
    assert (true.document["dataset"]["fixed"]["noise"], true.dataset.fixed["noise"]) == (1.0, 1.0)
    document = put(put(SOUND["dataset"], "fixed.noise", True), "varyings.noise", [[0.1, 0.2]])
    uniform = {"type": "uniform", "parameters": {"a": 0.0, "b": 0.1}}
    said, of_matrix = warnings(
        specs.write("dataset", put(document, "distributions.noise", uniform))
    )
    assert "--fix noise=0.05" in of_matrix
    assert "$.fixed.noise: 'noise' is fixed and varies" in said


def test_shares_that_make_less_than_1_leave_the_rest_unused(specs, warnings):
    (said,) = warnings(specs.spoil("experience", ("split", [0.7, 0.2])))
    assert (
        said
        == "warning: specs/experiences/sound.json at $.split: the shares add up to 0.9: the other"
        " 0.1 of the samples outside the test part is unused"
    )
    assert whole(specs).document["split"] == [0.7, 0.2]


TWO_OUTPUTS = {
    "outputs": ["depth", "delta_volume"],
    "losses": {"depth": "mae"},
    "metrics": {"delta_volume": "mse"},
    "transforms": {"depth": "log", "delta_volume": "log"},
}


def test_an_output_without_a_loss_is_left_out_with_all_that_is_said_of_it(specs, warnings):
    alone = {
        "losses": {"depth": "mae"},
        "outputs": ["depth"],
        "metrics": {},
        "transforms": {"depth": "log"},
    }
    alone = {**SOUND["experience"], **alone}
    specs.write("experience", alone)
    wanted = whole(specs)
    said = warnings(specs.write("experience", {**alone, **TWO_OUTPUTS}))
    assert [line.partition(" at ")[2].partition(": ")[0] for line in said] == [
        "$.outputs[1]", "$.metrics.delta_volume", "$.transforms.delta_volume"
    ]  # fmt: skip
    assert "'delta_volume' has no loss, so that nothing would train it: it is left out" in said[0]
    after = whole(specs)
    assert (after.document, after.digest) == (wanted.document, wanted.digest)


@pytest.mark.parametrize("losses", [{}, {"depht": "mae"}, {"depth": "mae", "delta_volum": "mae"}])
def test_an_output_whose_loss_is_misspelt_or_where_none_has_one_is_an_error(specs, qexp, losses):
    file = specs.write("experience", {**SOUND["experience"], **TWO_OUTPUTS, "losses": losses})
    assert "has no loss; add $.losses." in qexp("validate", file).failed()


def test_a_matrix_that_leaves_out_a_variable_is_told_with_the_option_that_gives_it_a_value(
    specs, warnings
):
    (said,) = warnings(specs.spoil("dataset", ("matrix", {"axes": {"depth": [1, 2]}})))
    assert (
        said
        == "warning: specs/datasets/sound.json at $.matrix.axes: 'delta_volume' varies but is not"
        " among the axes: qexp matrix needs values, for example the medians: --fix"
        " delta_volume=1.75"
    )
