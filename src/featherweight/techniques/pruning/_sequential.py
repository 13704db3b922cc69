"""Channels chosen group after group, from shallow to deep, by what they give to the layers that read them.

He et al. 2017 (ICCV, "Channel pruning for accelerating very deep neural networks") and Luo et al. 2017 (ICCV,
"ThiNet"): when the turn of a group comes, the layers before it were pruned and fitted already, so the choice sees the
inputs as they will be, and is judged by the outputs of the whole network. All this goes on in a copy of full size in
which the columns of channels that went are zero; at the end they are taken out.
"""

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.cells import Ids
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._budget import Budget
from featherweight.techniques.pruning._layers import Fitted, fitted_layers
from featherweight.techniques.pruning._readers import Parts, parts_of, readers_of, together
from featherweight.techniques.pruning._refit import Look, Seen, fit, tensors_by_name, visit
from featherweight.techniques.pruning._repair import EXAMPLES, Repair, repaired
from featherweight.techniques.pruning._structured import Structured, look, record_choice, take_out, total
from featherweight.techniques.pruning._walk import Walk

_ACROSS = {"layer_norm", "group_norm", "rms_norm", "mean", "var", "scaled_dot_product_attention"}


@dataclass(frozen=True, kw_only=True)
class Sequential(Structured):
    """How many go from each group follows from the budget; which go is chosen in the order of the network.

    With scope "global" groups compete by the error that a channel's loss does to what reads it, for each unit of
    `of` that is saved.
    """

    repair: Repair = "least_squares"  # of each layer when its turn comes; "statistics", "none": layers keep weights
    shallow: float = 1.0  # scope "local": the share that the first group loses, over that of the last, > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.shallow <= 100:
            raise ConfigError("out of range", where="shallow", value=self.shallow, fix="Use 1.5, or 1 for all alike.")

    @abstractmethod
    def select(self, parts: Parts, keep: int) -> Tensor:
        """The places of the `keep` channels that stay, int64, ascending."""

    def rescaled(self, parts: Parts, kept: Tensor) -> Tensor | None:
        """Factors for the weights that read the kept channels, float64, shape of `kept`; None: they stay."""
        return None

    def prepared(self, model: nn.Module, context: Context) -> nn.Module:
        """The network that is pruned."""
        return model

    @cached_property
    def budget(self) -> Budget:
        """Groups are ranked by numbers that are made to compete as they are, where not all lose the same share."""
        plain = self.scope == "local" and self.shallow == 1.0
        usual = Structured.budget.func(self)  # type: ignore[attr-defined]  # what a cached property wraps
        found: Budget = usual if plain else dataclasses.replace(usual, scope="global", relative=False)
        return found

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """Numbers that say how many go from each group, not which."""
        if self.scope == "global":
            costs = Pass(self, model, model, known, groups, context).costs()
            return [values / _saved(known, group, self.of) for group, values in zip(groups, costs, strict=True)]
        depth = [place / max(len(groups) - 1, 1) for place in range(len(groups))]
        paces = [self.shallow ** (1 - part) for part in depth]
        return [
            torch.arange(1, len(group) + 1, dtype=torch.float64) / len(group) / pace
            for group, pace in zip(groups, paces, strict=True)
        ]

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply."""
        model = self.prepared(model, context)
        known = look(model, context, self.keep)
        groups = self.prunable(model, known)
        if self.ratio == 0:
            return model
        scores = self.scores(model, known, groups, context)
        planned = self.choice(model, known, groups, scores, context)
        changing = copy.deepcopy(model)
        run = Pass(self, model, changing, known, groups, context)
        going = [int(np.isin(group.atoms, planned.atoms).sum()) for group in groups]
        kept = run.choose([len(group) - count for group, count in zip(groups, going, strict=True)])
        final = [_first(values, keep) for values, keep in zip(scores, kept, strict=True)]
        chosen = self.choice(model, known, groups, final, context)
        changed = take_out(changing, known, chosen)
        if self.repair == "statistics" or (
            self.repair == "least_squares" and not run.exact(groups, kept, chosen.atoms)
        ):
            repaired(self.repair, model, changed, known, chosen.atoms, context)
        self.train(changed, context, self.epochs)
        record_choice(context, known, groups, chosen)
        return changed


class Pass:
    """One way through the network: `before` stays, `after` is a copy of it that changes."""

    def __init__(
        self,
        technique: Sequential,
        before: nn.Module,
        after: nn.Module,
        known: Anatomy,
        groups: Sequence[Group],
        context: Context,
    ) -> None:
        self._technique, self._known, self._groups, self._context = technique, known, groups, context
        batches = list(context.batches("calibration", EXAMPLES))
        self._examples = sum(len(batch.inputs[0]) for batch in batches)
        self._whole, self._tensors = tensors_by_name(before), tensors_by_name(after)
        self._layers: list[Fitted] = []
        self._walk: Walk | None = None
        try:
            self._walk = Walk.of(before, after, batches, context.device)
            self._layers = fitted_layers(self._walk.graph, after)
        except TechniqueError as error:
            context.record("repair", f"nothing could be measured: {error}")
        by_weight = {layer.weight: layer for layer in self._layers}
        self._readers = [readers_of(group, by_weight, self._tensors) for group in groups]
        self._live: dict[str, Tensor] = {}

    def costs(self) -> list[Tensor]:
        """For each group and channel the share of what reads it that is lost when it goes: nothing is changed."""
        found: list[Tensor | None] = [None] * len(self._groups)
        for _, numbers in self._turns():
            for number, parts, _ in self._parts(numbers):
                found[number] = parts.costs().cpu()
        typical = torch.cat([torch.ones(1, dtype=torch.float64), *(item for item in found if item is not None)])
        return [
            _ranked(self._sizes(group), typical) if item is None else item
            for group, item in zip(self._groups, found, strict=True)
        ]

    def choose(self, keep: Sequence[int]) -> list[Tensor]:
        """The places that stay in each group, of as many channels; the copy then lives without the others."""
        kept: list[Tensor | None] = [None] * len(self._groups)
        started = False
        for layer, numbers in self._turns():
            going = [number for number in numbers if keep[number] < len(self._groups[number])]
            seen: Seen | None = None
            for number, parts, first in self._parts(going):
                places = self._technique.select(parts, keep[number])
                self._zero(number, places, self._technique.rescaled(parts, places))
                kept[number], seen = places.cpu(), first
            started = started or bool(going)
            if started and self._technique.repair == "least_squares":
                self._fit(layer, seen if len(going) == 1 else None)
        for number, count in enumerate(keep):
            if kept[number] is None:
                sizes = self._sizes(self._groups[number])
                kept[number] = sizes.argsort(descending=True, stable=True)[:count].sort().values
        return [places for places in kept if places is not None]

    def exact(self, groups: Sequence[Group], kept: Sequence[Tensor], atoms: Ids) -> bool:
        """Whether the copy was fitted for just what goes, and computes what the smaller network will."""
        graph = self._known.structure.flow.graph
        stays = [torch.from_numpy(np.flatnonzero(~np.isin(group.atoms, atoms))) for group in groups]
        same = all(torch.equal(a, b) for a, b in zip(stays, kept, strict=True))
        whole = all(
            readers or len(places) == len(group)
            for readers, places, group in zip(self._readers, kept, groups, strict=True)
        )
        return same and whole and self._walk is not None and not any(node.op in _ACROSS for node in graph.nodes)

    def _turns(self) -> list[tuple[Fitted, list[int]]]:
        """Each layer with the numbers of the groups that it is the first to read."""
        first = [readers[0].layer.node if readers else -1 for readers in self._readers]
        return [(layer, [number for number, node in enumerate(first) if node == layer.node]) for layer in self._layers]

    def _parts(self, numbers: Sequence[int]) -> "list[tuple[int, Parts, Seen | None]]":
        """What the channels of each group give to its readers; and what the first reader saw."""
        found = []
        for number in numbers:
            readers = self._readers[number]
            looks = [self._look(reader.layer) for reader in readers]
            seen = visit(self._on(), looks)
            parts = [
                parts_of(reader, one, what)
                for reader, one, what in zip(readers, looks, seen, strict=True)
                if what is not None
            ]
            if parts:
                found.append((number, together(parts), seen[0]))
        return found

    def _look(self, layer: Fitted) -> Look:
        generator = self._context.generator("sequential", layer.weight)
        return Look(layer, self._whole, self._tensors, None, self._examples, generator)

    def _fit(self, layer: Fitted, seen: Seen | None) -> None:
        one = self._look(layer)
        seen = seen or visit(self._on(), [one])[0]
        if seen is not None:
            fit(one, seen, self._live.get(layer.weight))

    def _zero(self, number: int, kept: Tensor, factors: Tensor | None) -> None:
        """Columns of what goes become zero everywhere."""
        for reader in self._readers[number]:
            weight = self._tensors[reader.layer.weight].detach().flatten(1)
            live = self._live.setdefault(reader.layer.weight, torch.ones(1, weight.shape[1], dtype=torch.bool))
            scale = torch.zeros(len(reader.columns), dtype=torch.float64)
            scale[kept.cpu()] = 1.0 if factors is None else factors.cpu()
            columns = reader.columns.flatten()
            live[0, columns] &= scale.repeat_interleave(reader.columns.shape[1]) != 0
            by_column = torch.ones(weight.shape[1], dtype=torch.float64)
            by_column[columns] = scale.repeat_interleave(reader.columns.shape[1])
            with torch.no_grad():
                weight.mul_(by_column.to(weight))

    def _sizes(self, group: Group) -> Tensor:
        """What stands for importance where no layer can be looked at: the l1 norm of what makes a channel."""
        found: dict[tuple[str, int], Tensor] = {}
        for slot in group.slots:
            values = self._tensors.get(slot.tensor)
            if values is not None and values.is_floating_point():
                found[slot.tensor, slot.dim] = _by_index(values, slot.dim)
        made = total(group, found)
        return made if bool(made.any()) else total(group, found, roles=("in", "scale", "each", ""))

    def _on(self) -> Walk:
        if self._walk is None:
            raise TechniqueError("the network cannot be run node by node", value=type(self).__name__)
        return self._walk


def _by_index(values: Tensor, dim: int) -> Tensor:
    return values.detach().double().abs().movedim(dim, 0).reshape(values.shape[dim], -1).sum(1)


def _first(values: Tensor, kept: Tensor) -> Tensor:
    """The same numbers, dealt out so that what is not kept has the lowest."""
    goes = torch.ones(len(values), dtype=torch.bool)
    goes[kept] = False
    ordered = values.sort().values
    result = torch.empty_like(values)
    result[goes], result[~goes] = ordered[: int(goes.sum())], ordered[int(goes.sum()) :]
    return result


def _ranked(sizes: Tensor, typical: Tensor) -> Tensor:
    """Numbers between the others' quantiles, in the order of the sizes."""
    quantiles = torch.linspace(0, 1, len(sizes), dtype=torch.float64)
    result = torch.empty(len(sizes), dtype=torch.float64)
    result[sizes.argsort(stable=True)] = torch.quantile(typical[:: max(1, len(typical) // 10_000)], quantiles)
    return result


def _saved(known: Anatomy, group: Group, unit: Literal["channels", "parameters", "macs", "bytes", "latency"]) -> float:
    """What one channel of a group costs."""
    if unit == "channels":
        return 1.0
    count = {"parameters": known.cost.parameters, "bytes": known.cost.bytes}.get(unit, known.cost.macs)
    return max(float(count() - count(known.gone(group.atoms[:1]))), 1.0)
