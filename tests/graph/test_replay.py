"""What each step does to tensors, modules and attributes, and what it leaves alone."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from featherweight.core.attached import CONSTRAINTS, hang
from featherweight.errors import UsageError
from featherweight.graph._replay import perform, sketch
from featherweight.graph.log import Cut, Log, Removal, Replacement, replay


def cut(dim, size, kept):
    return (Cut.of(dim, size, kept),)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("table", torch.arange(11), persistent=False)


def test_tied_tensors_stay_tied_under_whatever_name_they_are_cut():
    for name in ("embed.weight", "out.weight"):
        model = replay(Tied(), Log((Removal({name: cut(0, 11, [1, 2, 3])}),)))
        assert model.out.weight is model.embed.weight
        assert (model.out.out_features, model.embed.num_embeddings) == (3, 3)


def test_all_names_of_a_tied_tensor_may_be_cut_alike_and_not_otherwise():
    alike = {"embed.weight": cut(0, 11, [1, 2]), "out.weight": cut(0, 11, [1, 2])}
    assert replay(Tied(), Log((Removal(alike),))).out.weight.shape == (2, 6)
    with pytest.raises(UsageError, match=r"out.weight.*same tensor as embed.weight"):
        replay(Tied(), Log((Removal(alike | {"out.weight": cut(0, 11, [1, 3])}),)))


def test_parameters_keep_type_freedom_and_notes_and_lose_gradients():
    model = nn.Linear(4, 3).to(torch.bfloat16)
    model.weight.requires_grad_(False)
    model.weight.no_decay = True
    model.bias.grad = torch.ones_like(model.bias)
    values = model.weight.detach().clone()
    weight = (Cut.of(0, 3, [0, 2]), Cut.of(1, 4, [1, 2, 3]))
    replay(model, Log((Removal({"weight": weight, "bias": cut(0, 3, [0, 2])}),)), in_place=True)
    assert torch.equal(model.weight, values[[0, 2]][:, [1, 2, 3]])
    assert (model.weight.dtype, model.weight.requires_grad, model.weight.no_decay) == (torch.bfloat16, False, True)
    assert (model.bias.requires_grad, model.bias.grad) == (True, None)
    assert type(model.weight) is nn.Parameter


def test_buffers_stay_buffers_persistent_or_not():
    model = replay(Tied(), Log((Removal({"table": cut(0, 11, [0, 10])}),)))
    assert model.table.tolist() == [0, 10]
    assert "table" in dict(model.named_buffers())
    assert "table" not in model.state_dict()


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_recurrent_modules_compute_with_the_new_weights(cell):
    model = cell(5, 4, bidirectional=True)
    gates = model.weight_hh_l0.shape[0] // 4
    rows = [gate * 4 + unit for gate in range(gates) for unit in (0, 3)]
    tensors = {}
    for name, tensor in model.named_parameters():
        cuts = [Cut.of(0, tensor.shape[0], rows)]
        tensors[name] = tuple([*cuts, Cut.of(1, 4, [0, 3])] if "weight_hh" in name else cuts)
    small = replay(model, Log((Removal(tensors),)))
    assert small.hidden_size == 2
    x = torch.randn(3, 2, 5)
    output, _ = small(x)
    assert output.shape == (3, 2, 4)
    with torch.no_grad():  # the units that go must say nothing to those that stay
        for name, tensor in model.named_parameters():
            if "weight_hh" in name:
                tensor[:, [1, 2]] = 0
    assert torch.allclose(output, model(x)[0][..., [0, 3, 4, 7]], atol=1e-6)


class Heads(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.heads, self.split, self.pads = config, 4, (2, 2), [1, 1]
        self.flag, self.name = True, "x"


@dataclasses.dataclass(frozen=True)
class Config:
    heads: int
    inner: SimpleNamespace


def _two_heads():
    config = Config(4, SimpleNamespace(width=8))
    return nn.ModuleList([Heads(config), Heads(config)]), config


def test_attributes_are_set_in_their_own_type():
    model, _ = _two_heads()
    replay(
        model,
        Log((Removal({}, (("0", "heads", 3), ("0", "split", (1, 2)), ("0", "pads", (0, 1)))),)),
        in_place=True,
    )
    assert (model[0].heads, model[0].split, model[0].pads) == (3, (1, 2), [0, 1])
    assert (model[1].heads, model[1].split, model[1].pads) == (4, (2, 2), [1, 1])


def test_shared_settings_are_copied_for_the_one_module():
    model, config = _two_heads()
    settings = (("0", "config.heads", 2), ("0", "config.inner.width", 4))
    replay(model, Log((Removal({}, settings),)), in_place=True)
    assert (model[0].config.heads, model[0].config.inner.width) == (2, 4)
    assert model[1].config is config
    assert (config.heads, config.inner.width) == (4, 8)


@pytest.mark.parametrize(
    ("path", "attribute", "value"),
    [
        ("0", "missing", 1),
        ("0", "flag", 1),
        ("0", "name", 1),
        ("0", "split", 1),
        ("0", "heads", (1,)),
        ("0", "config", 1),
        ("0", "config.missing", 1),
        ("0", "forward.missing", 1),
        ("0", "train.n", 1),
        ("2", "heads", 1),
        ("0", "_modules.n", 1),
        ("", "0.heads", 1),
    ],
)
def test_attributes_that_are_not_there_or_no_integers_are_refused(path, attribute, value):
    model, config = _two_heads()
    with pytest.raises(UsageError):
        replay(model, Log((Removal({}, ((path, attribute, value),)),)), in_place=True)
    assert vars(model[0])["config"] is config


def test_a_class_in_the_way_is_not_changed():
    class Settings:
        class Inner:
            heads = 4

    model = Heads(Settings())
    with pytest.raises(UsageError, match="Inner"):
        replay(model, Log((Removal({}, (("", "config.Inner.heads", 2),)),)))
    assert Settings.Inner.heads == 4


@pytest.mark.parametrize(
    ("name", "cuts", "message"),
    [
        ("0.wieght", cut(0, 3, [0]), "0.wieght.*another architecture"),
        ("0.weight", cut(0, 5, [0]), r"0.weight.*dimension 0 of size 5.*\(3, 4\).*another architecture"),
        ("0.weight", cut(2, 5, [0]), "0.weight.*dimension 2"),
    ],
)
def test_a_log_of_another_architecture_is_refused(name, cuts, message):
    with pytest.raises(UsageError, match=message):
        replay(nn.Sequential(nn.Linear(4, 3)), Log((Removal({name: cuts}),)))


def test_a_tensor_without_a_shape_is_refused():
    with pytest.raises(UsageError, match="no shape yet"):
        replay(nn.LazyLinear(3), Log((Removal({"weight": cut(1, 4, [0])}),)))


@pytest.mark.parametrize(
    "step", [Removal({"embed.weight": cut(0, 11, [1, 2])}), Replacement((("out", {"kind": "Identity"}),))]
)
def test_what_an_encoding_holds_is_not_cut_under_any_name(step):
    model = Tied()
    hang(model, CONSTRAINTS, {"out.weight": object(), "gone.weight": object()})
    with pytest.raises(UsageError, match=r"weight: an encoding is attached.*[Pp]rune before"):
        replay(model, Log((step,)))


def test_a_module_is_replaced_in_the_mode_and_type_of_the_old_one():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).double().eval()
    low = {
        "kind": "Sequential",
        "children": [
            ["down", {"kind": "Linear", "in_features": 4, "out_features": 1, "bias": False}],
            ["up", {"kind": "Linear", "in_features": 1, "out_features": 3}],
        ],
    }
    replay(model, Log((Replacement((("0", low), ("1", {"kind": "Identity"}))),)), in_place=True)
    assert [type(layer) for layer in model] == [nn.Sequential, nn.Identity]
    assert not any(module.training for module in model.modules())
    assert all(tensor.dtype == torch.float64 for tensor in model.parameters())
    assert model(torch.randn(2, 4).double()).shape == (2, 3)


def test_a_later_step_may_cut_what_an_earlier_one_put_in():
    linear = {"kind": "Linear", "in_features": 4, "out_features": 6}
    log = Log((Replacement((("0", linear),)), Removal({"0.weight": cut(0, 6, [5]), "0.bias": cut(0, 6, [5])})))
    model = nn.Sequential(nn.Linear(4, 3))
    assert replay(model, log, in_place=True)(torch.zeros(1, 4)).shape == (1, 1)


def test_a_module_that_is_used_twice_is_replaced_in_both_places():
    block = nn.ReLU()
    model = nn.ModuleDict({"a": block, "b": nn.ModuleList([block])})
    replay(model, Log((Replacement((("b.0", {"kind": "Identity"}),)),)), in_place=True)
    assert isinstance(model["a"], nn.Identity)
    assert model["a"] is model["b"][0]


@pytest.mark.parametrize("path", ["7", "0.inner", "0.weight", "x.y"])
def test_a_module_that_is_not_there_cannot_be_replaced(path):
    with pytest.raises(UsageError, match="no module of this path"):
        replay(nn.Sequential(nn.Linear(1, 1)), Log((Replacement(((path, {"kind": "Identity"}),)),)))


def test_modules_that_are_one_cannot_become_two():
    block = nn.ReLU()
    model = nn.Sequential(block, block)
    step = Replacement((("0", {"kind": "Identity"}), ("1", {"kind": "Sigmoid"})))
    with pytest.raises(UsageError, match="same module"):
        replay(model, Log((step,)))


def test_a_sketch_has_the_shapes_and_ties_and_no_values():
    model = Tied()
    hang(model, CONSTRAINTS, {"table": 1})
    drawn = sketch(model)
    assert all(tensor.is_meta for tensor in (*drawn.parameters(), *drawn.buffers()))
    assert drawn.out.weight is drawn.embed.weight
    perform(drawn, Removal({"embed.weight": cut(1, 6, [0])}))
    assert (drawn.out.in_features, model.out.in_features) == (1, 6)


def test_attention_keeps_its_sizes_right():
    model = nn.MultiheadAttention(8, 4)
    heads = [0, 1, 4, 5]  # two of four heads of width two
    tensors = {
        "in_proj_weight": (Cut.of(0, 24, [part * 8 + i for part in range(3) for i in heads]), Cut.of(1, 8, heads)),
        "in_proj_bias": cut(0, 24, [part * 8 + i for part in range(3) for i in heads]),
        "out_proj.weight": (Cut.of(0, 8, heads), Cut.of(1, 8, heads)),
        "out_proj.bias": cut(0, 8, heads),
    }
    small = replay(model, Log((Removal(tensors, (("", "num_heads", 2),)),)))
    x = torch.randn(3, 2, 4)
    assert small(x, x, x)[0].shape == (3, 2, 4)
    assert (small.embed_dim, small.head_dim, small.kdim) == (4, 2, 4)


class Choosing(nn.Module):
    def __init__(self, numbers=(0, 2, 5, 7, 2)):
        super().__init__()
        self.register_buffer("first", torch.tensor(numbers))
        self.register_buffer("second", self.first)
        self.weight = nn.Parameter(torch.zeros(3))


def test_numbers_of_places_become_those_of_what_is_left():
    step = Removal({"first": cut(0, 5, [1, 2, 4])}, (), {"first": Cut.of(0, 9, [1, 2, 5, 6])})
    model = replay(Choosing(), Log((step,)))
    assert model.first.tolist() == [1, 2, 1]
    assert model.second is model.first
    assert model.first.dtype == torch.int64


def test_the_number_of_a_place_that_is_gone_is_one_of_a_place():
    model = replay(Choosing(), Log((Removal({}, (), {"first": Cut.of(0, 9, [1, 5])}),)))
    assert model.first.tolist() == [0, 0, 1, 0, 0]


def test_numbers_of_places_of_any_size_take_no_room():
    model = replay(Choosing(), Log((Removal({}, (), {"second": Cut(0, 2**31, ((1, 2**31 - 1),))}),)))
    assert model.first.tolist() == [0, 1, 4, 6, 1]


@pytest.mark.parametrize(
    ("numbers", "name", "message"),
    [
        ((0, 9), "first", "places of 9"),
        ((0, -1), "first", "places of 9"),
        ((0.0, 1.0), "first", "integers"),
        ((0, 1), "weight", "integers"),
        ((0, 1), "third", "no parameter or buffer"),
    ],
)
def test_what_are_no_numbers_of_these_places_is_refused(numbers, name, message):
    model = Choosing(numbers)
    with pytest.raises(UsageError, match=message):
        replay(model, Log((Removal({}, (), {name: Cut.of(0, 9, [1, 5])}),)))
    assert model.first.shape == (2,)


def test_two_names_of_one_tensor_are_counted_anew_alike():
    step = Removal({}, (), {"first": Cut.of(0, 9, [1, 5]), "second": Cut.of(0, 9, [1, 6])})
    with pytest.raises(UsageError, match=r"second.*same tensor as first"):
        replay(Choosing(), Log((step,)))
