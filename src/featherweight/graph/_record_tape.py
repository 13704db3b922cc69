"""What a recording writes down: values, the operators that make them, and at the end the graph with its origins."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor

from featherweight.errors import UsageError
from featherweight.graph import ops
from featherweight.graph._record_calls import Called, foreign_arguments, foreign_name, listed_arguments, lookup
from featherweight.graph._record_named import AttributeValues
from featherweight.graph._record_places import Found, Pending, placed
from featherweight.graph._rewrites import Call, rewrite
from featherweight.graph.ir import Graph, Meta, Node, NodeMeta, Ref, Signature, parts_in
from featherweight.graph.origins import Attribute, Expr, Place, Size, evaluate, sizes_in, with_sizes

_COPIES: Final = ("contiguous", "clone")  # nothing but operators that look at memory can tell
_STRIDED: Final = ("view_as_complex", "view.dtype")
_SERIALS: Final = itertools.count()  # of all recordings, so that sizes kept from an earlier one are known as such


@dataclass(eq=False, slots=True)
class Value:
    """A value of the recording: an input, a tensor, or the result of an operator.

    `serial` stands in Size expressions until the graph has its numbers. `given`: whether it depends on an input;
    `learned`: whether on a floating-point input or a parameter.
    """

    kind: str  # "input", "tensor" or the name of an operator
    args: tuple[Any, ...] = ()
    meta: NodeMeta = None
    scope: str = ""
    name: str = ""
    given: bool = False
    learned: bool = False
    found: Found = field(default_factory=dict)
    reads: tuple["Value", ...] = ()
    serial: int = field(default_factory=lambda: next(_SERIALS))


class Tape:
    """The values in the order in which they were made."""

    def __init__(self, parameters: frozenset[str]) -> None:
        self.parameters = parameters
        self.inputs: list[Value] = []
        self.tensors: dict[str, Value] = {}
        self.constants: dict[str, Tensor] = {}
        self.nodes: list[Value] = []
        self._lifted = itertools.count()

    def input(self, tensor: Tensor, name: str) -> Value:
        """A new input."""
        value = Value("input", meta=Meta.of(tensor), name=name, given=True, learned=tensor.is_floating_point())
        self.inputs.append(value)
        return value

    def tensor(self, tensor: Tensor, name: str) -> Value:
        """The parameter or buffer of this name."""
        if name not in self.tensors:
            self.tensors[name] = Value("tensor", meta=Meta.of(tensor), name=name, learned=name in self.parameters)
        return self.tensors[name]

    def constant(self, tensor: Tensor, taken: Mapping[str, Any]) -> Value:
        """A tensor that no state dict has, under a name that is not in `taken`."""
        name = next(name for name in (f"lifted_tensor_{number}" for number in self._lifted) if name not in taken)
        self.constants[name] = tensor
        return self.tensor(tensor, name)

    def emit(self, kind: str, args: tuple[Any, ...], meta: NodeMeta, scope: str, found: Found | None = None) -> Value:
        """The result of an operator."""
        reads = tuple(parts_in(args, Value))
        value = Value(kind, args, meta, scope, found=found or {}, reads=reads)
        value.given, value.learned = any(item.given for item in reads), any(item.learned for item in reads)
        self.nodes.append(value)
        return value

    def operate(self, known: Called, given: dict[str, Any], example: Any, scope: str, pending: Pending | None) -> Any:
        """The Value of a call, or the list of them, in its one form; `given` holds Values in place of tensors."""
        call: Any = None
        if known.packet == "detach" and _is_made(given["self"]):
            return given["self"]
        found = placed(known, given, pending) if pending is not None else {}
        if known.namespace == "aten":
            given_call = Call(known.packet, known.overload, given, example, strided=True, sized=True)
            call = rewrite(given_call, _meta_of, self._is_untrained)
        if isinstance(call, Value):
            return call
        name, args = self._named(known, given, call)
        if name == "reshape":
            found = {("shape" if key == "size" else key, part): expr for (key, part), expr in found.items()}
        if isinstance(example, tuple | list):
            metas = tuple(Meta.of(item) for item in example if isinstance(item, Tensor))
            whole = self.emit(name, args, metas, scope, found)
            return [self.emit("getitem", (whole, index), meta, scope) for index, meta in enumerate(metas)]
        return self.emit(name, args, Meta.of(example) if isinstance(example, Tensor) else None, scope, found)

    def _named(self, known: Called, given: dict[str, Any], call: Any) -> tuple[str, tuple[Any, ...]]:
        if isinstance(call, Call):
            name = ops.name_of(call.packet, call.overload)
            args = None if name is None else listed_arguments(ops.lookup(name), call.given)
            if name is not None and args is not None:
                return name, args
        name = foreign_name(known)
        return name, foreign_arguments(lookup(name), given)

    def _is_untrained(self, value: Any) -> bool:
        return isinstance(value, Value) and value.kind == "tensor" and value.name not in self.parameters


def _is_made(value: Any) -> bool:
    """Whether a factory made a tensor: it is detached at once, to no effect."""
    return isinstance(value, Value) and not value.reads and value.kind not in ("input", "tensor")


def _meta_of(value: Any) -> Meta | None:
    return value.meta if isinstance(value, Value) and isinstance(value.meta, Meta) else None


# from the tape to the graph -------------------------------------------------------------------------------------


def finished(
    tape: Tape, outputs: Any, attributes: AttributeValues, whole: bool = False
) -> tuple[Graph, dict[Place, Expr], Callable[[Expr], Expr | None]]:
    """The graph of what the outputs need (`whole`: of all that ran), and the origins of its integers.

    The function that comes third puts an expression into the graph's numbers; None for one that is not of this run.
    """
    shortcuts = _shortcuts(tape)
    by_serial = {value.serial: value for value in (*tape.inputs, *tape.tensors.values(), *tape.nodes)}
    wanted = parts_in(outputs, Value)
    needed = _needed([*wanted, *(tape.nodes if whole else ())], by_serial, shortcuts)
    nodes = [value for value in tape.nodes if id(value) in needed]
    tensors = _by_first_use(nodes, needed, outputs, tape, shortcuts)
    numbered = [*tape.inputs, *tensors, *nodes]
    number = {id(value): index for index, value in enumerate(numbered)}

    def referred(tree: Any) -> Any:
        if isinstance(tree, Value):
            return Ref(number[id(_real(tree, shortcuts))])
        if isinstance(tree, tuple | list):
            return type(tree)(referred(item) for item in tree)
        return {key: referred(item) for key, item in tree.items()} if isinstance(tree, dict) else tree

    names = tuple(value.name for value in tensors)
    sizes = tuple(_meta_of(value) for value in tape.inputs)
    graph = Graph(
        inputs=tuple(value.name for value in tape.inputs),
        signature=tuple(Signature(meta.shape, meta.dtype) for meta in sizes if meta is not None),
        tensors=names,
        nodes=tuple(Node(value.kind, referred(value.args), value.meta, value.scope) for value in nodes),
        outputs=referred(outputs),
        buffers=frozenset(name for name in names if name not in tape.parameters),
        constants={name: tensor for name, tensor in tape.constants.items() if name in names},
        sizes=sizes,
        tensor_metas=tuple(_meta_of(value) for value in tensors),
        notes=("all sizes are those of the example",),
    )
    finals = {serial: number.get(id(_real(value, shortcuts)), -1) for serial, value in by_serial.items()}
    known = _Expressions(graph, finals, attributes)
    return graph, _origins(graph, nodes, known), known.numbered


def _shortcuts(tape: Tape) -> dict[int, Value]:
    """The copies that nothing can tell from what they copy."""
    if any(value.kind in _STRIDED for value in tape.nodes):
        return {}
    return {id(value): value.args[0] for value in tape.nodes if value.kind in _COPIES}


def _real(value: Value, shortcuts: Mapping[int, Value]) -> Value:
    while id(value) in shortcuts:
        value = shortcuts[id(value)]
    return value


def _needed(wanted: Iterable[Value], by_serial: Mapping[int, Value], shortcuts: Mapping[int, Value]) -> set[int]:
    """What the outputs are computed from, and the values whose sizes arguments are computed from."""
    needed: set[int] = set()
    stack = list(wanted)
    while stack:
        value = _real(stack.pop(), shortcuts)
        if id(value) in needed:
            continue
        needed.add(id(value))
        stack.extend(value.reads)
        for expr in value.found.values():
            stack.extend(by_serial[size.value] for size in sizes_in(expr) if size.value in by_serial)
    return needed


def _by_first_use(
    nodes: Iterable[Value], needed: set[int], outputs: Any, tape: Tape, shortcuts: Mapping[int, Value]
) -> list[Value]:
    used = (item for value in nodes for item in value.reads)
    read = (_real(item, shortcuts) for item in (*used, *parts_in(outputs, Value)))
    first = dict.fromkeys(value for value in read if value.kind == "tensor")
    return [*first, *(value for value in tape.tensors.values() if id(value) in needed and value not in first)]


@dataclass(frozen=True)
class _Expressions:
    """Expressions in a graph's numbers; `finals` are those by serial, -1 for what is not in the graph."""

    graph: Graph
    finals: Mapping[int, int]
    attributes: AttributeValues

    def numbered(self, expr: Expr) -> Expr | None:
        """The expression; None where it came from another model or an earlier run, through a cache of the code."""
        found = with_sizes(expr, lambda size: Size(self.finals.get(size.value, -1), size.dim))
        return None if self.value(found) is None else found

    def value(self, expr: Expr) -> int | None:
        """What it is at the sizes of the example."""
        try:
            return evaluate(expr, self._lookup)
        except (KeyError, UsageError):
            return None

    def _lookup(self, leaf: Attribute | Size) -> int:
        if isinstance(leaf, Attribute):
            return self.attributes[leaf]
        meta = self.graph.meta(Ref(leaf.value)) if leaf.value >= 0 else None
        if not isinstance(meta, Meta):
            raise UsageError("a size of a value that is not in the graph", value=leaf)
        return meta.shape[leaf.dim]


def _origins(graph: Graph, nodes: Iterable[Value], known: _Expressions) -> dict[Place, Expr]:
    """The origins in the graph's numbers; those that do not give the integer they stand for are left out."""
    origins: dict[Place, Expr] = {}
    for place, (value, node) in enumerate(zip(nodes, graph.nodes, strict=True), graph.first_node):
        arguments = node.arguments() if value.found else {}
        for (parameter, position), made in value.found.items():
            expr = known.numbered(made)
            here = arguments.get(parameter)
            here = here[position] if position is not None and isinstance(here, tuple) else here
            if expr is not None and type(here) is int and known.value(expr) == here:
                origins[Place(place, parameter, position)] = expr
    return origins
