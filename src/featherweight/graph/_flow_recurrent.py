"""How hidden units flow through recurrent layers: all gates, layers, directions and projections."""

import numpy as np

from featherweight.graph._flow_base import Dims, Result, Site, rule
from featherweight.graph.cells import Ids

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(site: Site) -> Result:
    """Weights (gates x hidden, in) and (gates x hidden, state), as torch.nn.LSTM keeps them; (projection, hidden)."""
    given, gates = site.given, _GATES[site.node.op]
    inputs, weights = site.dims(given["input"]), given["params"]
    if site.node.op == "lstm" or isinstance(given["hx"], tuple):
        states = [site.dims(item) for item in given["hx"]]
    else:
        states = [site.dims(given["hx"])]
    directions = 2 if given["bidirectional"] else 1
    cells = given["num_layers"] * directions
    each = len(weights) // cells
    below, hidden = inputs[-1], [inputs[-1]]
    finals: list[Ids] = []
    for layer in range(given["num_layers"]):
        outs = []
        for direction in range(directions):
            number = layer * directions + direction
            unit, out = _cell(site, weights[number * each : (number + 1) * each], gates, below)
            outs.append(out)
            hidden.append(unit)
            finals.append(out)
        below = np.concatenate(outs)
    _states(site, states, finals, hidden[1:])
    tail = [(states[0][0], states[0][1], states[0][2])]
    if site.node.op == "lstm":
        tail.append((states[1][0], states[1][1], states[1][2]))
    return [(*inputs[:-1], below), *tail]


def _cell(site: Site, weights: tuple[object, ...], gates: int, below: Ids) -> tuple[Ids, Ids]:
    """Ties one layer and direction; gives its hidden units and its outputs, which a projection makes others."""
    has_biases = bool(site.given["has_biases"])
    tensors = [site.dims(item) for item in weights]
    unit = site.cells.join_rows(tensors[0][0], gates)
    for rows in [item[0] for item in tensors[1 : 4 if has_biases else 2]]:
        site.unite(site.cells.join_rows(rows, gates), unit)
    site.unite(tensors[0][1], below)
    site.role(weights[0], "out", "in")
    site.role(weights[1], "out", "in")
    for item in weights[2:4] if has_biases else ():
        site.role(item, "each")
    projected = len(tensors) == (5 if has_biases else 3)
    out = tensors[-1][0] if projected else unit
    if projected:
        site.unite(tensors[-1][1], unit)
        site.role(weights[-1], "out", "in")
    site.unite(tensors[1][1], out)
    return unit, out


def _states(site: Site, states: list[Dims], outs: list[Ids], units: list[Ids]) -> None:
    """The states of all layers and directions lie in one tensor, so they lose the same places."""
    for state, rows in zip(states, (outs, units), strict=False):
        site.pin(state[0], "layers and directions")
        for row in rows:
            site.unite(state[2], row)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(site: Site) -> Result:
    """One step of a recurrent layer."""
    given, gates = site.given, _GATES[site.node.op.removesuffix("_cell")]
    states = [site.dims(item) for item in given["hx"]] if isinstance(given["hx"], tuple) else [site.dims(given["hx"])]
    unit = site.cells.join_rows(site.dims(given["w_ih"])[0], gates)
    rows = [site.dims(given[name])[0] for name in ("w_hh", "b_ih", "b_hh") if given.get(name) is not None]
    for row in rows:
        site.unite(site.cells.join_rows(row, gates), unit)
    site.unite(site.dims(given["w_ih"])[1], site.dims(given["input"])[-1])
    site.unite(site.dims(given["w_hh"])[1], unit)
    site.role(given["w_ih"], "out", "in")
    site.role(given["w_hh"], "out", "in")
    for name in ("b_ih", "b_hh"):
        site.role(given.get(name), "each")
    for state in states:
        site.unite(state[-1], unit)
    result = (*site.dims(given["input"])[:-1], unit)
    return [result, result] if isinstance(site.node.meta, tuple) else result
