import pytest
import torch
from tests.training.conftest import Mask, MemoryStore
from torch import nn

from featherweight.training import checkpoint
from featherweight.training.checkpoint import (
    Keeper,
    Saved,
    fits,
    model_state,
    optimizer_state,
    restore_model,
    restore_optimizer,
)
from featherweight.training.constraints import constrain, constraints_of


def constrained() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    constrain(model, {"0.weight": Mask(torch.rand(2, 3) > 0.5)})
    return model


def test_a_model_comes_back_with_buffers_and_constraints() -> None:
    model, other = constrained(), constrained()
    model(torch.randn(5, 3))
    tensors, names = model_state(model)
    saved = Saved({"constrained": names}, {name: tensor.clone() for name, tensor in tensors.items()})
    assert fits(other, saved)
    restore_model(other, saved)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(constraints_of(model)["0.weight"].mask, constraints_of(other)["0.weight"].mask)


def test_a_state_of_another_model_does_not_fit() -> None:
    tensors, names = model_state(constrained())
    saved = Saved({"constrained": names}, tensors)
    assert not fits(nn.Linear(3, 2), saved)
    assert not fits(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), saved)
    assert not fits(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), saved)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1),
    ],
)
def test_an_optimiser_goes_on_bit_for_bit(make) -> None:
    torch.manual_seed(0)
    batches = torch.randn(6, 8, 3)

    def steps(model, optimizer, some) -> None:
        for batch in some:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

    straight = nn.Linear(3, 2)
    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(straight.state_dict())
    optimizer = make(straight.parameters())
    steps(straight, optimizer, batches)
    first = make(resumed.parameters())
    steps(resumed, first, batches[:3])
    tensors = {name: tensor.clone() for name, tensor in optimizer_state(first).items()}
    second = make(resumed.parameters())
    restore_optimizer(second, tensors)
    steps(resumed, second, batches[3:])
    assert torch.equal(straight.weight, resumed.weight)


def test_when_a_checkpoint_is_due(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    keeper = Keeper(MemoryStore(), "key", interval=20.0)
    clock[0] = 2.0
    assert keeper.due(epoch_ends=True)
    assert not keeper.due(epoch_ends=False)
    clock[0] = 20.0
    assert keeper.due(epoch_ends=False)
    keeper.save(Saved({}))
    assert not keeper.due(epoch_ends=True)


def test_slow_writes_become_rare(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])

    class Slow(MemoryStore):
        def write(self, key, saved) -> None:
            clock[0] += 5.0

    keeper = Keeper(Slow(), "key", interval=1.0)
    keeper.save(Saved({}))
    clock[0] += 49.0
    assert not keeper.due(epoch_ends=True)
    clock[0] += 2.0
    assert keeper.due(epoch_ends=True)


def test_without_a_store_nothing_is_ever_due() -> None:
    keeper = Keeper(None, "key", interval=0.0)
    assert not keeper.due(epoch_ends=True)
    assert keeper.load() is None
    assert keeper.stop is None
