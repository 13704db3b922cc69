"""Writes into shared memory: whatever views a program makes and writes to, the graph computes the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featherweight.errors import TraceError
from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.record import record

VIEWS = {
    "select": lambda t: t.select(0, -1) if t.dim() > 1 else t,
    "slice": lambda t: t[..., 1:] if t.shape[-1] > 1 else t,
    "step": lambda t: t[::2],
    "negative": lambda t: t[..., -2:],
    "transpose": lambda t: t.transpose(0, -1),
    "matrix": lambda t: t.mT if t.dim() > 1 else t,
    "permute": lambda t: t.permute(*range(1, t.dim()), 0),
    "turned": lambda t: t.permute(*(-dim - 1 for dim in range(t.dim()))),
    "unsqueeze": lambda t: t.unsqueeze(1) if t.dim() < 4 else t,
    "squeeze": lambda t: t.squeeze(),
    "flatten": lambda t: t.flatten(),
    "reshape": lambda t: t.reshape(2, -1) if t.numel() % 2 == 0 else t,
    "chunk": lambda t: t.chunk(2, dim=-1)[-1],
    "split": lambda t: t.split([1, t.shape[0] - 1])[1] if t.shape[0] > 1 else t,
    "unbind": lambda t: t.unbind(-1)[-1] if t.dim() > 1 else t,
    "narrow": lambda t: t.narrow(0, t.shape[0] - 1, 1),
    "detach": lambda t: t.detach(),
    "data": lambda t: t.data,
    "copy": lambda t: t * 1,
    "cloned": lambda t: t.clone(),
}
WRITES = {
    "add": lambda t: t.add_(1),
    "mul": lambda t: t.mul_(0.5),
    "relu": lambda t: t.relu_(),
    "fill": lambda t: t.fill_(3),
    "zero": lambda t: t.zero_(),
    "copy": lambda t: t.copy_(torch.arange(t.numel()).reshape(t.shape)),
    "spread": lambda t: t.copy_(torch.tensor(2.5)),
    "clamp": lambda t: t.clamp_(max=0.7),
}


class Program(nn.Module):
    """Steps on a growing list of tensors: (kind, name, number of the tensor)."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        known = [x + 0]
        for kind, name, which in self.steps:
            subject = known[which % len(known)]
            if kind == "view":
                known.append(VIEWS[name](subject))
            elif kind == "write":
                WRITES[name](subject)
            else:
                known.append(subject * 2)
        return known


STEPS = st.one_of(
    st.tuples(st.just("view"), st.sampled_from(sorted(VIEWS)), st.integers(0, 9)),
    st.tuples(st.just("write"), st.sampled_from(sorted(WRITES)), st.integers(0, 9)),
    st.tuples(st.just("read"), st.just(""), st.integers(0, 9)),
)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=1, max_size=9))
def test_views_and_writes_in_any_order(steps):
    model = Program(steps)
    graph = record(model, torch.arange(24.0).reshape(2, 3, 4) / 10 - 1).graph
    again = to_module(graph, tensors_of(graph, model))
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(len(steps)))
    for left, right in zip(again(x.clone()), model(x.clone()), strict=True):
        torch.testing.assert_close(left, right)


class Written(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.code = code

    def forward(self, x):
        return self.code(x * 1)


def windows(y):
    part = y.unfold(0, 2, 1)
    y.add_(1)
    return part.sum()


def diagonal(y):
    y.diagonal().add_(1)
    return y


def patches(y):
    y.unfold(0, 1, 1).add_(1)
    return y


def half(y):
    z = y.half()
    z += y
    z[0] = y[1]
    return z


@pytest.mark.parametrize("code", [windows, half, diagonal])
def test_other_views_and_other_types(code):
    model, x = Written(code), torch.randn(3, 3)
    graph = record(model, x).graph
    expected, found = model(x), to_module(graph, {})(x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


def test_what_cannot_be_followed_names_the_operator_that_wrote():
    with pytest.raises(TraceError, match=r"shares memory with one that aten\.add_\.Tensor in the model wrote to"):
        record(Written(patches), torch.randn(3, 3))
