"""From an exported program to a graph: functions only, one form for each thing, nothing that has no effect.

What happens on the way: dead nodes go, and nodes that change nothing in evaluation mode (dropout, full slices, copies);
in-place operators become functions; equal nodes become one; sizes come from the first input that has them. Machine
details (devices, memory formats) are dropped. Lowering a loaded graph again gives the same graph.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from featherweight.errors import TraceError
from featherweight.graph import ops
from featherweight.graph._rewrites import INTEGER_OPS, Call, rewrite
from featherweight.graph.ir import Graph, Meta, Node, NodeMeta, Ref, Signature
from featherweight.graph.ops import REQUIRED
from featherweight.graph.plain import same

_UNKNOWN: Final = -1  # a size that only the values of tensors determine
_INLINED: Final = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


@dataclass(eq=False)
class Value:
    """A value on its way into the graph: an input, a tensor, or the result of an operator."""

    kind: str  # "input", "tensor" or the name of an operator
    args: tuple[Any, ...] = ()
    meta: NodeMeta = None
    scope: str = ""
    name: str = ""


@dataclass(eq=False)
class Unsupported:
    """What an operator outside of the list gives; only an error when an output depends on it."""

    reason: str
    scope: str


@dataclass
class Names:
    """What the exported program does not say: names of inputs, canonical names of tensors, what is a parameter."""

    inputs: Sequence[str]
    canonical: Mapping[str, str]  # each name of a tensor to the one under which it is kept
    parameters: frozenset[str]
    sizes: Mapping[Any, int] = field(default_factory=dict)  # size symbols to their value in the example


def lower(program: ExportedProgram, names: Names) -> Graph:
    """The graph of an exported program.

    Raises: TraceError when an output depends on something that is not in the closed list of operators.
    """
    lowering = _Lowering(program, names)
    return _numbered(lowering, lowering.run())


class _Lowering:
    def __init__(self, program: ExportedProgram, names: Names) -> None:
        self.program, self.names = program, names
        self.inputs: list[Value] = []
        self.signature: list[Signature] = []
        self.tensors: dict[str, Value] = {}
        self.constants: dict[str, Tensor] = {}
        self._symbols: dict[Any, tuple[Value, int]] = {}
        self._made: dict[Any, Value] = {}
        self._strided = any(_needs_strides(node) for node in program.graph.nodes)

    def run(self) -> Any:
        """Lowers all nodes; gives the output tree of Values."""
        values: dict[fx.Node, Any] = {}
        self._placeholders(values)
        flat = self._nodes(self.program.graph, values)
        kinds = [item.kind for item in self.program.graph_signature.output_specs]
        for spec in self.program.graph_signature.output_specs:
            if spec.kind == OutputKind.BUFFER_MUTATION:
                raise TraceError(
                    "the model changes one of its buffers while it runs in evaluation mode",
                    where=str(spec.target),
                    fix="Return the new state as an output and take it as an input.",
                )
        outputs = [value for value, kind in zip(flat, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
        return _tree(self.program.call_spec.out_spec, iter(outputs))

    def _placeholders(self, values: dict[fx.Node, Any]) -> None:
        nodes = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        for node, spec in zip(nodes, self.program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                values[node] = self._input(node)
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                values[node] = self._tensor(node, str(spec.target))
            else:
                values[node] = Unsupported(f"an input of the kind {spec.kind.name}", "")

    def _input(self, node: fx.Node) -> Any:
        example = node.meta.get("val")
        if not isinstance(example, Tensor):
            return example  # a constant: the graph is for this value of it
        value = Value("input", meta=self._meta(example), name=self.names.inputs[len(self.inputs)])
        shape: list[int | None] = []
        size: Any
        for dim, size in enumerate(example.shape):
            known = type(size) is int
            shape.append(size if known else None)
            if not known:
                self._symbols.setdefault(size.node.expr, (value, dim))
        self.inputs.append(value)
        self.signature.append(Signature(tuple(shape), example.dtype))
        return value

    def _tensor(self, node: fx.Node, target: str) -> Value:
        name = self.names.canonical.get(target, target)
        if target in self.program.constants:
            self.constants[name] = self.program.constants[target]
        return self.tensors.setdefault(name, Value("tensor", meta=self._meta(node.meta["val"]), name=name))

    def _nodes(self, graph: fx.Graph, values: dict[fx.Node, Any]) -> list[Any]:
        for node in graph.nodes:
            if node.op == "get_attr":
                values[node] = getattr(graph.owning_module, str(node.target))
            elif node.op == "call_function":
                values[node] = self._call(node, values)
            elif node.op == "output":
                return list(fx.node.map_arg(node.args[0], lambda item: values[item]))
        return []

    def _call(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        size = node.meta.get("val")
        if isinstance(size, torch.SymInt) and size.node.expr in self._symbols:
            return self._size_of(*self._symbols[size.node.expr], size)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda item: values[item])
        broken = next((item for item in _flat((args, kwargs)) if isinstance(item, Unsupported)), None)
        if broken is not None:
            return broken
        if str(node.target) in _INLINED:
            return self._inline(node, args)
        if node.target is operator.getitem:
            return _item(args) or self._emitted("getitem", args, node)
        if node.target in INTEGER_OPS:
            return self._emitted(INTEGER_OPS[node.target], args, node)
        if node.target is torch.ops.aten.sym_numel.default:
            return self._count(args[0], node.args[0])
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
            return self._unsupported(node)
        return self._aten(node, node.target, args, kwargs)

    def _aten(self, node: fx.Node, target: Any, args: Any, kwargs: Any) -> Any:
        given = dict(zip((item.name for item in target._schema.arguments), args, strict=False)) | kwargs
        call = Call(target._opname, target._overloadname, given, node.meta.get("val"), self._strided)
        done = rewrite(call, lambda value: self.meta_of(value), self._is_untrained)
        if not isinstance(done, Call):
            return Unsupported(done.reason, _scope(node)) if hasattr(done, "reason") else done
        name = ops.name_of(done.packet, done.overload)
        if name is None:
            return self._unsupported(node)
        op = ops.lookup(name)
        listed = []
        for parameter in op.parameters:
            value = done.given.get(parameter.name, parameter.default)
            listed.append(_constant(value, parameter.kind))
        if any(item is REQUIRED for item in listed):
            return self._unsupported(node)
        while listed and same(listed[-1], op.parameters[len(listed) - 1].default):
            listed.pop()
        meta = self._meta(node.meta.get("val"))
        if any(isinstance(item, Meta) and _UNKNOWN in item.shape for item in (meta, *_flat(meta))):
            return Unsupported(f"{node.target}, whose result has a size that depends on values,", _scope(node))
        return self.emit(name, tuple(listed), meta, _scope(node))

    def _count(self, value: Any, node: Any) -> Any:
        """The number of elements, as the product of the sizes: so that it has one form."""
        total: Any = 1
        for dim, size in enumerate(node.meta["val"].shape):
            known = self._size(size)
            factor = size if type(size) is int else self._size_of(value, dim, size)
            folded = isinstance(total, int) and isinstance(factor, int)
            if folded or total == 1:
                total = total * factor if folded else factor
            else:
                before = total if isinstance(total, int) else total.meta
                total = self.emit("int_mul", (total, factor), before * known)
        return total

    def _size_of(self, value: Value, dim: int, size: Any) -> Value:
        source, axis = self._symbols.get(size.node.expr, (value, dim))
        return self.emit("sym_size", (source, axis), self._size(size))

    def _inline(self, node: fx.Node, args: Sequence[Any]) -> Any:
        """The body of a block under another gradient or autocast mode, where that changes no result."""
        first = next(place for place, item in enumerate(args) if isinstance(item, fx.GraphModule))
        if str(node.target) == "wrap_with_autocast" and args[2]:
            return Unsupported("a block under autocast", _scope(node))
        inner = args[first].graph
        places = [item for item in inner.nodes if item.op == "placeholder"]
        return self._nodes(inner, dict(zip(places, args[first + 1 :], strict=True)))

    def _emitted(self, name: str, args: Sequence[Any], node: fx.Node) -> Value:
        return self.emit(name, tuple(args), self._meta(node.meta.get("val")), _scope(node))

    def emit(self, kind: str, args: tuple[Any, ...], meta: NodeMeta, scope: str = "") -> Value:
        """The value of an operator; the same one for the same arguments, since operators are functions."""
        key = (kind, _key(args))
        if key not in self._made:
            self._made[key] = Value(kind, args, meta, scope)
        return self._made[key]

    @staticmethod
    def meta_of(value: Any) -> Any:
        """Shape and type of a value; None when it is no tensor."""
        return value.meta if isinstance(value, Value) and isinstance(value.meta, Meta) else None

    def _is_untrained(self, value: Any) -> bool:
        return isinstance(value, Value) and value.kind == "tensor" and value.name not in self.names.parameters

    def _unsupported(self, node: fx.Node) -> Unsupported:
        return Unsupported(f"the operator {node.target}", _scope(node))

    def _meta(self, example: Any) -> NodeMeta:
        if isinstance(example, Tensor):
            return Meta(tuple(self._size(size) for size in example.shape), example.dtype)
        if isinstance(example, tuple | list):
            found = [self._meta(item) for item in example]
            return tuple(item for item in found if isinstance(item, Meta))
        return self._size(example) if isinstance(example, int | torch.SymInt) else None

    def _size(self, size: Any) -> int:
        if type(size) is int:
            return size
        known = size.node.expr.xreplace(dict(self.names.sizes))
        return int(known) if isinstance(known, int) or known.is_number else _UNKNOWN


def _item(args: Any) -> Any:
    """An item of the values of an inlined block; None for an item of an operator's results."""
    return args[0][args[1]] if isinstance(args[0], list | tuple) else None


