"""Operators that move elements: exactly which places of which tensors a channel owns, and cut against masked."""

import pytest
import torch
from tests.graph.cuts import Net, check_cuts, found, randn, written
from torch import nn
from torch.nn import functional as F

from featherweight.graph import surgery
from featherweight.graph.module import tensors_of, to_module


def around(middle, outs=4, ins=4, **parts):
    """A linear layer of `outs` channels, something in the middle, and one that reads `ins`."""
    return lambda: Net(lambda net, x: net.b(middle(net, net.a(x))), a=nn.Linear(3, outs), b=nn.Linear(ins, 2), **parts)


def branches(joined, ins, **parts):
    """Two linear layers of 3 and 4 channels, something that joins them, and one that reads `ins`."""
    return lambda: Net(
        lambda net, x: net.c(joined(net, net.a(x), net.b(x))),
        a=nn.Linear(3, 3),
        b=nn.Linear(3, 4),
        c=nn.Linear(ins, 2),
        **parts,
    )


def _w(*shape):
    return nn.Parameter(randn(*shape))


_A = "a.weight/0 a.bias/0"
_B = "b.weight/0 b.bias/0"
_SAME = {"a": f"{_A} b.weight/1 = 0..3"}
_HEADS = {  # four channels as two heads of two
    "a row": f"{_A} b.weight/1 = 0-1 2-3",
    "a column": f"{_A} b.weight/1 = 0,2 1,3",
}
_JOINED = {"a": f"{_A} c.weight/1 = 0..2", "b": f"{_B} = 0..3; c.weight/1 = 3..6"}

RESHAPES = {
    "expand to no place at all": (
        around(lambda net, x: torch.cat([x, x[0].expand(0, -1)])),
        (2, 3),
        _SAME,
    ),
    "flatten with live pixels": (
        lambda: Net(lambda net, x: net.b(net.a(x).flatten(1)), a=nn.Conv2d(1, 3, 2), b=nn.Linear(12, 2)),
        (1, 1, 3, 3),
        {"a": f"{_A} = 0..2; b.weight/1 = 0-3 4-7 8-11"},
    ),
    "flatten with pixels first": (
        lambda: Net(
            lambda net, x: net.b(net.a(x).permute(0, 2, 3, 1).flatten(1)), a=nn.Conv2d(1, 3, 2), b=nn.Linear(12, 2)
        ),
        (1, 1, 3, 3),
        {"a": f"{_A} = 0..2; b.weight/1 = 0,3,6,9 1,4,7,10 2,5,8,11"},
    ),
    "heads that come together again": (
        around(lambda net, x: x.view(2, net.heads, -1).flatten(1), heads=2),
        (2, 3),
        _HEADS,
    ),
    "heads by unflatten": (
        around(lambda net, x: x.unflatten(1, (net.heads, -1)).reshape(2, -1), heads=2),
        (2, 3),
        _HEADS,
    ),
    "heads by nn.Unflatten": (
        lambda: Net(
            lambda net, x: net.b(net.f(net.u(net.a(x)))),
            a=nn.Linear(3, 4),
            u=nn.Unflatten(-1, (2, -1)),
            f=nn.Flatten(),
            b=nn.Linear(4, 2),
        ),
        (2, 3),
        _HEADS,
    ),
    "two sizes in the code": (around(lambda net, x: x.view(2, 2, 2).flatten(1)), (2, 3), {}),
    "one size in the code": (
        around(lambda net, x: x.view(2, 2, -1).flatten(1)),
        (2, 3),
        {"a": f"{_A} b.weight/1 = 0,2 1,3"},
    ),
    "places of heads out of the middle": (
        around(lambda net, x: x.view(2, net.heads, -1).transpose(1, 2).flatten(1), heads=2, outs=6, ins=6),
        (2, 3),
        {
            "a row": f"{_A} = 0-2 3-5; b.weight/1 = 0,2,4 1,3,5",
            "a column": f"{_A} = 0,3 1,4 2,5; b.weight/1 = 0-1 2-3 4-5",
        },
    ),
    "three factors": (
        around(lambda net, x: x.view(2, net.n, net.m, -1).flatten(1), outs=8, ins=8, n=2, m=2),
        (2, 3),
        {
            "a row": f"{_A} b.weight/1 = 0-3 4-7",
            "a row~": f"{_A} b.weight/1 = 0-1,4-5 2-3,6-7",
            "a column": f"{_A} b.weight/1 = 0,2,4,6 1,3,5,7",
        },
    ),
    "parts of a projection are separate": (
        around(lambda net, x: (lambda y: y[:, 0] + y[:, 1])(x.view(2, 2, -1)), outs=6, ins=3),
        (2, 3),
        {"a": f"{_A} = 0,3 1,4 2,5; b.weight/1 = 0..2"},
    ),
    "sizes of one": (
        around(lambda net, x: x[:, None].squeeze(1).unsqueeze(-1).squeeze(-1).reshape(2, 1, -1).squeeze((0, 1))),
        (2, 3),
        _SAME,
    ),
    "ravel": (
        lambda: Net(lambda net, x: net.b(net.a(x).ravel()), a=nn.Linear(3, 4), b=nn.Linear(8, 2)),
        (2, 3),
        {"a": f"{_A} = 0..3; b.weight/1 = 0,4 1,5 2,6 3,7"},
    ),
    "reshape_as": (
        around(lambda net, x: (x.view(2, net.heads, -1) * 2).reshape_as(x), heads=2),
        (2, 3),
        _HEADS,
    ),
    "at least": (
        around(lambda net, x: torch.atleast_2d(torch.atleast_1d(x))),
        (2, 3),
        _SAME,
    ),
}

