"""LSTM and GRU whose matrices are products of two thin ones: what `graph/layers.py` exports of recurrent layers.

Inputs, outputs and states are those of torch.nn.LSTM and torch.nn.GRU; so is the order of the gates (i, f, g, o and
r, z, n), and there are two biases. Every time step is two thin products in place of one wide one: k (m + n)
multiply-adds in place of m n. J. Chauhan et al. 2018 (IEEE Computer, "Breathing-based authentication on
resource-constrained IoT devices using recurrent neural networks"); all gates of a matrix share its right factor.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from featherweight.errors import UsageError


class _LowRankRecurrent(nn.Module):
    """What both layers share: parameters by name, directions, layers, packed sequences.

    Direction d of layer l has the suffix "_l{l}" or "_l{l}_reverse" and stands at place l * directions + d of the
    ranks. A matrix of rank k is `left_ih` (gates * hidden, k) times `right_ih` (k, inputs); with rank 0 it is whole,
    `weight_ih`. With `shared` both matrices have one left factor, `left`.
    """

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        rank_ih: Sequence[int],
        rank_hh: Sequence[int],
        num_layers: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.rank_ih, self.rank_hh = list(rank_ih), list(rank_hh)
        self.bias = bool(settings.pop("bias", True))
        self.batch_first = bool(settings.pop("batch_first", False))
        self.dropout = float(settings.pop("dropout", 0.0))
        self.bidirectional = bool(settings.pop("bidirectional", False))
        self.shared = bool(settings.pop("shared", False))
        where = {key: settings.pop(key) for key in ("device", "dtype") if key in settings}
        if settings:
            raise UsageError("no such setting", where=type(self).__name__, value=sorted(settings))
        self._check()
        for place in range(len(self.rank_ih)):
            for name, shape in self._shapes(place):
                self.register_parameter(name, nn.Parameter(torch.empty(shape, **where)))
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """2 when the sequence is read both ways, else 1."""
        return 2 if self.bidirectional else 1

    def suffix(self, place: int) -> str:
        """How the names of the parameters of a place end: "_l0", "_l0_reverse", "_l1" ..."""
        layer, reverse = divmod(place, self.directions)
        return f"_l{layer}{'_reverse' if reverse else ''}"

    def reset_parameters(self) -> None:
        """Uniform numbers as in torch.nn.LSTM; factors so that their product has the same variance."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            rank = parameter.shape[0] if name.startswith("right") else parameter.shape[-1]
            factored = name.startswith(("left", "right"))
            limit = math.sqrt(bound * math.sqrt(3 / max(rank, 1))) if factored else bound
            nn.init.uniform_(parameter, -limit, limit)

    def flatten_parameters(self) -> None:
        """Nothing: here because networks call it on their recurrent layers."""

    def extra_repr(self) -> str:
        """One line about the settings."""
        return f"{self.input_size}, {self.hidden_size}, rank_ih={self.rank_ih}, rank_hh={self.rank_hh}"

    def _check(self) -> None:
        places = self.num_layers * self.directions
        for name, ranks in (("rank_ih", self.rank_ih), ("rank_hh", self.rank_hh)):
            if len(ranks) != places or min(ranks, default=0) < 0:
                raise UsageError(f"needs a rank of 0 or more for each of {places} places", where=name, value=ranks)
        if self.shared and self.rank_ih != self.rank_hh:
            raise UsageError("a shared factor has one rank", where="shared", value=(self.rank_ih, self.rank_hh))

    def _shapes(self, place: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        wide, suffix = self.gates * self.hidden_size, self.suffix(place)
        first = place < self.directions
        inputs = self.input_size if first else self.hidden_size * self.directions
        if self._shares(place):
            yield f"left{suffix}", (wide, self.rank_ih[place])
        for kind, size, rank in (("ih", inputs, self.rank_ih[place]), ("hh", self.hidden_size, self.rank_hh[place])):
            if rank == 0:
                yield f"weight_{kind}{suffix}", (wide, size)
                continue
            if not self.shared:
                yield f"left_{kind}{suffix}", (wide, rank)
            yield f"right_{kind}{suffix}", (rank, size)
        if self.bias:
            yield f"bias_ih{suffix}", (wide,)
            yield f"bias_hh{suffix}", (wide,)

    def _shares(self, place: int) -> bool:
        return self.shared and self.rank_ih[place] > 0

    def _tensor(self, name: str) -> Tensor:
        """A weight by its name, also while a technique trains something else in its place."""
        found: Tensor = getattr(self, name)
        return found

    def _product(self, kind: str, place: int, values: Tensor) -> Tensor:
        """The matrix "ih" or "hh" times values (..., size), with its bias: (..., gates * hidden)."""
        suffix = self.suffix(place)
        bias = getattr(self, f"bias_{kind}{suffix}", None)
        whole = getattr(self, f"weight_{kind}{suffix}", None)
        if whole is not None:
            return F.linear(values, whole, bias)
        left = self._tensor(f"left_{kind}{suffix}")
        return F.linear(F.linear(values, self._tensor(f"right_{kind}{suffix}")), left, bias)

    def _run(self, steps: Tensor, states: list[Tensor], lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Steps (time, batch, inputs) through all layers; states and last states (layers * directions, batch, hidden).

        With `lengths` (batch) what lies behind the end of a sequence changes no state and gives zeros.
        """
        last: list[list[Tensor]] = []
        masks = None if lengths is None else _masks(steps.shape[0], lengths)
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                found, state = self._walk(place, steps, [part[place] for part in states], masks)
                outputs.append(found)
                last.append(state)
            steps = torch.cat(outputs, dim=-1) if self.bidirectional else outputs[0]
            if self.dropout and self.training and layer + 1 < self.num_layers:
                steps = F.dropout(steps, self.dropout)
        return steps, [torch.stack(parts) for parts in zip(*last, strict=True)]

    def _walk(
        self, place: int, steps: Tensor, state: list[Tensor], masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """One direction of one layer: outputs (time, batch, hidden) and the last state."""
        inputs = self._of_inputs(place, steps).unbind(0)
        order = range(len(inputs))
        outputs: list[Tensor] = []
        for step in reversed(order) if place % self.directions else order:
            fresh = self._step(place, inputs[step], state)
            if masks is None:
                state = fresh
                outputs.append(state[0])
            else:
                state = [torch.where(masks[step], new, old) for new, old in zip(fresh, state, strict=True)]
                outputs.append(torch.where(masks[step], fresh[0], torch.zeros_like(fresh[0])))
        return torch.stack(outputs[::-1] if place % self.directions else outputs), state

    def _of_inputs(self, place: int, steps: Tensor) -> Tensor:
        """What of a step does not depend on the state, for all steps at once."""
        return self._product("ih", place, steps)

    def _step(self, place: int, inputs: Tensor, state: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    def _whole(
        self, given: Tensor | PackedSequence, states: Sequence[Tensor] | None, parts: int
    ) -> tuple[Any, list[Tensor]]:
        """`forward` for tensors of any layout and packed sequences, with `parts` states."""
        if isinstance(given, PackedSequence):
            return self._packed(given, states, parts)
        single = given.dim() == 2
        if given.dim() not in (2, 3) or given.shape[-1] != self.input_size:
            raise UsageError(
                f"needs (time, batch, {self.input_size}), or (time, {self.input_size})",
                where=type(self).__name__,
                value=tuple(given.shape),
            )
        steps = given.unsqueeze(1) if single else given.transpose(0, 1) if self.batch_first else given
        started = None if states is None else [part.unsqueeze(1) if single else part for part in states]
        outputs, last = self._run(steps, self._started(started, steps, parts), None)
        if single:
            return outputs.squeeze(1), [part.squeeze(1) for part in last]
        return (outputs.transpose(0, 1) if self.batch_first else outputs), last

    def _packed(
        self, given: PackedSequence, states: Sequence[Tensor] | None, parts: int
    ) -> tuple[PackedSequence, list[Tensor]]:
        steps, lengths = pad_packed_sequence(PackedSequence(given.data, given.batch_sizes))
        if states is not None and given.sorted_indices is not None:
            states = [part.index_select(1, given.sorted_indices) for part in states]
        outputs, last = self._run(steps, self._started(states, steps, parts), lengths.to(steps.device))
        if given.unsorted_indices is not None:
            last = [part.index_select(1, given.unsorted_indices) for part in last]
        data = pack_padded_sequence(outputs, lengths).data
        return PackedSequence(data, given.batch_sizes, given.sorted_indices, given.unsorted_indices), last

    def _started(self, states: Sequence[Tensor] | None, steps: Tensor, parts: int) -> list[Tensor]:
        places = self.num_layers * self.directions
        if states is None:
            return [steps.new_zeros(places, steps.shape[1], self.hidden_size)] * parts
        for part in states:
            if part.shape != (places, steps.shape[1], self.hidden_size):
                raise UsageError(
                    f"a state is ({places}, batch, {self.hidden_size})", where="hx", value=tuple(part.shape)
                )
        return list(states)


class LowRankLSTM(_LowRankRecurrent):
    """torch.nn.LSTM with matrices of ranks `rank_ih` and `rank_hh`, a number for each layer and direction; 0: whole.

    `shared`: both matrices of a place that has a rank share their left factor,
    W_ih x + W_hh h = left (right_ih x + right_hh h), which takes k (5 hidden + inputs) weights in place of
    4 hidden (hidden + inputs). Further settings are those of nn.LSTM: bias, batch_first, dropout, bidirectional,
    device, dtype.

    Raises: UsageError for ranks that do not fit the layers and inputs of another width.
    """

    gates = 4

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002  # callers name it so, as in nn.LSTM
        hx: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Outputs and last states (h, c), in the layouts of nn.LSTM."""
        outputs, last = self._whole(input, hx, 2)
        return outputs, (last[0], last[1])

    def _of_inputs(self, place: int, steps: Tensor) -> Tensor:
        if not self._shares(place):
            return super()._of_inputs(place, steps)
        return F.linear(steps, self._tensor(f"right_ih{self.suffix(place)}"))

    def _step(self, place: int, inputs: Tensor, state: list[Tensor]) -> list[Tensor]:
        hidden, cell = state
        if self._shares(place):
            suffix = self.suffix(place)
            thin = inputs + F.linear(hidden, self._tensor(f"right_hh{suffix}"))
            gates = F.linear(thin, self._tensor(f"left{suffix}"), self._biases(suffix))
        else:
            gates = inputs + self._product("hh", place, hidden)
        enter, forget, fresh, leave = gates.chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * fresh.tanh()
        return [leave.sigmoid() * cell.tanh(), cell]

    def _biases(self, suffix: str) -> Tensor | None:
        return self._tensor(f"bias_ih{suffix}") + self._tensor(f"bias_hh{suffix}") if self.bias else None


class LowRankGRU(_LowRankRecurrent):
    """torch.nn.GRU with matrices of ranks `rank_ih` and `rank_hh`, a number for each layer and direction; 0: whole.

    Factors are never shared: the new gate needs the parts of input and state apart. Further settings are those of
    nn.GRU: bias, batch_first, dropout, bidirectional, device, dtype.

    Raises: UsageError for ranks that do not fit the layers, a shared factor and inputs of another width.
    """

    gates = 3

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002  # callers name it so, as in nn.GRU
        hx: Tensor | None = None,
    ) -> tuple[Any, Tensor]:
        """Outputs and last state, in the layouts of nn.GRU."""
        outputs, last = self._whole(input, None if hx is None else [hx], 1)
        return outputs, last[0]

    def _check(self) -> None:
        super()._check()
        if self.shared:
            raise UsageError("the matrices of a GRU share no factor", where="shared", value=True)

    def _step(self, place: int, inputs: Tensor, state: list[Tensor]) -> list[Tensor]:
        hidden = state[0]
        reset_in, update_in, new_in = inputs.chunk(3, dim=-1)
        reset_state, update_state, new_state = self._product("hh", place, hidden).chunk(3, dim=-1)
        reset, update = (reset_in + reset_state).sigmoid(), (update_in + update_state).sigmoid()
        fresh = (new_in + reset * new_state).tanh()
        return [fresh + update * (hidden - fresh)]


def _masks(time: int, lengths: Tensor) -> Sequence[Tensor]:
    """For each step (batch, 1): whether the sequence has it."""
    return (torch.arange(time, device=lengths.device)[:, None] < lengths[None]).unsqueeze(-1).unbind(0)
