"""Families of channels: their names, kinds, roles and order."""

from tests.graph.cuts import Net, randn
from torch import nn

from featherweight.graph import surgery


def test_groups_come_in_the_order_of_the_network_with_roles():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    first, second = surgery.anatomy(model, (randn(2, 3),)).groups
    assert (first.name, len(first), second.name, len(second)) == ("0", 4, "1", 5)
    assert [(slot.tensor, slot.dim, slot.role) for slot in first.slots] == [
        ("0.weight", 0, "out"),
        ("0.bias", 0, "each"),
        ("1.weight", 1, "in"),
    ]


def test_factors_say_in_which_products_they_are():
    model = Net(
        lambda net, x: net.b(net.a(x).view(2, net.heads, -1).flatten(1)), a=nn.Linear(3, 6), b=nn.Linear(6, 2), heads=2
    )
    groups = surgery.anatomy(model, (randn(2, 3),)).groups
    assert {group.kind: len(group) for group in groups} == {"row": 2, "column": 3}
    assert len({group.products for group in groups}) == 1
