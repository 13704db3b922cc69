import copy
import itertools

import pytest
import torch
from torch import nn

from featherweight.container.pack import load_bytes, save_bytes
from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.log import Log, log_of, replay
from featherweight.graph.trace import trace
from featherweight.profiling.macs import Macs
from featherweight.techniques.representation.low_rank.svd import Svd


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, (5, 3), stride=(2, 1), padding=(2, 1), dilation=(1, 1), bias=False),
        nn.ReLU(),
        nn.Conv2d(32, 24, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    ).eval()


IMAGES = torch.randn(3, 3, 12, 10, generator=torch.Generator().manual_seed(1))


def applied(lender, model, example=IMAGES, **settings):
    context = lender(model, example, calibration=(example, torch.zeros(len(example), dtype=torch.int64)))
    made = Svd(**({"epochs": 0} | settings)).apply(copy.deepcopy(model), context)
    return made, context.details


def macs(model, example=IMAGES):
    return Macs().count(trace(model, (example,)), 1).value


def forced(monkeypatch):
    """Makes factors be taken also where they cost more: only so full rank can be looked at."""
    monkeypatch.setattr(
        "featherweight.techniques.representation.low_rank._settings.choose",
        lambda wish, parts, fixed: [part.full for part in parts],
    )


@pytest.mark.parametrize("settings", [{}, {"form": "spatial"}, {"distance": "inputs"}])
def test_full_rank_changes_nothing(lender, monkeypatch, settings):
    forced(monkeypatch)
    model = network()
    made, details = applied(lender, model, **settings)
    assert len(details["ranks"]) == 5
    assert torch.allclose(made(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), padding_mode="reflect"),
        nn.Conv2d(6, 8, 3, padding="same", dilation=2, padding_mode="circular"),
        nn.Conv3d(6, 8, (1, 3, 2), padding=(0, 1, 0)),
    ],
    ids=["1d", "reflect", "same", "3d"],
)
@pytest.mark.parametrize("form", ["channel", "spatial"])
def test_strides_paddings_and_dilations_go_to_the_layer_of_their_axis(lender, monkeypatch, conv, form):
    forced(monkeypatch)
    example = torch.randn(2, 6, *(11, 9, 8)[: len(conv.kernel_size)], generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(conv)
    made, _ = applied(lender, model, example, form=form)
    assert torch.allclose(made(example), conv(example), atol=1e-5)
    assert [item.bias is None for item in made[0]] == [True, False]


def test_the_planes_padding_stands_with_its_axis(lender):
    made, _ = applied(lender, nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=(2, 1))), torch.randn(1, 8, 9, 9),
                      form="spatial", rank=4)  # fmt: skip
    columns, rows = made[0]
    assert (columns.kernel_size, columns.padding, columns.stride) == ((3, 1), (1, 0), (2, 1))
    assert (rows.kernel_size, rows.padding, rows.stride) == ((1, 3), (0, 1), (1, 1))


@pytest.mark.parametrize("of", ["macs", "parameters"])
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("form", ["channel", "spatial"])
def test_a_budget_is_a_share_of_the_network_and_met(lender, of, keep, form):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    made, _ = applied(lender, model, IMAGES[:1], keep=keep, of=of, form=form)
    if of == "macs":
        share = macs(made, IMAGES[:1]) / macs(model, IMAGES[:1])
    else:
        share = sum(item.numel() for item in made.parameters()) / sum(item.numel() for item in model.parameters())
    assert keep * 0.97 <= share <= keep


def test_other_wishes(lender):
    model = network()
    _, by_rank = applied(lender, model, rank=4)
    assert set(itertools.chain.from_iterable(itertools.chain.from_iterable(by_rank["ranks"].values()))) == {4}
    _, by_ratio = applied(lender, model, of="ratio", keep=0.25)
    assert by_ratio["ranks"]["2"] == [[8]] and by_ratio["ranks"]["8"] == [[16]]
    _, by_energy = applied(lender, model, of="energy", keep=0.5, layers=("8",))
    values = torch.linalg.svdvals(model[8].weight.detach().double()).square()
    ((rank,),) = by_energy["ranks"]["8"]
    assert float(values[:rank].sum() / values.sum()) >= 0.5 > float(values[: rank - 1].sum() / values.sum())
    _, rounded = applied(lender, model, of="ratio", keep=0.3, multiple=8)
    assert all(rank % 8 == 0 for ((rank,),) in rounded["ranks"].values())


def test_planted_ranks_are_found(lender):
    torch.manual_seed(0)
    layer = nn.Linear(80, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(64, 5) @ torch.randn(5, 80) + 0.1 * torch.randn(64, 80))
    _, details = applied(lender, nn.Sequential(layer), torch.randn(2, 80), of="automatic", keep=0.01)
    assert details["ranks"] == {"0": [[5]]}


