"""The closed list of operators that a graph may hold: pure ATen functions and a little integer arithmetic.

Nothing here writes to its arguments, draws random numbers, reads files, returns uninitialised memory or gives a
result whose shape depends on data. So a graph from a file can do arithmetic and nothing else.

The name of an operator in a graph and in a file is `packet.overload` of ATen; the overload listed first here goes by
the packet's name alone ("add" is add.Tensor). Names, defaults and fixed arguments are part of the file format: what is
listed stays, new lines may join.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from featherweight.errors import FormatError, UsageError
from featherweight.graph._guards import Guard, guard_of

_LISTED: Final = """
conv1d conv2d conv3d conv1d.padding conv2d.padding conv3d.padding convolution
conv_transpose1d conv_transpose2d.input conv_transpose3d.input
linear bilinear matmul mm bmm mv dot outer addmm addmv addbmm baddbmm einsum tensordot kron
linalg_vector_norm linalg_norm embedding scaled_dot_product_attention
lstm.input gru.input rnn_tanh.input rnn_relu.input lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
batch_norm instance_norm layer_norm group_norm rms_norm
max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
avg_pool1d avg_pool2d avg_pool3d
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec
_upsample_nearest_exact1d.vec _upsample_nearest_exact2d.vec _upsample_nearest_exact3d.vec
upsample_linear1d.vec upsample_bilinear2d.vec upsample_bicubic2d.vec upsample_trilinear3d.vec
_upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec
grid_sampler affine_grid_generator pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
max_unpool2d max_unpool3d pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d

relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid sigmoid tanh softplus prelu glu
log_sigmoid threshold softshrink hardshrink logit softmax.int log_softmax.int

add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar rsub.Tensor mul.Tensor mul.Scalar
div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode floor_divide floor_divide.Scalar
remainder.Scalar remainder.Tensor remainder.Scalar_Tensor fmod.Scalar fmod.Tensor
pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar float_power.Tensor_Scalar
neg abs sign sgn square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2
sinh cosh asinh acosh atanh erf erfc erfinv sinc floor ceil round round.decimals trunc frac
clamp clamp.Tensor clamp_min clamp_min.Tensor clamp_max clamp_max.Tensor maximum minimum fmax fmin
addcmul addcdiv lerp.Scalar lerp.Tensor nan_to_num logaddexp hypot xlogy.Tensor
eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar ge.Tensor
logical_and logical_or logical_not logical_xor isnan isinf isfinite
bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor bitwise_or.Scalar bitwise_xor.Tensor bitwise_xor.Scalar
bitwise_not __and__.Tensor __and__.Scalar __or__.Tensor __or__.Scalar __xor__.Tensor __xor__.Scalar
__lshift__.Scalar __rshift__.Scalar heaviside lgamma
where.self where.ScalarSelf where.ScalarOther where.Scalar masked_fill.Scalar masked_fill.Tensor

sum.dim_IntList sum.default mean.dim mean.default prod.dim_int prod.default amax amin aminmax
max.dim max.default max.other min.dim min.default min.other argmax argmin
var.correction var.dim var.default std.correction std.dim std.default var_mean.correction std_mean.correction
var_mean.dim std_mean.dim mode norm.ScalarOpt_dim norm.Scalar logsumexp cumsum cumprod logcumsumexp cummax cummin
count_nonzero.dim_IntList
all.dim all.default all.dims any.dim any.default any.dims topk sort sort.stable argsort argsort.stable kthvalue
median.dim median.default cosine_similarity pairwise_distance cdist cross linalg_cross dist trace

reshape reshape_as flatten.using_ints unflatten.int ravel transpose.int t permute numpy_T mT movedim.intlist
movedim.int swapaxes squeeze.dim squeeze.dims squeeze.default unsqueeze expand expand_as broadcast_to
select.int slice.Tensor narrow split.Tensor split.sizes split_with_sizes chunk unsafe_split.Tensor unsafe_chunk
unbind.int tensor_split.sections hsplit.int vsplit.int
cat stack concat hstack vstack repeat tile repeat_interleave.self_int roll flip rot90
unfold diagonal diag_embed tril triu meshgrid meshgrid.indexing broadcast_tensors atleast_1d atleast_2d
index.Tensor index_select gather take_along_dim scatter.src scatter.value scatter_add scatter_reduce.two
index_put index_add index_copy index_fill.int_Scalar masked_scatter
slice_scatter select_scatter diagonal_scatter searchsorted.Tensor bucketize.Tensor one_hot
contiguous clone detach to.dtype type_as view.dtype

zeros ones full arange arange.start arange.start_step linspace eye eye.m scalar_tensor
zeros_like ones_like full_like new_zeros new_ones new_full fill.Scalar fill.Tensor

