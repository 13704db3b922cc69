"""Attributes that follow a cut: what the code computes, compares and scales by."""

import math

import pytest
import torch
from torch import nn

from featherweight.graph import surgery
from featherweight.graph.surgery import UnsolvableError


class Heads(nn.Module):
    """Attention whose code computes widths from attributes; `scaled` also a scale from the width of a head."""

    def __init__(self, scaled=False):
        super().__init__()
        self.heads, self.width, self.inner, self.scaled = 4, 6, 24, scaled
        self.q, self.out = nn.Linear(8, 24), nn.Linear(24, 3)

    def forward(self, x):
        q = self.q(x).view(x.shape[0], -1, self.heads, self.width).transpose(1, 2)
        scores = q @ q.transpose(-1, -2) / (math.sqrt(self.width) if self.scaled else 2.0)
        return self.out((scores.softmax(-1) @ q).transpose(1, 2).reshape(x.shape[0], -1, self.inner))


EXAMPLE = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def group(known, kind):
    return next(item for item in known.groups if item.kind == kind)


def test_attributes_follow():
    model = Heads()
    known = surgery.anatomy(model, EXAMPLE)
    cut = surgery.remove(model, known, group(known, "row").atoms[:1])
    assert (cut.heads, cut.width, cut.inner) == (3, 6, 18)
    known = surgery.anatomy(model, EXAMPLE)
    cut = surgery.remove(model, known, group(known, "column").atoms[:2])
    assert (cut.heads, cut.width, cut.inner) == (4, 4, 16)


def test_what_scales_are_computed_from_stays():
    known = surgery.anatomy(Heads(scaled=True), EXAMPLE)
    assert [len(item) for item in known.groups] == [4]  # heads, no widths
    assert any("width, which the code computes another number from" in note for note in known.notes)


class Checked(nn.Module):
    """Its code compares what comes in with what it was told."""

    def __init__(self):
        super().__init__()
        self.channels, self.wide, self.narrow = 6, 6, 4
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.a(x)
        if x.shape[-1] != self.channels:
            raise ValueError(x.shape)
        x = self.b(x)
        return self.c(x) if self.wide != self.narrow else x


def test_comparisons_stay_as_they_were():
    model = Checked()
    known = surgery.anatomy(model, torch.randn(3, 4))
    cut = surgery.remove(model, known, known.group("a").atoms[:2])
    assert cut.channels == 4
    assert cut.wide != cut.narrow


class Halves(nn.Module):
    """Its code takes half of a width that two layers share in a sum of sizes."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 3)

    def forward(self, x):
        both = torch.cat([self.a(x), self.b(x)], -1)
        left, right = both.split([self.width // 2, self.width - self.width // 2], -1)
        return self.out(torch.cat([left.tanh(), right.sigmoid()], -1))


def test_unequal_parts_are_refused_with_the_expression():
    model = Halves()
    known = surgery.anatomy(model, torch.randn(3, 4))
    with pytest.raises(UnsolvableError, match=r"width // 2") as caught:
        surgery.remove(model, known, known.group("a").atoms[:2])
    assert len(caught.value.parts) >= 2
    both = [known.group(name).atoms[:2] for name in "ab"]
    cut = surgery.remove(model, known, torch.cat([torch.from_numpy(item) for item in both]).numpy())
    assert cut.width == 4


class Shared(nn.Module):
    """Two layers that read one configuration."""

    class Config:
        def __init__(self):
            self.width = 6

    class Part(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config, self.up, self.down = config, nn.Linear(4, 12), nn.Linear(12, 4)

        def forward(self, x):
            wide = self.up(x).reshape(x.shape[0], 2, self.config.width)
            return self.down(wide.flatten(1))

    def __init__(self):
        super().__init__()
        config = self.Config()
        self.first, self.second, self.out = self.Part(config), self.Part(config), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.second(self.first(x)))


def test_a_shared_configuration_follows_when_all_agree():
    model = Shared()
    known = surgery.anatomy(model, torch.randn(3, 4))
    columns = [item for item in known.groups if len(item) == 6]
    assert len(columns) == 2
    with pytest.raises(UnsolvableError, match=r"config\.width"):
        surgery.remove(model, known, columns[0].atoms[:2])
    cut = surgery.remove(model, known, torch.cat([torch.from_numpy(item.atoms[:2]) for item in columns]).numpy())
    assert (cut.first.config.width, cut.second.config.width) == (4, 4)
    assert model.first.config.width == 6
