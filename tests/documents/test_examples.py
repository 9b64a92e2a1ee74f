"""Every example in a docstring of the API works, and prints what it says."""

import doctest
import inspect

import pytest

import qexp as package
from tests.documents.reader import make_smaller

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
    parser, runner, failures = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=PRINTED), []
    for name, text in described().items():
        example = parser.get_doctest(text, {"qexp": package}, name, None, None)
        runner.run(example, out=failures.append)
    assert not failures, "".join(failures)
    assert runner.tries >= 4
