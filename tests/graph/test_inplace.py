"""Which in-place operators are read as functions directly, and that both ways give the same result."""

import pytest
import torch
from torch import nn
from torch.export import export
from torch.nn import functional as F

from featherweight.graph._inplace import is_simple
from featherweight.graph.module import to_module
from featherweight.graph.trace import trace


def view_changed(x):
    y = x + 1
    z = y[:, 0]
    y.mul_(2)
    return z + 1


def base_read_later(x):
    y = x + 1
    z = y.relu_()
    return y + z


def change_through_a_view(x):
    y = x + 1
    y[:, 0].fill_(3.0)
    return y


def promoted(x):
    y = (x > 0).to(torch.int64)
    y.add_(torch.ones(4, dtype=torch.int32))
    return y


def returned_and_changed(x):
    y = x + 1
    y.mul_(3)
    return y


def chain(x):
    return F.relu(x * 2, inplace=True).add_(x).clamp_(max=3)


def plain(x):
    return x.relu() + 1


CASES = [
    (view_changed, False),
    (base_read_later, True),  # export itself reads the new value then
    (change_through_a_view, False),
    (promoted, False),
    (returned_and_changed, True),
    (chain, True),
    (plain, True),
]


class Model(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(("function", "simple"), CASES, ids=lambda item: getattr(item, "__name__", ""))
def test_only_what_nothing_else_sees_is_simple(function, simple):
    model, x = Model(function), torch.randn(2, 4)
    with torch.no_grad():
        assert is_simple(export(model, (x,), strict=False)) is simple
    again = to_module(trace(model, x), {})
    torch.testing.assert_close(again(x.clone()), model(x.clone()))


def test_changing_the_input_is_no_output():
    model, x = Model(lambda x: F.relu(x, inplace=True) + 1), torch.randn(2, 4)
    graph = trace(model, x)
    assert [node.op for node in graph.nodes] == ["relu", "add"]
    before = x.clone()
    to_module(graph, {})(x)
    assert torch.equal(x, before)
