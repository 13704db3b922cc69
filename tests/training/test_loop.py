import copy

import pytest
import torch
from tests.training.conftest import Mask, MemoryStore, digits, network
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.core.examples import TensorExamples
from featherweight.core.task import Training
from featherweight.errors import ConfigError, DivergedError, InterruptedRunError
from featherweight.training.checkpoint import Keeper
from featherweight.training.constraints import constrain, constraints_of
from featherweight.training.evaluate import evaluate
from featherweight.training.loop import Job, train
from featherweight.training.losses import cross_entropy, top1

IMAGES, LABELS = digits()


def job(**changes) -> Job:
    settings = Finetuning(**{"epochs": 3, "learning_rate": 3e-3, **changes.pop("settings", {})})
    standard = {
        "examples": TensorExamples(IMAGES[:600], LABELS[:600]),
        "loss": cross_entropy(),
        "training": Training(batch_size=64),
    }
    return Job(settings=settings, **{**standard, **changes})


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns() -> None:
    model = network()
    report = train(model, job(settings={"epochs": 15}))
    assert report.steps == 15 * 10
    assert len(report.losses) == 15
    assert report.losses[-1] < 0.3 * report.losses[0]
    assert evaluate(model, TensorExamples(IMAGES[1200:], LABELS[1200:]), top1) > 0.85


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(optimizer: str) -> None:
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(seed)  # the state of the user's generator has no part in it
        train(model, job(seed=seed, settings={"epochs": 1, "optimizer": optimizer}))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_users_generators_and_modes_are_left_alone() -> None:
    model = network()
    model[1].eval()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(model, job(settings={"epochs": 1}))
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("epochs", "steps"), [(1, 10), (0.5, 5), (0.41, 5), (0.01, 1), (2.3, 23), (0, 0)])
def test_fractions_of_epochs_are_rounded_up_to_steps(epochs: float, steps: int) -> None:
    model = network()
    untouched = weights(model)
    report = train(model, job(settings={"epochs": epochs}))
    assert report.steps == steps
    assert (steps == 0) == all(torch.equal(model.state_dict()[name], tensor) for name, tensor in untouched.items())


def test_every_example_is_seen_once_an_epoch_in_a_new_order() -> None:
    seen: list[int] = []

    class Spy(TensorExamples):
        def gather(self, indices):
            seen.extend(indices.tolist())
            return super().gather(indices)

    train(network(), job(examples=Spy(IMAGES[:100], LABELS[:100]), settings={"epochs": 2}))
    assert sorted(seen[:100]) == sorted(seen[100:]) == list(range(100))
    assert seen[:100] != seen[100:]


def test_a_last_batch_of_one_is_left_out() -> None:
    # a batch norm cannot be trained on one example
    assert train(network(), job(examples=TensorExamples(IMAGES[:129], LABELS[:129]))).steps == 6


def test_constraints_hold_through_momentum_decay_and_average() -> None:
    model = network()
    mask = torch.rand(32, 64, generator=torch.Generator().manual_seed(0)) > 0.7
    constrain(model, {"0.weight": Mask(mask)})
    training = Training(optimizer="sgd", momentum=0.9, weight_decay=0.01, batch_size=64)
    train(model, job(training=training, settings={"learning_rate": 0.05, "average": 0.9}))
    assert torch.equal(model[0].weight != 0, mask)


def test_a_growing_mask_is_held_to_at_once() -> None:
    model = network()
    zeros = []

    def grow(model: nn.Module, step: int, total: int) -> None:
        mask = torch.ones(32, 64, dtype=torch.bool)
        mask[:, : 2 * step] = False
        constrain(model, {"0.weight": Mask(mask)})

    def look(model: nn.Module):
        zeros.append(int((model[0].weight == 0).sum()))
        return model[0].weight.sum() * 0

    train(model, job(on_step=grow, extra_loss=look, settings={"average": 0.8}))
    assert zeros == [64 * step for step in range(30)]
    assert int((model[0].weight == 0).sum()) == 64 * 29


def test_extra_loss_moves_the_weights() -> None:
    def shrink(model: nn.Module):
        return 10.0 * model[0].weight.abs().sum()

    plain, shrunk = network(), network()
    train(plain, job())
    train(shrunk, job(extra_loss=shrink))
    assert float(shrunk[0].weight.detach().abs().mean()) < 0.7 * float(plain[0].weight.detach().abs().mean())


def test_each_batch_is_shown_with_what_the_model_gave_for_it() -> None:
    """And what is learned from the batches outlives an interruption in a buffer of the model."""

    def prepared() -> nn.Module:
        model = network()
        model.register_buffer("seen", torch.zeros(2))
        return model

    def follow(model: nn.Module, output, target) -> None:
        found = cross_entropy()(output, target).detach()
        model.seen.mul_(0.9).add_(torch.stack([found, target.float().mean()]))

    straight, resumed = prepared(), prepared()
    report = train(straight, job(on_batch=follow, settings={"epochs": 1}))
    losses = []
    other = prepared()
    train(
        other,
        job(on_batch=lambda *given: losses.append(float(cross_entropy()(*given[1:]).detach())), settings={"epochs": 1}),
    )
    assert sum(losses) / len(losses) == pytest.approx(report.losses[0], rel=1e-5)
    store = MemoryStore(InterruptedRunError, after=3)
    with pytest.raises(InterruptedRunError, match="after 4 of 10"):
        train(resumed, job(on_batch=follow, settings={"epochs": 1}), Keeper(store, "key"))
    resumed, store.stop = prepared(), None
    train(resumed, job(on_batch=follow, settings={"epochs": 1}), Keeper(store, "key"))
    assert float(straight.seen.abs().min()) > 0
    assert same(straight, resumed)


