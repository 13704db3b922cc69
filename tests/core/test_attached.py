"""What hangs on a model travels with its copies and not with its state."""

import copy

from torch import nn

from featherweight.core.attached import CONSTRAINTS, SURGERY, attached, hang


def test_what_hangs_on_a_model_is_found_again_by_its_name():
    model = nn.Linear(2, 2)
    assert attached(model, SURGERY, "nothing") == "nothing"
    hang(model, SURGERY, "a log")
    assert (attached(model, SURGERY, None), attached(model, CONSTRAINTS, None)) == ("a log", None)


def test_it_travels_with_copies_and_not_with_the_state():
    model = nn.Linear(2, 2)
    hang(model, CONSTRAINTS, {"weight": [1]})
    copied = copy.deepcopy(model)
    attached(copied, CONSTRAINTS, {})["weight"].append(2)
    assert attached(model, CONSTRAINTS, {}) == {"weight": [1]}
    assert sorted(model.state_dict()) == ["bias", "weight"]
