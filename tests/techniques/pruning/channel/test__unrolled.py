import copy
import warnings

import pytest
import torch
from torch import nn

from featherweight.graph.surgery import anatomy, remove
from featherweight.techniques.pruning.channel._unrolled import unrolled

KINDS = {
    "lstm": lambda **more: nn.LSTM(5, 6, **more),
    "gru": lambda **more: nn.GRU(5, 6, **more),
    "tanh": lambda **more: nn.RNN(5, 6, **more),
    "relu": lambda **more: nn.RNN(5, 6, nonlinearity="relu", **more),
    "projected": lambda **more: nn.LSTM(5, 6, proj_size=4, **more),
}


class Read(nn.Module):
    def __init__(self, rnn, width):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


@pytest.mark.parametrize("more", [{}, {"batch_first": True}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("kind", KINDS)
def test_without_factors_it_is_the_layer(kind, more):
    torch.manual_seed(0)
    module, x = KINDS[kind](**more), torch.randn(4, 7, 5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*oneDNN")  # of projections, once a process
        expected, state = module(x)
    found, ending = unrolled(module, x, None, {})
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ending, state)
    again, _ = module(x, state)
    torch.testing.assert_close(unrolled(module, x, state, {})[0], again)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_units_of_factor_zero_tell_nothing_at_any_step(kind):
    """As the layer without them: so their factor holds at every step, and on what the other units are told."""
    torch.manual_seed(0)
    model, x = Read(KINDS[kind](batch_first=True), 6).eval(), torch.randn(4, 7, 5)
    known = anatomy(model, (x,))
    group = known.group("rnn")
    cut = remove(model, known, group.atoms[[1, 4]])
    factors = {"weight_hh_l0": torch.tensor([1.0, 0, 1, 1, 0, 1])}
    output, _ = unrolled(model.rnn, x, None, factors)
    torch.testing.assert_close(model.head(output), cut(x))
    only_output, _ = model.rnn(x)
    assert not torch.allclose(model.head(only_output * factors["weight_hh_l0"]), cut(x), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_is_one_on_the_columns_of_what_reads_it(kind):
    torch.manual_seed(0)
    module, x = KINDS[kind](), torch.randn(4, 7, 5)
    name = "weight_hr_l0" if kind == "projected" else "weight_hh_l0"
    factor = torch.rand(6)
    scaled = copy.deepcopy(module)
    with torch.no_grad():
        getattr(scaled, name).mul_(factor)
    expected = scaled(x)[0] if kind == "projected" else scaled(x)[0] * factor
    torch.testing.assert_close(unrolled(module, x, None, {name: factor})[0], expected)


def test_each_example_has_its_own_factors_and_dropout_stays_between_layers():
    torch.manual_seed(0)
    module, x = nn.GRU(5, 6, num_layers=2, dropout=0.5), torch.randn(4, 3, 5)
    rows = torch.rand(3, 6)
    module.eval()
    whole = unrolled(module, x, None, {"weight_hh_l0": rows})[0]
    for place in range(3):
        alone = unrolled(module, x[:, place : place + 1], None, {"weight_hh_l0": rows[place]})[0]
        torch.testing.assert_close(whole[:, place : place + 1], alone)
    module.train()
    assert not torch.equal(unrolled(module, x, None, {})[0], unrolled(module, x, None, {})[0])
