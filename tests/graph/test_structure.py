"""What follows when cells go: products, pins, empty layers."""

import pytest
from tests.graph.cuts import Net, randn
from torch import nn

from featherweight.errors import SurgeryError
from featherweight.graph import surgery


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
