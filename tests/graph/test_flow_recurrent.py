"""Recurrent layers: the units of all gates, layers, directions and projections, place by place."""

import warnings

import pytest
from tests.graph.cuts import Net, check_cuts, difference, found, randn, shaken, written
from torch import nn

from featherweight.graph import surgery


def read_by(layer, ins, **parts):
    """A recurrent layer and a linear one that reads its outputs."""
    return lambda: Net(lambda net, x: net.b(net.a(x)[0]), a=layer(), b=nn.Linear(ins, 2), **parts)


def _gates(count):
    """Rows of the units of one layer of three units with this many gates."""
    return " ".join(",".join(str(unit + 3 * gate) for gate in range(count)) for unit in range(3))


def _layer(number, gates, columns="0..2", biases=True, reverse=False):
    """What unit i owns of a layer by itself: rows of all gates, columns of the state."""
    end = f"l{number}{'_reverse' if reverse else ''}"
    rows = [
        f"a.weight_ih_{end}/0",
        f"a.weight_hh_{end}/0",
        *((f"a.bias_ih_{end}/0", f"a.bias_hh_{end}/0") if biases else ()),
    ]
    return f"{' '.join(rows)} = {_gates(gates)}; a.weight_hh_{end}/1 = {columns}"


CASES = {
    "lstm": (
        read_by(lambda: nn.LSTM(2, 3, batch_first=True), 3),
        (2, 4, 2),
        {"a": f"{_layer(0, 4)}; b.weight/1 = 0..2"},
    ),
    "gru": (read_by(lambda: nn.GRU(2, 3), 3), (4, 2, 2), {"a": f"{_layer(0, 3)}; b.weight/1 = 0..2"}),
    "rnn": (read_by(lambda: nn.RNN(2, 3), 3), (4, 2, 2), {"a": f"{_layer(0, 1)}; b.weight/1 = 0..2"}),
    "rnn of relu without biases": (
        read_by(lambda: nn.RNN(2, 3, nonlinearity="relu", bias=False), 3),
        (4, 2, 2),
        {"a": f"{_layer(0, 1, biases=False)}; b.weight/1 = 0..2"},
    ),
    "one sequence": (
        read_by(lambda: nn.LSTM(2, 3), 3),
        (4, 2),
        {"a": f"{_layer(0, 4)}; b.weight/1 = 0..2"},
    ),
    "two layers": (
        read_by(lambda: nn.GRU(2, 3, num_layers=2), 3),
        (4, 2, 2),
        {"a": f"{_layer(0, 3)}; a.weight_ih_l1/1 = 0..2; {_layer(1, 3)}; b.weight/1 = 0..2"},
    ),
    "both directions": (
        read_by(lambda: nn.LSTM(2, 3, bidirectional=True), 6),
        (4, 2, 2),
        {"a": f"{_layer(0, 4)}; {_layer(0, 4, reverse=True)}; b.weight/1 = 0,3 1,4 2,5"},
    ),
    "two layers of both directions": (
        read_by(lambda: nn.GRU(2, 3, num_layers=2, bidirectional=True, batch_first=True), 6),
        (2, 4, 2),
        {
            "a": f"{_layer(0, 3)}; {_layer(0, 3, reverse=True)}; {_layer(1, 3)}; {_layer(1, 3, reverse=True)}; "
            "a.weight_ih_l1/1 a.weight_ih_l1_reverse/1 b.weight/1 = 0,3 1,4 2,5"
        },
    ),
    "inputs that another layer makes": (
        lambda: Net(lambda net, x: net.b(net.a(net.e(x))[0]), e=nn.Linear(2, 5), a=nn.GRU(5, 3), b=nn.Linear(3, 2)),
        (4, 2, 2),
        {"e": "e.weight/0 e.bias/0 a.weight_ih_l0/1 = 0..4", "a": f"{_layer(0, 3)}; b.weight/1 = 0..2"},
    ),
    "the last state": (
        lambda: Net(lambda net, x: net.b(net.a(x)[1][0][-1]), a=nn.LSTM(2, 3), b=nn.Linear(3, 2)),
        (4, 2, 2),
        {"a": f"{_layer(0, 4)}; b.weight/1 = 0..2"},
    ),
    "the last cell": (
        lambda: Net(lambda net, x: net.b(net.a(x)[1][1].flatten(0, 1)), a=nn.LSTM(2, 3), b=nn.Linear(3, 2)),
        (4, 2, 2),
        {"a": f"{_layer(0, 4)}; b.weight/1 = 0..2"},
    ),
    "a learned first state": (
        lambda: Net(
            lambda net, x: net.b(net.a(x, net.h.expand(-1, x.shape[1], -1))[0]),
            a=nn.GRU(2, 3),
            h=nn.Parameter(randn(1, 1, 3)),
            b=nn.Linear(3, 2),
        ),
        (4, 2, 2),
        {"a": f"{_layer(0, 3)}; b.weight/1 h/2 = 0..2"},
    ),
}


