"""A graph made ready to run: one prepared call a node. No source text is generated, nothing from a file is executed.

A node costs about two microseconds on top of its operator.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from featherweight.core.patience import Check, never
from featherweight.graph import ops
from featherweight.graph.ir import Graph, Node, Ref, leaves, map_refs, parts_in
from featherweight.graph.ops import Op

MAX_ELEMENTS: Final = 2**31
"""The largest value of a graph out of a file, in elements, at a batch of 1."""

_Holes = tuple[tuple[int, int], ...]  # (position in a list, number of the value that goes there)


@dataclass(frozen=True)
class Template:
    """A list of arguments with holes for values, some of them inside of lists."""

    constants: tuple[Any, ...]
    holes: _Holes
    lists: tuple[tuple[int, list[Any], _Holes], ...]

    @staticmethod
    def of(args: Sequence[Any]) -> "Template":
        """The template of a node's arguments."""
        constants, holes, lists = [], [], []
        for position, item in enumerate(args):
            if isinstance(item, Ref):
                holes.append((position, item.index))
            elif isinstance(item, tuple) and any(leaves(item)):
                inner = tuple((place, part.index) for place, part in enumerate(item) if isinstance(part, Ref))
                lists.append((position, [None if isinstance(part, Ref) else part for part in item], inner))
            constants.append(list(item) if isinstance(item, tuple) else None if isinstance(item, Ref) else item)
        return Template(tuple(constants), tuple(holes), tuple(lists))

    def fill(self, values: Sequence[Any]) -> list[Any]:
        """The arguments with the values in the holes."""
        args = list(self.constants)
        for position, index in self.holes:
            args[position] = values[index]
        for position, items, holes in self.lists:
            filled = items.copy()
            for place, index in holes:
                filled[place] = values[index]
            args[position] = filled
        return args


@dataclass(frozen=True)
class Step:
    """One prepared call. `done` are the numbers of the values that no later step reads."""

    op: Op
    number: int
    by_place: Template
    names: tuple[str, ...]
    by_name: Template
    fixed: dict[str, Any]
    done: tuple[int, ...]

    def run(self, values: Sequence[Any], device: torch.device) -> Any:
        """The result for the values so far; factories put theirs on `device`."""
        args = self.by_place.fill(values)
        keywords = dict(zip(self.names, self.by_name.fill(values), strict=True)) if self.names else {}
        if self.op.guard is not None:
            self.op.guard(self.op.name, args, keywords)
        if self.op.factory:
            keywords["device"] = device
        return self.op.call(*args, **keywords, **self.fixed)


@dataclass(frozen=True)
class Program:
    """The steps of a graph, in order. Immutable: copies of a model share it."""

    steps: tuple[Step, ...]
    value_count: int

    def __deepcopy__(self, memo: dict[int, Any]) -> "Program":
        return self

    def run(self, given: Sequence[Any], device: torch.device) -> list[Any]:
        """All values, of which only the outputs are sure to be still there; `given` are inputs and tensors."""
        values: list[Any] = [*given, *([None] * (self.value_count - len(given)))]
        for step in self.steps:
            values[step.number] = step.run(values, device)
            for index in step.done:
                values[index] = None
        return values


def prepare(graph: Graph, check: Check = never) -> Program:
    """The program of a graph; `check` is called at each node."""
    last = _last_use(graph)
    steps = []
    for number, node in enumerate(graph.nodes, graph.first_node):
        check()
        read = {ref.index for ref in node.refs()} | {number}
        done = tuple(sorted(index for index in read if last.get(index, number) == number))
        steps.append(_step(node, number, done))
    return Program(tuple(steps), graph.first_node + len(graph.nodes))


def _last_use(graph: Graph) -> dict[int, float]:
    last: dict[int, float] = {}
    for number, node in enumerate(graph.nodes, graph.first_node):
        last.update((ref.index, number) for ref in node.refs())
    last.update((ref.index, math.inf) for ref in leaves(graph.outputs))
    return last


def _step(node: Node, number: int, done: tuple[int, ...]) -> Step:
    op = ops.lookup(node.op)
    arguments = op.arguments(node.args)
    fixed = {name: value(arguments) if callable(value) else value for name, value in op.fixed}
    by_place = [value for name, value in arguments.items() if name not in op.keywords]
    return Step(
        op=op,
        number=number,
        by_place=Template.of(by_place),
        names=op.keywords,
        by_name=Template.of([arguments[name] for name in op.keywords]),
        fixed=fixed,
        done=done,
    )


def values_of(tree: Any, values: Sequence[Any]) -> Any:
    """An output tree with the values in place of the Refs."""
    return map_refs(tree, lambda ref: values[ref.index])


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in order."""
    return parts_in(tree, torch.Tensor)
