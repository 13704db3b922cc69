"""VGG shapes: the table of the paper, and the CIFAR form of network slimming."""

import pytest
import torch
from torch import nn

from featherweight.errors import UsageError
from featherweight.networks.classic.vgg import VGG, Shape, vgg_cifar


@pytest.mark.parametrize(
    ("depth", "plain", "normed"),
    [
        (11, 132_863_336, 132_868_840),
        (13, 133_047_848, 133_053_736),
        (16, 138_357_544, 138_365_992),
        (19, 143_667_240, 143_678_248),
    ],
)
def test_they_have_the_parameters_of_the_paper(depth, plain, normed, count):
    with torch.device("meta"):  # half a gigabyte of weights that nobody needs
        assert count(VGG(depth)) == plain
        assert count(VGG(depth, Shape(batch_norm=True))) == normed


def test_the_kernels_of_vgg16_are_those_of_the_catalogue():
    with torch.device("meta"):
        sizes = [item.weight.numel() for item in VGG(16).features if isinstance(item, nn.Conv2d)]
    wide = [1_179_648, *[2_359_296] * 5]
    assert sizes == [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, *wide]
    assert sum(sizes) == 14_710_464


def test_the_cifar_form_is_that_of_network_slimming(count):
    with torch.device("meta"):
        assert count(vgg_cifar(19)) == 20_035_018
        assert count(vgg_cifar(19, classes=100)) == 20_081_188
        assert count(vgg_cifar(16)) == 14_724_042


def test_size_and_width_can_be_chosen(count):
    model = VGG(11, Shape(size=64, classes=7, width=0.125, hidden=256))
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert [item.out_channels for item in model.features if isinstance(item, nn.Conv2d)] == [
        8,
        16,
        32,
        32,
        64,
        64,
        64,
        64,
    ]
    assert model.classifier[0].in_features == 64 * 2 * 2 and model.classifier[0].out_features == 32


@pytest.mark.parametrize(("depth", "size"), [(12, 224), (16, 100), (16, 0)])
def test_other_depths_and_sizes_are_refused(depth, size):
    with pytest.raises(UsageError):
        VGG(depth, Shape(size=size))


def test_they_come_back_from_a_graph(comes_back):
    small = Shape(size=32, classes=5, width=0.0625, hidden=64, batch_norm=True)
    assert comes_back(VGG(11, small), torch.randn(1, 3, 32, 32))
    slim = Shape(size=32, classes=5, width=0.0625, hidden=None, batch_norm=True, conv_bias=False, pools=4)
    assert comes_back(VGG(16, slim), torch.randn(1, 3, 32, 32))