def test_the_error_falls_with_the_rank(lender):
    model = network()
    errors = []
    for rank in range(1, 22, 4):
        made, _ = applied(lender, model, rank=rank, layers=("2",))
        narrow, back = made[2]
        product = back.weight.flatten(1) @ narrow.weight.flatten(1)
        errors.append(float((product - model[2].weight.flatten(1)).detach().square().sum()))
        values = torch.linalg.svdvals(model[2].weight.detach().flatten(1)).square()
        assert errors[-1] == pytest.approx(float(values[rank:].sum()), rel=1e-4)
    assert errors == sorted(errors, reverse=True)


def test_outputs_on_the_data_are_nearer_when_the_data_are_looked_at(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32))
    inputs = torch.randn(400, 32) @ torch.diag(torch.linspace(0.01, 3, 32)) + 1
    lost = {}
    for distance in ("weights", "inputs"):
        made, _ = applied(lender, model, inputs, rank=8, distance=distance, examples=400)
        lost[distance] = float((made(inputs) - model(inputs)).detach().square().mean())
    assert lost["inputs"] < 0.8 * lost["weights"]


def test_the_digits_network_keeps_what_the_reference_kept(digits):
    """The reference, one network: rank 4 .371, 8 .878, 16 .953, 32 .973 of .982."""
    found = []
    for rank in (4, 8, 16, 32):
        made = Svd(rank=rank, layers=("0", "2"), epochs=0).apply(digits.dense(), digits.context())
        counted = sum(module.weight.numel() for layer in (made[0], made[2]) for module in layer)
        assert counted == rank * (64 + 300 + 300 + 100)
        assert (64 * 300 + 300 * 100) / counted == pytest.approx(64.4 / rank, rel=0.01)
        found.append(digits.accuracy(made))
    assert found[0] < 0.75 and found[0] < found[1] - 0.1
    assert found[1] > 0.83 and found[2] > 0.94 and found[3] > 0.965


def test_finetuning_repairs(digits):
    context = digits.context()
    cut = Svd(rank=6, layers=("0", "2"), epochs=0).apply(digits.dense(), digits.context())
    tuned = Svd(rank=6, layers=("0", "2"), epochs=3, learning_rate=0.5).apply(digits.dense(), context)
    assert digits.accuracy(tuned) > digits.accuracy(cut) + 0.02


@pytest.mark.parametrize("recurrent", ["apart", "shared"])
def test_lstm_gains_are_the_papers_formulas(lender, recurrent):
    """d = h = 128, k = 32: 131,072 weights become 24,576 with a shared factor."""
    torch.manual_seed(0)
    model = nn.LSTM(128, 128, batch_first=True, bias=False)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = copy.deepcopy(model)

        def forward(self, steps):
            return self.rnn(steps)[0]

    example = torch.randn(1, 3, 128)
    whole = Last().eval()
    made, details = applied(lender, whole, example, rank=32, recurrent=recurrent)
    counted = sum(parameter.numel() for parameter in made.parameters())
    wanted = 32 * (5 * 128 + 128) if recurrent == "shared" else 2 * 32 * (4 * 128 + 128)
    assert counted == wanted
    gain = 4 * 128 * 256 / wanted
    if recurrent == "shared":
        assert counted == 24_576 and gain == pytest.approx(5.333, abs=1e-3)
    assert details["gains"]["rnn"] == {"storage": gain, "computation": gain}
    assert macs(whole, example) / macs(made, example) == pytest.approx(gain)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_of_any_form_at_full_rank(lender, monkeypatch, kind):
    forced(monkeypatch)
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(6, 5, 2, bidirectional=True, batch_first=True)

        def forward(self, steps):
            outputs, states = self.rnn(steps)
            return outputs, states

    example = torch.randn(2, 4, 6)
    model = Reader().eval()
    for recurrent in ("apart", "shared"):
        made, _ = applied(lender, model, example, recurrent=recurrent)
        assert type(made.rnn).__name__ == f"LowRank{kind.__name__}"
        assert torch.allclose(made(example)[0], model(example)[0], atol=1e-5)


def test_above_break_even_layers_stay_and_the_report_says_so(lender):
    model = nn.Sequential(nn.Linear(20, 30))  # 20 * 30 / 50 = 12
    example = torch.randn(2, 20)
    made, details = applied(lender, model, example, rank=12)
    assert type(made[0]) is nn.Linear and "cost more" in details["whole"]["0"] and not details["gains"]
    made, details = applied(lender, model, example, rank=11)
    assert type(made[0]) is nn.Sequential and details["gains"]["0"]["storage"] == pytest.approx(600 / 550)


def test_all_is_kept_when_all_is_to_be_kept(lender):
    model = network()
    made, details = applied(lender, model, keep=1.0)
    assert details["ranks"] == {} and torch.equal(made(IMAGES), model(IMAGES)) and not log_of(made)


def test_the_log_makes_the_structure_anew(lender, sequences):
    for model, fresh, example in (
        (network(), network(), IMAGES),
        (sequences, type(sequences)(width=12, hidden=20, classes=3), torch.randn(2, 5, 12)),
    ):
        made, _ = applied(lender, model, example, keep=0.4)
        again = replay(fresh, Log.from_json(log_of(made).to_json())).eval()
        again.load_state_dict(made.state_dict())
        assert torch.equal(again(example), made(example))


