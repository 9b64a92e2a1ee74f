"""What makes code easy to read, as far as it can be counted, and the list of rooms that newcomers
are given.
"""

import ast

from tests.source import MODULES, nodes_of, reads_all_modules


    ["about", "above", "across", "after", "against", "along", "among", "around", "as", "at", "before", "behind", "below", "beneath", "beside", "besides", "between", "beyond", "by", "down", "during", "for", "from", "in", "inside", "into", "near", "of", "off", "on", "onto", "out", "outside", "over", "past", "per", "since", "than", "through", "to", "toward", "towards", "under", "until", "up", "upon", "via", "with", "within", "without"]
)

PUBLIC = frozenset({"at", "over", "to", "inside", "outside", "per", "within", "out", "above"})
"""Names of options and of keys that users write, such as `over={"depth": (1, 3)}`."""

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def names_bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [node.arg] if isinstance(node, ast.arg) else []


@reads_all_modules
def test_no_name_is_a_preposition():
    bound = {
        module: {name for node in nodes_of(module) for name in names_bound_by(node)}
        for module in MODULES
    }
    found = {module: sorted(names & PREPOSITIONS - PUBLIC) for module, names in bound.items()}
    assert {module: names for module, names in found.items() if names} == {}
