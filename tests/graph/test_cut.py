"""A graph without channels: the integers that count them follow."""

import numpy as np
import torch
from tests.graph.cuts import Net, randn
from torch import nn

from featherweight.graph import surgery
from featherweight.graph.cut import cut_graph, cut_tensor, left


def test_integers_that_count_channels_follow():
    model = Net(
        lambda net, x: net.b(net.a(x).view(2, net.heads, net.width).flatten(1)),
        a=nn.Linear(3, 6), b=nn.Linear(6, 2), heads=2, width=3,
    )  # fmt: skip
    known = surgery.anatomy(model, (randn(2, 3),))
    row = next(group for group in known.groups if group.kind == "row")
    gone = known.gone(row.atoms[:1])
    shapes = [node.arguments()["shape"] for node in cut_graph(known.structure, gone).nodes if node.op == "reshape"]
    assert shapes[0] == (2, 1, 3)
    assert 1 in {left(known.structure, count, gone) for count in known.structure.flow.counts}


def test_tensors_lose_places_of_each_dimension():
    tensor = torch.arange(6).reshape(2, 3)
    assert cut_tensor(tensor, {0: np.array([1]), 1: np.array([0, 2])}).tolist() == [[3, 5]]
