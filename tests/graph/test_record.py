"""Recording: the recorded graph computes what the network does, and says where its integers came from."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from featherweight.errors import FeatherweightError, TraceError
from featherweight.graph.ir import Meta, Ref
from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.origins import Attribute, Constant, Operation, Place, Size, evaluate
from featherweight.graph.record import record
from featherweight.networks.classic.alexnet import AlexNet
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import ResNetCifar
from featherweight.networks.classic.vgg import VGG, Shape

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def tensors(tree):
    return [item for item in tree_leaves(tree) if isinstance(item, torch.Tensor)]


def rebuilt(recording, model):
    return to_module(recording.graph, tensors_of(recording.graph, model))


def assert_equal_run(model, example, tolerance=1e-6):
    """Records, checks the graph against the model on the example and on other values, gives the recording."""
    example = example if isinstance(example, tuple) else (example,)
    recording = record(model.eval(), example)
    again = rebuilt(recording, model)
    with torch.no_grad():
        for values in (example, torch.utils._pytree.tree_map(shuffled, example)):
            expected, found = tensors(model(*values)), tensors(again(*values))
            assert len(expected) == len(found) > 0
            for left, right in zip(found, expected, strict=True):
                torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)
    return recording


def shuffled(item):
    """Other values of the same kind."""
    if not isinstance(item, torch.Tensor):
        return item
    return item.flatten()[torch.randperm(item.numel(), generator=torch.Generator().manual_seed(7))].reshape(item.shape)


def origins_of(recording, op, parameter):
    """The origins of one parameter of the nodes of an operator, by (place among those nodes, position)."""
    graph = recording.graph
    numbers = [number for number, node in enumerate(graph.nodes, graph.first_node) if node.op == op]
    return {
        (numbers.index(place.value), place.position): expr
        for place, expr in recording.origins.items()
        if place.value in numbers and place.parameter == parameter
    }


def ops_of(recording):
    return [node.op for node in recording.graph.nodes]


# the same function ----------------------------------------------------------------------------------------------


def test_every_network_of_the_zoo_is_recorded_as_it_computes(built):
    model, example = built
    recording = assert_equal_run(model, example, 1e-5)
    assert not any("::" in node.op for node in recording.graph.nodes)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (LeNet300100, (2, 1, 28, 28)),
        (LeNet5, (2, 1, 28, 28)),
        (lambda: LstmClassifier(8, 16, layers=2), (2, 5, 8)),
        (ResNetCifar, (2, 3, 32, 32)),
        (lambda: VGG(11, Shape(size=32, width=8, hidden=16, classes=10)), (2, 3, 32, 32)),
        pytest.param(AlexNet, (1, 3, 227, 227), marks=pytest.mark.slow),
    ],
    ids=["lenet_300_100", "lenet5", "lstm", "resnet", "vgg", "alexnet"],
)
def test_our_networks_are_recorded_as_they_compute(make, shape):
    torch.manual_seed(0)
    assert_equal_run(make(), torch.randn(shape))


class Branches(nn.Module):
    """Slices that are written to, views that are read afterwards, all forms of indexing, operators from both sides."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = self.fc(x)
        wide, first = y.view(-1, 2, 3), y[:, 0]
        y[:, 1:3] = 2 - y[:, :2]
        wide.transpose(1, 2)[:, 0] *= 3
        last = y.chunk(3, dim=1)[2]
        last += first[:, None]
        rows = [row.relu_() for row in y.unbind(1)]
        picked = y[..., torch.tensor([0, 2, 1])][None, :, ::2]
        total = sum(rows) ** 2 / (1 + y.abs().sum(-1)) - wide.sum((1, 2)) % 1.5
        return total, 2**picked, y @ self.fc.weight, -wide, y.T, len(y), x[y > 1e9 if False else None]


def test_writes_views_and_indexing():
    recording = assert_equal_run(Branches(), torch.randn(4, 6))
    assert {"slice_scatter", "select_scatter", "rsub", "pow.Scalar"} <= set(ops_of(recording))
    assert recording.graph.outputs[5] == 4


