import copy

import pytest
import torch
from tests.techniques.pruning.conftest import NETWORKS, Chance
from tests.training.conftest import MemoryStore
from torch import nn

from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.log import log_of, replay
from featherweight.graph.surgery import anatomy
from featherweight.profiling.macs import Macs
from featherweight.techniques.pruning._structured import total
from featherweight.techniques.pruning.filter.norm import Norm


def size(model, unit, example):
    if unit == "macs":
        return Macs().measure(model, (example,)).value
    tensors = list(model.parameters()) if unit == "parameters" else [*model.parameters(), *model.buffers()]
    return sum(item.numel() * (item.element_size() if unit == "bytes" else 1) for item in tensors)


@pytest.mark.parametrize("unit", ["parameters", "macs", "bytes"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scope", ["local", "global"])
def test_what_is_asked_is_what_one_gets(images, name, unit, scope):
    model, context = images.fresh(name), images.context()
    cut = Norm(ratio=0.4, of=unit, scope=scope).apply(model, context)
    found = 1 - size(cut, unit, images.inputs[:2]) / size(model, unit, images.inputs[:2])
    assert found == pytest.approx(0.4, abs=0.025 if name == "lstm" else 0.02)
    assert context.details["reached"] == pytest.approx(found, abs=1e-3)
    assert context.details["asked"] == 0.4


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_runs_trains_and_is_built_again(images, name):
    model = images.fresh(name)
    cut = Norm(ratio=0.5).apply(model, images.context())
    assert type(cut) is type(model)
    out = cut.train()(images.inputs[:8])
    nn.functional.cross_entropy(out, images.labels[:8]).backward()
    assert all(item.grad is not None for item in cut.parameters())
    again = replay(NETWORKS[name](), log_of(cut))
    again.load_state_dict(cut.state_dict())
    assert torch.equal(again.eval()(images.inputs[:4]), cut.eval()(images.inputs[:4]))


def test_half_of_the_channels_of_each_group(images):
    context = images.context()
    cut = Norm(ratio=0.5).apply(images.fresh("plain"), context)
    assert context.details["removed"] == {"0": [24, 12], "3": [32, 16], "8": [48, 24]}
    assert (cut[0].out_channels, cut[3].out_channels, cut[8].out_features) == (12, 16, 24)


@pytest.mark.parametrize(("name", "widths"), [("plain", (24, 32, 48)), ("lstm", (32,)), ("concat", (8, 12, 20, 16))])
def test_multiples_of_eight(images, name, widths):
    context = images.context()
    Norm(ratio=0.4, multiple=8, of="parameters").apply(images.fresh(name), context)
    removed = context.details["removed"]
    assert tuple(before for before, _ in removed.values()) == widths
    assert any(after < before for before, after in removed.values())
    assert all(after % 8 == 0 or after == before for before, after in removed.values())


def test_the_floor_holds_against_one_ranking(images):
    model, context = images.fresh("plain"), images.context()
    with torch.no_grad():
        model[0].weight[6:] *= 1e-3  # three quarters of the layer are next to nothing
    Norm(ratio=0.5, scope="global", floor=0.5).apply(model, context)
    assert context.details["removed"]["0"] == [24, 12]
    Norm(ratio=0.3, scope="global", floor=0.0).apply(model, context := images.context())
    assert context.details["removed"]["0"] == [24, 6]


def test_a_ratio_that_would_empty_layers_leaves_one_channel_each(images):
    context = images.context()
    cut = Norm(ratio=0.99, floor=0.0).apply(images.fresh("plain"), context)
    assert [after for _, after in context.details["removed"].values()] == [1, 1, 1]
    assert cut(images.inputs[:2]).shape == (2, 10)


def test_padded_shortcuts_keep_their_shares(images):
    context = images.context()
    cut = Norm(ratio=0.5, scope="global").apply(images.fresh("residual"), context)
    assert cut.b2.out_channels == 16 + cut.conv1.out_channels  # the pads are written in the code as numbers
    assert context.details["whole"]
    assert cut(images.inputs[:2]).shape == (2, 10)


def test_heads_keep_the_width_that_the_code_computes(images):
    context = images.context()
    cut = Norm(ratio=0.5).apply(images.fresh("attention"), context)
    width = cut.embed.out_features
    assert width < 32
    assert cut.qkv.out_features == 3 * cut.heads * (width // cut.heads)
    assert width % cut.heads == 0


def test_layers_named_in_keep_stay_whole(images):
    context = images.context()
    cut = Norm(ratio=0.5, keep=("0", "8")).apply(images.fresh("plain"), context)
    assert (cut[0].out_channels, cut[3].out_channels, cut[8].out_features) == (24, 16, 48)


def test_nothing_to_remove_is_nothing_done(images):
    model = images.fresh("plain")
    assert Norm(ratio=0.0).apply(model, images.context()) is model


def test_where_nothing_can_go_it_says_what_holds_it(images):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(64, 16), nn.Linear(16, 10)

        def forward(self, x):
            return self.head(torch.sort(self.inner(x.flatten(1)))[0])

    with pytest.raises(TechniqueError, match="sort"):
        Norm().apply(Sorted(), images.context())


def test_a_network_that_depends_on_values_cannot_be_traced(images):
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(64, 10)

        def forward(self, x):
            y = self.inner(x.flatten(1))
            return -y if y.sum() > 0 else y

    with pytest.raises(TechniqueError, match="trace"):
        Norm().apply(Fickle(), images.context())


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 1.0},
        {"ratio": -0.1},
        {"ratio": float("nan")},
        {"floor": 1.0},
        {"multiple": 0},
        {"epochs": -1.0},
        {"epochs": float("inf")},
        {"learning_rate": 0.0},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Norm(**wrong)


def test_zeros_and_halves_stay_as_they_were_kept(images):
    model = images.fresh("plain")
    mask = torch.rand(model[3].weight.shape) > 0.5
    attach(model, {
        "3.weight": Sparse.of(model[3].weight.detach(), mask),
        "8.weight": Dense(model[8].weight.detach().clone(), torch.float16),
    })  # fmt: skip
    before = {name: item.detach().clone() for name, item in model.named_parameters()}
    cut = Norm(ratio=0.5, repair="none").apply(model, images.context())
    held = encodings_of(cut)
    assert isinstance(held["3.weight"], Sparse)
    assert held["8.weight"].stored == torch.float16
    assert all(torch.equal(item.to_tensor(), cut.get_parameter(name)) for name, item in held.items())
    rows = [row for row in range(32) if any(torch.equal(cut[4].weight[i], before["4.weight"][row]) for i in range(16))]
    assert len(rows) >= 16
    zeros = float((cut[3].weight == 0).float().mean())
    assert zeros == pytest.approx(float((before["3.weight"] == 0).float().mean()), abs=0.1)
    assert torch.equal(cut[8].weight.half().float(), cut[8].weight)
    assert encodings_of(model).keys() == held.keys()


def test_zeros_stay_zero_in_training_afterwards(images):
    model = images.fresh("plain")
    mask = torch.rand(model[3].weight.shape) > 0.5
    attach(model, {"3.weight": Sparse.of(model[3].weight.detach(), mask)})
    cut = Norm(ratio=0.5, epochs=0.5).apply(model, images.context())
    assert torch.equal(encodings_of(cut)["3.weight"].to_tensor(), cut[3].weight)
    assert 0.4 < float((cut[3].weight == 0).float().mean()) < 0.6


def test_shared_values_cannot_be_cut(images):
    model = images.fresh("plain")
    values, codes = torch.unique(model[3].weight.detach().round(decimals=1), return_inverse=True)
    attach(
        model, {"3.weight": Codebook.of(values[codes], values) if hasattr(Codebook, "of") else Codebook(codes, values)}
    )
    with pytest.raises(TechniqueError, match=r"3\.weight"):
        Norm().apply(model, images.context())


def test_a_run_that_is_taken_up_ends_alike(images):
    settings, store = Norm(ratio=0.5, epochs=1.0, learning_rate=1.0), MemoryStore()
    one, other = (settings.apply(images.fresh("residual"), images.context(run=store)) for _ in range(2))
    fresh = settings.apply(images.fresh("residual"), images.context())
    for a, b, c in zip(*(item.state_dict().values() for item in (one, other, fresh)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_the_model_that_was_given_is_not_changed(images):
    model = images.fresh("residual")
    before = copy.deepcopy(model.state_dict())
    Norm(ratio=0.5).apply(model, images.context())
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())


def test_chance_is_the_same_for_the_same_seed(images):
    one, same, other = (Chance().apply(images.fresh("plain"), images.context(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_totals_go_by_index_and_role(images):
    known = anatomy(images.fresh("lstm"), images.inputs[:2])
    group = known.group("rnn")
    values = {("rnn.weight_ih_l0", 0): torch.arange(128.0), ("head.weight", 1): torch.full((32,), 1000.0)}
    expected = torch.arange(32.0).double() * 4 + (0 + 32 + 64 + 96)
    assert torch.equal(total(group, values), expected)
    assert torch.equal(total(group, values, ("out", "in")), expected + 1000)
    assert torch.equal(total(group, {}), torch.zeros(32, dtype=torch.float64))


def test_a_latency_budget_is_measured(images):
    model, context = images.fresh("plain"), images.context()
    cut = Norm(ratio=0.2, of="latency").apply(model, context)
    assert cut(images.inputs[:2]).shape == (2, 10)
    assert context.details["asked"] == 0.2
