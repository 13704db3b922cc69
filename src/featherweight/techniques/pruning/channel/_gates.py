"""Factors on channels while a network runs, a row of them for each example: what learned choices are made with.

A channel of a group is multiplied where it is made: behind the batch norm that follows its layer, or behind the layer.
Where another norm of the group reads it later, what that norm adds to a channel of factor 0 is taken away as well, so
that a factor of 0 does what surgery will do wherever activations send 0 to 0. A recurrent layer runs step by step, with
the same factors on the states of all steps and therefore also on what a unit tells the others.

Notation: z (examples, channels) are the factors of one group, or (channels,) for all examples alike.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from featherweight.errors import TechniqueError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._scores import Gate, gates, gates_of
from featherweight.techniques.pruning.channel._unrolled import State, states_of, unrolled
from featherweight.training.evaluate import evaluating

_SECOND = (_ConvNd, _BatchNorm, _InstanceNorm, nn.GroupNorm)  # channels are dimension 1
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class _Place:
    """Where the channels of a group stand in the output of a module: channel i at `index[i]` of `size`."""

    group: int
    index: Tensor
    size: int
    support: bool = False  # only whether a factor is 0 counts: the factor itself stands in front of the norm


class Gates:
    """The factors of groups of channels. `open` says which of the groups have them everywhere they are made.

    `values` are the factors that the network runs with inside `on`: one tensor a group, None for 1.

    `example` decides what can have factors: a module that does not run by itself, or gives something else than
    examples first, leaves its groups without.
    """

    def __init__(self, model: nn.Module, known: Anatomy, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.values: list[Tensor | None] = [None] * len(groups)
        self._model = model
        self._modules: dict[str, nn.Module] = dict(model.named_modules())
        self._tensors = dict(model.state_dict(keep_vars=True))
        self._places: dict[str, list[_Place]] = {}
        self._states: dict[str, list[State]] = {}
        made = gates(known)
        complete = [self._placed(gates_of(group, made), number, group) for number, group in enumerate(groups)]
        fired = self._fired(known.example)
        self._places = {path: found for path, found in self._places.items() if path in fired}
        self._states = {path: found for path, found in self._states.items() if path in fired}
        self.open = [modules is not None and modules <= fired for modules in complete]

    @property
    def modules(self) -> dict[str, tuple[int, ...]]:
        """By path of a module that makes channels, the groups whose factors stand right behind it."""
        return {
            path: tuple(item.group for item in found if not item.support)
            for path, found in self._places.items()
            if any(not item.support for item in found)
        }

    def recurrent(self, group: int) -> bool:
        """Whether the channels of a group are units of a recurrent layer."""
        return any(item.group == group for states in self._states.values() for item in states)

    def factors(self, path: str) -> Tensor:
        """What the outputs of a module are multiplied with by the present values: (size,) or (examples, size)."""
        rows = [self.values[item.group] for item in self._places[path]]
        one = next((value for value in rows if value is not None), torch.ones(()))
        size = self._places[path][0].size
        shape = (*max((value.shape[:-1] for value in rows if value is not None), key=len, default=()), size)
        found = torch.ones(shape, dtype=one.dtype, device=one.device)
        for item, value in zip(self._places[path], rows, strict=True):
            if value is None:
                continue
            value = (value != 0).to(value) if item.support else value
            spread = value.unsqueeze(-1).expand(*value.shape, item.index.shape[1]).flatten(-2)
            found = found.index_copy(-1, item.index.flatten().to(spread.device), spread.expand(*shape[:-1], -1))
        return found

    @contextmanager
    def on(self) -> Iterator[None]:
        """The factors work inside; afterwards the modules are as before."""
        handles: list[RemovableHandle] = []
        replaced: list[nn.Module] = []
        try:
            for path in self._places:
                handles.append(self._modules[path].register_forward_hook(partial(self._scaled, path)))
            for path, states in self._states.items():
                module = self._modules[path]
                module.__dict__["forward"] = partial(self._stepped, module, states)
                replaced.append(module)
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in replaced:
                del module.__dict__["forward"]

    # -----------------------------------------------------------------------------------------------------------------

    def _placed(self, made: Sequence[Gate], number: int, group: Group) -> set[str] | None:
        """Notes the places of a group; the modules that have to run for it, None where one cannot be."""
        own: set[str] = set()
        whole = True
        for gate in made:
            name = gate.weight if gate.scale is None else gate.scale
            path = name.rpartition(".")[0]
            if isinstance(self._modules.get(path), nn.RNNBase):
                states = states_of(path, self._tensors, number, group)
                self._states.setdefault(path, []).extend(states)
                whole &= bool(states)
            else:
                whole &= self._noted(path, name, number, group)
            own.add(path)
        for slot in group.slots:
            path = slot.tensor.rpartition(".")[0]
            reads = path not in own and slot.role in ("scale", "each") and isinstance(self._modules.get(path), _NORMS)
            if reads and not any(item.group == number for item in self._places.get(path, [])):
                self._noted(path, slot.tensor, number, group, support=True)
        return own if own and whole else None

    def _noted(self, path: str, tensor: str, number: int, group: Group, *, support: bool = False) -> bool:
        module = self._modules.get(path)
        slots = [slot for slot in group.slots if slot.tensor == tensor and slot.role != "in"]
        if not isinstance(module, _SECOND + _LAST) or not slots:
            return False
        index, size = torch.from_numpy(slots[0].index), self._tensors[tensor].shape[slots[0].dim]
        if isinstance(module, _ConvNd) and module.transposed:
            size = module.out_channels
            if module.groups > 1:
                return False
        self._places.setdefault(path, []).append(_Place(number, index, size, support))
        return True

    def _fired(self, example: tuple[Any, ...]) -> set[str]:
        """The modules that ran by themselves and whose outputs hold examples first and channels where they should."""
        fired: dict[str, bool] = {}
        handles = []
        count = examples_in(example)

        def note(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
            fits = _runs(module, inputs, output, count, self._places.get(path, []))
            fired[path] = fired.get(path, True) and fits

        for path in {*self._places, *self._states}:
            handles.append(self._modules[path].register_forward_hook(partial(note, path)))
        try:
            with evaluating(self._model), torch.no_grad():
                self._model(*example)
        finally:
            for handle in handles:
                handle.remove()
        return {path for path, fits in fired.items() if fits}

    def _scaled(self, path: str, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if all(self.values[item.group] is None for item in self._places[path]):
            return output
        factors = self.factors(path).to(output)
        axis = 1 if isinstance(module, _SECOND) else output.dim() - 1
        if factors.dim() == 1:
            return output * factors.view(-1, *(1,) * (output.dim() - 1 - axis))
        factors = _repeated(factors, len(output))
        shape = [1] * output.dim()
        shape[0], shape[axis] = factors.shape
        return output * factors.view(shape)

    def _stepped(self, module: nn.Module, states: Sequence[State], value: Any, state: Any = None) -> Any:
        if not isinstance(module, nn.RNNBase) or all(self.values[item.group] is None for item in states):
            return type(module).forward(module, value, state)
        factors: dict[str, Tensor] = {}
        for item in states:
            given = self.values[item.group]
            if given is not None:
                old = factors.get(item.name, torch.ones(*given.shape[:-1], item.size).to(given))
                factors[item.name] = old.index_copy(-1, item.index.to(given.device), given)
        return unrolled(module, value, state, factors)


def examples_in(inputs: Any) -> int:
    """How many examples a network is given: the length of its first tensor. Raises: TechniqueError without one."""
    for item in pytree.tree_leaves(inputs):
        if isinstance(item, Tensor) and item.dim():
            return len(item)
    raise TechniqueError("the network is given no tensor that holds examples", value=type(inputs).__name__)


def _runs(module: nn.Module, inputs: Any, output: Any, count: int, places: Sequence[_Place]) -> bool:
    if isinstance(module, nn.RNNBase):
        return isinstance(inputs[0], Tensor) and inputs[0].dim() == 3
    if not isinstance(output, Tensor) or output.dim() < 2 or len(output) % count:
        return False
    axis = 1 if isinstance(module, _SECOND) else output.dim() - 1
    return output.shape[axis] == places[0].size


def _repeated(factors: Tensor, rows: int) -> Tensor:
    """A row for each row of an output that holds several in a row for each example, as windows of an image."""
    if rows % len(factors):
        raise TechniqueError("a layer gives rows that belong to no example", value=(rows, len(factors)))
    return factors.repeat_interleave(rows // len(factors), dim=0)


def gated(model: nn.Module, known: Anatomy, groups: Sequence[Group]) -> list[Group]:
    """The groups whose channels can have factors wherever they are made. Raises: TechniqueError when there is none."""
    found = [group for group, is_open in zip(groups, Gates(model, known, groups).open, strict=True) if is_open]
    if not found:
        raise TechniqueError(
            "no channels that can go are made by layers that run by themselves",
            where=type(model).__name__,
            value=[group.name for group in groups][:8] or list(known.notes)[:8],
            fix="Take a technique that needs no factors on channels, such as pruning.filter.norm.",
        )
    return found
