"""Which parts of a network can go as a whole: modules that give what they get a form of, and branches that it adds.

A module whose call gives a tensor of the form that it was given can go: `nn.Identity` stands for it, or `PassOn` where
it takes more arguments or gives a tuple. It is residual when what it was given reaches its end past all weights, by an
addition (x + f(x), also with a norm or a ReLU behind it): without it f is zero. A branch that code adds by itself
(`x = x + self.mlp(self.norm(x))`) goes module by module: zeros stand for the last one (graph/_branches.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any, Final

import torch
from torch import nn

from featherweight.errors import TraceError
from featherweight.graph._block_calls import arguments_of, calls_of, outputs_of, placed
from featherweight.graph._branches import Branch, branches_of
from featherweight.graph._stand_ins import StandIn, StandIns, Trials, choices
from featherweight.graph.cost import products
from featherweight.graph.ir import Graph, Meta, Node, Ref, leaves
from featherweight.graph.record import record
from featherweight.graph.trace import evaluating

__all__ = ["Block", "StandIn", "blocks_of", "chain", "held", "without"]

_MOST: Final = 0.9  # share of a block's multiply-adds in blocks inside it from which on it is a chain of them


@dataclass(frozen=True)
class Block:
    """What can go: a module `path`, or the branch that ends in it. `names`: all of them where it hangs several times.

    `within` is the path of the smallest block around it, "" for none. `shape` is that of its (first) input at the sizes
    of the example; `parameters` counts those that nothing outside uses; `macs` are multiply-adds for the example, of
    all calls. `parts` are the modules that go, and what stands for each: the module alone, or all of the branch.
    """

    path: str
    names: tuple[str, ...]
    within: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    residual: bool
    parts: tuple[tuple[str, StandIn], ...]

    @property
    def is_branch(self) -> bool:
        """Whether zeros stand for it, so that what it is added to is left."""
        return any(path == self.path and part.shape is not None for path, part in self.parts)

    def stand_ins(self) -> dict[str, nn.Module]:
        """By path, new modules for the places of those that go."""
        return {path: part.module() for path, part in self.parts}

    def holds(self, path: str) -> bool:
        """Whether a module goes with the block."""
        return any(path == part or path.startswith(f"{part}.") for part, _ in self.parts)

    def covers(self, other: "Block") -> bool:
        """Whether all of another block goes with this one."""
        return other is not self and all(self.holds(part) for part, _ in other.parts)

    def meets(self, other: "Block") -> bool:
        """Whether a module goes with either of the two."""
        return any(self.holds(part) for part, _ in other.parts) or any(other.holds(part) for part, _ in self.parts)


def blocks_of(model: nn.Module, example: Any) -> tuple[Block, ...]:
    """All that can go as a whole, in the order in which it is called first (a branch: its last module).

    Modules without weights (an activation, a norm) are among them, and blocks inside of blocks; `chain` chooses. Each
    branch is tried: what the network computes without it is compared with what it computes with zeros.

    Raises: TraceError when the network's way depends on the values of tensors, or it does not run.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    graph = record(model, inputs, whole=True).graph
    look = _Look(model, graph, inputs)
    found = {path: look.passing(path) for path, calls in look.calls.items() if calls.fits and path}
    branches = branches_of(graph, [path for path in look.calls if path], lambda number: bool(_work(graph, number)))
    found |= {block.path: block for block in look.branches(branches)}
    return tuple(_nested([found[path] for path in look.calls if path in found]))


def _nested(blocks: Sequence[Block]) -> list[Block]:
    """The blocks, each with the smallest one around it."""
    around = [_nearest(block, blocks) for block in blocks]
    return [
        block if other is None else replace(block, within=other.path)
        for block, other in zip(blocks, around, strict=True)
    ]


def _nearest(block: Block, blocks: Sequence[Block]) -> Block | None:
    """The smallest of the blocks that cover this one."""
    around = [other for other in blocks if other.covers(block)]
    return min(around, key=lambda other: sum(other.covers(third) for third in around), default=None)