TURNS = {
    "permute": (around(lambda net, x: x.permute(1, 0, 2).permute(1, 0, 2)), (2, 5, 3), _SAME),
    "transpose": (around(lambda net, x: x.transpose(-1, 0).transpose(0, 2)), (2, 5, 3), _SAME),
    "t": (around(lambda net, x: x.t().T), (2, 3), _SAME),
    "mT": (around(lambda net, x: x.mT.mT), (2, 5, 3), _SAME),
    "movedim": (around(lambda net, x: x.movedim(-1, 0).movedim((0, 1), (2, 0))), (2, 5, 3), _SAME),
    "swapaxes": (around(lambda net, x: x.swapaxes(0, 2).swapaxes(-1, 0)), (2, 5, 3), _SAME),
    "flip": (around(lambda net, x: x.flip(-1)), (2, 3), {"a": f"{_A} = 0 1 2 3; b.weight/1 = 3 2 1 0"}),
    "flipped pixels": (around(lambda net, x: x.flip(1)), (2, 5, 3), _SAME),
    "rolled channels": (around(lambda net, x: x.roll(1, -1)), (2, 3), {}),
    "rolled pixels": (around(lambda net, x: x.roll(1, 1)), (2, 5, 3), _SAME),
    "rot90": (around(lambda net, x: x.rot90(1, [0, 1])), (2, 5, 3), _SAME),
    "rot90 of channels": (around(lambda net, x: x.rot90(2, [1, 2])), (2, 5, 3), {}),
    "triangles": (around(lambda net, x: x.transpose(1, 3).tril().triu().transpose(1, 3)), (2, 5, 5, 3), _SAME),
    "a triangle of channels": (around(lambda net, x: x.tril()), (2, 3), {}),
    "unfold": (around(lambda net, x: x.unfold(1, 2, 1).mean(-1)), (2, 5, 3), _SAME),
}

