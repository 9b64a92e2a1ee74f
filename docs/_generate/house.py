"""The picture of the house: the rooms of the package, in floors, with the arrows of their imports.

An arrow that others imply is left out: who imports `runs` also sees what `runs` imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx

PACKAGE = Path(__file__).parents[2] / "qexp"


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name without `qexp`; packages by the name of their
    folder.
    """
    by_name = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        steps = path.relative_to(PACKAGE).with_suffix("").parts
        if steps[:2] != ("examples", "specs"):  # of an installed package
            named = steps[:-1] if steps[-1] == "__init__" and len(steps) > 1 else steps
            by_name[".".join(named)] = path
    return by_name


MODULES = modules()


def imports_in(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of qexp that are imported at the top, in functions, and for type checking."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ast.unparse(node)}: a relative import, which nobody follows"
            # `from qexp.jobs import logs` means the module, anything else what the package offers.
            module = node.module or ""
            for alias in node.names:
                name = f"{module}.{alias.name}"
                found.add(name if name.removeprefix("qexp.") in MODULES else module)
    return {
        name.removeprefix("qexp.") if name != "qexp" else "__init__"
        for name in found
        if name.startswith("qexp")
    }


WIDTH, FLOOR, BOX = 760, 62, (92, 30)
"""Of the picture, of a floor and of a room, in pixels."""

PASSAGE = 0.4
"""Width of a passage, in rooms."""

HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {{height}}" font-family="sans-serif" \
font-size="13" text-anchor="middle" role="img" aria-label="Rooms of qexp and what they import">
<rect width="{WIDTH}" height="{{height}}" fill="#fff"/>
"""


def room_of(module: str) -> str:
    """The room of a module, named without `qexp`; the documents of a kind belong to `spec`."""
    steps = module.split(".")
    return "spec" if steps[0] == "kinds" and steps[-1] == "spec" else steps[0]


def arrows_between_rooms() -> networkx.DiGraph:
    """Room → the rooms that its modules import; without what starts the package."""
    import networkx

    arrows = networkx.DiGraph()
    for module, path in MODULES.items():
        room = room_of(module)
        for seen in imports_in(ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            if seen in MODULES and not {room, seen} & {"__init__", "__main__"}:
                arrows.add_edge(room, room_of(seen))
    arrows.remove_edges_from(list(networkx.selfloop_edges(arrows)))
    return networkx.transitive_reduction(arrows)


def in_steps(arrows: networkx.DiGraph) -> tuple[networkx.DiGraph, list[list[str]]]:
    """The arrows, each from one floor to the next, and the floors, the ground first: a room stands
    above the highest of what it imports, and a passage `room/floor` where an arrow goes by.
    """
    import networkx

    floors = [list(floor) for floor in networkx.topological_generations(arrows.reverse())]
    number = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    steps = networkx.DiGraph()
    for room, seen in sorted(arrows.edges):
        passages = [f"{seen}/{floor}" for floor in range(number[room] - 1, number[seen], -1)]
        networkx.add_path(steps, [room, *passages, seen])
        number |= {passage: int(passage.partition("/")[2]) for passage in passages}
    return steps, [
        [room for room in number if number[room] == floor] for floor in range(len(floors))
    ]


def places_of(steps: networkx.DiGraph, floors: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Room or passage → its middle, near to what it leads to."""
    places: dict[str, tuple[float, float]] = {}
    for number, floor in enumerate(floors):
        wish = {
            room: fmean([places[seen][0] for seen in steps[room]] or [WIDTH / 2]) for room in floor
        }
        shares = {room: PASSAGE if "/" in room else 1.0 for room in floor}
        left = 0.0
        for room in sorted(floor, key=lambda room: (wish[room], room)):
            middle = (left + shares[room] / 2) / sum(shares.values())
            places[room] = (WIDTH * middle, (len(floors) - number - 0.5) * FLOOR)
            left += shares[room]
    return places


def picture() -> str:
    """The house as SVG."""
    steps, floors = in_steps(arrows_between_rooms())
    places = places_of(steps, floors)
    lines = [HEAD.format(height=FLOOR * len(floors))]
    wide, high = BOX
    for room, seen in sorted(steps.edges):
        (x, y), (to_x, to_y) = places[room], places[seen]
        y += 0 if "/" in room else high / 2
        to_y -= 0 if "/" in seen else high / 2
        bend = (y + to_y) / 2
        lines.append(
            f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {bend:.0f} {to_x:.0f} {bend:.0f} {to_x:.0f}'
            f' {to_y:.0f}" fill="none" stroke="#9ab"/>\n'
        )
    for room, (x, y) in places.items():
        if "/" not in room:
            lines.append(
                f'<rect x="{x - wide / 2:.0f}" y="{y - high / 2:.0f}" width="{wide}"'
                f' height="{high}" rx="4" fill="#eef3f8" stroke="#567"/>'
                f'<text x="{x:.0f}" y="{y + 4:.0f}">{room}</text>\n'
            )
    return "".join([*lines, "</svg>\n"])
