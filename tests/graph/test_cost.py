"""Costs from the graph alone: those that `profiling` measures, before a cut and after it."""

import pytest
import torch
from tests.graph import test_flow_layers as layers
from tests.graph import test_flow_recurrent as recurrent
from tests.graph.cuts import Net, randn
from torch import nn

from featherweight.errors import TraceError
from featherweight.graph import surgery
from featherweight.graph.surgery import UnsolvableError
from featherweight.networks.classic.alexnet import AlexNet
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import resnet20
from featherweight.networks.classic.vgg import vgg_cifar
from featherweight.profiling._tensors import stored_tensors
from featherweight.profiling.macs import Macs
from featherweight.profiling.params import Parameters

NETWORKS = {
    "lenet_5": (LeNet5, (2, 1, 28, 28)),
    "lenet_300_100": (LeNet300100, (2, 1, 28, 28)),
    "lstm_classifier": (LstmClassifier, (2, 28, 28)),
    "resnet_20": (resnet20, (1, 3, 32, 32)),
    "vgg_11": (lambda: vgg_cifar(11), (1, 3, 32, 32)),
}


def measured(model, example):
    """Parameters, multiply-adds and bytes as profiling counts them; the counters of batch norm are in no file."""
    dense = sum(
        item.tensor.numel() * item.tensor.element_size()
        for item in stored_tensors(model)
        if not item.name.endswith("num_batches_tracked")
    )
    return Parameters().measure(model).value, Macs().measure(model, example).value, dense


def counted(known, gone=None):
    batch = known.example[0].shape[0]
    return known.cost.parameters(gone), known.cost.macs(gone) // batch, known.cost.bytes(gone)


def check_costs(model, example):
    """Of the whole network, and without every second channel of its largest group."""
    model.eval()
    known = surgery.anatomy(model, example)
    assert counted(known) == measured(model, example)
    for group in [max(known.groups, key=len)]:
        atoms = group.atoms[1::2]
        try:
            cut = surgery.remove(model, known, atoms, verify=False)
        except UnsolvableError:
            continue
        assert counted(known, known.gone(atoms)) == measured(cut, example), group.name


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_that_profiling_measures(name):
    build, shape = NETWORKS[name]
    check_costs(build(), (randn(*shape),))


@pytest.mark.slow
def test_costs_of_a_large_network():
    check_costs(AlexNet(), (randn(1, 3, 224, 224),))


@pytest.mark.parametrize("name", [*layers.CONVOLUTIONS, *layers.MATRICES, *layers.ATTENTIONS])
def test_costs_of_each_layer(name):
    build, shape, _ = layers.CASES[name]
    model, example = build().eval(), (randn(*shape),)
    known = surgery.anatomy(model, example)
    assert known.cost.macs() == sum(Macs().count(known.structure.flow.graph).parts.values())
    for group in known.groups:
        gone = known.gone(group.atoms[:1])
        cut = surgery.anatomy(surgery.remove(model, known, group.atoms[:1], verify=False), example)
        assert known.cost.macs(gone) == Macs().count(cut.structure.flow.graph).value == cut.cost.macs()
        assert known.cost.parameters(gone) == cut.cost.parameters() < known.cost.parameters()


@pytest.mark.parametrize("name", recurrent.CASES)
def test_costs_of_recurrent_layers(name):
    build, shape, _ = recurrent.CASES[name]
    known = surgery.anatomy(build(), (randn(*shape),))
    assert known.cost.macs() == Macs().count(known.structure.flow.graph).value


@pytest.mark.parametrize("name", recurrent.CELLS)
def test_costs_of_cells(name):
    build, _ = recurrent.CELLS[name]
    known = surgery.anatomy(build(), (randn(2, 2),))
    assert known.cost.macs() == Macs().count(known.structure.flow.graph).value > 0


def test_costs_of_the_zoo(built):
    try:
        known = surgery.anatomy(*built)
    except TraceError as error:
        pytest.skip(f"refused: {error.what}")
    assert known.cost.macs() == Macs().count(known.structure.flow.graph).value


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bi,io->bo", [(3, 4)]),
        ("...i,io", [(3, 4)]),
        ("bi,oi,op->bp", [(4, 3), (4, 2)]),
        ("bi,i->b", [(3,)]),
        ("bi,ik->bk", [(1, 5)]),
    ],
)
def test_costs_of_einsum(equation, shapes):
    weights = {f"w{number}": nn.Parameter(randn(*shape)) for number, shape in enumerate(shapes)}
    model = Net(lambda net, x: torch.einsum(equation, x, *(getattr(net, name) for name in weights)), **weights)
    known = surgery.anatomy(model, (randn(2, 3),))
    assert known.cost.macs() == Macs().count(known.structure.flow.graph).value > 0


def test_outer_products_are_counted():
    model = Net(lambda net, x: torch.outer(x, net.w), w=nn.Parameter(randn(4)))
    assert surgery.anatomy(model, (randn(3),)).cost.macs() == 12


def test_shared_tensors_and_buffers():
    """A tied weight counts once, buffers are bytes and no parameters, constants in the code neither."""

    def body(net, x):
        return net.n(net.b(net.a(x))) + torch.ones(3)

    model = Net(body, a=nn.Linear(3, 3), b=nn.Linear(3, 3), n=nn.BatchNorm1d(3))
    model.b.weight = model.a.weight
    cost = surgery.anatomy(model, (randn(2, 3),)).cost
    assert cost.parameters() == 9 + 3 + 3 + 3 + 3
    assert cost.bytes() == 4 * (cost.parameters() + 3 + 3)


def test_bytes_are_those_of_each_type():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    known = surgery.anatomy(model, (randn(2, 3).double(),))
    assert known.cost.bytes() == 8 * known.cost.parameters()
    gone = known.gone(known.groups[0].atoms[:1])
    assert known.cost.bytes(gone) == 8 * (known.cost.parameters() - 6)
