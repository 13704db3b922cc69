import pytest
import torch
from torch import nn
from torch.nn import functional

from featherweight.graph.trace import trace
from featherweight.techniques._units import units_of

IMAGES = torch.randn(2, 1, 8, 8)


def found(model, example=IMAGES):
    return {
        units.weight: (units.bias, [(r.weight, r.bias, r.spread) for r in units.readers])
        for units in units_of(trace(model, (example,)))
    }


def test_a_chain_of_layers():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 9, 5),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(5, 3),
    )
    assert found(model) == {
        "0.weight": (None, [("3.weight", "3.bias", 1)]),
        "3.weight": ("3.bias", [("6.weight", "6.bias", 9)]),
        "6.weight": ("6.bias", [("9.weight", "9.bias", 1)]),
    }


class Branches(nn.Module):
    """Two readers of one layer, then a sum that cannot be followed."""

    def __init__(self):
        super().__init__()
        self.first, self.left, self.right = nn.Linear(64, 5), nn.Linear(5, 4), nn.Linear(5, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, images):
        hidden = functional.relu(self.first(images.flatten(1)))
        return self.last(self.left(hidden) + self.right(hidden.clone()))


def test_all_readers_count_and_sums_end_the_walk():
    assert found(Branches()) == {
        "first.weight": ("first.bias", [("left.weight", "left.bias", 1), ("right.weight", "right.bias", 1)])
    }


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.same, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, images):
        return self.last(self.same(self.same(images[:, 0, 0])))


class Reused(nn.Module):
    """The units are part of the output as well."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 5), nn.Linear(5, 3)

    def forward(self, images):
        hidden = self.first(images.flatten(1))
        return self.last(hidden), hidden


class Mixed(nn.Module):
    """The next layer reads another axis than the one along which the units lie."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 5), nn.Linear(8, 3)

    def forward(self, images):
        return self.last(self.first(images[:, 0]).transpose(1, 2))


class Across(nn.Module):
    """A linear layer over the columns of an image, not over its channels."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(6, 3)

    def forward(self, images):
        return self.last(self.first(images))


@pytest.mark.parametrize(
    "model", [Shared(), Reused(), Mixed(), Across(), nn.Linear(8, 3)], ids=lambda m: type(m).__name__
)
def test_what_cannot_be_followed_is_left_out(model):
    assert found(model) == {}


def test_grouped_layers_are_left_out():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 3))
    assert found(model) == {}


@pytest.mark.parametrize(
    ("between", "value"),
    [
        ([nn.ReLU()], [0.0, 0.5]),
        ([nn.LeakyReLU(0.25), nn.MaxPool2d(2)], [-0.25, 0.5]),
        ([nn.AvgPool2d(2), nn.ReLU()], [0.0, 0.5]),
        ([nn.AdaptiveAvgPool2d(1)], [-1.0, 0.5]),
    ],
)
def test_what_arrives_of_a_constant(between, value):
    layers = [nn.Conv2d(1, 2, 3), *between, nn.Flatten()]
    width = nn.Sequential(*layers)(IMAGES).shape[1]
    model = nn.Sequential(*layers, nn.Linear(width, 3))
    (units,) = units_of(trace(model, (IMAGES,)))
    assert units.readers[0].constant(torch.tensor([-1.0, 0.5])).tolist() == value


@pytest.mark.parametrize("between", [nn.BatchNorm2d(2), nn.AvgPool2d(2, padding=1)])
def test_where_constants_do_not_arrive_as_such(between):
    layers = [nn.Conv2d(1, 2, 3), between, nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(nn.Sequential(*layers)(IMAGES).shape[1], 3))
    (units,) = units_of(trace(model, (IMAGES,)))
    assert units.readers[0].constant is None


@pytest.mark.parametrize("padding", [1, "same"])
def test_only_zero_passes_a_padded_border(padding):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=padding))
    (units,) = units_of(trace(model, (IMAGES,)))
    arrived = units.readers[0].constant(torch.tensor([-1.0, 0.5]))
    assert arrived[0] == 0
    assert arrived[1].isnan()
