"""Each operator with a rule has a network of its own here or in the tables beside: none is left untried."""

import inspect

import pytest
import torch
from tests.graph import test_flow_elementwise, test_flow_layers, test_flow_recurrent, test_flow_shapes
from tests.graph.cuts import Net, check_cuts, difference, randn, shaken
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SurgeryError
from featherweight.graph import surgery
from featherweight.graph._flow_base import RULES
from featherweight.graph.ir import Graph, Meta, Node, Ref, Signature
from featherweight.graph.module import to_module
from featherweight.graph.record import record

_A = "a.weight/0 a.bias/0"
_SAME = {"a": f"{_A} b.weight/1 = 0..3"}
_OWN = {"a": f"{_A} b.weight/1 w/0 = 0..3"}


# element by element: functions of x, hidden channels between 0.3 and 0.8; of w, a tensor of the network between 0.5
# and 1.5, one value a channel; what is no floating point number becomes one behind them

ELEMENTWISE = {
    # activations
    "relu": lambda x: F.relu(x - 0.5),
    "relu6": lambda x: F.relu6(x * 9),
    "leaky_relu": lambda x: F.leaky_relu(x - 0.5, 0.2),
    "elu": lambda x: F.elu(x - 0.5),
    "selu": lambda x: F.selu(x - 0.5),
    "celu": lambda x: F.celu(x - 0.5),
    "gelu": lambda x: F.gelu(x - 0.5),
    "silu": lambda x: F.silu(x),
    "mish": lambda x: F.mish(x),
    "hardtanh": lambda x: F.hardtanh(x, 0.4, 0.6),
    "hardswish": lambda x: F.hardswish(x),
    "hardsigmoid": lambda x: F.hardsigmoid(x),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: x.tanh(),
    "softplus": lambda x: F.softplus(x),
    "log_sigmoid": lambda x: F.logsigmoid(x),
    "threshold": lambda x: F.threshold(x, 0.5, 2.0),
    "softshrink": lambda x: F.softshrink(x, 0.4),
    "hardshrink": lambda x: F.hardshrink(x, 0.4),
    "logit": lambda x: x.logit(),
    # arithmetic
    "add": lambda x, w: x + w,
    "add.Scalar": lambda x: torch.ops.aten.add.Scalar(x, 2),
    "sub": lambda x, w: x - w,
    "sub.Scalar": lambda x: torch.ops.aten.sub.Scalar(x, 2),
    "rsub": lambda x: torch.rsub(x, 2),
    "rsub.Tensor": lambda x, w: torch.rsub(x, w),
    "mul": lambda x, w: x * w,
    "mul.Scalar": lambda x: torch.ops.aten.mul.Scalar(x, 2),
    "div": lambda x, w: x / w,
    "div.Scalar": lambda x: torch.ops.aten.div.Scalar(x, 2),
    "div.Tensor_mode": lambda x, w: torch.div(x * 3, w, rounding_mode="floor"),
    "div.Scalar_mode": lambda x: torch.ops.aten.div.Scalar_mode(x, 0.2, rounding_mode="trunc"),
    "floor_divide": lambda x, w: torch.floor_divide(x * 3, w),
    "floor_divide.Scalar": lambda x: torch.ops.aten.floor_divide.Scalar(x, 0.2),
    "remainder": lambda x: x % 0.4,
    "remainder.Tensor": lambda x, w: x % w,
    "remainder.Scalar_Tensor": lambda x: torch.remainder(2, x),
    "fmod": lambda x: torch.fmod(x, 0.4),
    "fmod.Tensor": lambda x, w: torch.fmod(x, w),
    "pow": lambda x: x**3,
    "pow.Scalar": lambda x: 2**x,
    "pow.Tensor_Tensor": lambda x, w: x**w,
    "float_power": lambda x: torch.float_power(x, 3),
    "neg": lambda x: -x,
    "abs": lambda x: abs(x - 0.5),
    "sign": lambda x: torch.sign(x - 0.5),
    "sgn": lambda x: torch.sgn(x - 0.5),
    "square": lambda x: x.square(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.rsqrt(),
    "reciprocal": lambda x: x.reciprocal(),
    "addcmul": lambda x, w: torch.addcmul(x, x, w, value=0.5),
    "addcdiv": lambda x, w: torch.addcdiv(x, x, w, value=0.5),
    "lerp": lambda x, w: torch.lerp(x, w, 0.25),
    "lerp.Tensor": lambda x, w: torch.lerp(x, x + 1, w),
    "logaddexp": lambda x, w: torch.logaddexp(x, w),
    "hypot": lambda x, w: torch.hypot(x, w),
    "xlogy": lambda x, w: torch.xlogy(x, w),
    # functions
    "exp": lambda x: x.exp(),
    "exp2": lambda x: x.exp2(),
    "expm1": lambda x: x.expm1(),
    "log": lambda x: x.log(),
    "log2": lambda x: x.log2(),
    "log10": lambda x: x.log10(),
    "log1p": lambda x: x.log1p(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "asin": lambda x: x.asin(),
    "acos": lambda x: x.acos(),
    "atan": lambda x: x.atan(),
    "atan2": lambda x, w: torch.atan2(x, w),
    "sinh": lambda x: x.sinh(),
    "cosh": lambda x: x.cosh(),
    "asinh": lambda x: x.asinh(),
    "acosh": lambda x: (x + 1).acosh(),
    "atanh": lambda x: x.atanh(),
    "erf": lambda x: x.erf(),
    "erfc": lambda x: x.erfc(),
    "erfinv": lambda x: x.erfinv(),
    "sinc": lambda x: x.sinc(),
    "lgamma": lambda x: x.lgamma(),
    # rounding and limits
    "floor": lambda x: (x * 9).floor(),
    "ceil": lambda x: (x * 9).ceil(),
    "round": lambda x: (x * 9).round(),
    "round.decimals": lambda x: x.round(decimals=1),
    "trunc": lambda x: (x * 9).trunc(),
    "frac": lambda x: (x * 9).frac(),
    "clamp": lambda x: x.clamp(0.4, 0.6),
    "clamp.Tensor": lambda x, w: x.clamp(min=w * 0.4, max=w),
    "clamp_min": lambda x: torch.clamp_min(x, 0.5),
    "clamp_min.Tensor": lambda x, w: torch.clamp_min(x, w * 0.5),
    "clamp_max": lambda x: torch.clamp_max(x, 0.5),
    "clamp_max.Tensor": lambda x, w: torch.clamp_max(x, w * 0.5),
    "maximum": lambda x, w: torch.maximum(x, w * 0.5),
    "minimum": lambda x, w: torch.minimum(x, w * 0.5),
    "fmax": lambda x, w: torch.fmax(x, w * 0.5),
    "fmin": lambda x, w: torch.fmin(x, w * 0.5),
    "max.other": lambda x, w: torch.max(x, w * 0.5),
    "min.other": lambda x, w: torch.min(x, w * 0.5),
    "nan_to_num": lambda x: (x / (x > 0.5)).nan_to_num(posinf=2.0),
    # comparisons and logic
    "eq": lambda x: (x * 9).round() == 5,
    "eq.Tensor": lambda x, w: (x * 9).round() == (w * 5).round(),
    "ne": lambda x: (x * 9).round() != 5,
    "ne.Tensor": lambda x, w: (x * 9).round() != (w * 5).round(),
    "lt": lambda x: x < 0.5,
    "lt.Tensor": lambda x, w: x < w * 0.5,
    "le": lambda x: x <= 0.5,
    "le.Tensor": lambda x, w: x <= w * 0.5,
    "gt": lambda x: x > 0.5,
    "gt.Tensor": lambda x, w: x > w * 0.5,
    "ge": lambda x: x >= 0.5,
    "ge.Tensor": lambda x, w: x >= w * 0.5,
    "logical_and": lambda x, w: torch.logical_and(x > 0.5, w > 1),
    "logical_or": lambda x, w: torch.logical_or(x > 0.5, w > 1),
    "logical_xor": lambda x, w: torch.logical_xor(x > 0.5, w > 1),
    "logical_not": lambda x: torch.logical_not(x > 0.5),
    "isnan": lambda x: torch.isnan(x / (x > 2)) + torch.isnan(x),
    "isinf": lambda x: torch.isinf(x / (x > 0.5)),
    "isfinite": lambda x: torch.isfinite(x / (x > 0.5)),
    "bitwise_and": lambda x, w: torch.bitwise_and((x * 9).int(), (w * 9).int()),
    "bitwise_and.Scalar": lambda x: torch.ops.aten.bitwise_and.Scalar((x * 9).int(), 6),
    "bitwise_or": lambda x, w: torch.bitwise_or((x * 9).int(), (w * 9).int()),
    "bitwise_or.Scalar": lambda x: torch.ops.aten.bitwise_or.Scalar((x * 9).int(), 6),
    "bitwise_xor": lambda x, w: torch.bitwise_xor((x * 9).int(), (w * 9).int()),
    "bitwise_xor.Scalar": lambda x: torch.ops.aten.bitwise_xor.Scalar((x * 9).int(), 6),
    "bitwise_not": lambda x: torch.bitwise_not((x * 9).int()),
    "__and__": lambda x, w: torch.ops.aten.__and__.Tensor((x * 9).int(), (w * 9).int()),
    "__and__.Scalar": lambda x: (x * 9).int() & 6,
    "__or__": lambda x, w: torch.ops.aten.__or__.Tensor((x * 9).int(), (w * 9).int()),
    "__or__.Scalar": lambda x: (x * 9).int() | 6,
    "__xor__": lambda x, w: torch.ops.aten.__xor__.Tensor((x * 9).int(), (w * 9).int()),
    "__xor__.Scalar": lambda x: (x * 9).int() ^ 6,
    "__lshift__": lambda x: (x * 9).int() << 2,
    "__rshift__": lambda x: (x * 9).int() >> 1,
    "heaviside": lambda x, w: torch.heaviside(x - 0.5, w),
    "where": lambda x, w: torch.where(x > 0.5, x, w),
    "where.ScalarSelf": lambda x, w: torch.where(x > 0.5, 2.0, w),
    "where.ScalarOther": lambda x, w: torch.where(x > 0.5, w, 2.0),
    "where.Scalar": lambda x: torch.where(x > 0.5, 2.0, 3.0),
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 2.0),
    "masked_fill.Tensor": lambda x: x.masked_fill(x > 0.5, torch.tensor(2.0)),
    # the same values, and values like others
    "detach": lambda x: x.detach(),
    "to": lambda x: x.double(),
    "view": lambda x: x.view(torch.int32).view(torch.float32),
    "expand_as": lambda x: x[:1].expand_as(x),
    "zeros_like": lambda x: x + torch.zeros_like(x),
    "ones_like": lambda x: x + torch.ones_like(x),
    "full_like": lambda x: x + torch.full_like(x, 2.0),
    "fill": lambda x: x + torch.fill(x, 2.0),
    "fill.Tensor": lambda x: x + torch.fill(x, torch.tensor(2.0)),
    "broadcast_tensors": lambda x, w: sum(torch.broadcast_tensors(x, w)),
    # complex numbers
    "complex": lambda x, w: torch.complex(x, w * x).abs(),
    "polar": lambda x, w: torch.polar(x, w * x).real,
    "real": lambda x: torch.complex(x, x).real,
    "imag": lambda x: torch.complex(x, x * 2).imag,
    "_conj": lambda x: torch.complex(x, x * 2).conj().angle(),
    "resolve_conj": lambda x: torch.complex(x, x * 2).conj().resolve_conj().angle(),
    "angle": lambda x: torch.complex(x, x.square()).angle(),
}


def _element_by_element(function):
    """A network with the function between two linear layers, the shape of its input, and its groups."""
    own = len(inspect.signature(function).parameters) == 2
    parts = {"w": nn.Parameter(torch.linspace(0.5, 1.5, 4))} if own else {}

    def body(net, x):
        hidden = net.a(x).sigmoid() * 0.5 + 0.3
        return net.b((function(hidden, net.w) if own else function(hidden)).float())

    return lambda: Net(body, a=nn.Linear(3, 4), b=nn.Linear(4, 2), **parts), (2, 3), _OWN if own else _SAME


# operators that torch's own functions do not come to, and forms of others that the tables beside have not -----------


def _between(function, layer, shape):
    """A network with the function between two layers, of three channels to four to two."""
    return lambda: Net(lambda net, x: net.b(function(net.a(x))), a=layer(3, 4), b=layer(4, 2)), shape, _SAME


def _of_rows(function, shape=(2, 3)):
    """A function of (batch, channels)."""
    return _between(function, nn.Linear, shape)


def _of_steps(function):
    """A function of (batch, positions, channels)."""
    return _between(function, nn.Linear, (2, 5, 3))


def _of_pixels(function, axes):
    """A function of (batch, channels, pixels)."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return _between(function, lambda ins, outs: conv(ins, outs, 1), (2, 3, *(4,) * axes))


_aten = torch.ops.aten
OTHERS = {
    "max_pool1d_with_indices": _of_pixels(lambda x: F.max_pool1d(x, 2, return_indices=True)[0], 1),
    "max_pool2d_with_indices": _of_pixels(lambda x: F.max_pool2d(x, 2, return_indices=True)[0], 2),
    "max_pool3d_with_indices": _of_pixels(lambda x: F.max_pool3d(x, 2, return_indices=True)[0], 3),
    "reflection_pad1d": _of_pixels(lambda x: _aten.reflection_pad1d(x, [1, 2]), 1),
    "reflection_pad2d": _of_pixels(lambda x: _aten.reflection_pad2d(x, [1, 2, 0, 1]), 2),
    "replication_pad1d": _of_pixels(lambda x: _aten.replication_pad1d(x, [1, 2]), 1),
    "replication_pad2d": _of_pixels(lambda x: _aten.replication_pad2d(x, [1, 2, 0, 1]), 2),
    "constant_pad_nd": _of_pixels(lambda x: _aten.constant_pad_nd(x, [1, 2, 0, 1], 0.5), 2),
    "var.dim": _of_rows(lambda x: x / (1 + torch.var(x, 1, False, True))),
    "var.default": _of_rows(lambda x: x / (1 + torch.var(x, False))),
    "std.dim": _of_rows(lambda x: x / (1 + torch.std(x, 1, False, True))),
    "std_mean": _of_rows(lambda x: torch.sub(x, torch.std_mean(x, 1, correction=0, keepdim=True)[0])),
    "var_mean.dim": _of_rows(lambda x: torch.sub(x, torch.var_mean(x, 1, False, True)[0])),
    "norm": _of_rows(lambda x: x / _aten.norm.ScalarOpt_dim(x, 2, [1], True)),
    "norm.Scalar": _of_rows(lambda x: x / _aten.norm.Scalar(x, 2)),
    "count_nonzero": _of_steps(lambda x: x[:, 0] * x.relu().count_nonzero((1,))),
    "squeeze": _of_rows(lambda x: x[None].squeeze(0)),
    "atleast_1d": _of_rows(lambda x: x * torch.atleast_1d(x.sum())),
    "atleast_2d": _of_rows(lambda x: torch.atleast_2d(x), shape=(3,)),
    "split.sizes": _of_steps(lambda x: torch.cat(_aten.split.sizes(x, [2, 3], 1)[::-1], 1)),
    "conj": _of_rows(lambda x: _aten.conj(torch.complex(x, x * 2)).imag),
}

BESIDE = {"aten::_grouped_mm.default", "squeeze.default"}  # in tests of their own: experts, and the last one here
TABLES = (
    test_flow_layers.CASES,
    test_flow_shapes.CASES,
    test_flow_elementwise.MIXTURES,
    test_flow_recurrent.CASES,
    {name: (build, (2, 2), expected) for name, (build, expected) in test_flow_recurrent.CELLS.items()},
)


# operators that no recording has, only graphs of other makers: between two linear layers of (2, 3) to (2, 4) to (2, 2)

_HIDDEN, _FLOAT = Ref(5), torch.float32


def _written_down(*middle):
    """A module of a graph: a linear layer (value 5), these nodes, a linear layer that reads the last."""
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4), "b.bias": (2,)}
    nodes = [Node("linear", (Ref(0), Ref(1), Ref(2)), meta=Meta((2, 4), _FLOAT)), *middle]
    nodes.append(Node("linear", (Ref(4 + len(nodes)), Ref(3), Ref(4)), meta=Meta((2, 2), _FLOAT)))
    graph = Graph(
        ("x",), (Signature((2, 3), _FLOAT),), tuple(shapes), tuple(nodes), Ref(4 + len(nodes)),
        sizes=(Meta((2, 3), _FLOAT),), tensor_metas=tuple(Meta(shape, _FLOAT) for shape in shapes.values()),
    )  # fmt: skip
    return to_module(graph, {name: randn(*shape) for name, shape in shapes.items()})


SAME_VALUES = {"clone": (_HIDDEN,), "contiguous": (_HIDDEN,), "type_as": (_HIDDEN, Ref(1))}
NUMBERS = {  # of a size, 2 or 4, that same size
    "sym_size": lambda size: (),
    "int_add": lambda size: (size, 0),
    "int_sub": lambda size: (size, 0),
    "int_mul": lambda size: (1, size),
    "int_floordiv": lambda size: (size, 1),
    "int_mod": lambda size: (size, 7),
    "int_max": lambda size: (size, 1),
    "int_min": lambda size: (7, size),
    "int_neg": lambda size: (size,),
}


@pytest.mark.parametrize("name", ELEMENTWISE | OTHERS)
def test_channels_pass_and_cuts_compute_what_masks_do(name):
    build, shape, expected = OTHERS.get(name) or _element_by_element(ELEMENTWISE[name])
    known = check_cuts(build(), (randn(*shape),), expected)
    assert name in {node.op for node in known.structure.flow.graph.nodes}
    assert known.notes == ()


@pytest.mark.parametrize("name", SAME_VALUES)
def test_operators_that_change_no_value_pass_channels(name):
    known = check_cuts(_written_down(Node(name, SAME_VALUES[name], meta=Meta((2, 4), _FLOAT))), (randn(2, 3),), _SAME)
    assert known.notes == ()


@pytest.mark.parametrize(("dim", "expected"), [(0, _SAME), (1, {})], ids=["the batch", "channels"])
@pytest.mark.parametrize("name", NUMBERS)
def test_sizes_that_are_computed_hold_what_they_count(name, dim, expected):
    nodes = [Node("sym_size", (_HIDDEN, dim))]
    if name != "sym_size":
        nodes.append(Node(name, NUMBERS[name](Ref(6))))
    if name == "int_neg":
        nodes.append(Node(name, (Ref(7),)))
    size = Ref(5 + len(nodes))
    nodes.append(Node("reshape", (_HIDDEN, (size, -1) if dim == 0 else (-1, size)), meta=Meta((2, 4), _FLOAT)))
    known = check_cuts(_written_down(*nodes), (randn(2, 3),), expected)
    assert known.notes == ()


def test_every_operator_with_a_rule_has_a_network():
    """What is registered, but for plug-ins of other tests, is in a table here or in a graph of a table beside."""
    own = {name for name, function in RULES.items() if str(function.__module__).startswith("featherweight.")}
    tried = {*ELEMENTWISE, *OTHERS, *SAME_VALUES, *NUMBERS, *BESIDE}
    for table in TABLES:
        for build, shape, _ in table.values():
            tried |= {node.op for node in record(build().eval(), (randn(*shape),)).graph.nodes}
    assert own - tried == set()
    assert len(own) > 300
    assert {name for name in (*ELEMENTWISE, *OTHERS, *SAME_VALUES, *NUMBERS) if name not in RULES} == set()


def test_a_squeeze_of_every_one_keeps_two_channels():
    """With one channel left, `squeeze()` would take its dimension away."""
    model = shaken(_of_rows(lambda x: x[None].squeeze())[0]())
    example = (randn(2, 3),)
    known = surgery.anatomy(model, example)
    (group,) = known.groups
    assert difference(model, known, group.atoms[:2], example) < 1e-5
    with pytest.raises(SurgeryError, match="without these channels"):
        surgery.remove(model, known, group.atoms[1:])
