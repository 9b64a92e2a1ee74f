"""Every example in a docstring of the API works, and prints what it says."""

import doctest
import inspect

import pytest

import qexp as package
from qexp.observations.observation import write_observation
from tests.deformation.observed import observed
from tests.documents.reader import make_smaller, put_weights

PRINTED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def described() -> dict[str, str]:
    """Name → docstring of the functions of the API and of the methods of its classes, what trains first."""
    public = {name: getattr(package.api, name) for name in dir(package.api)}
    things = {f"qexp.{name}": thing for name, thing in public.items() if callable(thing)}
    for name, thing in public.items():
        if inspect.isclass(thing):
            things |= {f"{name}.{own}": member for own, member in vars(thing).items() if not own.startswith("_")}
    texts = {name: inspect.getdoc(thing) or "" for name, thing in things.items()}
    return dict(sorted(texts.items(), key=lambda item: item[0] != "qexp.run"))


@pytest.mark.heavy
def test_every_example_prints_what_it_says(workspace):
    make_smaller(workspace)
    put_weights(workspace)
    write_observation(observed(), workspace / "unrest.nc")
    (workspace / "qexp.toml").write_text('[actions.size]\ncommand = "du -s {run.path}"\n')
    parser, runner, failures = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=PRINTED), []
    for name, text in described().items():
        example = parser.get_doctest(text, {"qexp": package}, name, None, None)
        runner.run(example, out=failures.append)
    assert "".join(failures) == ""


def test_every_function_has_an_example():
    public = {name: getattr(package, name) for name in dir(package)}
    functions = [name for name, thing in public.items() if inspect.isfunction(thing)]
    assert [name for name in functions if ">>> " not in inspect.getdoc(public[name])] == []