def chain(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks of a network that follow each other, none inside another: what depth is counted in.

    Residual blocks with multiply-adds, or where there are none all blocks with some. A block is left for those inside
    it when they do (nearly) all of its work and are two or more: the stage of a network is not one block, and a layer
    of a transformer that adds attention and then an MLP is two.
    """
    working = [block for block in blocks if block.macs]
    pool = [block for block in working if block.residual] or working
    within: dict[str, list[Block]] = {}
    for block in pool:
        nearest = _nearest(block, pool)
        within.setdefault("" if nearest is None else nearest.path, []).append(block)

    def opened(block: Block) -> list[Block]:
        parts = within.get(block.path, [])
        inside = [each for part in parts for each in opened(part)]
        return [block] if len(inside) < 2 or sum(part.macs for part in parts) < _MOST * block.macs else inside

    return tuple(each for block in within.get("", []) for each in opened(block))


@contextmanager
def without(model: nn.Module, blocks: Sequence[Block]) -> Iterator[nn.Module]:
    """The model with what stands for these blocks in their places; afterwards they are back."""
    with placed(model, {path: module for block in blocks for path, module in block.stand_ins().items()}):
        yield model


def held(model: nn.Module, example: Any, block: Block) -> str:
    """Why the network does not run without this block, "" when it does: code may read attributes of it."""
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    if block.is_branch:
        right = Trials(model, inputs).agree([block.path], block.stand_ins())
        return "" if right else "the code around it does not run without it, or computes something else"
    with evaluating(model), torch.no_grad():
        whole = _forms(model, inputs)
        try:
            with without(model, [block]):
                left = _forms(model, inputs)
        except TraceError as error:
            return str(error.value)
    return "" if whole == left else f"it gives {left} without this block, and {whole} with it"


def _forms(model: nn.Module, inputs: tuple[Any, ...]) -> list[tuple[int, ...]]:
    return [tuple(item.shape) for item in outputs_of(model, inputs)]


# what is found -------------------------------------------------------------------------------------------------------


class _Look:
    """A model, its graph and the calls of its modules."""

    def __init__(self, model: nn.Module, graph: Graph, inputs: tuple[Any, ...]) -> None:
        self.calls = calls_of(model, inputs)
        self._model, self._graph, self._inputs = model, graph, inputs
        self._nodes = _by_scope(graph)
        self._modules = dict(model.named_modules())
        self._names: dict[int, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self._names.setdefault(id(module), []).append(name)

    def passing(self, path: str) -> Block:
        """The module as a block that passes on what it gets."""
        calls = self.calls[path]
        stand_in = StandIn(None, calls.length, calls.plain)
        return self._block(path, {path: stand_in}, self._is_residual(path))

    def _is_residual(self, path: str) -> bool:
        inside, shape = self._inside([path]), self.calls[path].shape
        streams = streams_of(self._graph, inside, shape)
        if len(streams) < 2 and len(entries_of(self._graph, inside, shape)) < 2:
            return bool(streams)
        if not streams:
            return False
        # several things of one shape come in, and only the first argument is passed on: look at the module alone
        args, kwargs = arguments_of(self._model, path, self._inputs)
        alone = record(
            _Bound(self._modules[path], len(args), tuple(kwargs)), (*args, *kwargs.values()), whole=True
        ).graph
        return 0 in streams_of(alone, range(alone.first_node, alone.first_node + len(alone.nodes)), shape)

    def branches(self, branches: Sequence[Branch]) -> list[Block]:
        """The branches that save something and for which something can stand; those of one kind are tried together."""
        trials = Trials(self._model, self._inputs)
        groups: dict[Any, list[list[Block]]] = {}
        for branch in branches:
            options = [self._block(branch.tail, parts, residual=True) for parts in choices(branch, self.calls)]
            if options and (options[0].parameters or options[0].macs):
                kind = type(self._modules[branch.tail]), len(branch.dead), len(options)
                free = (place for place in count() if not _met(options[0], groups.get((kind, place), ())))
                groups.setdefault((kind, next(free)), []).append(options)
        return [block for group in groups.values() for block in _tried(group, trials)]

    def _block(self, path: str, parts: StandIns, residual: bool) -> Block:
        every = tuple((name, part) for own, part in parts.items() for name in self._all_names(own))
        shape = self.calls[path].shape
        macs = self._macs(self._inside(list(parts)))
        return Block(path, self._all_names(path), "", shape, self._parameters(list(parts)), macs, residual, every)

    def _all_names(self, path: str) -> tuple[str, ...]:
        return tuple(self._names[id(self._modules[path])])

    def _inside(self, paths: Sequence[str]) -> list[int]:
        names = {name for path in paths for name in self._all_names(path)}
        return sorted({number for name in names for number in self._nodes.get(name, ())})

    def _macs(self, numbers: Sequence[int]) -> int:
        return sum(factor * prod(sizes) for number in numbers for factor, sizes in _work(self._graph, number))

    def _parameters(self, paths: Sequence[str]) -> int:
        """How many numbers the parameters of these modules hold that no module outside of them uses."""
        inside = {id(module): module for path in paths for module in self._modules[path].modules()}
        outside = (module for module in self._model.modules() if id(module) not in inside)
        used = {id(parameter) for module in outside for parameter in module.parameters(recurse=False)}
        own = {id(item): item for module in inside.values() for item in module.parameters(recurse=False)}
        return sum(parameter.numel() for number, parameter in own.items() if number not in used)


class _Bound(nn.Module):
    """A module that is given all its arguments by place, `count` of them first and then those of `names`."""

    def __init__(self, module: nn.Module, count: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.count, self.names = module, count, names

    def forward(self, *args: Any) -> Any:
        """What the module gives."""
        return self.module(*args[: self.count], **dict(zip(self.names, args[self.count :], strict=True)))


def _met(block: Block, group: Sequence[Sequence[Block]]) -> bool:
    return any(block.meets(options[0]) for options in group)


def _tried(group: Sequence[Sequence[Block]], trials: Trials) -> list[Block]:
    """Of each of several branches the first option that serves, if any; all are tried at once, then halves of them."""
    for option in zip(*group, strict=True):
        modules = {path: module for block in option for path, module in block.stand_ins().items()}
        if trials.agree([block.path for block in option], modules):
            return list(option)
    half = len(group) // 2
    return [*_tried(group[:half], trials), *_tried(group[half:], trials)] if half else []


# what it costs -------------------------------------------------------------------------------------------------------


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


def streams_of(graph: Graph, numbers: Sequence[int], shape: tuple[int, ...]) -> set[int]:
    """The values of this shape that come into these nodes and reach their end past all weights, by an addition."""
    inside, size = set(numbers), prod(shape)
    reached: dict[int, dict[int, bool]] = {}  # by number of a value: from where, and whether by an addition
    for number in numbers:
        node = graph.node(Ref(number))
        if node is None or prod(_shape(node.meta)) != size or _work(graph, number):
            continue
        ways: dict[int, bool] = {}
        for ref in node.refs():
            known = (
                reached.get(ref.index, {}) if ref.index in inside else dict.fromkeys(_entry(graph, ref, shape), False)
            )
            for start, added in known.items():
                ways[start] = ways.get(start, False) or added or _adds(node)
        if ways:
            reached[number] = ways
    ends = {ref.index for ref in leaves(graph.outputs)}
    for number, node in enumerate(graph.nodes, graph.first_node):
        if number not in inside:
            ends.update(ref.index for ref in node.refs())
    return {start for number, ways in reached.items() if number in ends for start, added in ways.items() if added}


def entries_of(graph: Graph, numbers: Sequence[int], shape: tuple[int, ...]) -> set[int]:
    """The values of this shape that come into these nodes."""
    inside = set(numbers)
    refs = (ref for number in numbers for ref in graph.nodes[number - graph.first_node].refs())
    return {index for ref in refs if ref.index not in inside for index in _entry(graph, ref, shape)}


def _entry(graph: Graph, ref: Ref, shape: tuple[int, ...]) -> list[int]:
    return [ref.index] if graph.tensor_name(ref) is None and _shape_of(graph, ref) == shape else []


def _adds(node: Node) -> bool:
    return node.op == "add" and len({ref.index for ref in node.refs()}) == 2
