"""Sizes that follow from the shapes of tensors."""

import pytest
import torch
from torch import nn

from featherweight.graph._cosmetics import refresh
from featherweight.graph.described import describe

PAIRS = [
    (nn.Linear(3, 4), nn.Linear(2, 5)),
    (nn.Bilinear(3, 4, 5), nn.Bilinear(2, 3, 4)),
    (nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(2, 4, 3, groups=2)),
    (nn.ConvTranspose1d(4, 6, 3, groups=2), nn.ConvTranspose1d(2, 8, 3, groups=2)),
    (nn.BatchNorm2d(4), nn.BatchNorm2d(3)),
    (nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(3, affine=False)),
    (nn.InstanceNorm2d(4, affine=True), nn.InstanceNorm2d(3, affine=True)),
    (nn.LayerNorm(4), nn.LayerNorm(3)),
    (nn.RMSNorm(4), nn.RMSNorm(3)),
    (nn.GroupNorm(2, 4), nn.GroupNorm(2, 6)),
    (nn.Embedding(5, 4), nn.Embedding(6, 3)),
    (nn.PReLU(4), nn.PReLU(3)),
    (nn.LSTM(3, 4, 2, bidirectional=True), nn.LSTM(2, 3, 2, bidirectional=True)),
    (nn.LSTM(3, 4, proj_size=2), nn.LSTM(3, 5, proj_size=1)),
    (nn.GRU(3, 4), nn.GRU(2, 3)),
    (nn.RNN(3, 4), nn.RNN(2, 3)),
    (nn.GRUCell(3, 4), nn.GRUCell(2, 3)),
    (nn.MultiheadAttention(8, 2), nn.MultiheadAttention(6, 2)),
    (nn.MultiheadAttention(8, 2, kdim=3, vdim=5), nn.MultiheadAttention(6, 2, kdim=2, vdim=4)),
]


@pytest.mark.parametrize(("module", "wanted"), PAIRS, ids=lambda module: str(module).splitlines()[0])
def test_sizes_follow_the_tensors(module, wanted):
    for source, target in zip(wanted.modules(), module.modules(), strict=True):
        for name, tensor in (*source.named_parameters(recurse=False), *source.named_buffers(recurse=False)):
            setattr(target, name, nn.Parameter(tensor.detach()) if isinstance(tensor, nn.Parameter) else tensor)
    for child in reversed(list(module.modules())):
        refresh(child)
    assert repr(module) == repr(wanted)
    plain = (bool, int, float, str, tuple)
    told = [{key: value for key, value in vars(one).items() if isinstance(value, plain)} for one in (module, wanted)]
    assert told[0] == told[1]


@pytest.mark.parametrize("module", [nn.LayerNorm(4, elementwise_affine=False), nn.InstanceNorm1d(3), nn.ReLU()])
def test_modules_without_tensors_stay_as_they_are(module):
    before = describe(module)
    refresh(module)
    assert describe(module) == before


def test_a_class_of_the_user_is_refreshed_by_what_it_derives_from():
    class Mine(nn.Linear):
        pass

    module = Mine(3, 2)
    module.weight = nn.Parameter(torch.zeros(2, 1))
    refresh(module)
    assert module.in_features == 1
