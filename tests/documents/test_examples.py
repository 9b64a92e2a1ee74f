"""Every example in a docstring of the API works, and prints what it says."""

import doctest
import inspect
from typing import Any

import pytest

import qexp as package
from qexp.observations.observation import write_observation
from tests.deformation.observed import observed
from tests.documents.reader import ROOT, make_smaller, put_weights

PRINTED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public() -> dict[str, Any]:
    """Name → function or class of the API, and the members of its classes; what trains first."""
    offered = {name: getattr(package.api, name) for name in dir(package.api)}
    things = {f"qexp.{name}": thing for name, thing in offered.items() if callable(thing)}
    for name, thing in offered.items():
        if inspect.isclass(thing):
            things |= {
                f"{name}.{own}": member
                for own, member in vars(thing).items()
                if not own.startswith("_")
            }
    return dict(sorted(things.items(), key=lambda item: item[0] != "qexp.run"))


@pytest.mark.heavy
def test_every_example_prints_what_it_says(workspace):
    make_smaller(workspace)
    put_weights(workspace)
    write_observation(observed(), workspace / "unrest.nc")
    (workspace / "qexp.toml").write_text('[actions.size]\ncommand = "du -s {run.path}"\n')
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=PRINTED)
    failures = []
    for name, thing in public().items():
        example = parser.get_doctest(
            inspect.getdoc(thing) or "", {"qexp": package}, name, None, None
        )
        runner.run(example, out=failures.append)
    assert "".join(failures) == ""


def test_every_function_has_an_example_and_says_what_its_parameters_mean(monkeypatch):
    """Functions of `import qexp` and of `qexp.api`; methods of the classes say what their
    parameters mean.
    """
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from _generate.docstrings import taken_apart
    from _generate.python import COMMON

    things = {name: thing for name, thing in public().items() if inspect.isfunction(thing)}
    assert [
        name
        for name in things
        if name.startswith("qexp.") and ">>> " not in inspect.getdoc(things[name])
    ] == []
    untold = [
        (name, parameter)
        for name, thing in things.items()
        for parameter in inspect.signature(thing).parameters
        if parameter not in {"self", *COMMON, *taken_apart(inspect.getdoc(thing)).meanings}
    ]
    assert untold == []
