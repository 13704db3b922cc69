import pytest
import torch
from tests.training.conftest import Mask
from torch import nn

from featherweight.errors import TaskError
from featherweight.training.constraints import constrain, constraints_of
from featherweight.training.enforce import Enforcer, move, project


def a_step(model: nn.Module, optimizer: torch.optim.Optimizer, enforcer: Enforcer) -> None:
    optimizer.zero_grad()
    (model(torch.randn(16, 4)) - 1).square().mean().backward()
    enforcer.gradients()
    optimizer.step()
    enforcer.weights()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, fused=True),
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, fused=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
    ],
)
def test_a_mask_that_grows_is_kept_through_momentum_and_decay(make) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = make(model.parameters())
    enforcer = Enforcer(model, optimizer)
    first, second = torch.rand(3, 4) > 0.3, torch.rand(3, 4) > 0.3
    for mask in (first, first & second):
        constrain(model, {"weight": Mask(mask)})
        enforcer.refresh()
        for _ in range(5):
            a_step(model, optimizer, enforcer)
            assert torch.equal(model.weight != 0, mask)
            for state in optimizer.state[model.weight].values():
                if state.shape == mask.shape:
                    assert bool((state[~mask] == 0).all())
                    assert bool((state[mask] != 0).all())


def test_without_clearing_momentum_would_bring_weights_back() -> None:
    # the test above would not notice a loop that only multiplies gradients; this shows that it must do more
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    a_step(model, optimizer, Enforcer(model, optimizer))
    mask = torch.zeros(3, 4, dtype=torch.bool)
    with torch.no_grad():
        model.weight.mul_(mask)
    optimizer.zero_grad()
    (model(torch.randn(16, 4)) - 1).square().mean().backward()
    model.weight.grad.mul_(mask)
    optimizer.step()
    assert bool((model.weight != 0).any())


def test_project_reaches_buffers_and_names_what_is_missing() -> None:
    model = nn.BatchNorm1d(3)
    constrain(model, {"running_var": Mask(torch.tensor([True, False, True]))})
    project(model)
    assert model.running_var.tolist() == [1.0, 0.0, 1.0]
    constrain(model, {"gone": Mask(torch.ones(3))})
    with pytest.raises(TaskError, match="gone"):
        project(model)


def test_constraints_move_with_the_model() -> None:
    model = nn.Linear(2, 2)
    constrain(model, {"weight": Mask(torch.ones(2, 2))})
    move(model, torch.device("meta"))
    assert model.weight.device.type == "meta"
    assert constraints_of(model)["weight"].mask.device.type == "meta"
