"""The rates by layer and the frozen operations that a resolved experience asks for."""

from qexp.base.workspace import find
from qexp.kinds.experiments import experience
from qexp.kinds.objects import recipe_of
from qexp.kinds.tables import BUILT_IN


def recipe(**changes):
    spec = {**experience("mogi_quick", {}, find()).document, **changes}
    return recipe_of({key: value for key, value in spec.items() if value is not ...}, BUILT_IN)


def test_rates_by_layer_and_frozen_operations_are_those_of_the_spec_or_one_rate_and_none():
    pretrain = {"run": "first_0", "operations": ["look"], "freeze": ["look"], "epochs_frozen": 3}
    made = recipe(layer_decay=0.75, pretrain=pretrain)
    assert made.layer_decay == 0.75
    assert [list(made.frozen_in(epoch)) for epoch in (1, 3, 4)] == [["look"], ["look"], []]
    always = recipe(pretrain={**pretrain, "epochs_frozen": None})
    assert [list(always.frozen_in(epoch)) for epoch in (1, 1000)] == [["look"], ["look"]]
    made = recipe(layer_decay=..., pretrain=None)
    assert made.layer_decay == 1.0
    assert list(made.frozen_in(1)) == []
