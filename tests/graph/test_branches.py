"""Branches in the graph: where they end, what is dead without them, and what is none."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.graph._branches import Branch, branches_of
from featherweight.graph.record import record


class Layer(nn.Module):
    """Parts by name, and a function of them and of x."""

    def __init__(self, forward, **parts: nn.Module) -> None:
        super().__init__()
        self._way = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._way(self, x)


def linear(**sizes):
    return {name: nn.Linear(*size) for name, size in sizes.items()}


def found(forward, shape=(2, 3, 4), **parts):
    model = Layer(forward, **parts)
    graph = record(model, torch.randn(shape), whole=True).graph
    paths = [name for name, _ in model.named_modules() if name]
    return branches_of(graph, paths, lambda number: _multiplies(graph, number))


def _multiplies(graph, number):
    return graph.nodes[number - graph.first_node].op in ("linear", "matmul", "bmm", "scaled_dot_product_attention")


def branch(tail, *dead, read=(), works=False):
    return Branch(tail, dead, frozenset(read), works)


def test_it_ends_in_the_last_module_and_takes_those_that_only_it_reads():
    def forward(m, x):
        return x + m.down(m.act(m.up(m.norm(x))))

    parts = linear(up=(4, 8), down=(8, 4))
    assert found(forward, norm=nn.LayerNorm(4), act=nn.ReLU(), **parts) == [branch("down", "norm", "up", "act")]


def test_code_between_modules_reads_what_they_give():
    def forward(m, x):
        return x + m.down(F.gelu(m.up(x)).flatten(1).unflatten(1, (3, 8)))

    assert found(forward, **linear(up=(4, 8), down=(8, 4))) == [branch("down", "up", read=["up"])]


def test_products_in_the_code_are_told():
    def forward(m, x):
        return x + m.out(m.q(x) @ m.k(x).mT @ x)

    assert found(forward, **linear(q=(4, 4), k=(4, 4), out=(4, 4))) == [
        branch("out", "q", "k", read=["q", "k"], works=True)
    ]


def test_two_branches_one_after_the_other_share_nothing():
    def forward(m, x):
        x = x + m.a(m.first(x))
        return x + m.b(m.second(x))

    parts = linear(a=(4, 4), b=(4, 4))
    assert found(forward, first=nn.LayerNorm(4), second=nn.LayerNorm(4), **parts) == [
        branch("a", "first"),
        branch("b", "second"),
    ]


@pytest.mark.parametrize("order", range(3))
def test_two_branches_side_by_side_keep_the_norm_that_both_read(order):
    def forward(m, x):
        y = m.norm(x)
        a, b = m.a(y), m.b(y)
        return [x + a + b, a + b + x, a + x + b][order]  # the other two sums are to no effect

    assert {item.tail: item for item in found(forward, norm=nn.LayerNorm(4), **linear(a=(4, 4), b=(4, 4)))} == {
        "a": branch("a"),
        "b": branch("b"),
    }


def test_a_scale_behind_the_tail_is_no_hindrance_and_what_it_is_made_of_goes_too():
    def forward(m, x):
        return x - (2 * m.value(x) * torch.sigmoid(m.gate(x))).mT.mT

    assert found(forward, **linear(value=(4, 4), gate=(4, 4))) == [branch("value", "gate", read=["gate"])]


def test_the_outermost_module_is_the_tail():
    inner = nn.Sequential(nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    assert found(lambda m, x: x + m.body(x), body=inner) == [branch("body")]


def test_a_sum_inside_of_the_tail_belongs_to_it():
    inside = Layer(lambda m, x: m.a(x) + m.b(x), **linear(a=(4, 4), b=(4, 4)))
    assert branch("body") in found(lambda m, x: x + m.body(x), body=inside)


def test_the_stream_may_be_another_view():
    def forward(m, x):
        return x.flatten(0, 1) + m.a(x.reshape(6, 4))

    assert found(forward, **linear(a=(4, 4))) == [branch("a")]


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda m, x: (lambda y: (x + y) * y)(m.a(x)), id="the result is read again"),
        pytest.param(lambda m, x: (lambda y: [x + y, y])(m.a(x)), id="the result is given"),
        pytest.param(lambda m, x: m.b(x) + m.a(x), id="no stream"),
        pytest.param(lambda m, x: x + torch.sigmoid(m.a(x)), id="zero is no zero behind it"),
        pytest.param(lambda m, x: x + m.a(torch.ones(3, 4)), id="not computed from the stream"),
        pytest.param(lambda m, x: x[:, :1] + m.a(x), id="the stream is spread over it"),
        pytest.param(lambda m, x: x * m.a(x), id="a product"),
        pytest.param(lambda m, x: x.half() + m.a(x), id="the sum has the type of the branch"),
    ],
)
def test_what_is_no_branch(forward):
    assert found(forward, **linear(a=(4, 4), b=(4, 4))) == []


def test_a_module_that_others_read_as_well_stays():
    def forward(m, x):
        y = m.up(x)
        return (x + m.down(y)) * y.mean()

    assert found(forward, **linear(up=(4, 8), down=(8, 4))) == [branch("down")]


def test_a_module_used_for_a_branch_and_for_something_else_is_no_tail():
    def forward(m, x):
        return m.a(x + m.a(x))

    assert found(forward, **linear(a=(4, 4))) == []


def test_a_module_used_for_two_branches_is_one():
    def forward(m, x):
        x = x + m.a(m.norm(x))
        return x + m.a(m.norm(x))

    assert found(forward, norm=nn.LayerNorm(4), **linear(a=(4, 4))) == [branch("a", "norm")]