def test_thin_recurrent_layers_trace_and_keep_their_budget(lender, sequences):
    example = torch.randn(2, 5, 12)
    made, _ = applied(lender, sequences, example, keep=0.4)
    assert macs(made, example) <= 0.4 * macs(sequences, example)


def test_files_hold_thin_networks(lender, sequences):
    for model, example in ((network(), IMAGES), (sequences, torch.randn(2, 3, 12))):
        made, _ = applied(lender, model, example, keep=0.4)
        loaded = load_bytes(save_bytes(made, graph=trace(made, (example,))))
        assert torch.allclose(loaded(example), made(example), atol=1e-5)


class Tied(nn.Module):
    """Layers that must be left alone, and one that need not."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(30, 30), nn.Linear(30, 30)
        self.two.weight = self.one.weight
        self.twice = nn.Linear(30, 30)
        self.hooked = nn.Linear(30, 30)
        self.hooked.register_forward_hook(lambda module, inputs, output: None)
        self.own = Own(30, 30)
        self.unused = nn.Linear(30, 30)
        self.free = nn.Linear(30, 30)

    def forward(self, values):
        values = self.two(self.one(values))
        values = self.hooked(self.twice(self.twice(values)))
        return self.free(self.own(values))


class Own(nn.Linear):
    """A subclass may do anything."""


def test_layers_that_something_depends_on_are_left_alone_with_the_reason(lender):
    torch.manual_seed(0)
    model, example = Tied(), torch.randn(2, 30)
    made, details = applied(lender, model, example, rank=3)
    assert set(details["ranks"]) == {"free"}
    reasons = {"one": "tied", "two": "tied", "twice": "2 times", "hooked": "hooks", "own": "subclass", "unused": "not"}
    assert all(word in details["whole"][name] for name, word in reasons.items())
    assert type(made.free) is nn.Sequential


def test_encoders_that_read_weights_themselves_are_left_alone(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Linear(16, 16)).eval()
    made, details = applied(lender, model, torch.randn(2, 3, 16), rank=2)
    assert set(details["ranks"]) == {"1"} and "reads its weights" in details["whole"]["0.linear1"]
    assert made(torch.randn(2, 3, 16)).shape == (2, 3, 16)


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 20)

    def forward(self, values):
        return self.fc(values) * self.fc.weight.mean()


def test_a_model_that_reads_the_weight_is_refused_and_as_it_was(lender):
    model, example = Reads(), torch.randn(2, 20)
    with pytest.raises(TechniqueError, match="does not run"):
        Svd(rank=2, epochs=0).apply(model, lender(model, example))
    assert type(model.fc) is nn.Linear and not log_of(model)


def test_encoded_weights_are_refused(lender):
    model = network()
    attach(model, {"8.weight": Dense(model[8].weight.detach().clone(), torch.float16)})
    with pytest.raises(TechniqueError, match=r"8\.weight.*low rank"):
        applied(lender, model)
    assert applied(lender, model, layers=("2",), rank=3)[1]["ranks"]  # another layer is free


def test_grouped_convolutions_and_projections_are_left_alone(lender):
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3))
    _, details = applied(lender, model, torch.randn(1, 4, 9, 9), rank=2)
    assert set(details["ranks"]) == {"1"} and "0" in details["whole"]


def test_frozen_layers_give_frozen_factors_and_modes_stay(lender):
    model = network()
    model[8].weight.requires_grad_(False)
    model.train()
    made, _ = applied(lender, model, rank=3)
    assert [item.weight.requires_grad for item in made[8]] == [False, False]
    assert made[8][1].bias.requires_grad and made[2][0].weight.requires_grad
    assert all(module.training for module in made.modules())


def test_the_global_random_state_is_left_alone(lender):
    model = network()
    torch.manual_seed(5)
    wanted = torch.get_rng_state()
    applied(lender, model, rank=3)
    assert torch.equal(torch.get_rng_state(), wanted)


@pytest.mark.parametrize(
    "wrong", [{"keep": 0.0}, {"keep": 1.5}, {"rank": 0}, {"multiple": 0}, {"epochs": -1.0}, {"examples": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Svd(**wrong)


def test_nothing_to_factor_is_an_error_and_so_is_a_pattern_for_nothing(lender):
    with pytest.raises(TechniqueError, match="none of the layers"):
        applied(lender, nn.Sequential(nn.ReLU()), torch.randn(2, 3))
    with pytest.raises(ConfigError, match="layers"):
        applied(lender, network(), layers=("nine",))


def test_weights_that_are_not_finite_are_refused(lender):
    model = network()
    with torch.no_grad():
        model[8].weight[0, 0] = float("nan")
    with pytest.raises(TechniqueError, match="NaN"):
        applied(lender, model)
