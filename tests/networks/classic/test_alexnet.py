"""AlexNet as in Caffe, layer by layer as the tables of Han et al. count it."""

import torch
from torch import nn

from featherweight.networks.classic.alexnet import AlexNet

KERNELS = {  # without biases
    "conv1": 34_848,
    "conv2": 307_200,
    "conv3": 884_736,
    "conv4": 663_552,
    "conv5": 442_368,
    "fc6": 37_748_736,
    "fc7": 16_777_216,
    "fc8": 4_096_000,
}
MILLION_MACS = {"conv1": 105.4, "conv2": 223.9, "conv3": 149.5, "conv4": 112.1, "conv5": 74.8, "fc6": 37.7, "fc7": 16.8}


def build():
    with torch.device("meta"):  # 244 MB of weights that nobody needs
        return AlexNet()


def test_it_has_the_parameters_of_the_tables(count):
    model = build()
    assert {name: getattr(model, name).weight.numel() for name in KERNELS} == KERNELS
    assert sum(KERNELS.values()) == 60_954_656
    assert count(model) == 60_965_224


def test_it_has_the_multiply_adds_of_the_tables():
    model, found = build(), {}
    for name in MILLION_MACS:
        layer = getattr(model, name)

        def record(layer, _inputs, output, name=name):
            positions = output.shape[2] * output.shape[3] if isinstance(layer, nn.Conv2d) else 1
            found[name] = round(layer.weight.numel() * positions / 1e6, 1)

        layer.register_forward_hook(record)
    assert model(torch.zeros(1, 3, 227, 227, device="meta")).shape == (1, 1000)
    assert found == MILLION_MACS


def test_a_narrow_one_comes_back_from_a_graph(comes_back):
    """The same code with fewer units in the linear layers, which would need most of the time."""
    model = AlexNet(classes=7)
    model.fc6, model.fc7, model.fc8 = nn.Linear(9216, 16), nn.Linear(16, 16), nn.Linear(16, 7)
    assert comes_back(model, torch.randn(1, 3, 227, 227))
