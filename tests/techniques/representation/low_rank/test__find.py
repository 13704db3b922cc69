import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError, TechniqueError
from featherweight.techniques.representation.low_rank._find import find


def test_layers_come_in_the_order_in_which_they_run_with_their_shapes(lender):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(4, 3), nn.Conv1d(2, 5, 2)

        def forward(self, values):
            return self.second(self.first(values))

    model = Backwards()
    found = find(model, lender(model, torch.randn(6, 2, 5)), (nn.Linear, nn.Conv1d), ())
    assert [layer.path for layer in found.layers] == ["first", "second"]
    assert found.by_path["first"].inputs == (6, 2, 5) and found.by_path["first"].outputs == (6, 5, 4)
    assert found.by_path["second"].module is model.second and not found.whole
    assert all(not module._forward_hooks for module in model.modules())


def test_patterns_choose(lender):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    context = lender(model, torch.randn(2, 3))
    assert [layer.path for layer in find(model, context, (nn.Linear,), ("[12]",)).layers] == ["1", "2"]
    with pytest.raises(ConfigError, match="'3'"):
        find(model, context, (nn.Linear,), ("3",))


def test_one_module_in_two_places_and_replaced_forwards_stay(lender):
    shared, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.forward = lambda values: values
    model = nn.Sequential(shared, other, shared)
    found = find(model, lender(model, torch.randn(2, 3)), (nn.Linear,), ())
    assert not found.layers
    assert "several places" in found.whole["0"] and "forward was replaced" in found.whole["1"]


def test_the_model_itself_is_no_layer(lender):
    model = nn.Linear(3, 3)
    with pytest.raises(TechniqueError, match="none of the layers Linear"):
        find(model, lender(model, torch.randn(2, 3)), (nn.Linear,), ())