CUTS = {
    "a half by an attribute": (
        around(lambda net, x: x[:, : net.n] * x[:, net.n :], ins=2, n=2),
        (2, 3),
        {"a": f"{_A} = 0,2 1,3; b.weight/1 = 0 1"},
    ),
    "from the end": (
        around(lambda net, x: x[:, -net.n :] + x[:, : -net.n], ins=2, n=2),
        (2, 3),
        {"a": f"{_A} = 0,2 1,3; b.weight/1 = 0 1"},
    ),
    "a range in the code": (around(lambda net, x: x[:, 1:3], ins=2), (2, 3), {"a": f"{_A} = 3"}),
    "every second": (around(lambda net, x: x[:, ::2], ins=2), (2, 3), {}),
    "pixels": (around(lambda net, x: x[:, 1::2]), (2, 5, 3), _SAME),
    "narrow": (
        around(lambda net, x: x.narrow(1, 0, net.n) * x.narrow(1, net.n, net.n), ins=2, n=2),
        (2, 3),
        {"a": f"{_A} = 0,2 1,3; b.weight/1 = 0 1"},
    ),
    "select": (around(lambda net, x: x.select(1, 0) + x[:, -1]), (2, 5, 3), _SAME),
    "a channel by its number": (around(lambda net, x: x[:, :1] * x), (2, 3), {"a": f"{_A} b.weight/1 = 1..3"}),
    "unbind": (around(lambda net, x: sum(x.unbind(1))), (2, 5, 3), _SAME),
    "unbound channels": (around(lambda net, x: torch.stack(x.unbind(1), 1)), (2, 3), {}),
    "chunk": (
        around(lambda net, x: (lambda y: y[0] * y[1])(x.chunk(2, 1)), outs=6, ins=3),
        (2, 3),
        {"a": f"{_A} = 0,3 1,4 2,5; b.weight/1 = 0..2"},
    ),
    "unequal chunks": (around(lambda net, x: torch.cat(x.chunk(2, 1), 1), outs=5, ins=5), (2, 3), {}),
    "split": (
        around(lambda net, x: (lambda y: y[0] * y[1])(x.split(net.n, 1)), outs=6, ins=3, n=3),
        (2, 3),
        {"a": f"{_A} = 0,3 1,4 2,5; b.weight/1 = 0..2"},
    ),
    "split by the code": (around(lambda net, x: torch.cat(x.split(2, 1), 1)), (2, 3), {}),
    "a split that is none": (around(lambda net, x: x.split(9, 1)[0]), (2, 3), _SAME),
    "split to sizes": (
        around(lambda net, x: torch.cat(x.split([net.n, net.m], 1)[::-1], 1), outs=5, ins=5, n=2, m=3),
        (2, 3),
        {"a": f"{_A} = 0..4; b.weight/1 = 3 4 0 1 2"},
    ),
    "split_with_sizes": (
        around(lambda net, x: torch.split_with_sizes(x, (net.n, net.m), 1)[1], outs=5, ins=3, n=2, m=3),
        (2, 3),
        {"a": f"{_A} = 0..1", "a~": f"{_A} = 2..4; b.weight/1 = 0..2"},
    ),
    "unsafe split and chunk": (
        around(
            lambda net, x: torch.cat((*torch.unsafe_split(x, net.n, 1), *torch.unsafe_chunk(x, 2, 1)), 1), ins=8, n=2
        ),
        (2, 3),
        {"a": f"{_A} = 0,2 1,3; b.weight/1 = 0,2,4,6 1,3,5,7"},
    ),
    "tensor_split": (
        around(lambda net, x: torch.cat(x.tensor_split(2, 1), 1)),
        (2, 3),
        {"a": f"{_A} b.weight/1 = 0,2 1,3"},
    ),
    "hsplit and vsplit": (
        around(lambda net, x: torch.cat(torch.cat(x.hsplit(2), 1).vsplit(2), 0)),
        (2, 3),
        {"a": f"{_A} b.weight/1 = 0,2 1,3"},
    ),
    "hsplit of a vector": (
        around(lambda net, x: (lambda y: y[0] * y[1])(x.hsplit(2)), ins=2),
        (3,),
        {"a": f"{_A} = 0,2 1,3; b.weight/1 = 0 1"},
    ),
    "positions that are not reached": (
        lambda: Net(
            lambda net, x: net.b(net.a(x) + net.p[:, : x.shape[1]]), a=nn.Linear(3, 4), p=_w(1, 9, 4), b=nn.Linear(4, 2)
        ),
        (2, 5, 3),
        {"a": f"{_A} b.weight/1 p/2 = 0..3"},
    ),
    "weights of which all ranges are read": (
        lambda: Net(lambda net, x: F.linear(x, net.w[: net.n]).relu() @ net.w[net.n :], w=_w(8, 3), n=4),
        (2, 3),
        {"w": "w/0 = 0,4 1,5 2,6 3,7"},
    ),
}

