"""What is checked before operators run: bounds that are exact, recurrent layers that would read out of bounds."""

import pytest
import torch
from torch import nn

from featherweight.errors import DataError, FormatError
from featherweight.graph import ops
from featherweight.graph._guards import MAX_FACTORY, check_recurrent, check_size, guard_of
from featherweight.graph.module import to_module
from featherweight.graph.plain import Ref, from_plain


def test_the_bound_of_factories_is_exact():
    assert check_size("zeros", [[MAX_FACTORY]], {}) is None
    assert check_size("arange", [MAX_FACTORY], {}) is None
    for name, args in (("zeros", [[MAX_FACTORY + 1]]), ("arange", [MAX_FACTORY + 1]), ("eye", [2**14 + 1])):
        with pytest.raises(FormatError, match="2\\^28"):
            check_size(name, args, {})


def test_every_factory_has_a_guard():
    unguarded = {name for name in ops.names() if ops.lookup(name).factory and ops.lookup(name).guard is None}
    assert unguarded == {"scalar_tensor"}
    assert guard_of("relu") is None and guard_of("arange.start") is check_size and guard_of("lstm") is check_recurrent


CELLS = {"lstm": (nn.LSTM, {}), "gru": (nn.GRU, {}), "rnn_tanh": (nn.RNN, {}), "rnn_relu": (nn.RNN, {})}


def arguments(name, **settings):
    """Arguments as torch.nn would give them."""
    layer = CELLS[name][0](5, 7, batch_first=True, **settings)
    width = settings.get("proj_size") or 7
    cells = layer.num_layers * (2 if layer.bidirectional else 1)
    hidden = torch.zeros(cells, 3, width)
    state = [hidden, torch.zeros(cells, 3, 7)] if name == "lstm" else hidden
    args = [torch.zeros(3, 4, 5), state, list(layer._flat_weights), layer.bias, layer.num_layers]
    return args, {"bidirectional": layer.bidirectional, "batch_first": True}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}, {"num_layers": 3, "bias": False}]
)
def test_what_torch_gives_passes(name, settings):
    args, named = arguments(name, **settings)
    assert check_recurrent(name, args, named) is None


def test_projections_pass():
    for settings in ({"proj_size": 2}, {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}):
        args, named = arguments("lstm", **settings)
        assert check_recurrent("lstm", args, named) is None


def replaced(place, value):
    def change(args):
        args[place] = value(args[place])

    return change


def weight(index, value):
    def change(args):
        args[2][index] = value

    return change


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replaced(0, lambda x: x[0]), "3 dimensions"),
        (replaced(0, lambda x: x[:, :, :4]), "a weight of the shape"),
        (replaced(0, lambda x: torch.zeros(100, 4, 5)), "a state of the shape"),
        (replaced(0, lambda x: x.double()), "one type"),
        (replaced(2, lambda x: x[:-1]), "weights of 1 cells"),
        (replaced(2, lambda x: []), "weights of 1 cells"),
        (replaced(3, lambda x: False), "weights of 1 cells|a weight of the shape"),
        (replaced(4, lambda x: 0), "3 dimensions"),
        (replaced(4, lambda x: 2), "weights of 2 cells"),
        (weight(0, torch.zeros(1, 5)), "a weight of the shape"),
        (weight(1, torch.zeros(7, 7, 7)), "a weight of the shape|a state of the shape"),
        (weight(2, torch.zeros(3)), "a weight of the shape"),
    ],
)
def test_what_does_not_fit_is_refused(name, change, says):
    args, named = arguments(name)
    change(args)
    with pytest.raises(DataError, match=says):
        check_recurrent(name, args, named)


def test_states_that_are_not_two_are_refused():
    args, named = arguments("lstm")
    args[1] = args[1][:1]
    with pytest.raises(DataError, match="its states"):
        check_recurrent("lstm", args, named)


def lstm_with_state(state_batch, batch):
    weights = {"wi": (16, 3), "wh": (16, 4)}
    nodes = [[0, [1, state_batch, 4]], [1, Ref(0), [Ref(3), Ref(3)], [Ref(1), Ref(2)], False, 1, False, True]]
    graph = from_plain([[["x", [batch, 2, 3]]], list(weights), ["zeros", "lstm"], nodes, None])
    return to_module(graph, {name: torch.zeros(shape) for name, shape in weights.items()})


def test_a_state_that_fits_only_the_checked_batch_does_not_crash_at_another():
    """ATen would read out of bounds: found by mutating files."""
    model = lstm_with_state(1, None)
    assert model(torch.zeros(1, 2, 3)) is None
    with pytest.raises(DataError, match=r"lstm: needs a state of the shape \(1, 100, 4\)"):
        model(torch.zeros(100, 2, 3))
    with pytest.raises(FormatError, match="E_SHAPE"):
        lstm_with_state(5, 100)
