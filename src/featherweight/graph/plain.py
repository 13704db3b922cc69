"""A graph as nested lists of plain values, for the header of a file, and back.

The plain form is `[inputs, tensors, ops, nodes, outputs, exceptions]`:

- an input is `[name, shape]` or `[name, shape, dtype]` (default "float32"); null in a shape is a size that may change;
- tensors are the list of their names, or only their number where the names are kept elsewhere;
- ops are the names of the operators that occur, in order of first use;
- a node is `[number of its op, arguments ...]`; trailing arguments that equal their default are left out;
- outputs are a Ref, a constant, `["tuple", ...]`, `["list", ...]` or `["dict", key, value, key, value ...]`;
- exceptions are the numbers of tensors that are buffers although `is_statistic` would not tell so, or the other way
  round; left out when there are none.

One graph has exactly one plain form: `from_plain` refuses everything that `to_plain` would have written otherwise.
Reading costs time and memory in proportion to the plain form, whatever stands in it, and runs nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import torch

from featherweight.core.patience import Check, never
from featherweight.errors import FormatError
from featherweight.graph import ops
from featherweight.graph.ir import Graph, Node, Ref, Signature, Tree
from featherweight.graph.ops import DTYPES, REQUIRED, Op, Parameter

__all__ = ["Ref", "from_plain", "to_plain"]

MAX_NODES: Final = 100_000
MAX_RANK: Final = 32
MAX_SIZE: Final = 2**48
MAX_DEPTH: Final = 8
_INT64: Final = 2**63
_NONFINITE: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # so that files need no such floats
_STATISTICS: Final = {"batch_norm": (3, 4), "instance_norm": (3, 4)}


def to_plain(graph: Graph, *, names: bool = True) -> list[Any]:
    """The plain form of a graph; without `names` the tensors are only counted.

    Raises: FormatError E_GRAPH for an operator outside of the list, which only graphs to be looked at hold.
    """
    used: dict[str, int] = {}
    nodes = []
    for node in graph.nodes:
        if node.op not in used and not ops.is_allowed(node.op):
            _refuse("an operator that is not in the list", node.op)
        number = used.setdefault(node.op, len(used))
        nodes.append([number, *(_plain_argument(item) for item in node.args)])
    inputs = [
        [name, list(item.shape), *([] if item.dtype == torch.float32 else [_dtype_name(item.dtype)])]
        for name, item in zip(graph.inputs, graph.signature, strict=True)
    ]
    tensors = list(graph.tensors) if names else len(graph.tensors)
    plain = [inputs, tensors, list(used), nodes, _plain_tree(graph.outputs)]
    exceptions = _exceptions(graph)
    return [*plain, exceptions] if exceptions else plain


def from_plain(plain: Any, names: Sequence[str] | None = None, check: Check = never) -> Graph:
    """The graph that `to_plain` wrote; `names` are the names of the tensors where it wrote none.

    `check` is called at each input and node.

    Raises: FormatError E_GRAPH for anything that `to_plain` cannot have written.
    """
    return _Reader(plain, names, check).graph()


def is_statistic(nodes: Sequence[Node], first_tensor: int, count: int) -> list[bool]:
    """For each tensor: whether a node reads it as running mean or variance, so that it is a buffer."""
    found = [False] * count
    for node in nodes:
        for position in _STATISTICS.get(node.op, ()):
            item = node.args[position] if position < len(node.args) else None
            if isinstance(item, Ref) and 0 <= item.index - first_tensor < count:
                found[item.index - first_tensor] = True
    return found


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1, 1.0 and True apart, also inside of tuples, and in which NaN equals NaN."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    both_nan = left != left and right != right
    return type(left) is type(right) and (bool(left == right) or both_nan)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _exceptions(graph: Graph) -> list[int]:
    usual = is_statistic(graph.nodes, len(graph.inputs), len(graph.tensors))
    return [
        index
        for index, (name, is_buffer) in enumerate(zip(graph.tensors, usual, strict=True))
        if (name in graph.buffers) != is_buffer
    ]


def _plain_argument(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain_argument(item) for item in value]
    if isinstance(value, torch.dtype):
        return _dtype_name(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _plain_tree(tree: Tree) -> Any:
    if isinstance(tree, tuple | list):
        return [type(tree).__name__, *(_plain_tree(item) for item in tree)]
    if isinstance(tree, dict):
        return ["dict", *(part for key, item in tree.items() for part in (key, _plain_tree(item)))]
    return _plain_argument(tree)


def _refuse(what: str, value: object = None) -> NoReturn:
    raise FormatError("E_GRAPH", what, section="graph", value=value)


def _expect_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"{what} must be a list", value)
    return value


def _is_int(value: Any) -> bool:
    return type(value) is int and -_INT64 <= value < _INT64


class _Reader:
    """Reads one plain graph; `kinds` grows by one entry a value, so that references can only point backwards."""

    def __init__(self, plain: Any, names: Sequence[str] | None, check: Check) -> None:
        parts = _expect_list(plain, "a graph")
        if len(parts) not in (5, 6):
            _refuse("a graph has five or six parts", len(parts))
        self._inputs, self._tensors, self._ops, self._nodes, self._outputs = parts[:5]
        self._exceptions: list[Any] | None = parts[5] if len(parts) == 6 else None
        self._names, self._check = names, check
        self._kinds: list[tuple[str, ...]] = []

    def graph(self) -> Graph:
        inputs, signature = self._read_inputs()
        tensors = self._read_tensors()
        table = self._read_ops()
        self._kinds = [("tensor",)] * (len(inputs) + len(tensors))
        nodes = self._read_nodes(table)
        outputs = self._read_tree(self._outputs, MAX_DEPTH)
        buffers = self._read_buffers(nodes, len(inputs), tensors)
        return Graph(inputs, signature, tensors, nodes, outputs, buffers)

    def _read_inputs(self) -> tuple[tuple[str, ...], tuple[Signature, ...]]:
        names: dict[str, None] = {}
        signature = []
        for item in _expect_list(self._inputs, "the inputs"):
            self._check()
            entry = _expect_list(item, "an input")
            if len(entry) not in (2, 3):
                _refuse("an input has two or three entries", entry)
            name, shape, dtype = (*entry, "float32")[:3]
            if not isinstance(name, str) or not name.isidentifier() or name in names or len(name) > 255:
                _refuse("the name of an input must be a new identifier", name)
            if not isinstance(dtype, str) or dtype not in DTYPES or (len(entry) == 3 and dtype == "float32"):
                _refuse("the type of an input is unknown, or written although it is the default", dtype)
            names[name] = None
            signature.append(Signature(self._read_shape(shape), DTYPES[dtype]))
        return tuple(names), tuple(signature)

    def _read_shape(self, shape: Any) -> tuple[int | None, ...]:
        sizes = _expect_list(shape, "the shape of an input")
        if len(sizes) > MAX_RANK:
            _refuse(f"an input has at most {MAX_RANK} dimensions", len(sizes))
        for size in sizes:
            if size is not None and not (type(size) is int and 0 <= size <= MAX_SIZE):
                _refuse("a size of an input must be null or 0 to 2^48", size)
        return tuple(sizes)

    def _read_tensors(self) -> tuple[str, ...]:
        listed = self._tensors
        if self._names is not None:
            if type(listed) is not int or listed != len(self._names):
                _refuse(f"the graph must use {len(self._names)} tensors", listed)
            listed = list(self._names)
        names = _expect_list(listed, "the tensors")
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
            _refuse("the names of tensors must be texts, each once")
        return tuple(names)

    def _read_ops(self) -> tuple[Op, ...]:
        listed = _expect_list(self._ops, "the operators")
        for name in listed:
            if not isinstance(name, str) or not ops.is_allowed(name):
                _refuse("an operator that is not in the list", name)
        if len(set(listed)) != len(listed):
            _refuse("an operator is listed twice")
        return tuple(ops.lookup(name) for name in listed)

    def _read_nodes(self, table: tuple[Op, ...]) -> tuple[Node, ...]:
        listed = _expect_list(self._nodes, "the nodes")
        if len(listed) > MAX_NODES:
            _refuse(f"a graph has at most {MAX_NODES} nodes", len(listed))
        nodes, seen = [], 0
        for item in listed:
            self._check()
            entry = _expect_list(item, "a node")
            number = entry[0] if entry else None
            if type(number) is not int or not 0 <= number <= min(seen, len(table) - 1):
                _refuse("the operator of a node must be one of those listed, in order of first use", number)
            seen = max(seen, number + 1)
            nodes.append(self._read_node(table[number], entry[1:]))
        if seen != len(table):
            _refuse("an operator is listed and not used", table[seen].name)
        return tuple(nodes)

    def _read_node(self, op: Op, values: list[Any]) -> Node:
        if len(values) > len(op.parameters):
            _refuse(f"{op.name} takes at most {len(op.parameters)} arguments", len(values))
        args = tuple(self._read_argument(op, item, value) for item, value in zip(op.parameters, values, strict=False))
        for parameter in op.parameters[len(values) :]:
            if parameter.default is REQUIRED:
                _refuse(f"{op.name} needs {parameter.name}")
        if args and same(args[-1], op.parameters[len(args) - 1].default):
            _refuse(f"{op.name}: the last argument equals its default, so it must be left out")
        if op.name == "getitem":
            self._check_item(args)
        self._kinds.append(op.results)
        return Node(op.name, args)

    def _check_item(self, args: tuple[Any, ...]) -> None:
        kinds, index = self._kinds[args[0].index], args[1]
        if isinstance(index, Ref) or not 0 <= index < (MAX_SIZE if kinds == ("tensors",) else len(kinds)):
            _refuse("an item that is not there", index)

    def _read_argument(self, op: Op, parameter: Parameter, value: Any) -> Any:
        where = f"{op.name}: {parameter.name}"
        if value is None:
            if parameter.optional:
                return None
            _refuse(f"{where} must not be null")
        if not parameter.listed:
            return self._read_item(parameter, value, where)
        if not isinstance(value, list):
            _refuse(f"{where} must be a list", value)
        return tuple(
            None if item is None and parameter.holes else self._read_item(parameter, item, where) for item in value
        )

    def _read_item(self, parameter: Parameter, value: Any, where: str) -> Any:
        if isinstance(value, Ref):
            return self._read_ref(value, parameter, where)
        result = None if parameter.listed and parameter.kind == "tensor" else _constant(parameter.kind, value)
        if result is None:
            _refuse(f"{where} takes {parameter.kind}", value)
        return result

    def _read_ref(self, ref: Ref, parameter: Parameter | None, where: str) -> Ref:
        if not (type(ref.index) is int and 0 <= ref.index < len(self._kinds)):
            _refuse(f"{where}: a reference to a value that does not come before", ref.index)
        kinds = self._kinds[ref.index]
        several = kinds == ("tensors",) or len(kinds) > 1
        found = "tensors" if several else kinds[0]
        if found not in _FITTING[(parameter.kind, parameter.listed) if parameter else ("tensor", False)]:
            _refuse(f"{where} takes {parameter.kind if parameter else 'tensor'}, and the value is {found}", ref.index)
        return ref

    def _read_tree(self, value: Any, depth: int) -> Tree:
        if isinstance(value, Ref):
            return self._read_ref(value, None, "an output")
        if not isinstance(value, list):
            constant = _number(value)
            if constant is None and value is not None:
                _refuse("an output must be a value, a constant or a structure of them", value)
            return constant
        if depth == 0:
            _refuse(f"outputs are nested deeper than {MAX_DEPTH}")
        kind, *items = value or [None]
        if kind == "dict":
            return self._read_dict(items, depth)
        if kind not in ("tuple", "list"):
            _refuse("an output structure must be a tuple, list or dict", kind)
        parts = [self._read_tree(item, depth - 1) for item in items]
        return tuple(parts) if kind == "tuple" else parts

    def _read_dict(self, items: list[Any], depth: int) -> dict[str, Tree]:
        keys = items[::2]
        if len(items) % 2 or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
            _refuse("an output dictionary must be texts, each once, each with a value")
        return {key: self._read_tree(item, depth - 1) for key, item in zip(keys, items[1::2], strict=True)}

    def _read_buffers(self, nodes: tuple[Node, ...], first: int, tensors: tuple[str, ...]) -> frozenset[str]:
        buffers = is_statistic(nodes, first, len(tensors))
        if self._exceptions is not None:
            numbers = _expect_list(self._exceptions, "the exceptions")
            in_range = all(type(item) is int and 0 <= item < len(tensors) for item in numbers)
            if not numbers or not in_range or sorted(set(numbers)) != numbers:
                _refuse("the exceptions must be ascending numbers of tensors", numbers)
            for number in numbers:
                buffers[number] = not buffers[number]
        return frozenset(name for name, is_buffer in zip(tensors, buffers, strict=True) if is_buffer)


def _constant(kind: str, value: Any) -> Any:
    """The constant of this kind that stands in a file as `value`; None when it stands for none."""
    return _CONSTANTS[kind](value) if kind in _CONSTANTS else None


def _float(value: Any) -> float | None:
    if type(value) is str:
        return _NONFINITE.get(value)
    return value if type(value) is float and math.isfinite(value) else None


def _number(value: Any) -> bool | int | float | None:
    return value if type(value) is bool or _is_int(value) else _float(value)


_FITTING: Final[dict[tuple[str, bool], tuple[str, ...]]] = {  # what a reference may be, by kind of argument and listed
    **{(kind, listed): () for kind in ("float", "bool", "str", "dtype") for listed in (False, True)},
    **{("int", listed): ("int",) for listed in (False, True)},
    ("tensor", False): ("tensor", "int"),  # ATen takes a number where a tensor can be broadcast
    ("tensor", True): ("tensor",),
    ("number", False): ("int",),
    ("tensors", False): ("tensors",),
}

_CONSTANTS: Final[dict[str, Callable[[Any], Any]]] = {
    "tensor": _number,
    "int": lambda value: value if _is_int(value) else None,
    "float": _float,
    "bool": lambda value: value if type(value) is bool else None,
    "number": _number,
    "str": lambda value: value if type(value) is str and len(value) <= 1024 else None,
    "dtype": lambda value: DTYPES.get(value) if type(value) is str else None,
}
