"""Two models of one shape of graph, run in step over the same batches, node by node, from where they already were.

A repair that goes from layer to layer must see what each layer reads after all layers before it were changed. Running
both models from the start for every layer costs layers^2 / 2; here they stop before a layer, and go on from the last
place between nodes at which little memory holds all that is still needed of all batches (in a network of inverted
bottlenecks: between two blocks). So all layers together cost about as much as two or three runs of each model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from featherweight.core.examples import Batch
from featherweight.errors import FeatherweightError, TechniqueError
from featherweight.graph.ir import Graph, Meta, Ref
from featherweight.graph.module import tensors_of
from featherweight.graph.program import Program, prepare, tensors_in
from featherweight.graph.record import record

HELD: Final = 2**30
"""Bytes that may be held between two layers, of all batches and both models."""

RECORDED: Final = 2**29
"""Bytes of all values of one model that may be there at once, as they are while a batch is recorded."""

Values = list[Any]


@dataclass(frozen=True)
class Step:
    """What both models had at hand after running one batch up to a node: values by number."""

    batch: int
    before: Values
    after: Values


class Walk:
    """`before` and `after` at the same node. Weights are looked up when a node runs: change them in place."""

    def __init__(self, before: nn.Module, after: nn.Module, batches: Sequence[Batch], device: torch.device) -> None:
        self._models, self._device = (before, after), device
        self._different = 1 if before is after else 2  # a network beside itself runs once
        self._runs: dict[tuple[tuple[int, ...], ...], tuple[_Run, _Run]] = {}
        self._of_batch = [self._run_for(batch) for batch in batches]
        self._held: list[tuple[Values, Values]] = [
            (run.start(batch), other.start(batch)) for batch, (run, other) in zip(batches, self._of_batch, strict=True)
        ]
        self._at = self.graph.first_node

    @classmethod
    def of(cls, before: nn.Module, after: nn.Module, batches: Sequence[Batch], device: torch.device) -> Self:
        """A walk from the start. Batches are taken apart where all values of one would be too much at once.

        Raises: TechniqueError when a graph cannot be run, or the two are no graphs of the same nodes.
        """
        try:
            return cls(before, after, list(_pieces(before, batches)), device)
        except TechniqueError:
            raise
        except FeatherweightError as error:
            what = "the network cannot be run node by node"
            raise TechniqueError(what, where=error.where, value=error.what, fix=error.fix) from error

    @property
    def graph(self) -> Graph:
        """The graph of `after` at the sizes of the first batch; that of `before` has the same nodes."""
        return self._of_batch[0][1].graph

    def to(self, last: int, first: int | None = None, wanted: Sequence[int] = ()) -> Iterator[Step]:
        """Runs every batch up to the node `last`, and gives what is there then: what later nodes read, and `wanted`.

        Everything before node `first` (default: `last`) must have its final weights.
        """
        cut = self._best_cut(last if first is None else first)
        for batch, (runs, held) in enumerate(zip(self._of_batch, self._held, strict=True)):
            values, states = [], []
            for run, state in list(zip(runs, held, strict=True))[: self._different]:
                part = run.values(state)
                run.go(part, self._at, cut, wanted, self._device)
                states.append(run.state(part, cut))
                run.go(part, cut, last + 1, wanted, self._device)
                values.append(part)
            self._held[batch] = states[0], states[-1]
            yield Step(batch, values[0], values[-1])
        self._at = cut

    def _best_cut(self, limit: int) -> int:
        """The last place up to `limit` that can be held, or where least is held."""
        places = range(self._at, max(limit, self._at) + 1)
        size = {place: self._bytes(place) for place in places}
        fitting = [place for place in places if size[place] <= HELD]
        return fitting[-1] if fitting else min(places, key=lambda place: (size[place], -place))

    def _bytes(self, cut: int) -> int:
        return sum(run.bytes_at[cut] for runs in self._of_batch for run in runs)

    def _run_for(self, batch: Batch) -> "tuple[_Run, _Run]":
        shapes = tuple(tuple(part.shape) for part in tensors_in(batch.inputs))
        if shapes not in self._runs:
            runs = [_Run(model, batch) for model in self._models[: self._different]]
            before, after = runs[0], runs[-1]
            if [node.op for node in before.graph.nodes] != [node.op for node in after.graph.nodes]:
                raise TechniqueError("the two networks do not run the same operators", where=type(self).__name__)
            self._runs[shapes] = before, after
        return self._runs[shapes]


def _pieces(model: nn.Module, batches: Sequence[Batch]) -> Iterator[Batch]:
    """The batches, split along their examples into what can be recorded."""
    size = 0
    for batch in batches:
        inputs = batch.inputs
        examples = {len(part) if isinstance(part, Tensor) and part.dim() else 0 for part in inputs}
        if len(examples) != 1 or 0 in examples:
            yield batch  # nobody says where its examples are
            continue
        if not size:  # two examples at least: code that squeezes takes another way for one
            size = max(2, 2 * RECORDED // _Run(model, Batch(tuple(part[:2] for part in inputs), None)).total)
        for parts in zip(*(part.split(size) for part in inputs), strict=True):
            yield Batch(parts, None)


class _Run:
    """One model at the sizes of one batch."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.graph: Graph = record(model, batch.inputs).graph
        self._program: Program = prepare(self.graph)
        tensors = tensors_of(self.graph, model)
        self._tensors: list[Tensor] = [tensors[name].detach() for name in self.graph.tensors]

    @cached_property
    def _last(self) -> dict[int, int]:
        """For each input and result the last node that reads it."""
        first, inputs = self.graph.first_node, len(self.graph.inputs)
        last: dict[int, int] = {}
        for number, node in enumerate(self.graph.nodes, first):
            last.update((ref.index, number) for ref in node.refs() if ref.index < inputs or ref.index >= first)
        return last

    @cached_property
    def bytes_at(self) -> list[int]:
        """For each number of a node the bytes that the nodes from there on read of what was before."""
        sizes = [0] * (self._program.value_count + 1)
        for number, last in self._last.items():
            size = self._size(number)
            for place in range(number + 1, last + 1):
                sizes[place] += size
        return sizes

    @property
    def total(self) -> int:
        """Bytes of all values."""
        return 1 + sum(self._size(number) for number in self._last)

    def _size(self, number: int) -> int:
        metas = self.graph.meta(Ref(number))
        parts = metas if isinstance(metas, tuple) else (metas,)
        return sum(math.prod(part.shape) * part.dtype.itemsize for part in parts if isinstance(part, Meta))

    def start(self, batch: Batch) -> Values:
        return self.state([*tensors_in(batch.inputs)], self.graph.first_node)

    def state(self, values: Values, cut: int) -> Values:
        """Only what the nodes from `cut` on read; numbers of tensors and of what is gone hold None."""
        inputs, first = len(self.graph.inputs), self.graph.first_node
        own = (*range(min(inputs, len(values))), *range(first, min(cut, len(values))))
        kept: Values = [None] * self._program.value_count
        for number in own:
            if self._last.get(number, -1) >= cut:
                kept[number] = values[number]
        return kept

    def values(self, state: Values) -> Values:
        """A state with the tensors of the model in it."""
        values, inputs = [*state], len(self.graph.inputs)
        values[inputs : self.graph.first_node] = self._tensors
        return values

    @torch.no_grad()
    def go(self, values: Values, start: int, end: int, wanted: Sequence[int], device: torch.device) -> None:
        """Runs the nodes from `start` up to `end`, which is left out."""
        first = self.graph.first_node
        for step in self._program.steps[start - first : max(end, start) - first]:
            values[step.number] = step.run(values, device)
            for index in step.done:
                if index >= first and index not in wanted:
                    values[index] = None
