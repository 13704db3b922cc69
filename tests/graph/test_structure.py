"""What follows when cells go: products, pins, empty layers."""

import numpy as np
import pytest
from tests.graph.cuts import Net, randn
from torch import nn

from featherweight.errors import SurgeryError
from featherweight.graph import surgery
from featherweight.graph.layers import ChannelSelect


def heads():
    """Six channels as two heads of three."""
    model = Net(
        lambda net, x: net.b(net.a(x).view(2, net.heads, -1).flatten(1)), a=nn.Linear(3, 6), b=nn.Linear(6, 2), heads=2
    )
    known = surgery.anatomy(model, (randn(2, 3),))
    rows, columns = sorted(known.groups, key=len)
    return known.structure, rows.atoms, columns.atoms


def test_what_is_kept_is_said_by_tensor_and_dimension():
    structure, rows, columns = heads()
    kept = structure.kept(structure.gone([rows[0], columns[1]]))
    assert {name: {dim: ids.tolist() for dim, ids in dims.items()} for name, dims in kept.items()} == {
        "a.weight": {0: [3, 5]},
        "a.bias": {0: [3, 5]},
        "b.weight": {1: [3, 5]},
    }


def test_one_place_of_one_head_cannot_go():
    structure, _, _ = heads()
    with pytest.raises(SurgeryError, match="cannot go together"):
        structure.gone(structure.tensors["a.weight"][0][:1])


def test_what_is_pinned_cannot_go():
    structure, _, _ = heads()
    with pytest.raises(SurgeryError, match="cannot go together"):
        structure.gone([0])


def test_one_of_every_factor_is_left():
    structure, rows, _ = heads()
    with pytest.raises(SurgeryError, match=r"cannot go together|nothing would be left"):
        structure.kept(structure.gone(rows))


def test_a_selection_is_left_something_to_choose():
    """What is later in the list stays: of the second selection, which chooses from the first, too."""
    model = nn.Sequential(
        nn.Linear(3, 6), ChannelSelect([5, 0, 2]), ChannelSelect([1, 2]), nn.Linear(2, 4), nn.Linear(4, 2)
    )
    structure = surgery.anatomy(model, (randn(2, 3),)).structure
    stream, first, second = (structure.tensors[name][0] for name in ("0.weight", "1.indices", "2.indices"))
    for chosen, expected in (
        ([*stream[[0, 5, 2]]], [*stream[[0, 5]]]),
        ([*stream[[2, 0]]], [stream[2]]),
        ([*first[[1, 2]], second[0]], [first[1], second[0]]),
        ([*stream[[1, 3]], first[0]], [*stream[[1, 3]], first[0]]),
    ):
        spared = structure.spared(np.array(chosen))
        assert spared.tolist() == expected
        structure.kept(structure.gone(spared))
