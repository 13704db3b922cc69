"""Places picked by number: what follows, what is counted anew, what has to stay."""

import copy
import json

import pytest
import torch
from tests.graph.cuts import Net, check_cuts, difference, found, randn, shaken
from torch import nn

from featherweight.errors import UsageError
from featherweight.graph import surgery
from featherweight.graph.layers import ChannelSelect
from featherweight.graph.log import Log, log_of, replay
from featherweight.graph.module import to_module
from featherweight.graph.trace import trace


class Picking(nn.Module):
    """Reads channels of its own by a registered buffer, as users write it."""

    def __init__(self, numbers, body, persistent=True):
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(len(numbers), 2)
        self.register_buffer("order", torch.tensor(numbers), persistent=persistent)
        self.body = body

    def forward(self, x):
        return self.b(self.body(self.a(x), self.order))


def sampled():
    """A residual stream of 6 that two branches read, one of them by a choice of its own."""
    return nn.Sequential(
        nn.Linear(3, 6),
        Net(lambda net, x: x + net.b(net.a(x).relu()), a=nn.Linear(6, 4), b=nn.Linear(4, 6)),
        Net(
            lambda net, x: x + net.b(net.a(net.choice(x)).relu()),
            choice=ChannelSelect([4, 0, 5, 0]),
            a=nn.Linear(4, 3),
            b=nn.Linear(3, 6),
        ),
        nn.Linear(6, 2),
    )


BODIES = {
    "index_select": lambda x, order: x.index_select(1, order),
    "torch.index_select": lambda x, order: torch.index_select(x, -1, order),
    "brackets": lambda x, order: x[:, order],
    "brackets with dots": lambda x, order: x[..., order],
    "twice": lambda x, order: x[:, order] * x.relu()[:, order],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_registered_buffer_of_the_users_follows(body):
    known = check_cuts(
        Picking([3, 0, 3, 1], body),
        (randn(2, 3),),
        {
            "a": "a.weight/0 a.bias/0 = 0..4",
            "order": "order/0 b.weight/1 = 0..3",
        },
    )
    assert known.notes == ()


def test_a_choice_goes_alone_or_with_what_it_chooses():
    model = shaken(sampled())
    known = check_cuts(model, (randn(2, 3),))
    stream = known.structure.tensors["0.weight"][0]
    choice = known.structure.tensors["2.choice.indices"][0]
    cut = surgery.remove(model, known, [choice[0]])
    assert cut[2].choice.indices.tolist() == [0, 5, 0]
    assert cut[0].weight.shape == (6, 3)
    cut = surgery.remove(model, known, [stream[0], stream[1]])
    assert cut[2].choice.indices.tolist() == [2, 3]
    assert (cut[0].weight.shape, cut[2].a.weight.shape) == ((4, 3), (3, 2))
    assert model[2].choice.indices.tolist() == [4, 0, 5, 0]


def test_it_is_pruned_twice_rebuilt_and_loaded():
    model, example = shaken(sampled()), (randn(2, 3),)
    for places in ([4], [0]):
        known = surgery.anatomy(model, example)
        atoms = known.structure.tensors["0.weight"][0][places]
        assert difference(model, known, atoms, example) < 1e-5
        model = surgery.remove(model, known, atoms)
    assert model[2].choice.indices.tolist() == [3]
    log = Log.from_json(log_of(model).to_json())
    again = replay(sampled(), log).eval()
    assert again[2].choice.indices.tolist() == [3]  # without its state
    again(*example)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(*example), model(*example))


def test_a_sampler_put_in_by_surgery_is_pruned_again_and_rebuilt():
    def plain():
        return nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2))

    model, example = shaken(plain()), (randn(2, 3),)
    surgery.replace(model, {"1": nn.Sequential(ChannelSelect([5, 2, 3]), nn.Linear(3, 6))}).eval()
    for place in (2, 0):
        known = surgery.anatomy(model, example)
        model = surgery.remove(model, known, known.structure.tensors["0.weight"][0][[place]])
    assert model.get_submodule("1.0").indices.tolist() == [3, 1]
    again = replay(plain(), log_of(model)).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(*example), model(*example))


def test_a_graph_without_code_counts_anew_too():
    source, example = shaken(sampled()), (randn(2, 3),)
    model = to_module(trace(source, example), source.state_dict())
    known = surgery.anatomy(model, example)
    cut = surgery.remove(model, known, known.structure.tensors["0.weight"][0][[0, 3]])
    assert cut.state_dict()["2.choice.indices"].tolist() == [2, 3]
    twin = surgery.anatomy(source, example)
    expected = surgery.remove(source, twin, twin.structure.tensors["0.weight"][0][[0, 3]])
    torch.testing.assert_close(cut(*example), expected(*example))


@pytest.mark.parametrize(
    ("numbers", "body", "persistent"),
    [
        ([-1, 0], lambda x, order: x[:, order], True),
        ([3, 0], lambda x, order: x[:, order + 1], True),
        ([3, 0], lambda x, order: x[:, order] * order, True),
        ([3, 0], lambda x, order: x[:, order] + torch.cat([x, x], 1)[:, order], True),
        ([3, 0], lambda x, order: x[:, order], False),
        ([3, 0], lambda x, order: x[:, [3, 0]], True),
    ],
    ids=["from the end", "computed", "read otherwise", "from two sizes", "not in the state", "in the code"],
)
def test_numbers_that_cannot_follow_hold_what_they_pick_from(numbers, body, persistent):
    known = surgery.anatomy(shaken(Picking(numbers, body, persistent)), (randn(2, 3),))
    assert "a" not in {group.name for group in known.groups}
    reason = known.structure.flow.reason(known.structure.flow.tensor_dims()["a.weight"][0])
    assert reason is not None and "number" in reason


def test_a_place_that_has_to_stay_holds_what_it_picks():
    model = Net(lambda net, x: net.choice(net.a(x)), a=nn.Linear(3, 5), choice=ChannelSelect([3, 1]))
    known = check_cuts(model, (randn(2, 3),))
    assert found(known) == [("a", "channel", {"a.bias/0": [[0], [2], [4]], "a.weight/0": [[0], [2], [4]]})]


def test_heads_that_are_picked_from_go_whole():
    def body(net, x):
        x = net.a(x).view(2, net.heads, -1) * net.scale
        return net.b(x.flatten(1).index_select(1, net.order))

    model = Net(body, a=nn.Linear(3, 6), b=nn.Linear(6, 2), heads=2, scale=nn.Parameter(torch.ones(3)))
    model.register_buffer("order", torch.tensor([5, 4, 3, 2, 1, 0]))
    known = check_cuts(model, (randn(2, 3),))
    assert {(group.kind, len(group)) for group in known.groups} == {("row", 2), ("column", 3), ("channel", 6)}


def test_the_log_says_what_is_left_of_the_numbered_places():
    model = shaken(sampled())
    known = surgery.anatomy(model, (randn(2, 3),))
    cut = surgery.remove(model, known, known.structure.tensors["0.weight"][0][[0, 3]])
    (step,) = json.loads(log_of(cut).to_json())["steps"]
    assert step["renumber"] == {"2.choice.indices": [6, [[1, 2], [4, 2]]]}
    other = copy.deepcopy(sampled())
    other[2].choice.indices.fill_(9)
    with pytest.raises(UsageError, match=r"choice\.indices.*places of 6"):
        replay(other, log_of(cut))
