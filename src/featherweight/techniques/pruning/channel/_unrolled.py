"""Recurrent layers step by step, with a factor on each unit's state that is the same at all steps.

Notation: h (examples, units) is the state of a layer; with a projection it is made of the units' own outputs by
weight_hr. z is a factor for each entry of h, or of those outputs, where it is told to the next step's gates and to the
next layer: all that reads it through a weight. A unit of factor 0 tells nothing, as if it were not there, and any other
factor is the same as one on the columns of what reads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from featherweight.graph.surgery import Group

Step: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(what the input gives, what the state gives, memory) to (output of the units, memory)."""


@dataclass(frozen=True)
class State:
    """Where units of a group stand: channel i at `index[i]` of the columns of the layer's weight `name`."""

    group: int
    name: str  # weight_hh_l0, weight_hr_l1_reverse ...
    index: Tensor
    size: int


def states_of(path: str, tensors: Mapping[str, Tensor], number: int, group: Group) -> list[State]:
    """The states that the channels of a group are: the columns of recurrent and projecting weights of the module."""
    found = []
    for slot in group.slots:
        layer, _, name = slot.tensor.rpartition(".")
        if layer == path and slot.dim == 1 and name.startswith(("weight_hh", "weight_hr")) and slot.index.shape[1] == 1:
            index = torch.from_numpy(slot.index[:, 0])
            found.append(State(number, name, index, tensors[slot.tensor].shape[1]))
    return found


def unrolled(module: nn.RNNBase, value: Tensor, state: Any, factors: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
    """What the module gives for `value` (three dimensions) with factors, (size,) or (examples, size), by weight."""
    memory = isinstance(module, nn.LSTM)
    x = value.transpose(0, 1) if module.batch_first else value
    hidden, cells = state if memory and state is not None else (state, None)
    last_h, last_c = [], []
    ways = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        if layer and module.training and module.dropout:
            x = functional.dropout(x, module.dropout, training=True)
        found = []
        for way in range(ways):
            number, suffix = layer * ways + way, f"_l{layer}{'_reverse' if way else ''}"
            own = {name[: -len(suffix)]: item for name, item in factors.items() if name.endswith(suffix)}
            h = None if hidden is None else hidden[number]
            c = None if cells is None else cells[number]
            out, h, c = _layer(module, suffix, x.flip(0) if way else x, (h, c), own)
            found.append(out.flip(0) if way else out)
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(found, dim=-1)
    output = x.transpose(0, 1) if module.batch_first else x
    final = torch.stack(last_h)
    return output, ((final, torch.stack(last_c)) if memory else final)


def _layer(
    module: nn.RNNBase, suffix: str, x: Tensor, start: tuple[Tensor | None, Tensor | None], z: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction over x (steps, examples, in): all outputs, the last state and memory."""
    own: dict[str, Any] = {
        kind: getattr(module, f"{kind}{suffix}", None)
        for kind in ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
    }
    given = functional.linear(x, own["weight_ih"], own["bias_ih"])
    told = z.get("weight_hh", torch.ones(()).to(x))
    units = z.get("weight_hr", torch.ones(()).to(x))
    h = x.new_zeros(x.shape[1], own["weight_hh"].shape[1]) if start[0] is None else start[0]
    c = x.new_zeros(x.shape[1], module.hidden_size) if start[1] is None else start[1]
    step, outputs = _STEPS[module.mode], []
    for item in given:
        h, c = step(item, functional.linear(h * told, own["weight_hh"], own["bias_hh"]), (h, c))
        if own["weight_hr"] is not None:
            h = functional.linear(h * units, own["weight_hr"])
        outputs.append(h * told)
    return torch.stack(outputs), h * told, c


def _lstm(given: Tensor, told: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    enter, forget, content, leave = (given + told).chunk(4, dim=1)
    c = forget.sigmoid() * before[1] + enter.sigmoid() * content.tanh()
    return leave.sigmoid() * c.tanh(), c


def _gru(given: Tensor, told: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    (reset, update, content), (r, u, n) = given.chunk(3, dim=1), told.chunk(3, dim=1)
    update = (update + u).sigmoid()
    content = (content + (reset + r).sigmoid() * n).tanh()
    return (1 - update) * content + update * before[0], before[1]


def _tanh(given: Tensor, told: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return (given + told).tanh(), before[1]


def _relu(given: Tensor, told: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return (given + told).relu(), before[1]


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN_TANH": _tanh, "RNN_RELU": _relu}
