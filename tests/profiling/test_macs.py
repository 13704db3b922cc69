"""Multiply-adds of whole networks: published or worked out by hand."""

import pytest
import torch
from torch import nn

from featherweight.errors import TraceError
from featherweight.networks.classic.alexnet import AlexNet
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import resnet20
from featherweight.networks.classic.vgg import VGG
from featherweight.profiling.macs import Macs


def measure(model, *shape):
    return Macs().measure(model.eval(), (torch.zeros(shape),))


def test_lenet_300_100():
    found = measure(LeNet300100(), 1, 1, 28, 28)
    assert found.parts == {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
    assert found.value == 266_200


@pytest.mark.parametrize("batch", [1, 3])
def test_lenet_5_for_one_example_of_any_batch(batch):
    found = measure(LeNet5(), batch, 1, 28, 28)
    assert found.parts == {"conv1": 288_000, "conv2": 1_600_000, "fc1": 400_000, "fc2": 5_000}
    assert found.value == 2_293_000


def test_an_lstm_by_formula():
    found = measure(LstmClassifier(), 2, 1, 28, 28)
    assert found.parts == {"lstm": 28 * 4 * 128 * (28 + 128), "fc": 1280}


@pytest.mark.parametrize(("kind", "gates"), [(nn.GRU, 3), (nn.RNN, 1)])
def test_two_layers_in_two_directions(kind, gates):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(6, 5, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, rows):
            return self.rnn(rows)[0]

    assert measure(Rows(), 3, 7, 6).value == 7 * 2 * gates * 5 * ((6 + 5) + (10 + 5))


class Odd(nn.Module):
    """Depthwise, transposed and grouped convolutions, a bare weight, and a product of activations."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(8, 16, 3, groups=8, padding=1)
        self.up = nn.ConvTranspose2d(16, 6, 2, stride=2, groups=2)
        self.weight = nn.Parameter(torch.randn(7, 6))

    def forward(self, images):
        maps = self.up(self.deep(images)).mean((2, 3))
        return maps @ self.weight.t(), torch.bmm(maps[:, :, None], maps[:, None, :])


def test_products_are_put_down_to_the_layer_whose_weight_they_use():
    found = measure(Odd(), 2, 8, 10, 10)
    assert found.parts == {"deep": 16 * 100 * 9, "up": 16 * 100 * 3 * 4, "": 42, "bmm": 36}
    assert found.notes == ("not counted as multiply-adds: mean x1",)


def test_attention_is_counted():
    layer = nn.MultiheadAttention(16, 4, batch_first=True).eval()

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = layer

        def forward(self, words):
            return self.attention(words, words, words, need_weights=False)[0]

    assert measure(Alone(), 2, 5, 16).value == 5 * 16 * 48 + 4 * 5 * 5 * (4 + 4) + 5 * 16 * 16


def test_weights_without_a_network_have_none():
    with pytest.raises(TraceError, match="without a network"):
        Macs().measure(nn.Module(), ())


def test_resnet_20_by_hand():
    found = measure(resnet20(), 1, 3, 32, 32)
    first = 32 * 32 * 16 * 3 * 9
    stages = 6 * 32 * 32 * 16 * 16 * 9 + 16 * 16 * 32 * 9 * (16 + 5 * 32) + 8 * 8 * 64 * 9 * (32 + 5 * 64)
    assert found.value == first + stages + 640 == 40_551_040
    assert "add x9" in found.notes[0]


@pytest.mark.slow
def test_alexnet_in_two_groups():
    """The table of the Caffe network: 105.4, 223.9, 149.5, 112.1, 74.8 and 37.7, 16.8, 4.1 million."""
    found = measure(AlexNet(), 1, 3, 227, 227)
    want = [105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192, 37_748_736, 16_777_216, 4_096_000]
    assert list(found.parts.values()) == want


@pytest.mark.slow
def test_vgg_16():
    parts = list(measure(VGG(16), 1, 3, 224, 224).parts.values())
    assert sum(parts[:13]) == 15_346_630_656
    assert sum(parts[13:]) == 123_633_664
