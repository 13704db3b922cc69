"""Operators element by element and reductions: channels stay apart, and what is cut computes what is masked."""

import pytest
import torch
from tests.graph.cuts import Net, check_cuts, found, randn, written
from torch import nn
from torch.nn import functional as F

from featherweight.graph import _flow_elementwise as rules
from featherweight.graph import ops, surgery
from featherweight.graph.flow import Flow
from featherweight.graph.ir import Graph, Meta, Node, Ref, Signature


def around(middle, outs=4, ins=4, **parts):
    """A linear layer of `outs` channels, something in the middle, and one that reads `ins`."""
    return lambda: Net(lambda net, x: net.b(middle(net, net.a(x))), a=nn.Linear(3, outs), b=nn.Linear(ins, 2), **parts)


def _w(*shape):
    return nn.Parameter(randn(*shape))


_A = "a.weight/0 a.bias/0"
_SAME = {"a": f"{_A} b.weight/1 = 0..3"}
_SUMMED = {"a": f"{_A} = 0..3"}  # a channel that only a sum reads

MIXTURES = {
    "a gate that is summed": (around(lambda net, x: x * x.sum(1, keepdim=True)), (2, 3), _SAME),
    "its mean": (around(lambda net, x: x - x.mean(1, keepdim=True)), (2, 3), _SAME),
    "its mean without the dimension": (around(lambda net, x: x - x.mean(1)[:, None]), (2, 3), _SAME),
    "the mean of all": (around(lambda net, x: x - x.mean()), (2, 3), _SAME),
    "the sum of all": (around(lambda net, x: x - x.sum()), (2, 3), _SAME),
    "the mean of pixels": (around(lambda net, x: x.mean(1)), (2, 5, 3), _SAME),
    "means of two dimensions": (around(lambda net, x: x - x.mean((1, 2), keepdim=True)), (2, 5, 3), _SAME),
    "var": (around(lambda net, x: x / (1 + x.var((1, 2), keepdim=True))), (2, 5, 3), _SAME),
    "biased var": (around(lambda net, x: x / (1 + x.var(1, correction=0, keepdim=True))), (2, 3), _SAME),
    "var of all": (around(lambda net, x: x / (1 + x.var())), (2, 3), _SAME),
    "old var": (around(lambda net, x: x / (1 + torch.var(x, 1, False, True))), (2, 3), _SAME),
    "std": (around(lambda net, x: x / (1 + x.std(-1, correction=0)[:, None])), (2, 3), _SAME),
    "std of all": (around(lambda net, x: x / (1 + x.std(unbiased=False))), (2, 3), _SAME),
    "var_mean": (
        around(lambda net, x: (lambda v, m: (x - m) / (1 + v))(*torch.var_mean(x, 1, correction=0, keepdim=True))),
        (2, 3),
        _SAME,
    ),
    "std_mean": (
        around(lambda net, x: (lambda v, m: (x - m) / (1 + v))(*torch.std_mean(x, 1, False, True))),
        (2, 3),
        _SAME,
    ),
    "norms": (around(lambda net, x: F.normalize(x, dim=1) + F.normalize(x, p=1.0, dim=1)), (2, 3), _SAME),
    "norm of all": (around(lambda net, x: x / torch.norm(x) / x.norm(p=3)), (2, 3), _SAME),
    "vector norm": (around(lambda net, x: x / torch.linalg.vector_norm(x, ord=float("inf"))), (2, 3), _SAME),
    "the smallest as a norm": (
        around(lambda net, x: x * torch.linalg.vector_norm(x, ord=-1, dim=1)[:, None]),
        (2, 3),
        {},
    ),
    "how many are positive": (around(lambda net, x: x * (x > 0).sum(1, keepdim=True)), (2, 3), _SAME),
    "amax of pixels": (around(lambda net, x: x.amax(1) + x.amin(1)), (2, 5, 3), _SAME),
    "amax of channels": (around(lambda net, x: x - x.amax(1, keepdim=True)), (2, 3), {}),
    "the largest of pixels": (around(lambda net, x: x.max(1).values + x.min(1)[0]), (2, 5, 3), _SAME),
    "the largest of channels": (around(lambda net, x: x - x.max(1, keepdim=True)[0]), (2, 3), {}),
    "the largest of all": (around(lambda net, x: x - x.max() + x.min()), (2, 3), {}),
    "the larger": (around(lambda net, x: torch.max(x, net.w), w=_w(4)), (2, 3), {"a": f"{_A} b.weight/1 w/0 = 0..3"}),
    "aminmax": (around(lambda net, x: torch.aminmax(x, dim=1)[1]), (2, 5, 3), _SAME),
    "median": (around(lambda net, x: x.median(1).values), (2, 5, 3), _SAME),
    "median of channels": (around(lambda net, x: x - x.median(1, keepdim=True)[0]), (2, 3), {}),
    "logsumexp": (around(lambda net, x: x.logsumexp(1)), (2, 5, 3), _SAME),
    "product": (around(lambda net, x: x.prod(1) * x.prod(1, keepdim=True)[:, 0]), (2, 5, 3), _SAME),
    "product of all": (around(lambda net, x: x * x.prod()), (2, 3), {}),
    "argmax of pixels": (around(lambda net, x: x[:, 0] * x.argmax(1) + x.argmin(1)), (2, 5, 3), _SAME),
    "argmax of channels": (around(lambda net, x: x * x.argmax(1, keepdim=True)), (2, 3), {}),
    "all and any": (around(lambda net, x: x[:, 0] * (x > 0).all(1) + (x > 1).any(1)), (2, 5, 3), _SAME),
    "all of all": (around(lambda net, x: x * (x > 0).all() + x * (x > 0).any()), (2, 3), {}),
    "all of two": (around(lambda net, x: x[:, 0, 0] * (x > 0).all((1, 2)) + (x > 1).any((1, 2))), (2, 5, 2, 3), _SAME),
    "count": (around(lambda net, x: x[:, 0] * x.count_nonzero(1)), (2, 5, 3), _SAME),
    "softmax of positions": (around(lambda net, x: x.softmax(1)), (2, 5, 3), _SAME),
    "softmax of channels": (around(lambda net, x: x.softmax(-1)), (2, 3), {}),
    "log_softmax of channels": (around(lambda net, x: x.log_softmax(-1)), (2, 3), {}),
    "sums so far": (around(lambda net, x: x.cumsum(1) + x.cumprod(1) + x.logcumsumexp(1)), (2, 5, 3), _SAME),
    "sums so far of channels": (around(lambda net, x: x.cumsum(-1)), (2, 3), {}),
    "the largest so far": (around(lambda net, x: x.cummax(1)[0] + x.cummin(1)[0]), (2, 5, 3), _SAME),
    "sorted": (
        around(
            lambda net, x: (
                x.sort(1)[0] * torch.argsort(x, dim=1, stable=True) * x.sort(dim=1, stable=True)[0] * x.argsort(1)
            )
        ),
        (2, 5, 3),
        _SAME,
    ),
    "sorted channels": (around(lambda net, x: x.sort()[0]), (2, 3), {}),
    "topk": (around(lambda net, x: x.topk(2, 1).values), (2, 5, 3), _SAME),
    "differences": (around(lambda net, x: x.diff(dim=1)), (2, 5, 3), _SAME),
    "glu": (
        around(lambda net, x: F.glu(x, -1), outs=6, ins=3),
        (2, 3),
        {"a": f"{_A} = 0,3 1,4 2,5; b.weight/1 = 0..2"},
    ),
    "broadcasting of one place": (
        around(lambda net, x: x[:, None] * net.w + net.v, w=_w(1, 4), v=_w(5, 1)),
        (2, 3),
        {"a": f"{_A} b.weight/1 w/1 = 0..3"},
    ),
    "broadcast_tensors": (
        around(lambda net, x: sum(torch.broadcast_tensors(x, net.w)), w=_w(4)),
        (2, 3),
        {"a": f"{_A} b.weight/1 w/0 = 0..3"},
    ),
    "squeeze and excitation": (
        lambda: Net(
            lambda net, x: net.b((lambda y: y * net.e(net.s(y.mean((2, 3), keepdim=True)).relu()).sigmoid())(net.a(x))),
            a=nn.Conv2d(1, 4, 1),
            s=nn.Conv2d(4, 3, 1),
            e=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(4, 2, 1),
        ),
        (2, 1, 3, 3),
        {
            "a": f"{_A} s.weight/1 e.weight/0 e.bias/0 b.weight/1 = 0..3",
            "s": "s.weight/0 s.bias/0 e.weight/1 = 0..2",
        },
    ),
    "squeeze and excitation of views": (
        lambda: Net(
            lambda net, x: net.b(
                (lambda y: y * net.e(net.s(F.adaptive_avg_pool2d(y, 1).view(len(y), -1))).view(*y.shape[:2], 1, 1))(
                    net.a(x)
                )
            ),
            a=nn.Conv2d(1, 4, 1),
            s=nn.Linear(4, 3),
            e=nn.Linear(3, 4),
            b=nn.Conv2d(4, 2, 1),
        ),
        (2, 1, 3, 3),
        {
            "a": f"{_A} s.weight/1 e.weight/0 e.bias/0 b.weight/1 = 0..3",
            "s": "s.weight/0 s.bias/0 e.weight/1 = 0..2",
        },
    ),
    "masks": (
        around(
            lambda net, x: x.masked_fill(x > 0, 0.5) + torch.where(x > 0, x, net.w) + torch.where(x > 0, 1.0, x),
            w=_w(4),
        ),
        (2, 3),
        {"a": f"{_A} b.weight/1 w/0 = 0..3"},
    ),
    "a sum of channels": (
        lambda: Net(lambda net, x: net.a(x).square().sum(1), a=nn.Linear(3, 4)),
        (2, 3),
        _SUMMED,
    ),
    "zeros of as many channels": (
        around(lambda net, x: x + torch.zeros(x.shape[1]) + x.new_ones(2, x.shape[1]) + torch.full((x.shape[1],), 2.0)),
        (2, 3),
        _SAME,
    ),
    "more of as many": (
        around(lambda net, x: x + torch.ones(2, net.n) + x.new_zeros(net.n) + x.new_full((net.n,), 1.0), n=4),
        (2, 3),
        _SAME,
    ),
    "ones like others": (
        around(lambda net, x: x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2.0)),
        (2, 3),
        _SAME,
    ),
    "zeros by the code": (around(lambda net, x: x + torch.zeros(4)), (2, 3), {}),
    "numbers in a row": (
        around(lambda net, x: x + torch.arange(5)[:, None] + torch.arange(1, 6)[:, None]),
        (2, 5, 3),
        _SAME,
    ),
    "more numbers": (
        around(lambda net, x: torch.eye(5) @ x + torch.linspace(0, 1, 5)[:, None] + torch.arange(0, 10, 2)[:, None]),
        (2, 5, 3),
        _SAME,
    ),
    "a part of the identity": (around(lambda net, x: torch.eye(3, 5) @ x + torch.scalar_tensor(2.0)), (2, 5, 3), _SAME),
    "turned complex": (
        around(lambda net, x: (lambda z: (z * z.conj()).real + z.imag + z.angle())(torch.complex(x, x * 2))),
        (2, 3),
        _SAME,
    ),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_groups_are_exact_and_cuts_compute_what_masks_do(name):
    build, shape, expected = MIXTURES[name]
    known = check_cuts(build(), (randn(*shape),), expected)
    assert known.structure.flow.barriers == ()


