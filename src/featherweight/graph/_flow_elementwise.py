"""How channels flow through operators that treat every element by itself, or sum over some of the dimensions."""

from typing import Any

from featherweight.graph._flow_base import Dims, Result, Site, axis, pinned, rule
from featherweight.graph._flow_layers import broadcast
from featherweight.graph.ir import Ref

_UNARY = """
relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid sigmoid tanh softplus log_sigmoid
threshold softshrink hardshrink logit add.Scalar sub.Scalar rsub mul.Scalar div.Scalar div.Scalar_mode
floor_divide.Scalar remainder fmod pow pow.Scalar float_power neg abs sign sgn square sqrt rsqrt reciprocal exp exp2
expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc erfinv sinc floor ceil round
round.decimals trunc frac clamp clamp_min clamp_max nan_to_num eq ne lt le gt ge logical_not isnan isinf isfinite
bitwise_and.Scalar bitwise_or.Scalar bitwise_xor.Scalar bitwise_not __and__.Scalar __or__.Scalar __xor__.Scalar
__lshift__ __rshift__ lgamma masked_fill contiguous clone detach to view zeros_like ones_like full_like fill
real imag conj _conj resolve_conj angle
"""

_BROADCAST = """
add sub rsub.Tensor mul div div.Tensor_mode floor_divide remainder.Tensor remainder.Scalar_Tensor fmod.Tensor
pow.Tensor_Tensor atan2 clamp.Tensor clamp_min.Tensor clamp_max.Tensor maximum minimum fmax fmin addcmul addcdiv lerp
lerp.Tensor logaddexp hypot xlogy eq.Tensor ne.Tensor lt.Tensor le.Tensor gt.Tensor ge.Tensor logical_and logical_or
logical_xor bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__ heaviside where where.ScalarSelf
where.ScalarOther where.Scalar masked_fill.Tensor max.other min.other expand_as fill.Tensor complex polar
broadcast_tensors
"""


@rule(*_BROADCAST.split(), *_UNARY.split())
def elementwise(site: Site) -> Result:
    """The operands are broadcast against each other."""
    operands = [site.dims(value) for value in site.given.values() if isinstance(value, Ref)]
    operands += [site.dims(item) for value in site.given.values() if isinstance(value, tuple) for item in _refs(value)]
    result = broadcast(site, operands)
    return [result] * len(site.node.meta) if isinstance(site.node.meta, tuple) else result


@rule("type_as")
def cast(site: Site) -> Result:
    """Of the other tensor only the type is read."""
    return site.dims(site.given["self"])


def _refs(value: tuple[Any, ...]) -> list[Ref]:
    return [item for item in value if isinstance(item, Ref)]


# reductions ------------------------------------------------------------------------------------------------------

_SUMS = ("sum", "sum.default", "mean", "mean.default", "var", "var.dim", "var.default", "std", "std.dim", "std.default")
_NORMS = ("var_mean", "std_mean", "var_mean.dim", "std_mean.dim", "norm", "norm.Scalar", "linalg_vector_norm")
_ORDERS = """
max min max.default min.default amax amin aminmax argmax argmin prod prod.default logsumexp all all.default all.dims
any any.default any.dims count_nonzero aten::count_nonzero.default median
"""


@rule(*_SUMS, *_NORMS)
def summed(site: Site) -> Result:
    """What is gone adds nothing: means, variances and norms are those of what is left."""
    power = site.given.get("ord", site.given.get("p"))
    return ordered(site) if power is not None and power < 0 else _reduced(site)


@rule(*_ORDERS.split())
def ordered(site: Site) -> Result:
    """The largest, the product ... of channels would not be the same without some of them."""
    for place in _reduced_places(site, site.dims(next(iter(site.given.values())))):
        site.pin(site.dims(next(iter(site.given.values())))[place], "all channels are compared")
    return _reduced(site)


def _reduced(site: Site) -> Result:
    inputs = site.dims(next(iter(site.given.values())))
    places = _reduced_places(site, inputs)
    kept = tuple(ids for place, ids in enumerate(inputs) if place not in places)
    if len(site.out_shape()) == len(inputs):
        kept = tuple(pinned((1,))[0] if place in places else ids for place, ids in enumerate(inputs))
    return [kept] * len(site.node.meta) if isinstance(site.node.meta, tuple) else kept


def _reduced_places(site: Site, inputs: Dims) -> list[int]:
    dim = site.given.get("dim")
    chosen = list(dim) if isinstance(dim, tuple) else [] if dim is None else [dim]
    return [axis(place, inputs) for place in chosen] or list(range(len(inputs)))


_ALONG = """
softmax log_softmax cumsum cumprod logcumsumexp cummax cummin sort sort.stable argsort argsort.stable topk
aten::diff.default
"""


@rule(*_ALONG.split())
def along_one(site: Site) -> Result:
    """What the elements along one dimension become depends on all of them and on their order."""
    inputs = site.dims(site.given["self"])
    if not inputs:
        return site.fixed()
    dim = axis(site.given.get("dim", -1), inputs)
    site.pin(inputs[dim], "every channel depends on all others")
    result = (*inputs[:dim], *pinned(site.out_shape()[dim : dim + 1]), *inputs[dim + 1 :])
    return [result] * len(site.node.meta) if isinstance(site.node.meta, tuple) else result


@rule("glu")
def glu(site: Site) -> Result:
    """One half times the sigmoid of the other."""
    inputs = site.dims(site.given["self"])
    dim = axis(site.given["dim"], inputs)
    return (*inputs[:dim], site.cells.join_rows(inputs[dim], 2), *inputs[dim + 1 :])


# tensors out of numbers ------------------------------------------------------------------------------------------


@rule("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
def factory(site: Site) -> Result:
    """Sizes that are numbers of channels follow what the result meets."""
    parameter = "size" if "size" in site.given else "shape"
    dims = tuple(pinned((1,))[0] if size == 1 else site.cells.fresh(size) for size in site.out_shape())
    for position, ids in enumerate(dims):
        site.count(parameter, position, ids)
    return dims


@rule("arange", "arange.start", "arange.start_step", "linspace", "eye", "eye.m", "scalar_tensor")
def fixed_values(site: Site) -> Result:
    """Places and the like."""
    return site.fixed()


@rule("sym_size", "int_add", "int_sub", "int_mul", "int_floordiv", "int_mod", "int_neg", "int_max", "int_min")
def size(site: Site) -> Result:
    """A number, no tensor; where it counts channels that may go, `Site.count` pins them."""
    return None