def _cell(gates):
    rows = f"a.weight_ih/0 a.weight_hh/0 a.bias_ih/0 a.bias_hh/0 = {_gates(gates)}"
    return {"a": f"{rows}; a.weight_hh/1 b.weight/1 = 0..2"}


CELLS = {
    "lstm_cell": (
        lambda: Net(lambda net, x: net.b(net.a(x)[0] * net.a(x)[1]), a=nn.LSTMCell(2, 3), b=nn.Linear(3, 2)),
        _cell(4),
    ),
    "gru_cell": (lambda: Net(lambda net, x: net.b(net.a(x)), a=nn.GRUCell(2, 3), b=nn.Linear(3, 2)), _cell(3)),
    "rnn_tanh_cell": (lambda: Net(lambda net, x: net.b(net.a(x)), a=nn.RNNCell(2, 3), b=nn.Linear(3, 2)), _cell(1)),
    "rnn_relu_cell": (
        lambda: Net(lambda net, x: net.b(net.a(x)), a=nn.RNNCell(2, 3, nonlinearity="relu"), b=nn.Linear(3, 2)),
        _cell(1),
    ),
    "unrolled": (
        lambda: Net(lambda net, x: net.b(net.a(x, net.a(x, net.a(x)))), a=nn.GRUCell(2, 3), b=nn.Linear(3, 2)),
        _cell(3),
    ),
    "without biases": (
        lambda: Net(lambda net, x: net.b(net.a(x)), a=nn.GRUCell(2, 3, bias=False), b=nn.Linear(3, 2)),
        {"a": f"a.weight_ih/0 a.weight_hh/0 = {_gates(3)}; a.weight_hh/1 b.weight/1 = 0..2"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_lose_units_everywhere(name):
    build, shape, expected = CASES[name]
    assert check_cuts(build(), (randn(*shape),), expected).notes == ()


@pytest.mark.parametrize("name", CELLS)
def test_cells_lose_units_everywhere(name):
    build, expected = CELLS[name]
    assert check_cuts(build(), (randn(2, 2),), expected).notes == ()


def test_projections_are_channels_of_their_own():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        layer = nn.LSTM(2, 5, proj_size=3, num_layers=2)
        model, example = shaken(Net(lambda net, x: net.b(net.a(x)[0]), a=layer, b=nn.Linear(3, 2))), (randn(4, 2, 2),)
        known = surgery.anatomy(model, example)
        rows = " ".join(",".join(str(unit + 5 * gate) for gate in range(4)) for unit in range(5))
        gates = " ".join(
            f"a.{kind}_{end}/0" for end in ("l0", "l1") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        columns = "a.weight_hh_l0/1 a.weight_hh_l1/1 a.weight_ih_l1/1 b.weight/1"
        assert found(known) == written(
            {
                "a": f"{gates} = {rows}; a.weight_hr_l0/1 a.weight_hr_l1/1 = 0..4",
                "a~": f"a.weight_hr_l0/0 a.weight_hr_l1/0 {columns} = 0..2",
            }
        )
        for group in known.groups:
            for atoms in (group.atoms[:1], group.atoms[1:2]):
                assert difference(model, known, atoms, example) < 1e-5


def test_biases_and_matrices_know_their_roles():
    for build in (read_by(lambda: nn.GRU(2, 3), 3), CELLS["gru_cell"][0]):
        (group,) = surgery.anatomy(
            build(), (randn(4, 2, 2) if build is not CELLS["gru_cell"][0] else randn(2, 2),)
        ).groups
        roles = {(slot.tensor.removesuffix("_l0"), slot.dim): slot.role for slot in group.slots}
        assert roles["a.weight_ih", 0] == roles["a.weight_hh", 0] == "out"
        assert roles["a.weight_hh", 1] == roles["b.weight", 1] == "in"
        assert roles["a.bias_ih", 0] == roles["a.bias_hh", 0] == "each"
