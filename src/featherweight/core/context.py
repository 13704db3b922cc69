"""What a technique is lent: data, fine-tuning, evaluation, device, random state, progress. Protocols only."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from featherweight.core.examples import Batch
from featherweight.core.task import Training


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """One stretch of training that a technique asks for."""

    epochs: float  # passes over the training data, > 0; fractions are rounded up to whole steps
    learning_rate: float  # at the start
    final_learning_rate: float = 0.0  # reached by a cosine at the last step
    optimizer: str | None = None  # default: the task's
    weight_decay: float | None = None  # default: the task's
    average: float = 0.0  # decay of an exponential moving average of the weights that replaces them at the end; 0: off


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What a stretch of training did: `losses` is the mean training loss of each epoch."""

    steps: int
    losses: tuple[float, ...]


class Bar(Protocol):
    """A progress bar that is running."""

    def advance(self, amount: float = 1.0) -> None:
        """Moves on by `amount` of the total."""
        ...


class Progress(Protocol):
    """Where progress is shown; silent by default."""

    def bar(self, label: str, total: float) -> AbstractContextManager[Bar]:
        """A bar over `total` units of work, shown while the context is open."""
        ...

    def note(self, text: str) -> None:
        """One line of news."""
        ...


class Context(Protocol):
    """Lent to a technique for the length of one step. Test data cannot be reached through it."""

    device: torch.device
    example: tuple[Any, ...]  # positional inputs of the model, on `device`
    training: Training  # the task's own training settings
    progress: Progress

    def generator(self, *purpose: str | int) -> torch.Generator:
        """A generator (CPU) seeded by run seed, step and purpose: the same words, the same numbers."""
        ...

    def evaluate(self, model: nn.Module, split: str = "validation") -> float:
        """The mean score of the model over a split ("train", "validation" or "calibration"), higher is better."""
        ...

    def finetune(
        self,
        model: nn.Module,
        settings: Finetuning,
        *,
        extra_loss: Callable[[nn.Module], Tensor] | None = None,
        on_step: Callable[[nn.Module, int, int], None] | None = None,
        on_batch: Callable[[nn.Module, Any, Any], None] | None = None,
    ) -> FinetuneReport:
        """Trains `model` in place; attached encodings keep their zeros and their shared values.

        `extra_loss(model)` is added to the task's loss. `on_step(model, step, total)` is called before step 0, 1, ...;
        it may attach other encodings of the same kind (a growing mask). `on_batch(model, output, target)` is called
        after each step with what the model gave for the step's batch and its target; what it learns from them outlives
        an interruption where it keeps it in buffers of the model. Resumable: a finished or half-finished call of
        an interrupted run is taken up from the run directory.
        """
        ...

    def loss(self, output: Any, target: Any) -> Tensor:
        """The task's loss of a batch: a scalar to differentiate, without what training adds to it."""
        ...

    def batches(self, split: str = "calibration", limit: int | None = None) -> Iterator[Batch]:
        """Batches of a split on `device`, in fixed order, at most `limit` examples."""
        ...

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """The JSON value of `compute()`, kept in the run directory so that a resumed run does not compute it again."""
        ...

    def record(self, key: str, value: Any) -> None:
        """Puts a JSON value (a sensitivity curve, say) into the ledger entry of this step, for the report."""
        ...