class Fused(nn.Module):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, heads=2, width=4):
        super().__init__()
        self.config = SimpleNamespace(heads=heads, sizes=(width, width), dropout=0.1)
        self.all_size = heads * width
        self.qkv, self.out = nn.Linear(8, 3 * self.all_size), nn.Linear(self.all_size, 8)

    def forward(self, x, *, scale=1.0):
        batch, steps = x.shape[:2]
        q, k, v = self.qkv(x).view(batch, steps, 3, self.config.heads, self.config.sizes[0]).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q * scale, k, v, dropout_p=self.config.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(*x.shape[:-1], self.all_size))


class Called(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = self.b = Fused()

    def forward(self, x, more):
        return {"once": self.a(x, scale=0.5), "twice": [self.b(self.a(x)) + more["y"]], "length": x.size(1)}


def test_keywords_reused_modules_nested_inputs_and_dictionaries():
    recording = assert_equal_run(Called(), (torch.randn(2, 3, 8), {"y": torch.randn(2, 3, 8), "n": 3}))
    graph = recording.graph
    assert graph.inputs == ("x", "more_y")
    assert graph.outputs["length"] == 3
    assert type(graph.outputs["length"]) is int
    assert {node.scope for node in graph.nodes if node.op == "linear"} == {"a.qkv", "a.out"}
    assert graph.tensors == ("a.qkv.weight", "a.qkv.bias", "a.out.weight", "a.out.bias")


def test_metas_signature_and_scopes_are_those_of_the_example(network):
    mobile = network("mobile")
    graph = record(mobile.model, mobile.example).graph
    assert graph.signature[0].shape == (2, 3, 8, 8)
    assert graph.sizes == (Meta((2, 3, 8, 8), torch.float32),)
    assert (graph.nodes[0].op, graph.nodes[0].meta) == ("conv2d", Meta((2, 8, 4, 4), torch.float32))
    assert graph.nodes[0].scope == "stem.0"
    assert graph.buffers == {name for name in graph.tensors if "running" in name}
    traced = [node for node in mobile.graph.nodes if not node.op.startswith(("int_", "sym_size"))]
    assert [(node.op, node.scope) for node in graph.nodes] == [(node.op, node.scope) for node in traced]
    convolutions = [[node for node in nodes if node.op.startswith("conv2d")] for nodes in (graph.nodes, traced)]
    assert [node.args[3:] for node in convolutions[0]] == [node.args[3:] for node in convolutions[1]]


# origins --------------------------------------------------------------------------------------------------------


def test_origins_lead_to_attributes_configurations_and_sizes():
    recording = record(Fused().eval(), torch.randn(2, 3, 8))
    heads, width = Attribute("", "config.heads", None), Attribute("", "config.sizes", 0)
    found = origins_of(recording, "reshape", "shape")
    assert found[0, 0] == Size(0, 0)
    assert found[0, 1] == Size(0, 1)
    assert (0, 2) not in found
    assert (found[0, 3], found[0, 4]) == (heads, width)
    assert found[1, 2] == Attribute("", "all_size", None)


def test_every_origin_evaluates_to_the_integer_it_stands_for(built):
    model, example = built
    recording = record(model, example)
    graph, modules = recording.graph, dict(model.named_modules())

    def lookup(leaf):
        if isinstance(leaf, Size):
            return graph.meta(Ref(leaf.value)).shape[leaf.dim]
        value = modules[leaf.path]
        for name in leaf.name.split("."):
            value = getattr(value, name)
        return value if leaf.position is None else value[leaf.position]

    for place, expr in recording.origins.items():
        value = graph.nodes[place.value - graph.first_node].arguments()[place.parameter]
        value = value if place.position is None else value[place.position]
        assert type(value) is int
        assert evaluate(expr, lookup) == value


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.groups, self.split = 2, [3, 5]
        self.conv = nn.Conv2d(4, 8, 1)

    def forward(self, x):
        x = self.conv(x)
        b, c, h, w = x.size()
        x = x.view(b, self.groups, -(-c // self.groups), h, w).transpose(1, 2).flatten(1, 2)
        left, right = x.split(self.split, dim=1)
        start = c - self.groups
        return torch.cat([left[:, : self.split[0] - 1], right, x[:, start:], x.narrow(1, self.groups % 2, 1)], 1)


def test_arithmetic_on_sizes_and_attributes_is_kept():
    recording = assert_equal_run(Shuffle(), torch.randn(2, 4, 3, 3))
    graph = recording.graph
    convolved = graph.first_node
    groups, channels = Attribute("", "groups", None), Size(convolved, 1)
    shapes = origins_of(recording, "reshape", "shape")
    negative = Operation("neg", channels, None)
    assert shapes[0, 1] == groups
    assert shapes[0, 2] == Operation("neg", Operation("floordiv", negative, groups), None)
    assert origins_of(recording, "split_with_sizes", "split_sizes") == {
        (0, part): Attribute("", "split", part) for part in (0, 1)
    }
    assert origins_of(recording, "slice", "end")[0, None] == Operation("sub", Attribute("", "split", 0), Constant(1))
    assert origins_of(recording, "slice", "start")[1, None] == Operation("sub", channels, groups)
    assert origins_of(recording, "narrow", "start")[0, None] == Operation("mod", groups, Constant(2))


def test_settings_of_layers_are_origins():
    recording = record(nn.Conv2d(4, 8, 3, padding=(1, 2), groups=2), torch.randn(1, 4, 5, 5))
    number = recording.graph.first_node
    assert recording.origins[Place(number, "groups", None)] == Attribute("", "groups", None)
    assert recording.origins[Place(number, "padding", 1)] == Attribute("", "padding", 1)


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


def test_origins_pass_through_functions_of_torch_written_in_python():
    recording = record(Attend(), torch.randn(3, 2, 8))
    heads = Attribute("inner", "num_heads", None)
    assert any(Operation("mul", Size(0, 1), heads) == expr for expr in recording.origins.values())


# the model is left alone ----------------------------------------------------------------------------------------


class Keeps(nn.Module):
    """Keeps sizes, counts its calls, and fails when told to."""

    def __init__(self):
        super().__init__()
        self.calls, self.sizes, self.fail, self.config = 0, [4, 2], False, SimpleNamespace(width=4, inner=None)
        self.config.inner = SimpleNamespace(depth=3, owner=self.config)

    def forward(self, x):
        self.calls += 1
        self.last = x.shape
        self.length = x.shape[0] + self.config.inner.depth
        self.config.inner.depth = x.shape[1]
        if self.fail:
            raise ValueError("told to")
        return x.view(self.sizes)


@pytest.mark.parametrize("fail", [False, True])
def test_attributes_and_modes_are_put_back(fail):
    model = nn.Sequential(Keeps(), nn.Dropout()).train()
    keeps = model[0]
    keeps.fail, sizes = fail, keeps.sizes
    x = torch.randn(2, 4)
    before = x.clone()
    if fail:
        with pytest.raises(TraceError, match=r"^0: .*does not run.*told to"):
            record(model, x)
    else:
        record(model, x)
    assert model.training
    assert keeps.sizes is sizes
    assert (keeps.calls, keeps.config.width, keeps.config.inner.depth) == (0, 4, 3)
    plain = [keeps.calls, *keeps.sizes, *keeps.last, keeps.length, keeps.config.inner.depth, model[1].p]
    assert {type(item) for item in plain} == {int, float}
    assert torch.equal(x, before)
    assert torch.backends.mha.get_fastpath_enabled()
    assert len(torch.overrides._get_current_function_mode_stack()) == 0


def test_inputs_written_to_keep_their_values():
    x = torch.randn(2, 3)
    before = x.clone()
    assert_equal_run(nn.ReLU(), x)
    record(nn.ReLU(inplace=True), x)
    assert torch.equal(x, before)


# what is refused ------------------------------------------------------------------------------------------------


class Asks(nn.Module):
    def __init__(self, question):
        super().__init__()
        self.inner, self.question = nn.Linear(4, 4), question
        self.register_buffer("limit", torch.tensor(2.0))

    def forward(self, x):
        return self.question(self, self.inner(x))


def nested(question):
    return nn.Sequential(nn.Linear(4, 4), Asks(question)).eval()


QUESTIONS = {
    "item": lambda self, x: x * x.sum().item(),
    "bool": lambda self, x: x if x.sum() > 0 else -x,
    "float": lambda self, x: x * float(x.mean()),
    "tolist": lambda self, x: x * x.flatten().tolist()[0],
    "nonzero": lambda self, x: x.flatten()[x.flatten().nonzero()],
    "mask": lambda self, x: x[x > 0],
    "equal": lambda self, x: x if torch.equal(x, -x) else x + 1,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_ways_that_depend_on_data_are_refused_and_the_module_is_named(question):
    with pytest.raises(TraceError, match=r"^1: the trace would depend on data"):
        record(nested(QUESTIONS[question]), torch.randn(3, 4))


@pytest.mark.parametrize(
    "question",
    [
        lambda self, x: x * self.limit.item(),
        lambda self, x: x * torch.arange(4)[torch.arange(4) > 1].tolist()[0],
        lambda self, x: x[:, torch.ones(4).nonzero()[:, 0]] if bool(self.limit > 1) else x,
    ],
)
def test_values_that_no_input_reaches_are_constants(question):
    assert_equal_run(nested(question), torch.randn(3, 4))


def test_a_write_to_a_buffer_is_refused_before_it_happens():
    model = nested(lambda self, x: x + self.limit.add_(1))
    with pytest.raises(TraceError, match=r"^1: the model changes 1\.limit"):
        record(model, torch.randn(3, 4))
    assert model[1].limit == 2


def test_a_write_that_no_operator_expresses_is_an_error_only_where_it_is_read():
    def write(self, x):
        pairs = torch.view_as_complex(x.view(-1, 2))
        pairs.mul_(2)
        return pairs.real, x if self.limit is None else None

    def read(self, x):
        return write(self, x)[0] + x.view(-1, 2)[:, 0]

    assert_equal_run(nested(write), torch.randn(3, 4))
    with pytest.raises(
        TraceError, match=r"^1: a tensor is read that shares memory with one that aten.mul_.Tensor in 1"
    ):
        record(nested(read), torch.randn(3, 4))


# what is not in the list ----------------------------------------------------------------------------------------


def test_other_operators_are_kept_under_their_full_name():
    recording = record(nested(lambda self, x: torch.trapezoid(x, dim=1) + x.logaddexp2(x)[:, 0]), torch.randn(3, 4))
    node = next(node for node in recording.graph.nodes if node.op == "aten::logaddexp2.default")
    assert list(node.arguments()) == ["self", "other"]
    assert node.meta == Meta((3, 4), torch.float32)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2


def test_operators_inside_of_autograd_functions_are_seen():
    recording = assert_equal_run(nested(lambda self, x: Doubled.apply(x)), torch.randn(3, 4))
    assert ops_of(recording) == ["linear", "linear", "mul"]


def test_what_leaves_torch_is_opaque():
    recording = record(nested(lambda self, x: torch.from_numpy(x.numpy() + 1) * 2), torch.randn(3, 4))
    assert ops_of(recording)[-2:] == ["opaque::code", "mul"]
    opaque = recording.graph.nodes[-2]
    assert opaque.arguments()["inputs"]
    assert opaque.scope == "1"


def test_errors_are_of_the_house():
    with pytest.raises(FeatherweightError, match="does not run on the example"):
        record(nn.Linear(4, 4), torch.randn(2, 5))


def test_copies_are_dropped_only_where_nothing_looks_at_memory():
    kept = record(nested(lambda self, x: torch.view_as_complex(x.T.contiguous().view(-1, 2))), torch.randn(4, 4))
    dropped = record(nested(lambda self, x: x.T.contiguous().view(-1, 2)), torch.randn(4, 4))
    assert "contiguous" in ops_of(kept)
    assert "contiguous" not in ops_of(dropped)


def test_a_size_kept_from_an_earlier_recording_is_no_origin():
    kept = {}

    def remember(self, x):
        return x.view(kept.setdefault("size", x.shape[0]), 2, 2)

    model = nested(remember)
    first = record(model, torch.randn(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = record(model, torch.randn(3, 4))
    assert len(origins_of(first, "reshape", "shape")) == 1
    assert origins_of(second, "reshape", "shape") == {}
