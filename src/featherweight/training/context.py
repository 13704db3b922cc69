"""The context that recipes lend to techniques: core.context.Context over one task."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.context import FinetuneReport, Finetuning, Progress
from featherweight.core.examples import Batch, Examples
from featherweight.core.task import Task
from featherweight.errors import ConfigError, UsageError
from featherweight.training.checkpoint import Keeper, Saved, Store
from featherweight.training.checks import SPLITS, check_data, check_weights, example_of
from featherweight.training.evaluate import evaluate, gather, slices, to_device
from featherweight.training.loop import Job, train
from featherweight.training.losses import loss_of, score_of
from featherweight.training.progress import SilentProgress
from featherweight.training.seeds import derive, generator


class TaskContext:
    """Implements core.context.Context for `task`: see there for what each method promises.

    All randomness is derived from `seed`, the step and the purpose. `run` is where finished calls, checkpoints and
    remembered values are kept; without it nothing outlives the process. Recipes lend one context a step (`at_step`).
    """

    def __init__(
        self,
        task: Task,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        progress: Progress | None = None,
        run: Store | None = None,
    ) -> None:
        self.task, self.seed, self.run = task, seed, run
        self.device = _device(device)
        self.progress: Progress = progress or SilentProgress()
        self.training = task.training
        self.example: tuple[Any, ...] = to_device(example_of(task), self.device)
        self.details: dict[str, Any] = {}
        self._step, self._attempt, self._calls = 0, 0, 0
        self._splits: dict[str, Examples] = {}
        self._memo: dict[str, Any] | None = None

    def at_step(self, step: int, attempt: int = 0, run: Store | None = None) -> "TaskContext":
        """The context for one attempt at one step: own call numbers, own details, own place in the run `run`."""
        lent = TaskContext(self.task, seed=self.seed, device=self.device, progress=self.progress, run=run or self.run)
        lent._step, lent._attempt, lent._splits = step, attempt, self._splits
        return lent

    def check(self, model: nn.Module) -> None:
        """Looks once whether weights, example, data, loss and score fit together.

        Raises: TaskError or DataError, in words.
        """
        check_weights(model, self.task.name)
        check_data(model, self.task, self.device)

    def has(self, split: str) -> bool:
        """Whether the task has examples for a split."""
        stand_ins = ("train", "validation") if split == "calibration" else ()
        return any(getattr(self.task, name) is not None for name in (split, *stand_ins))

    # core.context.Context ----------------------------------------------------------------------------------------

    def generator(self, *purpose: str | int) -> torch.Generator:
        """See Context.generator."""
        return generator(self.seed, self._step, "technique", *purpose)

    def evaluate(self, model: nn.Module, split: str = "validation") -> float:
        """See Context.evaluate."""
        self._stop_if_asked()
        examples = self._examples(split)
        return evaluate(model, examples, score_of(self.task), where=f"{self.task.name}.{split}", device=self.device)

    def finetune(
        self,
        model: nn.Module,
        settings: Finetuning,
        *,
        extra_loss: Callable[[nn.Module], Tensor] | None = None,
        on_step: Callable[[nn.Module, int, int], None] | None = None,
        on_batch: Callable[[nn.Module, Any, Any], None] | None = None,
    ) -> FinetuneReport:
        """See Context.finetune."""
        self._stop_if_asked()
        call, self._calls = self._calls, self._calls + 1
        job = Job(
            examples=self._examples("train"),
            loss=loss_of(self.task),
            settings=settings,
            training=self.training,
            seed=derive(self.seed, self._step, "finetune", call),
            device=self.device,
            augment=self.task.augment,
            extra_loss=extra_loss,
            on_step=on_step,
            on_batch=on_batch,
            progress=self.progress,
            label=f"{self.task.name}: fine-tuning",
        )
        return train(model, job, Keeper(self.run, self._key(f"train-{call:03d}")))

    def loss(self, output: Any, target: Any) -> Tensor:
        """See Context.loss."""
        return loss_of(self.task)(output, target)

    def batches(self, split: str = "calibration", limit: int | None = None) -> Iterator[Batch]:
        """See Context.batches; batches have the task's batch size."""
        examples = self._examples(split)
        for indices in slices(examples, self.training.batch_size, limit):
            self._stop_if_asked()
            yield gather(examples, indices, self.device)

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """See Context.remember."""
        self._stop_if_asked()
        place = self._key("memo")
        if self.run is None:
            return _json(key, compute())
        if self._memo is None:
            saved = self.run.read(place)
            self._memo = {} if saved is None else saved.meta
        if key not in self._memo:
            self._memo[key] = _json(key, compute())
            self.run.write(place, Saved(self._memo))
        return self._memo[key]

    def record(self, key: str, value: Any) -> None:
        """See Context.record."""
        self.details[key] = _json(key, value)

    # -------------------------------------------------------------------------------------------------------------

    def _examples(self, split: str) -> Examples:
        if split not in SPLITS:
            raise UsageError("no such split is lent to techniques", value=split, fix=f"Use one of {', '.join(SPLITS)}.")
        if split not in self._splits:
            self._splits[split] = self.task.examples(split)
        return self._splits[split]

    def _key(self, name: str) -> str:
        return f"{self._step:02d}/{self._attempt}-{name}"

    def _stop_if_asked(self) -> None:
        stop = None if self.run is None else self.run.stop_requested()
        if stop is not None:
            raise stop("stopped between two pieces of work", fix="Run the same command again to go on.")


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"this device cannot be used: {str(error).splitlines()[0]}", value=str(name), fix="Use 'cpu'."
        ) from error
    return device


def _json(key: str, value: Any) -> Any:
    """The value as it comes back from JSON, so that a first and a resumed run see the same."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "only JSON values can be kept", where=key, value=value, fix=f"Give numbers, texts, lists, dicts. ({error})"
        ) from error