def test_augmentation_is_seeded() -> None:
    def noise(inputs, generator):
        return tuple(part + torch.randn(part.shape, generator=generator) for part in inputs)

    models = [network(), network(), network()]
    for model, augment in zip(models, (noise, noise, None), strict=True):
        train(model, job(augment=augment, settings={"epochs": 1}))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_learning_rate_follows_the_cosine() -> None:
    # with plain descent and a constant gradient, the way of a weight is the sum of the learning rates
    model = nn.Linear(1, 2, bias=False)
    start = model.weight.detach().clone()
    training = Training(optimizer="sgd", momentum=0.0, batch_size=10)
    examples = TensorExamples(torch.ones(110, 1), torch.zeros(110, dtype=torch.int64))
    settings = {"epochs": 1, "learning_rate": 0.2, "final_learning_rate": 0.1}
    train(model, job(examples=examples, training=training, loss=lambda out, _: out[:, 0].mean(), settings=settings))
    assert (start - model.weight.detach())[0, 0].item() == pytest.approx(11 * 0.15, rel=1e-5)


@pytest.mark.parametrize("stop_after", [1, 7, 10, 17, 29])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stopped_training_goes_on_bit_for_bit(stop_after: int, optimizer: str) -> None:
    mask = torch.rand(32, 64, generator=torch.Generator().manual_seed(0)) > 0.5

    def later(model: nn.Module, step: int, total: int) -> None:
        if step == 12:
            constrain(model, {"0.weight": Mask(mask)})

    def prepared() -> nn.Module:
        model = network()
        constrain(model, {"0.weight": Mask(torch.ones(32, 64, dtype=torch.bool))})
        return model

    work = job(on_step=later, settings={"average": 0.9, "optimizer": optimizer})
    straight, resumed = prepared(), prepared()
    report = train(straight, work)
    store = MemoryStore(InterruptedRunError, after=stop_after - 1)
    with pytest.raises(InterruptedRunError, match=f"after {stop_after} of 30"):
        train(resumed, work, Keeper(store, "key"))
    resumed, store.stop = prepared(), None  # a new process
    assert train(resumed, work, Keeper(store, "key")) == report
    assert same(straight, resumed)
    assert torch.equal(constraints_of(resumed)["0.weight"].mask, mask)


def test_a_finished_training_is_put_back_and_not_done_again() -> None:
    store, model = MemoryStore(), network()
    report = train(model, job(), Keeper(store, "key"))

    def never(model, step, total) -> None:
        raise AssertionError("was trained again")

    again = network()
    assert train(again, job(on_step=never), Keeper(store, "key")) == report
    assert same(model, again)


def test_checkpoints_are_written_where_they_are_due(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(Keeper, "due", lambda self, epoch_ends: asked.append(epoch_ends) or len(asked) % 5 == 0)
    store = MemoryStore()
    train(network(), job(), Keeper(store, "key"))
    assert asked == [step in (10, 20) for step in range(1, 30)]
    assert store.writes == 29 // 5 + 1


def test_a_checkpoint_that_does_not_fit_is_ignored() -> None:
    store = MemoryStore()
    train(nn.Linear(64, 10), job(), Keeper(store, "key"))
    model, straight = network(), network()
    train(model, job(), Keeper(store, "key"))
    train(straight, job())
    assert same(model, straight)


def test_divergence_is_an_error_and_is_not_kept() -> None:
    store = MemoryStore()
    training = Training(optimizer="sgd", momentum=0.0, batch_size=64)
    exploding = job(training=training, settings={"learning_rate": 1e30}, loss=lambda out, _: -out.square().mean())
    with pytest.raises(DivergedError, match=r"not finite after .* of 30 steps.*Lower the learning rate"):
        train(nn.Linear(64, 10), exploding, Keeper(store, "key", interval=0.0))
    kept = store.read("key")
    assert kept is None or all(bool(torch.isfinite(t).all()) for n, t in kept.tensors.items() if n.startswith("weight"))


def test_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        train(network(), job(training=Training(batch_size=0)))


def test_python_and_numpy_randomness_of_a_data_set_is_seeded() -> None:
    import random

    class Jitter(TensorExamples):
        def gather(self, indices):
            batch = super().gather(indices)
            return batch._replace(inputs=(batch.inputs[0] * random.random(),))

    models = [network(), network()]
    for model in models:
        random.random()
        train(model, job(examples=Jitter(IMAGES[:200], LABELS[:200])))
    assert same(models[0], models[1])


def test_progress_is_told_each_step() -> None:
    class Counting:
        done, total = 0.0, 0.0

        def bar(self, label, total):
            self.total = total
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            pass

        def advance(self, amount=1.0) -> None:
            self.done += amount

        def note(self, text) -> None:
            pass

    progress = Counting()
    train(network(), job(progress=progress))
    assert progress.done == progress.total == 30


def test_tied_weights_train_as_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(64, 64)
            self.second = nn.Linear(64, 64)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))[:, :10]

    store, model = MemoryStore(InterruptedRunError, after=4), Tied()
    resumed = copy.deepcopy(model)
    start = copy.deepcopy(model)
    train(model, job())
    with pytest.raises(InterruptedRunError):
        train(resumed, job(), Keeper(store, "key"))
    store.stop = None
    train(start, job(), Keeper(store, "key"))
    assert same(model, start)
    assert start.second.weight is start.first.weight
