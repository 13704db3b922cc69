"""Which modules of a network can go as a whole: those whose call gives a tensor of the form that it was given.

Something that passes its first argument on can stand for such a module: `nn.Identity`, or `PassOn` where the module
takes more arguments or gives a tuple. A block is residual when what it was given reaches its end past all weights, by
an addition (x + f(x), also with a norm or a ReLU behind it): without it f is zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph.cost import products
from featherweight.graph.ir import Graph, Meta, Node, Ref, leaves
from featherweight.graph.layers import PassOn
from featherweight.graph.record import record
from featherweight.graph.trace import evaluating

__all__ = ["Block", "blocks_of", "chain", "held", "without"]

_MOST: Final = 0.9  # share of a block's multiply-adds in blocks inside it from which on it is a chain of them


@dataclass(frozen=True)
class Block:
    """A module that can go: `path`, and all `names` where a module hangs in several places.

    `within` is the path of the smallest block around it, "" for none. `shape` is that of its (first) input and output
    at the sizes of the example; `parameters` counts those that nothing outside uses; `macs` are multiply-adds for the
    example, of all its calls. `plain`: one argument, one tensor; otherwise `length` is that of the tuple it gives.
    """

    path: str
    names: tuple[str, ...]
    within: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    residual: bool
    plain: bool = True
    length: int | None = None

    def stand_in(self) -> nn.Module:
        """A new module that passes on what the block would get, in the form that the block gives."""
        return nn.Identity() if self.plain else PassOn(self.length)


def blocks_of(model: nn.Module, example: Any) -> tuple[Block, ...]:
    """All modules of a network that can go as a whole, in the order in which they are called first.

    Modules without weights (an activation, a norm) are among them, and blocks inside of blocks; `chain` chooses.

    Raises: TraceError when the network's way depends on the values of tensors, or it does not run.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    graph = record(model, inputs, whole=True).graph
    calls = _calls(model, inputs)
    nodes = _by_scope(graph)
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    parts = dict(model.named_modules())
    found: list[Block] = []
    for path, call in calls.items():
        if call.fits and path:
            own = tuple(names[id(parts[path])])
            inside = sorted({number for name in own for number in nodes.get(name, ())})
            around = [block.path for block in found if any(path.startswith(f"{name}.") for name in block.names)]
            found.append(
                Block(
                    path,
                    own,
                    max(around, key=len, default=""),
                    call.shape,
                    _parameters(model, parts[path]),
                    _macs(graph, inside),
                    _is_residual(graph, inside, call.shape),
                    call.plain,
                    call.length,
                )
            )
    return tuple(found)


