import pytest
import torch
from torch import nn

from featherweight.core.examples import Batch, TensorExamples
from featherweight.errors import DataError, DivergedError
from featherweight.training.evaluate import batch_size, evaluate, slices, to_device
from featherweight.training.losses import top1


class Echo(nn.Module):
    """Gives its input; notes the batches and its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.modes = [], []

    def forward(self, x):
        self.sizes.append(len(x))
        self.modes.append((self.training, torch.is_grad_enabled()))
        return x


def test_mean_score_over_all_examples_in_several_batches() -> None:
    logits = torch.randn(10_001, 10, generator=torch.Generator().manual_seed(0))
    target = torch.randint(10, (10_001,), generator=torch.Generator().manual_seed(1))
    echo = Echo().train()
    score = evaluate(echo, TensorExamples(logits, target), top1)
    assert score == pytest.approx(float((logits.argmax(1) == target).double().mean()), abs=0)
    assert echo.sizes == [4096, 4096, 1809]
    assert set(echo.modes) == {(False, False)}
    assert echo.training


def test_large_examples_make_small_batches() -> None:
    assert batch_size(TensorExamples(torch.zeros(100, 3, 224, 224), torch.zeros(100))) == 13
    assert batch_size(TensorExamples(torch.zeros(5, 1), torch.zeros(5))) == 5


def test_nan_is_named() -> None:
    logits = torch.zeros(4, 2)
    logits[1, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"digits\.validation.*NaN.*1 of 8"):
        evaluate(Echo(), TensorExamples(logits, torch.zeros(4)), top1, where="digits.validation")


def test_minus_infinity_is_a_log_probability_and_no_error() -> None:
    logits = torch.tensor([[0.0, -torch.inf]])
    assert evaluate(Echo(), TensorExamples(logits, torch.tensor([0])), top1) == 1.0


def test_a_score_that_is_a_mean_already_is_refused() -> None:
    examples = TensorExamples(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(DataError, match=r"one value per example.*\(\)"):
        evaluate(Echo(), examples, lambda output, target: output.mean())


def test_a_score_that_is_no_number() -> None:
    examples = TensorExamples(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(DivergedError, match="no finite number"):
        evaluate(Echo(), examples, lambda output, target: output[:, 0] / target)


def test_modes_are_restored_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).train()
    model[1].eval()
    with pytest.raises(RuntimeError):
        evaluate(model, TensorExamples(torch.zeros(4, 2), torch.zeros(4)), top1)
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_slices_cover_up_to_the_limit() -> None:
    examples = TensorExamples(torch.zeros(10, 1), torch.zeros(10))
    assert [part.tolist() for part in slices(examples, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [part.tolist() for part in slices(examples, 4, limit=5)] == [[0, 1, 2, 3], [4]]


def test_to_device_goes_into_structures() -> None:
    meta = torch.device("meta")
    moved = to_device(Batch((torch.zeros(1), {"a": [torch.zeros(2)]}), 3), meta)
    assert isinstance(moved, Batch)
    assert moved.inputs[0].device == meta
    assert moved.inputs[1]["a"][0].device == meta
    assert moved.target == 3
