"""The masked network: the whole one where nothing is gone, and norms over what is left."""

import pytest
import torch
from tests.graph.cuts import Net, difference, randn, shaken
from torch import nn

from featherweight.graph import surgery
from featherweight.graph.masked import Masked
from featherweight.graph.module import tensors_of


def test_with_nothing_gone_it_is_the_network():
    model, example = shaken(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))), randn(2, 3)
    known = surgery.anatomy(model, example)
    masked = Masked(known.structure, tensors_of(known.structure.flow.graph, model))
    assert torch.allclose(masked.run([example], known.gone([])), model(example))


@pytest.mark.parametrize("layer", [nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(1, 4)])
def test_norms_divide_by_what_is_left(layer):
    model, example = (
        shaken(Net(lambda net, x: net.b(net.n(net.a(x))), a=nn.Linear(3, 4), n=layer, b=nn.Linear(4, 2))),
        (randn(2, 3),),
    )
    known = surgery.anatomy(model, example)
    assert difference(model, known, known.groups[0].atoms[:2], example) < 1e-5
