"""Tracing: every network of the zoo comes back as the same function, with the same names, trainable."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from featherweight.errors import TraceError
from featherweight.graph.ir import Meta
from featherweight.graph.plain import to_plain
from featherweight.graph.trace import trace

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def assert_same(found, expected, tolerance=1e-6):
    found, expected = tree_leaves(found), tree_leaves(expected)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def larger(example):
    """Another batch than the traced one."""
    return tree_map(lambda item: torch.cat([item, item.flip(0), item[:1]]), example)


def test_a_network_comes_back_as_the_same_function(zoo):
    name, model, example, graph, again = zoo
    with torch.no_grad():
        assert_same(again(*example), model(*example))
        if name not in ("gru", "norms"):  # batch in the middle; normalised by the batch itself
            assert_same(again(*larger(example)), model(*larger(example)))
            assert_same(again(*tree_map(lambda item: item[:1], example)), model(*tree_map(lambda i: i[:1], example)))
    assert graph.notes == ()
    assert {node.op for node in graph.nodes}.isdisjoint({"dropout", "view"})


def test_tracing_again_gives_the_same_plain_form(zoo):
    assert to_plain(trace(zoo.again, zoo.example)) == to_plain(zoo.graph)


def test_gradients_are_those_of_the_network(zoo):
    model, again, example = copy.deepcopy(zoo.model), copy.deepcopy(zoo.again), zoo.example
    if not list(model.parameters()):
        assert list(again.parameters()) == []
        return
    for network in (model, again):
        outputs = [item for item in tree_leaves(network(*example)) if isinstance(item, torch.Tensor)]
        sum(item.pow(2).sum() for item in outputs if item.requires_grad).backward()
    expected = {name: item.grad for name, item in model.named_parameters() if item.grad is not None}
    found = {name: item.grad for name, item in again.named_parameters() if item.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-5)


def test_names_are_those_of_the_state_dict(zoo):
    model, again = zoo.model, zoo.again
    theirs, ours = model.state_dict(), again.state_dict()
    literals = {"lifted_tensor_0", "lifted_tensor_1", "frequencies"}
    assert set(ours) - set(theirs) <= literals
    unused = {key for key in set(theirs) - set(ours) if not key.endswith("num_batches_tracked")}
    assert unused == ({"out.weight"} if zoo.name == "tied" else set())
    assert {key for key, _ in again.named_parameters()} == {key for key, _ in model.named_parameters()}


def test_a_batch_of_one_is_traced_for_any_batch(network):
    mobile = network("mobile")
    graph = trace(mobile.model, tuple(item[:1] for item in mobile.example))
    assert graph.signature[0].shape == (None, 3, 8, 8)
    assert graph.sizes == (Meta((1, 3, 8, 8), torch.float32),)
    first = graph.nodes[0]
    assert (first.op, first.meta) == ("conv2d", Meta((1, 8, 4, 4), torch.float32))
    assert first.scope == "stem.0"


def test_a_single_tensor_is_an_example_too(network):
    plain = network("convolutions")
    assert trace(plain.model, plain.example[0]) == plain.graph


class FixedBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x).reshape(3, 2) + torch.ones(3, 1)


class ManyBatches(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x


@pytest.mark.parametrize("model", [FixedBatch(), ManyBatches()])
def test_a_batch_that_the_code_depends_on_stays_fixed_and_is_noted(model):
    graph = trace(model, torch.randn(3, 4))
    assert graph.signature[0].shape == (3, 4)
    assert graph.notes == ("the batch is fixed at 3",)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.LSTM(4, 3, batch_first=True), nn.Identity())
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(model[0], torch.randn(2, 3, 4))
    assert model.training and model[0].training and not model[1].training
    assert model[0]._flat_weights[0] is model[0].weight_ih_l0
    assert all(torch.equal(before[name], item) for name, item in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


class Branch(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


class Item(nn.Module):
    def forward(self, x):
        return x * x.max().item()


class Masked(nn.Module):
    def forward(self, x):
        return x[x > 0]


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class AlwaysDrops(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x):
        return F.batch_norm(x, self.bn.running_mean, self.bn.running_var, training=True)


class Numpy(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() * 2)


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Branch(), "torch.where"),
        (Item(), "torch.where|outside|closed list"),
        (Masked(), "masks|closed list"),
        (Noise(), "randn_like.*closed list"),
        (AlwaysDrops(), "dropout.*closed list"),
        (Counts(), "calls.*changes one of its buffers"),
        (BatchStatistics(), "buffers|statistics of the batch"),
        (Numpy(), "numpy|torch in forward|closed list"),
        (Broken(), "KeyError|lost|cannot be traced"),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, nn.Module) else "",
)
def test_what_cannot_be_traced_is_refused_with_what_to_do(model, says):
    with pytest.raises(TraceError, match=says):
        trace(model, torch.randn(2, 4))


class Wavering(nn.Module):
    """Gives another result each time, without any random operator."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return x * self.calls


def test_a_model_that_is_no_function_is_noticed():
    with pytest.raises(TraceError, match="other outputs than the model"):
        trace(Wavering(), torch.randn(2, 4))


def test_an_unused_random_number_does_no_harm():
    class Unused(nn.Module):
        def forward(self, x):
            torch.rand(3)
            return x + 1

    assert [node.op for node in trace(Unused(), torch.randn(2, 4)).nodes] == ["add"]