def chain(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks of a network that follow each other, none inside another: what depth is counted in.

    Residual blocks with multiply-adds, or where there are none all blocks with some. A block is left for those inside
    it when they do (nearly) all of its work and are two or more: the stage of a network is not one block.
    """
    working = [block for block in blocks if block.macs]
    pool = [block for block in working if block.residual] or working
    within: dict[str, list[Block]] = {}
    for block in pool:
        around = [other for other in pool if any(block.path.startswith(f"{name}.") for name in other.names)]
        within.setdefault(max((other.path for other in around), key=len, default=""), []).append(block)

    def opened(block: Block) -> list[Block]:
        parts = within.get(block.path, [])
        if len(parts) < 2 or sum(part.macs for part in parts) < _MOST * block.macs:
            return [block]
        return [each for part in parts for each in opened(part)]

    return tuple(each for block in within.get("", []) for each in opened(block))


@contextmanager
def without(model: nn.Module, blocks: Sequence[Block]) -> Iterator[nn.Module]:
    """The model with these blocks passing on what they get; afterwards they are back."""
    places = [
        (model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], block)
        for block in blocks
        for name in block.names
    ]
    old = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for owner, name, block in places:
            setattr(owner, name, block.stand_in().train(getattr(owner, name).training))
        yield model
    finally:
        for owner, name, module in old:
            setattr(owner, name, module)


def held(model: nn.Module, example: Any, block: Block) -> str:
    """Why the network does not run without this block, "" when it does: code may read attributes of it."""
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    with evaluating(model), torch.no_grad():
        whole = _forms(model, inputs)
        try:
            with without(model, [block]):
                left = _forms(model, inputs)
        except TraceError as error:
            return str(error.value)
    return "" if whole == left else f"it gives {left} without this block, and {whole} with it"


# what is called ------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """What the calls of a module have in common."""

    shape: tuple[int, ...] = ()
    fits: bool = True
    plain: bool = True
    length: int | None = None
    seen: bool = False

    def take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        given = next(iter((*args, *kwargs.values())), None)
        length = len(output) if type(output) is tuple and output else None
        main, *rest = (output,) if length is None else output
        alike = (not self.seen or length == self.length) and all(item is None for item in rest)
        form = _form(given)
        self.fits = self.fits and alike and form is not None and form == _form(main)
        self.plain = self.plain and length is None and len(args) == 1 and not kwargs
        if not self.seen and form is not None:
            self.shape = form.shape
        self.seen, self.length = True, length


def _form(value: Any) -> Meta | None:
    return Meta.of(value) if isinstance(value, Tensor) and value.dim() else None


def _calls(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, _Call]:
    """What each module is given and gives, by path, in the order of the first calls."""
    calls: dict[str, _Call] = {}
    handles = []
    for path, module in model.named_modules():

        def before(_: nn.Module, __: Any, path: str = path) -> None:
            calls.setdefault(path, _Call())

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            calls[path].take(args, kwargs, output)

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        with evaluating(model), torch.no_grad():
            _forms(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _forms(model: nn.Module, inputs: tuple[Any, ...]) -> list[tuple[int, ...]]:
    """The shapes of what the network gives."""
    try:
        output = model(*inputs)
    except Exception as error:  # whatever the model's code raises
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TraceError("the model does not run on the example", where=type(model).__name__, value=told) from error
    return [tuple(item.shape) for item in torch.utils._pytree.tree_leaves(output) if isinstance(item, Tensor)]


# what it costs -------------------------------------------------------------------------------------------------------


def _parameters(model: nn.Module, block: nn.Module) -> int:
    mine = {id(module) for module in block.modules()}
    others = {
        id(parameter)
        for module in model.modules()
        if id(module) not in mine
        for parameter in module.parameters(recurse=False)
    }
    return sum(parameter.numel() for parameter in block.parameters() if id(parameter) not in others)


def _macs(graph: Graph, numbers: Sequence[int]) -> int:
    return sum(factor * prod(sizes) for number in numbers for factor, sizes in _work(graph, number))


def _work(graph: Graph, number: int) -> list[tuple[int, tuple[Any, ...]]]:
    node = graph.node(Ref(number))
    return [] if node is None else products(node, _shape(node.meta), lambda value: _shape_of(graph, value))


def _shape_of(graph: Graph, value: object) -> tuple[int, ...]:
    return _shape(graph.meta(value)) if isinstance(value, Ref) else ()


def _shape(meta: object) -> tuple[int, ...]:
    return meta.shape if isinstance(meta, Meta) else ()


def _by_scope(graph: Graph) -> dict[str, list[int]]:
    """The numbers of the nodes of each module, those of the modules inside it as well."""
    found: dict[str, list[int]] = {}
    for number, node in enumerate(graph.nodes, graph.first_node):
        scope = node.scope
        while scope:
            found.setdefault(scope, []).append(number)
            scope = scope.rpartition(".")[0]
    return found


# what goes around its weights ----------------------------------------------------------------------------------------


def _is_residual(graph: Graph, numbers: Sequence[int], shape: tuple[int, ...]) -> bool:
    """Whether something of this shape comes in and reaches the end past all weights, by an addition."""
    inside, size = set(numbers), prod(shape)
    reached: dict[int, bool] = {}  # by number of a value: whether there was an addition on the way
    for number in numbers:
        node = graph.node(Ref(number))
        if node is None or prod(_shape(node.meta)) != size or _work(graph, number):
            continue
        ways = [way for ref in node.refs() for way in _ways(graph, ref, inside, shape, reached)]
        if ways:
            reached[number] = any(ways) or _adds(node)
    ends = {ref.index for ref in leaves(graph.outputs)}
    for number, node in enumerate(graph.nodes, graph.first_node):
        if number not in inside:
            ends.update(ref.index for ref in node.refs())
    return any(added and number in ends for number, added in reached.items())


def _ways(graph: Graph, ref: Ref, inside: set[int], shape: tuple[int, ...], reached: Mapping[int, bool]) -> list[bool]:
    if ref.index in inside:
        return [reached[ref.index]] if ref.index in reached else []
    comes_in = graph.tensor_name(ref) is None and _shape_of(graph, ref) == shape
    return [False] if comes_in else []


def _adds(node: Node) -> bool:
    return node.op == "add" and len({ref.index for ref in node.refs()}) == 2
