"""Layers made one: the same outputs for every pair that is taken, and no pair that would differ."""

import pytest
import torch
from torch import nn

from featherweight.graph.fold import Folding, Pair, folding, merged, pairs_of, without_folding
from featherweight.graph.log import Log, Removal, Replacement, replay
from featherweight.graph.record import record

PAIRS = {
    "linear": (nn.Linear(5, 9), nn.Linear(9, 4)),
    "linear without biases": (nn.Linear(5, 9, bias=False), nn.Linear(9, 4, bias=False)),
    "linear, one bias": (nn.Linear(5, 9), nn.Linear(9, 4, bias=False)),
    "conv, pointwise": (nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.Conv2d(6, 7, 1)),
    "conv, pointwise with a stride": (
        nn.Conv2d(5, 6, 3, stride=2, padding=2, dilation=2),
        nn.Conv2d(6, 7, 1, stride=2),
    ),
    "padding by name": (nn.Conv2d(5, 6, 3, padding="same", padding_mode="reflect"), nn.Conv2d(6, 7, 1, padding="same")),
    "in groups": (nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 9, 1, groups=3)),
    "pointwise, conv": (nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 3, stride=2)),
    "pointwise, conv with zeros": (nn.Conv2d(5, 6, 1, bias=False), nn.Conv2d(6, 7, 3, padding=1)),
    "pointwise, conv that reflects": (nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 3, padding=1, padding_mode="reflect")),
    "pointwise twice": (nn.Conv2d(5, 6, 1, stride=2), nn.Conv2d(6, 7, 1, stride=2)),
    "one dimension": (nn.Conv1d(5, 6, 3), nn.Conv1d(6, 2, 1)),
    "three dimensions": (nn.Conv3d(5, 3, 1), nn.Conv3d(3, 2, (3, 1, 2), dilation=2)),
}

OTHERS = {
    "zeros would be biases": (nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 3, padding=1)),
    "zeros by name would be biases": (nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 3, padding="same")),
    "two windows": (nn.Conv2d(5, 6, 3), nn.Conv2d(6, 7, 3)),
    "a stride in front": (nn.Conv2d(5, 6, 1, stride=2), nn.Conv2d(6, 7, 3)),
    "zeros behind": (nn.Conv2d(5, 6, 3), nn.Conv2d(6, 7, 1, padding=1)),
    "other groups": (nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 7, 1)),
    "other kinds": (nn.Conv2d(5, 6, 3), nn.Linear(4, 7)),
    "subclasses": (nn.modules.linear.NonDynamicallyQuantizableLinear(5, 6), nn.Linear(6, 7)),
}


def _input(first):
    shapes = {nn.Linear: (2, 3, 5), nn.Conv1d: (2, 5, 12), nn.Conv2d: (2, 5, 12, 13), nn.Conv3d: (2, 5, 9, 8, 9)}
    shape = list(shapes[type(first)])
    if not isinstance(first, nn.Linear):
        shape[1] = first.in_channels
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", PAIRS)
def test_one_layer_does_what_two_did(name):
    first, second = (layer.double() for layer in PAIRS[name])
    one, x = merged(first, second), _input(first)
    assert one is not None
    expected = second(first(x))
    assert one(x).shape == expected.shape
    assert torch.allclose(one(x), expected, rtol=1e-10, atol=1e-10)
    assert (one.bias is None) == (first.bias is None and second.bias is None)
    sketch = merged(first, second, sketch=True)
    assert repr(sketch) == repr(one)
    assert sketch.weight.device.type == "meta"


@pytest.mark.parametrize("name", OTHERS)
def test_other_pairs_stay_two(name):
    assert merged(*OTHERS[name]) is None


def test_the_layer_is_as_the_first_was():
    first, second = nn.Linear(3, 4).half().eval(), nn.Linear(4, 2).half()
    first.weight.requires_grad_(False)
    one = merged(first, second)
    assert (one.weight.dtype, one.training, one.weight.requires_grad) == (torch.float16, False, False)


class Wired(nn.Module):
    """Two layers that are neighbours, and many that only look as if."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)  # neighbours
        self.c, self.d = nn.Linear(4, 4), nn.Linear(4, 4)  # a ReLU between them
        self.e, self.f, self.g = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)  # two read e
        self.h = nn.Linear(4, 4)  # called twice
        self.i, self.j = nn.Linear(4, 4), nn.Linear(4, 4)  # i is given as well
        self.k, self.l, self.m = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)  # l has the weight of m
        self.l.weight = self.m.weight

    def forward(self, x):
        x = torch.relu(self.b(self.a(x)))
        x = torch.relu(self.d(torch.relu(self.c(x))))
        x = self.e(x)
        x = torch.relu(self.f(x) + self.g(x))
        x = torch.relu(self.h(self.h(x)))
        given = self.i(x)
        x = torch.relu(self.j(given))
        return torch.relu(self.m(torch.relu(self.l(self.k(x))))), given


def test_only_neighbours_that_nothing_else_reads_are_pairs():
    model = Wired()
    assert pairs_of(record(model, torch.randn(2, 4)).graph, model) == (Pair("a", "b"),)


def test_a_dropout_between_two_layers_is_nothing_in_evaluation():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 4), nn.Linear(4, 2))
    assert pairs_of(record(model, torch.randn(2, 4)).graph, model) == (Pair("0", "2"), Pair("2", "3"))


def normed():
    return nn.Sequential(
        nn.Conv1d(2, 3, 3, bias=False),
        nn.BatchNorm1d(3),
        nn.Linear(4, 4),
        nn.BatchNorm1d(3),
        nn.Linear(4, 2, bias=False),
    )


def test_names_of_tensors_tell_which_norms_were_folded():
    names = [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
        "4.weight",
        *(f"3.{name}" for name in normed()[3].state_dict()),
    ]
    log = folding(normed(), names)
    assert [[path, dict(module)] for path, module in log.steps[0].modules] == [
        ["0", {"kind": "Conv1d", "in_channels": 2, "out_channels": 3, "kernel_size": 3}],
        ["1", {"kind": "Identity"}],
    ]
    assert sorted(replay(normed(), log).state_dict()) == sorted(names)
    assert not folding(normed(), normed().state_dict())
    assert not folding(normed(), [*names, "4.bias"])  # a bias that no norm can have given
    assert not folding(nn.Sequential(nn.Linear(3, 4, bias=False)), ["0.weight", "0.bias"])
    assert not folding(nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(5)), ["0.weight", "0.bias"])
    assert not folding(nn.Sequential(nn.BatchNorm1d(3, affine=False, track_running_stats=False)), [])


def test_layers_with_hooks_are_told_by_no_log():
    model = normed()
    model[0].register_forward_hook(lambda *given: None)
    assert not folding(model, ["0.weight", "0.bias"])


def test_foldings_at_the_end_are_left_out_of_files_and_equal_what_they_replace():
    modules = (("1", {"kind": "Identity"}),)
    step, plain, cut = Folding(modules), Replacement(modules), Removal({})
    assert step == plain and plain == step and hash(step) == hash(Folding(modules))
    assert step != Replacement((("2", {"kind": "Identity"}),)) and step != cut
    assert without_folding(Log((plain, step, step))).steps == (plain,)
    assert without_folding(Log((step, cut))).steps == (step, cut)
    assert Log.from_json(Log((step, cut)).to_json()) == Log((step, cut))