JOINS = {
    "cat": (branches(lambda net, a, b: torch.cat([a, b], 1), 7), (2, 3), _JOINED),
    "concat": (branches(lambda net, a, b: torch.concat([a, b], -1), 7), (2, 5, 3), _JOINED),
    "hstack": (branches(lambda net, a, b: torch.hstack([a, b]), 7), (2, 3), _JOINED),
    "hstack of vectors": (branches(lambda net, a, b: torch.hstack([a, b]), 7), (3,), _JOINED),
    "cat in cat": (
        branches(lambda net, a, b: torch.cat([b, torch.cat([a, b, a.relu()], 1), a], 1), 17),
        (2, 3),
        {
            "a": f"{_A} = 0..2; c.weight/1 = 4,11,14 5,12,15 6,13,16",
            "b": f"{_B} = 0..3; c.weight/1 = 0,7 1,8 2,9 3,10",
        },
    ),
    "cat and add": (
        branches(lambda net, a, b: torch.cat([a, b], 1) + net.w, 7, w=_w(7)),
        (2, 3),
        {"a": f"{_A} c.weight/1 w/0 = 0..2", "b": f"{_B} = 0..3; c.weight/1 w/0 = 3..6"},
    ),
    "cat over the batch": (
        around(lambda net, x: torch.cat([x, x * 2, net.w], 0), w=_w(1, 4)),
        (2, 3),
        {"a": f"{_A} b.weight/1 w/1 = 0..3"},
    ),
    "cat with nothing": (around(lambda net, x: torch.cat([x.new_zeros(0), x], 1)), (2, 3), _SAME),
    "cat, flattened": (
        lambda: Net(
            lambda net, x: net.c(torch.cat([net.a(x), net.b(x)], 1).flatten(1)),
            a=nn.Conv2d(1, 2, 2),
            b=nn.Conv2d(1, 1, 2),
            c=nn.Linear(12, 2),
        ),
        (1, 1, 3, 3),
        {"a": f"{_A} = 0 1; c.weight/1 = 0-3 4-7"},
    ),
    "stack": (
        branches(lambda net, a, b: torch.stack([a, b[..., : net.n]], 1).sum(1), 3, n=3),
        (2, 3),
        {"a": f"{_A} {_B} c.weight/1 = 0..2", "b": f"{_B} = 3"},
    ),
    "vstack": (around(lambda net, x: torch.vstack([x, net.w]), w=_w(4)), (2, 3), {"a": f"{_A} b.weight/1 w/0 = 0..3"}),
    "zeros after": (
        around(lambda net, x: F.pad(x, (0, net.n)), ins=6, n=2),
        (2, 3),
        {"a": f"{_A} b.weight/1 = 0..3", "b": "b.weight/1 = 4 5"},
    ),
    "ones before": (
        around(lambda net, x: F.pad(x, (net.n, 0), value=1.0), ins=6, n=2),
        (2, 3),
        {"b": "b.weight/1 = 0 1", "a": f"{_A} = 0..3; b.weight/1 = 2..5"},
    ),
    "zeros by the code": (around(lambda net, x: F.pad(x, (0, 2)), ins=6), (2, 3), {"a": f"{_A} b.weight/1 = 0..3"}),
    "fewer channels": (around(lambda net, x: F.pad(x, (0, -1)), ins=3), (2, 3), {}),
    "padded pixels": (around(lambda net, x: F.pad(x, (0, 0, 1, 2))), (2, 5, 3), _SAME),
    "round the channels": (around(lambda net, x: F.pad(x[:, None], (1, 1), mode="circular")[:, 0], ins=6), (2, 3), {}),
}

COPIES = {
    "expand": (
        around(lambda net, x: x[:, None].expand(-1, 3, -1).mean(1)),
        (2, 3),
        _SAME,
    ),
    "expanded channels": (
        around(lambda net, x: net.w.expand(-1, x.shape[1]) * x, w=_w(1, 1)),
        (2, 3),
        _SAME,
    ),
    "broadcast_to": (
        around(lambda net, x: torch.broadcast_to(x[:, None], (2, 3, x.shape[1])).sum(1)),
        (2, 3),
        _SAME,
    ),
    "repeat": (
        around(lambda net, x: x.repeat(1, 2), ins=8),
        (2, 3),
        {"a": f"{_A} = 0..3; b.weight/1 = 0,4 1,5 2,6 3,7"},
    ),
    "repeat of one": (
        around(lambda net, x: net.w.repeat(2, x.shape[1]) + x, w=_w(1, 1)),
        (2, 3),
        _SAME,
    ),
    "a new dimension by repeat": (around(lambda net, x: x.repeat(3, 1, 1).mean(0)), (2, 3), _SAME),
    "tile": (
        around(lambda net, x: x.tile(2), ins=8),
        (2, 3),
        {"a": f"{_A} = 0..3; b.weight/1 = 0,4 1,5 2,6 3,7"},
    ),
    "repeat_interleave": (
        around(lambda net, x: x.repeat_interleave(2, 1), ins=8),
        (2, 3),
        {"a": f"{_A} = 0..3; b.weight/1 = 0-1 2-3 4-5 6-7"},
    ),
    "repeat_interleave with its size": (
        around(lambda net, x: x.repeat_interleave(2, 1, output_size=2 * x.shape[1]), ins=8),
        (2, 3),
        {"a": f"{_A} = 0..3; b.weight/1 = 0-1 2-3 4-5 6-7"},
    ),
}