def _constant(value: Any, kind: str) -> Any:
    """A constant in the one form that a graph has for it."""
    if isinstance(value, list | tuple):
        return tuple(_constant(item, kind) for item in value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _key(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_key(item) for item in value)
    return id(value) if isinstance(value, Value) else (type(value).__name__, repr(value))


def _flat(tree: Any) -> Iterable[Any]:
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from _flat(item)
    else:
        yield tree


def _scope(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _needs_strides(node: fx.Node) -> bool:
    """Whether the operator looks at how its argument lies in memory, so that copies before it count."""
    return str(node.target) in ("aten.view_as_complex.default", "aten.view.dtype", "aten.as_strided.default")


def _tree(spec: Any, flat: Any) -> Any:
    """The outputs in the structure that the model gave them; classes of the user become tuples and dictionaries."""
    if spec.is_leaf():
        return next(flat)
    children = [_tree(child, flat) for child in spec.children()]
    if isinstance(spec.type, type) and issubclass(spec.type, list):
        return children
    keys = spec.context
    if isinstance(spec.type, type) and issubclass(spec.type, dict) and isinstance(keys, list | tuple):
        keys = list(keys[1]) if spec.type.__name__ == "defaultdict" else list(keys)
        if len(keys) == len(children) and all(isinstance(key, str) for key in keys):
            return dict(zip(keys, children, strict=True))
        raise TraceError("an output dictionary has keys that are no texts", value=keys, fix="Use text as keys.")
    return tuple(children)


# numbering -------------------------------------------------------------------------------------------------------


def _numbered(lowering: _Lowering, outputs: Any) -> Graph:
    nodes, tensors = _in_order(_values(outputs), lowering)
    number = {id(value): index for index, value in enumerate([*lowering.inputs, *tensors, *nodes])}

    def referred(item: Any) -> Any:
        return _mapped(item, lambda value: Ref(number[id(value)]))

    names = tuple(value.name for value in tensors)
    return Graph(
        inputs=tuple(value.name for value in lowering.inputs),
        signature=tuple(lowering.signature),
        tensors=names,
        nodes=tuple(Node(value.kind, referred(value.args), value.meta, value.scope) for value in nodes),
        outputs=referred(outputs),
        buffers=frozenset(name for name in names if name not in lowering.names.parameters),
        constants={name: tensor for name, tensor in lowering.constants.items() if name in names},
        sizes=tuple(value.meta if isinstance(value.meta, Meta) else None for value in lowering.inputs),
        tensor_metas=tuple(value.meta if isinstance(value.meta, Meta) else None for value in tensors),
    )


def _in_order(wanted: list[Value], lowering: _Lowering) -> tuple[list[Value], list[Value]]:
    """The nodes that the outputs need, as they were run, sizes just before their first use; tensors by first use."""
    needed = _reachable(wanted)
    nodes: dict[int, Value] = {}
    tensors: dict[int, Value] = {}

    def place(value: Value) -> None:
        if id(value) in nodes or value.kind == "input":
            return
        if value.kind == "tensor":
            tensors.setdefault(id(value), value)
            return
        for item in _values(value.args):
            place(item)
        nodes[id(value)] = value

    for value in lowering._made.values():
        if id(value) in needed and not _is_size(value):
            place(value)
    for value in wanted:
        place(value)
    return list(nodes.values()), list(tensors.values())


def _is_size(value: Value) -> bool:
    return value.kind.startswith("int_") or value.kind == "sym_size"


def _reachable(wanted: Iterable[Value]) -> set[int]:
    found: set[int] = set()
    stack = list(wanted)
    while stack:
        value = stack.pop()
        if id(value) not in found:
            found.add(id(value))
            stack.extend(_values(value.args))
    return found


def _values(tree: Any) -> list[Value]:
    """The Values in a tree, in order.

    Raises: TraceError when one is unsupported.
    """
    found = []
    for item in _flat(tree):
        if isinstance(item, Unsupported):
            raise TraceError(
                f"{item.reason} cannot be kept in a file: it is not in the closed list of pure operators",
                where=item.scope or "model",
                fix="Write it with the usual operators of torch (torch.where and masks for selection) or leave it out; "
                "or compress the weights alone, without an example.",
            )
        if isinstance(item, Value):
            found.append(item)
    return found


def _mapped(tree: Any, change: Callable[[Value], Any]) -> Any:
    if isinstance(tree, Value):
        return change(tree)
    if isinstance(tree, tuple | list):
        return type(tree)(_mapped(item, change) for item in tree)
    if isinstance(tree, dict):
        return {key: _mapped(item, change) for key, item in tree.items()}
    return tree