complex real imag view_as_complex view_as_real angle conj _conj resolve_conj polar
fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_fftshift
sym_size.int
"""

DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
"""The element types that a graph may name."""


OPAQUE: Final = "opaque"
"""The namespace of nodes that stand for code which calls no operator."""


class _Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()

# Arguments that graphs leave out: where something runs and how it lies in memory is the machine's matter.
_MACHINE_TYPES: Final = ("Device", "Layout", "MemoryFormat", "Generator")
_MACHINE_NAMES: Final = ("pin_memory", "non_blocking", "cudnn_enabled", "cudnn_enable")

_RNN: Final = {"has_biases": True, "num_layers": 1, "bidirectional": False, "batch_first": False}
_F32: Final = {"dtype": torch.float32}
_I64: Final = {"dtype": torch.int64}
_DEFAULTS: Final[dict[str, dict[str, Any]]] = {  # our defaults, where ATen has none or one that depends on the process
    "batch_norm": {"eps": 1e-5},
    "instance_norm": {"eps": 1e-5},
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _RNN),
    **dict.fromkeys(("zeros", "ones", "full", "linspace", "eye", "eye.m", "scalar_tensor"), _F32),
    **dict.fromkeys(("arange", "arange.start", "arange.start_step"), _I64),
}


def _without_statistics(arguments: Mapping[str, Any]) -> bool:
    # With running statistics, training mode would write to them: normalise by the batch only when there are none.
    return arguments.get("running_mean") is None


_EVAL_RNN: Final = {"dropout": 0.0, "train": False}
_FIXED: Final[dict[str, dict[str, Any]]] = {  # arguments that no file can choose: graphs are in evaluation mode
    "batch_norm": {"training": _without_statistics, "momentum": 0.1, "cudnn_enabled": True},
    "instance_norm": {"use_input_stats": _without_statistics, "momentum": 0.1, "cudnn_enabled": True},
    "scaled_dot_product_attention": {"dropout_p": 0.0},
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _EVAL_RNN),
}


@dataclass(frozen=True)
class Parameter:
    """One argument of an operator.

    `kind` is "tensor", "int", "float", "bool", "number" (int, float or bool), "str" or "dtype". A `listed` parameter
    takes a sequence of them. `optional` allows None; `holes` allows None as an item of the sequence.
    """

    name: str
    kind: str
    listed: bool = False
    optional: bool = False
    holes: bool = False
    default: Any = REQUIRED


@dataclass(frozen=True)
class Op:
    """One operator: what it takes, what it gives, and the function that computes it.

    `results` are the kinds of what it gives: "tensor", "int", or the one word "tensors" for a list of unknown length.
    `invoke(device, *arguments)` takes the arguments in the order of `parameters`, the trailing ones may be left out.
    """

    name: str
    parameters: tuple[Parameter, ...]
    results: tuple[str, ...]
    keywords: tuple[str, ...]  # names of the trailing parameters that go to `call` by name
    fixed: tuple[tuple[str, Any], ...]
    factory: bool  # makes a tensor out of numbers: needs to be told the device
    call: Callable[..., Any]
    guard: Guard | None = None  # runs before `call`, where ATen does not check enough

    def arguments(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """All arguments by name, defaults filled in."""
        rest = {item.name: item.default for item in self.parameters[len(args) :] if item.default is not REQUIRED}
        return {item.name: value for item, value in zip(self.parameters, args, strict=False)} | rest


def names() -> tuple[str, ...]:
    """Every operator name, in the order of the list."""
    return (*_aten_names(), *_PYTHON)


def is_allowed(name: str) -> bool:
    """Whether an operator of this name is in the list."""
    return name in _PYTHON or name in _aten_names()


def name_of(packet: str, overload: str) -> str | None:
    """The name of an ATen overload in the list; None when it is not in it."""
    return _names_of_overloads().get((packet, overload))


@cache
def lookup(name: str) -> Op:
    """The operator of this name.

    Raises: KeyError when it is not in the list.
    """
    if name in _PYTHON:
        return _PYTHON[name]
    packet, overload = _aten_names()[name]
    function = getattr(getattr(torch.ops.aten, packet), overload)
    return _from_schema(name, function)


@cache
def foreign(name: str) -> Op:
    """An operator outside of the list, by its full name ("namespace::name.overload"), as torch knows it now.

    Recorded graphs may hold such nodes, to be looked at; files never do. "opaque::Class" stands for code that no
    operator describes: it takes one tuple of values, `inputs`.

    Raises: UsageError when torch knows no such operator.
    """
    namespace, _, rest = name.partition("::")
    if namespace == OPAQUE:
        return Op(name, (Parameter("inputs", "tensor", listed=True),), ("tensor",), (), (), False, _not_runnable)
    packet, _, overload = rest.partition(".")
    try:
        function = getattr(getattr(getattr(torch.ops, namespace), packet), overload or "default")
    except AttributeError as error:
        raise UsageError("torch knows no operator of this name", value=name, fix="Import what defines it.") from error
    return _from_schema(name, function)


def _not_runnable(*arguments: Any) -> Any:
    raise UsageError("a node that stands for unknown code cannot be run", value=len(arguments))


@cache
def _aten_names() -> dict[str, tuple[str, str]]:
    table: dict[str, tuple[str, str]] = {}
    for entry in _LISTED.split():
        packet, _, overload = entry.partition(".")
        name = packet if packet not in table else f"{packet}.{overload or 'default'}"
        table[name] = (packet, overload or "default")
    return table


@cache
def _names_of_overloads() -> dict[tuple[str, str], str]:
    return {overload: name for name, overload in _aten_names().items()}


def _from_schema(name: str, function: Any) -> Op:
    schema = function._schema
    fixed = _FIXED.get(name, {})
    parameters: list[Parameter] = []
    keywords: list[str] = []
    by_name = False
    for argument in schema.arguments:
        if argument.name in fixed or _is_machine(argument):
            by_name = True  # whatever follows a gap must go by name
            continue
        by_name = by_name or argument.kwarg_only
        parameters.append(_parameter(argument, _DEFAULTS.get(name, {})))
        if by_name:
            keywords.append(argument.name)
    return Op(
        name=name,
        parameters=tuple(parameters),
        results=tuple(_result(item) for item in schema.returns),
        keywords=tuple(keywords),
        fixed=tuple(fixed.items()),
        factory=_is_factory(schema),
        call=function,
        guard=guard_of(name),
    )


def _is_machine(argument: Any) -> bool:
    kind = str(argument.real_type)
    if (argument.name, kind) == ("copy", "bool"):  # whether a cast must copy: nothing writes, so nobody can tell
        return True
    return argument.name in _MACHINE_NAMES or any(word in kind for word in _MACHINE_TYPES)


def _is_factory(schema: Any) -> bool:
    names_ = [argument.name for argument in schema.arguments]
    return "device" in names_ and not any("Tensor" in str(argument.type) for argument in schema.arguments)


_KINDS: Final = {"Tensor": "tensor", "ScalarType": "dtype", "number": "number"}


def _parameter(argument: Any, defaults: Mapping[str, Any]) -> Parameter:
    text = str(argument.real_type)
    optional = text.startswith("Optional[")
    text = text.removeprefix("Optional[").removesuffix("]") if optional else text
    listed = text.startswith("List[")
    text = text.removeprefix("List[").removesuffix("]") if listed else text
    holes = text.startswith("Optional[")
    text = text.removeprefix("Optional[").removesuffix("]")
    default = argument.default_value if argument.has_default_value() else REQUIRED
    default = tuple(default) if isinstance(default, list) else default
    return Parameter(
        name=argument.name,
        kind=_KINDS.get(text, text),
        listed=listed,
        optional=optional,
        holes=holes,
        default=defaults.get(argument.name, default),
    )


def _result(item: Any) -> str:
    return {"Tensor": "tensor", "List[Tensor]": "tensors", "int": "int", "SymInt": "int"}.get(str(item.type), "other")


# integer arithmetic on sizes -------------------------------------------------------------------------------------

_LARGEST: Final = 2**63 - 1


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(*values: Any) -> Any:
        result = function(*values)
        if isinstance(result, int) and abs(result) > _LARGEST:  # else a chain of products fills the memory
            raise FormatError("E_GRAPH", "a size does not fit 64 bits", section="graph", value=result.bit_length())
        return result

    return bounded


def _on_integers(name: str, function: Callable[..., Any], count: int) -> Op:
    parameters = tuple(Parameter(letter, "int") for letter in "ab"[:count])
    return Op(name, parameters, ("int",), (), (), False, _bounded(function))


_PYTHON: Final[dict[str, Op]] = {
    "getitem": Op(
        "getitem",
        (Parameter("values", "tensors"), Parameter("index", "int")),
        ("tensor",),
        (),
        (),
        False,
        operator.getitem,
    ),
    "int_add": _on_integers("int_add", operator.add, 2),
    "int_sub": _on_integers("int_sub", operator.sub, 2),
    "int_mul": _on_integers("int_mul", operator.mul, 2),
    "int_floordiv": _on_integers("int_floordiv", operator.floordiv, 2),
    "int_mod": _on_integers("int_mod", operator.mod, 2),
    "int_neg": _on_integers("int_neg", operator.neg, 1),
    "int_max": _on_integers("int_max", torch.sym_max, 2),
    "int_min": _on_integers("int_min", torch.sym_min, 2),
}
