"""What a network without blocks is measured by."""

import copy

import pytest
import torch
from tests.techniques.pruning.layer.conftest import deep, toy
from torch.nn import functional

from featherweight.graph.blocks import blocks_of, chain
from featherweight.techniques.pruning.layer._judge import Judge, trial
from featherweight.training.capture import recalibrate


@torch.no_grad()
def test_loss_and_features_are_those_of_a_network_that_really_lacks_the_block():
    model = deep()
    context = toy(model)
    batches = list(context.batches("calibration", 40))
    block = chain(blocks_of(model, context.example))[4]
    other, whole = copy.deepcopy(model), copy.deepcopy(model)
    other.two[1] = torch.nn.Identity()
    for each in (other, whole):
        recalibrate(each, batches)
    x, y = torch.cat([batch.inputs[0] for batch in batches]), torch.cat([batch.target for batch in batches])
    loss = float(functional.cross_entropy(other(x), y))
    assert Judge("loss", model, batches, context)([block]) == pytest.approx(loss, rel=1e-4)
    judge = Judge("features", model, batches, context)
    assert judge([]) == 0
    parts = [whole(batch.inputs[0]) for batch in batches]
    spread = sum(float((part - part.mean(0)).square().sum()) for part in parts)
    assert judge([block]) == pytest.approx(float((other(x) - whole(x)).square().sum()) / spread, rel=1e-4)


def test_a_trial_leaves_no_trace_even_when_it_fails():
    model = deep().train()
    context = toy(model)
    model.train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ZeroDivisionError), trial(model, chain(blocks_of(model, context.example))[:2], []):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
