import copy

import pytest
import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError
from featherweight.techniques.pruning import _walk
from featherweight.techniques.pruning._walk import Walk

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 1)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.a(x).relu()
        x = x + self.b(x)
        return self.head(x.mean((2, 3)))


def batches():
    generator = torch.Generator().manual_seed(0)
    return [Batch((torch.rand(size, 1, 6, 6, generator=generator),), None) for size in (4, 4, 3)]


def nodes(walk):
    numbers = range(walk.graph.first_node, walk.graph.first_node + len(walk.graph.nodes))
    return {node.scope: number for number, node in zip(numbers, walk.graph.nodes, strict=True)}


@pytest.mark.parametrize("held", [2**30, 0, 600])
def test_every_layer_sees_the_weights_of_those_before_it(held, monkeypatch):
    """However little may be held: what is seen is what running both models from the start would show."""
    monkeypatch.setattr(_walk, "HELD", held)
    before, after = Net().eval(), Net(4).eval()
    walk = Walk.of(before, after, batches(), CPU)
    place = nodes(walk)
    for name in ("a", "b", "head"):
        for step in walk.to(place[name]):
            inputs = batches()[step.batch].inputs[0]
            for model, values in ((before, step.before), (after, step.after)):
                seen = []
                hook = model.get_submodule(name).register_forward_hook(lambda *given, seen=seen: seen.append(given[2]))
                model(inputs)
                hook.remove()
                torch.testing.assert_close(values[place[name]], seen[0].detach())
        with torch.no_grad():
            after.get_submodule(name).weight.mul_(1.5)


def test_nothing_runs_twice_where_memory_allows():
    before, after = Net().eval(), Net(4).eval()
    walk, calls = Walk.of(before, after, batches(), CPU), []
    for run in {id(run): run for runs in walk._of_batch for run in runs}.values():
        go = run.go
        run.go = lambda values, start, end, *rest, go=go: (
            calls.append(max(end - start, 0)) or go(values, start, end, *rest)
        )
    place = nodes(walk)
    for name in ("a", "b", "head"):
        list(walk.to(place[name]))
    reached = place["head"] - walk.graph.first_node + 1
    assert sum(calls) <= 2 * 3 * (reached + 3)  # each of three layers once more at most


def test_values_asked_for_stay():
    walk = Walk.of(Net().eval(), Net().eval(), batches(), CPU)
    first = nodes(walk)["a"]
    last = nodes(walk)["head"]
    assert all(step.after[first] is None for step in walk.to(last, first))
    assert all(step.after[first] is not None for step in walk.to(last, first, wanted=[first]))


def test_networks_of_other_operators():
    other = Net()
    other.b = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU())
    with pytest.raises(TechniqueError, match="same operators"):
        Walk.of(Net(), other, batches(), CPU)


def test_networks_that_cannot_run_as_a_graph():
    class Counting(Net):
        def forward(self, x):
            return torch.bincount(super().forward(x).argmax(1))

    with pytest.raises(TechniqueError, match="node by node"):
        Walk.of(Counting(), copy.deepcopy(Counting()), batches(), CPU)


def test_batches_too_large_to_record_are_taken_apart_and_none_is_lost(monkeypatch):
    """A recorder keeps every value of a batch: 128 photographs would take more memory than there is."""
    before, after = Net().eval(), Net(4).eval()
    whole = list(Walk.of(before, after, batches(), CPU).to(10))
    monkeypatch.setattr(_walk, "RECORDED", 1)
    walk = Walk.of(before, after, batches(), CPU)
    parts = list(walk.to(nodes(walk)["head"]))
    assert len(whole) == 3
    assert [len(step.after[nodes(walk)["head"]]) for step in parts] == [2, 2, 2, 2, 2, 1]
