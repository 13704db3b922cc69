"""The plain form: exact, small, one for a graph; everything else is refused."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featherweight.container import cbor
from featherweight.errors import FormatError
from featherweight.graph import plain as plain_form
from featherweight.graph.plain import Ref, from_plain, same, to_plain
from featherweight.graph.trace import trace
from featherweight.networks.classic.lenet import LeNet5

LENET = [  # pinned: this is what stands in files
    [["images", [None, 1, 28, 28]]],
    ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"],
    ["conv2d", "max_pool2d", "flatten", "linear", "relu"],
    [
        [0, Ref(0), Ref(1), Ref(2)],
        [1, Ref(9), [2, 2]],
        [0, Ref(10), Ref(3), Ref(4)],
        [1, Ref(11), [2, 2]],
        [2, Ref(12), 1],
        [3, Ref(13), Ref(5), Ref(6)],
        [4, Ref(14)],
        [3, Ref(15), Ref(7), Ref(8)],
    ],
    Ref(16),
]


def test_lenet_is_what_it_was_and_takes_about_a_hundred_bytes():
    graph = trace(LeNet5(), torch.zeros(1, 1, 28, 28))
    assert to_plain(graph) == LENET
    assert len(cbor.encode(to_plain(graph, names=False))) <= 120
    assert len(cbor.encode(to_plain(graph))) <= 220


def test_a_graph_and_its_plain_form_say_the_same(zoo):
    read = from_plain(to_plain(zoo.graph))
    assert read == zoo.graph
    assert to_plain(read) == to_plain(zoo.graph)
    assert cbor.Decoder(cbor.encode(to_plain(zoo.graph))).value() == to_plain(zoo.graph)


def test_names_may_be_kept_elsewhere(network):
    graph = network("mobile").graph
    counted = to_plain(graph, names=False)
    assert counted[1] == len(graph.tensors)
    assert from_plain(counted, graph.tensors) == graph
    with pytest.raises(FormatError, match="must use 3 tensors"):
        from_plain(counted, ["a", "b", "c"])


class Infinite(nn.Module):
    def forward(self, x):
        return x.masked_fill(x > 0, -math.inf).clamp(max=math.inf).to(torch.bfloat16)


def test_infinite_numbers_and_types_are_texts():
    plain = to_plain(trace(Infinite(), torch.zeros(2, 3)))
    assert plain[3] == [
        [0, Ref(0), 0],
        [1, Ref(0), Ref(1), "-inf"],
        [2, Ref(2), None, "inf"],
        [3, Ref(3), "bfloat16"],
    ]
    assert from_plain(plain).nodes[1].args[2] == -math.inf


def test_buffers_that_are_no_statistics_are_listed(network):
    graph = network("windows").graph
    assert graph.buffers == {"index"}
    assert to_plain(graph)[5] == [graph.tensors.index("index")]
    assert len(to_plain(network("mobile").graph)) == 5


def changed(**places):
    """LENET with parts replaced: changed(nodes=...)."""
    fresh = copy.deepcopy(LENET)
    for name, value in places.items():
        fresh[["inputs", "tensors", "ops", "nodes", "outputs"].index(name)] = value
    return fresh


def node(index, value):
    nodes = copy.deepcopy(LENET[3])
    nodes[index] = value
    return changed(nodes=nodes)


HOSTILE = {
    "no list": ("graph", "a list"),
    "too short": (LENET[:4], "five or six parts"),
    "too long": ([*LENET, [], []], "five or six parts"),
    "no exceptions": ([*LENET, []], "exceptions must be ascending"),
    "exception out of range": ([*LENET, [8]], "exceptions must be ascending"),
    "exceptions not ascending": ([*LENET, [2, 1]], "exceptions must be ascending"),
    "input without shape": (changed(inputs=[["x"]]), "two or three entries"),
    "input twice": (changed(inputs=[["x", []], ["x", []]]), "new identifier"),
    "input name is code": (changed(inputs=[["x()", []]]), "new identifier"),
    "input shape negative": (changed(inputs=[["x", [-1]]]), "0 to 2\\^48"),
    "input shape huge": (changed(inputs=[["x", [2**60]]]), "0 to 2\\^48"),
    "input shape true": (changed(inputs=[["x", [True]]]), "0 to 2\\^48"),
    "input rank": (changed(inputs=[["x", [1] * 33]]), "at most 32 dimensions"),
    "input type unknown": (changed(inputs=[["x", [], "float8"]]), "type of an input"),
    "input type default": (changed(inputs=[["x", [], "float32"]]), "written although it is the default"),
    "tensors no names": (changed(tensors=[1]), "must be texts"),
    "tensor twice": (changed(tensors=["a"] * 8), "each once"),
    "tensors counted without names": (changed(tensors=8), "must be a list"),
    "unknown operator": (changed(ops=["system"]), "not in the list"),
    "in-place operator": (changed(ops=["relu_"]), "not in the list"),
    "operator is a number": (changed(ops=[7]), "not in the list"),
    "operator twice": (changed(ops=[*LENET[2], "relu"]), "listed twice"),
    "operator unused": (changed(ops=[*LENET[2], "tanh"]), "not used"),
    "operators out of order": (changed(ops=LENET[2][::-1]), "takes at most|order of first use|must"),
    "node empty": (node(0, []), "order of first use"),
    "node no list": (node(0, 3), "must be a list"),
    "node operator out of range": (node(7, [9, Ref(0)]), "order of first use"),
    "node operator too early": (node(0, [1, Ref(0), [2, 2]]), "order of first use"),
    "node operator true": (node(1, [True, Ref(9), [2, 2]]), "order of first use"),
    "forward reference": (node(0, [0, Ref(16), Ref(1)]), "does not come before"),
    "reference to itself": (node(0, [0, Ref(9), Ref(1)]), "does not come before"),
    "negative reference": (node(0, [0, Ref(-1), Ref(1)]), "does not come before"),
    "reference that is true": (node(0, [0, Ref(True), Ref(1)]), "does not come before"),
    "too many arguments": (node(6, [4, Ref(14), 1]), "at most 1 arguments"),
    "too few arguments": (node(0, [0, Ref(0)]), "needs weight"),
    "default written": (node(0, [0, Ref(0), Ref(1), Ref(2), [1, 1]]), "equals its default"),
    "null where none may be": (node(6, [4, None]), "must not be null"),
    "list where none may be": (node(6, [4, [Ref(14)]]), "takes tensor"),
    "number for a list": (node(1, [1, Ref(9), 2]), "must be a list"),
    "text for a number": (node(1, [1, Ref(9), ["2", 2]]), "takes int"),
    "float for an integer": (node(4, [2, Ref(12), 1.0]), "takes int"),
    "integer beyond 64 bits": (node(4, [2, Ref(12), 2**63]), "takes int"),
    "tensor for an integer": (node(4, [2, Ref(12), Ref(1)]), "takes int"),
    "output forward": (changed(outputs=Ref(17)), "does not come before"),
    "output text": (changed(outputs="leak"), "an output must be"),
    "output structure": (changed(outputs=["set", Ref(16)]), "tuple, list or dict"),
    "output structure empty": (changed(outputs=[]), "tuple, list or dict"),
    "output dictionary odd": (changed(outputs=["dict", "a"]), "output dictionary"),
    "output key twice": (changed(outputs=["dict", "a", 1, "a", 2]), "output dictionary"),
    "output key no text": (changed(outputs=["dict", 1, 1]), "output dictionary"),
}


@pytest.mark.parametrize(("plain", "says"), HOSTILE.values(), ids=HOSTILE)
def test_what_to_plain_cannot_have_written_is_refused(plain, says):
    with pytest.raises(FormatError, match=says) as caught:
        from_plain(plain)
    assert caught.value.code == "E_GRAPH" and caught.value.section == "graph"


def test_deep_outputs_are_refused():
    tree = Ref(0)
    for _ in range(5000):
        tree = ["tuple", tree]
    with pytest.raises(FormatError, match="nested deeper"):
        from_plain(changed(outputs=tree))


def test_too_many_nodes_are_refused(monkeypatch):
    monkeypatch.setattr(plain_form, "MAX_NODES", 7)
    with pytest.raises(FormatError, match="at most 7 nodes"):
        from_plain(LENET)


@pytest.mark.parametrize("index", [Ref(0), -1, 3])
def test_items_must_be_there(index):
    lstm = [["x", [None, 3, 4]]], ["h", "a", "b"], ["lstm", "getitem"]
    nodes = [[0, Ref(0), [Ref(1), Ref(1)], [Ref(2), Ref(3)], False], [1, Ref(4), index]]
    with pytest.raises(FormatError, match=r"item that is not there|takes int"):
        from_plain([*lstm, nodes, Ref(5)])


def test_several_results_are_no_tensor():
    listed = [["x", [None, 4]]], [], ["chunk", "relu"], [[0, Ref(0), 2], [1, Ref(1)]], Ref(2)
    with pytest.raises(FormatError, match="takes tensor, and the value is tensors"):
        from_plain(list(listed))


def test_equality_tells_types_apart():
    assert same((1, (2.0,)), (1, (2.0,))) and same(math.nan, math.nan)
    assert not same(1, True) and not same(1, 1.0) and not same((1,), (1, 1)) and not same(None, 0)


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=4),
    st.integers(-2, 20).map(Ref),
)


@st.composite
def mutated(draw):
    """The plain form of LeNet-5 with a few places replaced by something else."""
    fresh = copy.deepcopy(LENET)
    for _ in range(draw(st.integers(1, 3))):
        place = fresh
        while isinstance(place, list) and place and draw(st.integers(0, 3)):
            index = draw(st.integers(0, len(place) - 1))
            if not isinstance(place[index], list):
                break
            place = place[index]
        if place:
            place[draw(st.integers(0, len(place) - 1))] = draw(st.one_of(ATOMS, st.lists(ATOMS, max_size=3)))
    return fresh


@settings(max_examples=200)
@given(mutated())
def test_whatever_is_read_is_written_the_same(plain):
    try:
        graph = from_plain(plain)
    except FormatError as error:
        assert error.code == "E_GRAPH"
        return
    assert same(tuple(cbor.encode(to_plain(graph))), tuple(cbor.encode(plain)))