PICKS = {
    "index of positions": (around(lambda net, x: x[:, torch.tensor([0, 2, 2])]), (2, 5, 3), _SAME),
    "index of channels": (around(lambda net, x: x[:, torch.tensor([0, 2, 2])], ins=3), (2, 3), {}),
    "index_select": (around(lambda net, x: x.index_select(1, torch.tensor([0, 2]))), (2, 5, 3), _SAME),
    "gather": (
        around(lambda net, x: x.gather(1, (x > 0).long())),
        (2, 5, 3),
        _SAME,
    ),
    "gather of fewer": (
        around(lambda net, x: x.gather(1, (x[:, :, : net.n] > 0).long()), ins=3, n=3),
        (2, 5, 3),
        {},
    ),
    "take_along_dim": (around(lambda net, x: torch.take_along_dim(x, (x > 0).long(), 1)), (2, 5, 3), _SAME),
    "slice_scatter": (
        around(lambda net, x: torch.slice_scatter(x, x[:, :2] * 2, 1, 1, 3)),
        (2, 5, 3),
        _SAME,
    ),
    "select_scatter": (around(lambda net, x: torch.select_scatter(x, x[:, 0] * 2, 1, 3)), (2, 5, 3), _SAME),
    "scattered channels": (around(lambda net, x: torch.select_scatter(x, x[:, 0] * 2, 1, 3)), (2, 3), {}),
}

CASES = RESHAPES | TURNS | CUTS | JOINS | COPIES | PICKS


@pytest.mark.parametrize("name", CASES)
def test_groups_are_exact_and_cuts_compute_what_masks_do(name):
    build, shape, expected = CASES[name]
    known = check_cuts(build(), (randn(*shape),), expected)
    assert known.structure.flow.barriers == ()


class Shuffling(nn.Module):
    """ShuffleNet's way: a grouped convolution, the shuffle as reshapes, another grouped convolution."""

    def __init__(self):
        super().__init__()
        self.groups = 2
        self.a, self.b = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 6, 1, groups=2)
        self.c = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        y = self.b(self.a(x))
        n, c, h, w = y.shape
        return self.c(y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w))


def test_a_shuffle_moves_exactly_these_columns():
    check_cuts(
        Shuffling(),
        (randn(1, 1, 3, 3),),
        {
            "a column": "a.weight/0 a.bias/0 = 0,3 1,4 2,5; b.weight/1 = 0..2",
            "b column": "b.weight/0 b.bias/0 = 0,3 1,4 2,5; c.weight/1 = 0-1 2-3 4-5",
            "a row": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 = 0-2 3-5; c.weight/1 = 0,2,4 1,3,5",
        },
    )


def test_groups_over_a_concatenation_tie_its_parts():
    model = Net(
        lambda net, x: net.d(net.c(torch.cat([net.a(x), net.b(x)], 1))),
        a=nn.Conv2d(1, 2, 1),
        b=nn.Conv2d(1, 2, 1),
        c=nn.Conv2d(4, 4, 1, groups=2),
        d=nn.Conv2d(4, 2, 1),
    )
    known = surgery.anatomy(model, (randn(1, 1, 3, 3),))
    column = {
        "a column": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0 1",
        "c column": "c.weight/0 c.bias/0 d.weight/1 = 0,2 1,3",
    }
    assert [item for item in found(known) if item[1] == "column"] == written(column)
    check_cuts(model, (randn(1, 1, 3, 3),))


def test_a_half_that_is_empty_pins_what_it_is_of():
    model = Net(lambda net, x: net.b(net.a(x)) + net.a(x)[:0].reshape(0).sum(), a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    assert surgery.anatomy(model, (randn(2, 3),)).groups == ()


@pytest.mark.parametrize("name", ["heads that come together again", "a half by an attribute", "zeros after", "repeat"])
def test_graphs_without_code_are_cut_alike(name):
    build, shape, expected = CASES[name]
    model = build()
    graph = surgery.anatomy(model, (randn(*shape),)).structure.flow.graph
    check_cuts(to_module(graph, tensors_of(graph, model)), (randn(*shape),), expected)
