"""The two networks of the pruning papers, weight for weight."""

import pytest
import torch

from featherweight.networks.classic.lenet import LeNet5, LeNet300100


def test_they_have_the_parameters_of_the_papers(count):
    assert count(LeNet300100()) == 266_610
    assert count(LeNet5()) == 431_080
    assert count(LeNet300100(classes=26)) == 266_610 + 16 * 101


def test_layers_are_those_of_caffe():
    shapes = {name: tuple(item.shape) for name, item in LeNet5().named_parameters() if item.dim() > 1}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 800),
        "fc2.weight": (10, 500),
    }


def test_no_activation_follows_the_convolutions():
    model = LeNet5()
    with torch.no_grad():
        model.conv1.bias.fill_(-100.0)
        model.conv1.weight.zero_()
        model.conv2.weight.fill_(1.0)
        model.conv2.bias.zero_()
        model.fc1.weight.fill_(-1.0)
        model.fc1.bias.zero_()
        model.fc2.weight.fill_(1.0)
        model.fc2.bias.zero_()
        # a ReLU after conv1 would make all of this zero
        assert model(torch.zeros(1, 1, 28, 28))[0, 0].item() == pytest.approx(20 * 25 * 100.0 * 800 * 500)


def test_they_come_back_from_a_graph(comes_back):
    assert comes_back(LeNet300100(), torch.randn(1, 1, 28, 28))
    assert comes_back(LeNet5(), torch.randn(1, 1, 28, 28))
