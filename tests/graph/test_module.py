"""Graphs as models: names, training, copies, devices, wrong use."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from featherweight.core.optional import need
from featherweight.errors import DataError, MissingExtraError, UsageError
from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.plain import Ref, from_plain, to_plain
from featherweight.graph.trace import trace
from featherweight.networks.classic.lenet import LeNet5


def loaded(model, example):
    graph = trace(model, example)
    tensors = {name: item.detach().clone() for name, item in tensors_of(graph, model).items()}
    return to_module(from_plain(to_plain(graph)), tensors)


@pytest.fixture
def lenet():
    return loaded(LeNet5(), torch.zeros(1, 1, 28, 28))


def test_it_trains_and_the_loss_falls(lenet):
    torch.manual_seed(0)
    images, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    optimizer = torch.optim.Adam(lenet.train().parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(lenet(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_training_mode_changes_nothing(network):
    mobile = network("mobile")
    again = copy.deepcopy(mobile.again).train()
    with torch.no_grad():
        torch.testing.assert_close(again(*mobile.example), mobile.model(*mobile.example))
    before = mobile.again.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in again.state_dict().items())
    assert not mobile.again.training


def test_a_copy_is_independent(lenet):
    other = copy.deepcopy(lenet)
    with torch.no_grad():
        other.conv1.weight.zero_()
        other.conv1.bias.zero_()
    images = torch.randn(2, 1, 28, 28)
    assert not torch.equal(other(images), lenet(images))
    assert other(images).shape == (2, 10) and lenet.conv1.weight.abs().sum() > 0


def test_a_state_dict_goes_in_and_out(lenet):
    fresh = LeNet5()
    assert fresh.load_state_dict(lenet.state_dict()).missing_keys == []
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(fresh(images), lenet(images))
    other = {name: value + 1 for name, value in fresh.state_dict().items()}
    lenet.load_state_dict(other)
    fresh.load_state_dict(other)
    torch.testing.assert_close(fresh(images), lenet(images))


def test_other_types_and_places(lenet):
    images = torch.randn(2, 1, 28, 28)
    expected = lenet(images)
    torch.testing.assert_close(copy.deepcopy(lenet).double()(images.double()).float(), expected)
    assert copy.deepcopy(lenet).to("meta")(images.to("meta")).shape == (2, 10)


def test_factories_follow_the_device_of_the_inputs(network):
    lstm = copy.deepcopy(network("lstm").again).to("meta")
    # on "meta" the initial state would clash with the weights if it were made on the CPU
    assert lstm(*(item.to("meta") for item in network("lstm").example)).device.type == "meta"


def test_tied_weights_stay_tied(network):
    model, graph, example = network("tied").model, network("tied").graph, network("tied").example
    again = to_module(graph, copy.deepcopy(model.state_dict()))
    assert graph.tensors == ("embed.weight",)
    assert set(again.state_dict()) == {"embed.weight", "out.weight"}
    assert again.embed.weight is again.out.weight and len(list(again.parameters())) == 1
    torch.testing.assert_close(again(*example), model(*example))


def test_buffers_stay_buffers_and_integers_are_never_trained(network):
    windows = network("windows").again
    assert dict(windows.named_buffers()).keys() == {"index"}
    assert dict(windows.named_parameters()).keys() == {"table", "fc.weight", "fc.bias"}
    causal = network("causal")
    assert causal.graph.buffers == {"scale", "lifted_tensor_0"}
    assert causal.graph.constants.keys() == {"lifted_tensor_0"}


def test_a_parametrised_weight_is_followed(lenet):
    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    images, bias = torch.randn(2, 1, 28, 28), lenet.fc2.bias.detach()
    before = lenet(images)
    parametrize.register_parametrization(lenet.fc2, "weight", Half())
    torch.testing.assert_close(lenet(images), (before - bias) / 2 + bias)


def test_names_that_equal_methods_do_no_harm():
    class Awkward(nn.Module):
        def __init__(self):
            super().__init__()
            self.graph, self.type_ = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.type_(self.graph(x))

    graph = trace(Awkward(), torch.zeros(2, 3))
    plain = to_plain(graph)
    plain[1] = ["graph.weight", "forward", "_parameters.train", "__class__"]
    values = [torch.randn(3, 3), torch.randn(3), torch.randn(3, 3), torch.randn(3)]
    again = to_module(from_plain(plain), dict(zip(plain[1], values, strict=True)))
    x = torch.randn(2, 3)
    expected = (x @ values[0].T + values[1]) @ values[2].T + values[3]
    torch.testing.assert_close(again(x), expected)
    assert set(again.state_dict()) == set(plain[1])


def test_inputs_by_name_and_in_structures(network):
    two = network("two_inputs")
    a, b = two.example
    assert torch.equal(two.again(a, b=b), two.again(a, b)) and torch.equal(two.again(b=b, a=a), two.again(a, b))
    assert two.again.input_names == ("a", "b")
    state = network("given_state")
    x, values = state.example
    torch.testing.assert_close(state.again(x, values)[0], state.again(x, values["h"], values["c"])[0])


@pytest.mark.parametrize(("args", "kwargs"), [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"c": 3}), ((), {"a": 1})])
def test_wrong_inputs_are_named(network, args, kwargs):
    tensors = [torch.zeros(2, 4) for _ in args]
    with pytest.raises(DataError, match="takes the 2 inputs a, b"):
        network("two_inputs").again(*tensors, **{name: torch.zeros(2, 4) for name in kwargs})


def test_missing_tensors_are_named():
    graph = trace(LeNet5(), torch.zeros(1, 1, 28, 28))
    with pytest.raises(UsageError, match=r"fc2.bias"):
        to_module(graph, {name: torch.zeros(1) for name in graph.tensors[:-1]})
    with pytest.raises(UsageError, match="Trace the model again"):
        tensors_of(graph, nn.Linear(2, 2))


def test_it_says_what_it_is(lenet):
    assert "inputs=images; 8 operators" in repr(lenet)


def test_a_graph_without_weights_or_inputs_runs():
    graph = from_plain([[], [], ["arange"], [[0, 3]], Ref(0)])
    assert to_module(graph, {})().tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.parametrize(
    "name", ["lstm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobile", "attention", "dict_output"))]
)
def test_the_loaded_model_exports_to_onnx_with_equal_outputs(network, name, tmp_path):
    try:
        for extra in ("onnx", "onnxscript", "onnxruntime"):
            need(extra, extra="onnx", purpose="this test")
    except MissingExtraError as error:
        pytest.skip(str(error))
    import onnxruntime

    again, example = network(name).again, network(name).example
    path = tmp_path / "model.onnx"
    torch.onnx.export(again, example, path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {item.name: value.numpy() for item, value in zip(session.get_inputs(), example, strict=True)}
    with torch.no_grad():
        expected = [item for item in torch.utils._pytree.tree_leaves(again(*example)) if item is not None]
    for found, right in zip(session.run(None, feed), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), right, rtol=1e-4, atol=1e-5)
