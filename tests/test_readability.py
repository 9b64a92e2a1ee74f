"""What makes code quick to read, as far as it can be counted, and the list of rooms that newcomers
are given.
"""

import ast
import re
from importlib import import_module
from itertools import chain

from _generate.house import room_of
from tests.source import MODULES, PACKAGE, imports_of, nodes_of, reads_all_modules

PREPOSITIONS = frozenset(
    re.findall(
        "[a-z]+",
        "above across along among around at before behind below beneath beside besides between beyond"
        " by inside near of on outside over toward towards under upon via within without",
    )
)

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

MOST_PREPOSITIONS, MOST_NESTED, MOST_NODES = 60, 20, 10.1
"""Names that are prepositions, most of them keys of files and options; comprehensions that hold
another one; and nodes of the syntax per line of functions.
"""


def names_bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [node.arg] if isinstance(node, ast.arg) else []


@reads_all_modules
def test_hardly_a_name_is_a_preposition():
    bound = {
        module: [name for node in nodes_of(module) for name in names_bound_by(node)]
        for module in MODULES
    }
    found = [
        f"{module}: {name}"
        for module, names in bound.items()
        for name in names
        if name in PREPOSITIONS
    ]
    assert len(found) <= MOST_PREPOSITIONS, found


@reads_all_modules
def test_hardly_a_comprehension_holds_another_one():
    found = [
        f"{module}: {ast.unparse(node)}"
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, COMPREHENSIONS)
        and any(isinstance(inner, COMPREHENSIONS) for inner in list(ast.walk(node))[1:])
    ]
    assert len(found) <= MOST_NESTED, found


@reads_all_modules
def test_lines_hold_few_things():
    functions = [
        node
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 4
    ]
    lines = sum((node.end_lineno or 0) - node.lineno + 1 for node in functions)
    nodes = sum(len(list(ast.walk(node))) for node in functions)
    assert nodes / lines <= MOST_NODES


@reads_all_modules
def test_newcomers_are_given_all_rooms_in_an_order_in_which_imports_point_down():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = re.search("```text\n(.*?)```", text, re.DOTALL)[1].splitlines()
    named = [re.findall(r"\b([a-z]+)(?:/|\.py)", line[:30]) for line in lines]
    place = {room: number for number, rooms in enumerate(named) for room in rooms}
    rooms = {module: room_of(module) for module in MODULES}
    assert set(place) == set(rooms.values()) - {"__init__", "__main__"}
    assert list(chain(*named)) == list(place), "a room is named twice"
    upward = {
        f"{room} imports {rooms[seen]}"
        for module, room in rooms.items()
        for seen in imports_of(module) & MODULES.keys()
        if place.get(room, 0) > place.get(rooms[seen], len(place))
    }
    assert upward == set()


@reads_all_modules
def test_what_the_walks_through_the_house_name_is_there():
    text = (PACKAGE.parent / "docs/design/house.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:[a-z_]+\.)+\w+)`", text)
    assert len(names) > 40
    for name in names:
        steps = name.split(".")
        modules = [".".join(steps[:end]) for end in range(len(steps), 0, -1)]
        module = next((module for module in modules if module in MODULES), None)
        assert module, f"{name} is in no module"
        thing = import_module(f"qexp.{module}")
        for step in steps[module.count(".") + 1 :]:
            assert hasattr(thing, step), f"there is no {name}"
            thing = getattr(thing, step)