def _element_by_element():
    """Every operator whose operands are broadcast, with numbers for what is no tensor."""
    return sorted({*rules._UNARY.split(), *rules._BROADCAST.split()})


_NUMBERS = {"float": 0.5, "int": 2, "number": 2, "bool": True, "dtype": torch.float32}


def _arguments(name):
    """The hidden channels (value 8) as the first tensor, the network's own (values 3, 4, 5) as all others."""
    tensors = iter((8, 3, 4, 5))
    for item in ops.lookup(name).parameters:
        if item.kind == "tensor":
            yield (Ref(next(tensors)), Ref(next(tensors))) if item.listed else Ref(next(tensors))
        else:
            yield _NUMBERS.get(item.kind) if item.default is ops.REQUIRED else item.default


def _between_layers(name):
    """A graph: a linear layer of four channels, the operator with tensors over these channels, a linear layer."""
    hidden, own = Meta((2, 4), torch.float32), Meta((4,), torch.float32)
    nodes = [Node("linear", (Ref(0), Ref(1), Ref(2)), meta=hidden)]
    nodes.append(Node(name, tuple(_arguments(name)), meta=hidden))
    if name == "broadcast_tensors":
        nodes = [nodes[0], Node(name, nodes[1].args, meta=(hidden, hidden)), Node("getitem", (Ref(9), 1), meta=hidden)]
    nodes.append(Node("linear", (Ref(7 + len(nodes)), Ref(6), Ref(7)), meta=Meta((2, 2), torch.float32)))
    metas = (Meta((4, 3), torch.float32), own, own, own, own, Meta((2, 4), torch.float32), Meta((2,), torch.float32))
    return Graph(
        inputs=("x",),
        signature=(Signature((None, 3), torch.float32),),
        tensors=("a.weight", "a.bias", "p", "q", "r", "b.weight", "b.bias"),
        nodes=tuple(nodes),
        outputs=Ref(7 + len(nodes)),
        sizes=(Meta((2, 3), torch.float32),),
        tensor_metas=metas,
    )


@pytest.mark.parametrize("name", sorted({*rules._UNARY.split(), *rules._BROADCAST.split()}))
def test_each_operator_keeps_channels_apart(name):
    """What is combined element by element loses the same places: hidden channels and tensors of the network."""
    graph = _between_layers(name)
    flow = Flow.of(graph)
    channels = flow.cells.find(flow.dims[1][0])
    assert flow.barriers == ()
    assert 0 not in channels and len(set(channels.tolist())) == 4
    for number in (2, 6, *(ref.index for ref in graph.nodes[1].refs())):
        assert flow.cells.find(flow.dims[number][-1]).tolist() == channels.tolist()


def test_what_is_read_once_is_named_once():
    known = surgery.anatomy(around(lambda net, x: x.relu())(), (randn(2, 3),))
    assert found(known) == written(_SAME)
