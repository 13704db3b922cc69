"""The walk through a graph: every operator with a rule is tested, others hold what they touch, plug-ins are heard."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.cuts import Net, check_cuts, found, randn, written
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SurgeryError
from featherweight.graph import surgery
from featherweight.graph._flow_base import RULES
from featherweight.graph.flow import Flow, rule
from featherweight.graph.record import record


def _channels(middle):
    return Net(lambda net, x: net.b(middle(net.a(x))), a=nn.Linear(3, 4), b=nn.Linear(4, 2))


def test_an_operator_without_a_rule_holds_what_it_touches_and_is_named():
    model = Net(
        lambda net, x: net.d(net.c(torch.fft.fft(net.b(net.a(x))).real)),
        a=nn.Linear(3, 4), b=nn.Linear(4, 5), c=nn.Linear(5, 6), d=nn.Linear(6, 2),
    )  # fmt: skip
    known = check_cuts(
        model,
        (randn(2, 3),),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3", "c": "c.weight/0 c.bias/0 d.weight/1 = 0..5"},
    )
    assert known.notes == ("the network: the operator fft_fft is not understood",)
    flow = known.structure.flow
    assert "without a rule reads it (fft_fft" in flow.reason(flow.tensor_dims()["b.weight"][0])


def test_an_operator_without_a_rule_on_pixels_alone_is_no_note():
    model = Net(lambda net, x: net.a(torch.fft.fft(x).real), a=nn.Linear(3, 2))
    assert surgery.anatomy(model, (randn(2, 3),)).notes == ()


@cache
def _library():
    """An operator of a plug-in. It lives as long as the process, as plug-ins do: torch keeps what it looked up."""
    library = torch.library.Library("featherweight_test", "DEF")
    library.define("doubled(Tensor x) -> Tensor")
    library.impl("doubled", lambda x: x * 2, "CompositeExplicitAutograd")
    return library


@pytest.fixture
def doubled(monkeypatch):
    """An operator of a plug-in, and a table of rules to fill."""
    monkeypatch.setattr("featherweight.graph._flow_base.RULES", table := dict(RULES))
    monkeypatch.setattr("featherweight.graph.flow.RULES", table)
    _library()
    return torch.ops.featherweight_test.doubled


NAME = "featherweight_test::doubled.default"


def test_an_operator_of_a_plug_in_is_a_barrier_without_a_rule(doubled):
    known = surgery.anatomy(_channels(doubled), (randn(2, 3),))
    assert known.groups == ()
    assert known.notes == (f"the network: the operator {NAME} is not understood",)


def test_a_plug_in_says_how_channels_pass_its_operator(doubled):
    @rule(NAME)
    def follow(site):
        return site.dims(site.given["x"])

    known = check_cuts(_channels(doubled), (randn(2, 3),), {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"})
    assert known.notes == ()
    cut = surgery.remove(
        model := _channels(doubled).eval(), surgery.anatomy(model, randn(2, 3)), known.groups[0].atoms[:1]
    )
    assert cut.b.weight.shape == (2, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dims: dims[:1],
        lambda dims: (dims[0], dims[1][:2]),
        lambda dims: [dims],
        lambda dims: None,
        lambda dims: [dims, dims],
    ],
    ids=["too few dimensions", "a wrong size", "a list for one result", "nothing", "two results"],
)
def test_a_rule_that_gives_wrong_shapes_is_a_barrier(doubled, wrong):
    @rule(NAME)
    def follow(site):
        return wrong(site.dims(site.given["x"]))

    known = surgery.anatomy(_channels(doubled), (randn(2, 3),))
    assert known.groups == ()
    assert any(NAME in note for note in known.notes)


def test_a_rule_that_ties_wrong_channels_is_found_when_they_are_cut(doubled):
    @rule(NAME)
    def follow(site):
        rows, ids = site.dims(site.given["x"])
        return rows, ids[::-1].copy()

    model = _channels(doubled).eval()
    known = surgery.anatomy(model, (randn(2, 3),))
    with pytest.raises(SurgeryError, match="something else than it should"):
        surgery.remove(model, known, known.groups[0].atoms[:1])


def test_inputs_outputs_and_what_was_asked_for_stay():
    graph = record(_channels(F.relu), randn(2, 3)).graph
    flow = Flow.of(graph)
    dims = flow.tensor_dims()
    assert flow.cells.find(dims["a.weight"][0]).all()
    assert not flow.cells.find(dims["a.weight"][1]).any()
    assert flow.reason(dims["b.weight"][0]) == "an output of the network"
    assert flow.reason(dims["a.weight"][0]) is None
    kept = Flow.of(graph, None, ["a"])
    assert not kept.cells.find(kept.tensor_dims()["a.weight"][0]).any()
    assert kept.reason(kept.tensor_dims()["a.weight"][0]) == "it was asked to stay"


def test_positions_beyond_the_example_stay():
    model = Net(lambda net, x: net.a(x) + net.p[:, : x.shape[1]], a=nn.Linear(3, 4), p=nn.Parameter(randn(1, 9, 4)))
    known = surgery.anatomy(model, (randn(2, 5, 3),))
    flow = known.structure.flow
    assert not flow.cells.find(flow.tensor_dims()["p"][1]).any()
    assert flow.reason(flow.tensor_dims()["p"][1][5:]) == "only a part of p is read"


# networks at random ----------------------------------------------------------------------------------------------


class Piece(nn.Module):
    """One of several ways to go on from `width` channels; `outs` are those that it gives."""

    def __init__(self, kind, width):
        super().__init__()
        self.kind, self.outs, self.groups, self.heads = kind, width, 2, 2
        if kind in ("conv", "residual", "concat"):
            self.a = nn.Conv2d(width, 4 if kind != "residual" else width, 3, padding=1)
            self.outs = {"conv": 4, "residual": width, "concat": width + 4}[kind]
        elif kind in ("grouped", "depthwise"):
            self.a = nn.Conv2d(width, width, 3, padding=1, groups=2 if kind == "grouped" else width)
        elif kind == "norm":
            self.a = nn.GroupNorm(2, width)
        elif kind == "attention":
            self.a, self.b = nn.Linear(width, 12), nn.Linear(4, width)

    def forward(self, x):
        n, c, h, w = x.shape
        if self.kind == "residual":
            return x + self.a(x).relu()
        if self.kind == "concat":
            return torch.cat([x, self.a(x)], 1)
        if self.kind == "shuffle":
            return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        if self.kind == "gate":
            return x * x.mean((2, 3), keepdim=True).sigmoid()
        if self.kind == "attention":
            q, k, v = self.a(x.flatten(2).mT).view(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
            return x + self.b(y).mT.reshape(n, c, h, w)
        return self.a(x)


KINDS = ("conv", "residual", "concat", "grouped", "depthwise", "norm", "shuffle", "gate", "attention")


def built(kinds):
    layers = [nn.Conv2d(2, 4, 1)]
    width = 4
    for kind in kinds:
        layers.append(Piece(kind, width))
        width = layers[-1].outs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 4, 2))


@settings(max_examples=20)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
def test_networks_at_random_are_cut_as_they_are_masked(kinds):
    torch.manual_seed(len(kinds))
    known = check_cuts(built(kinds), (randn(2, 2, 2, 2),))
    assert known.notes == ()
    assert len(known.groups) > 0


def test_a_network_of_all_pieces_has_groups_of_each_kind():
    known = surgery.anatomy(built(KINDS), (randn(2, 2, 2, 2),))
    assert {group.kind for group in known.groups} == {"channel", "row", "column"}
    assert written({"x": "a/0 = 0 1"}) != found(known)
