"""The one training loop of the house.

It stands on `accelerate`: started by `accelerate launch` it runs on several processes and in mixed precision, each
process taking its share of every batch. All that is random in step k is seeded by (call, k), so that a loop taken up
from a checkpoint ends with the same bits as one that was never stopped (same machine type, torch and thread count).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from featherweight.core.context import FinetuneReport, Finetuning, Progress
from featherweight.core.examples import Batch, Examples
from featherweight.core.task import Training
from featherweight.errors import ConfigError, DivergedError, UsageError
from featherweight.training.average import Average
from featherweight.training.checkpoint import (
    Keeper,
    Saved,
    fits,
    model_state,
    optimizer_state,
    restore_model,
    restore_optimizer,
)
from featherweight.training.enforce import Enforcer, project
from featherweight.training.evaluate import gather
from featherweight.training.losses import Loss
from featherweight.training.optimizers import optimizer_of
from featherweight.training.progress import SilentProgress
from featherweight.training.schedules import cosine
from featherweight.training.seeds import derive, generator, own_randomness, seed_everything

Augment = Callable[[tuple[Any, ...], torch.Generator], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one stretch of training is: data, loss, settings and everything that hangs on them."""

    examples: Examples
    loss: Loss
    settings: Finetuning
    training: Training = field(default_factory=Training)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    augment: Augment | None = None
    extra_loss: Callable[[nn.Module], Tensor] | None = None
    on_step: Callable[[nn.Module, int, int], None] | None = None
    on_batch: Callable[[nn.Module, Any, Any], None] | None = None
    progress: Progress = field(default_factory=SilentProgress)
    label: str = "training"

    @property
    def batches(self) -> int:
        """Steps an epoch. A last batch of one example is left out, because batch norms cannot train on it."""
        count, size = len(self.examples), self.training.batch_size
        whole, rest = divmod(count, size)
        return max(1, whole + (1 if rest > 1 or (rest == 1 and size == 1) else 0))

    @property
    def steps(self) -> int:
        """Steps in all: `epochs` epochs, rounded up to whole steps."""
        return math.ceil(self.settings.epochs * self.batches - 1e-9)


def train(model: nn.Module, job: Job, keeper: Keeper | None = None) -> FinetuneReport:
    """Trains `model`, which lies on `job.device`, in place and within its constraints.

    With a `keeper` the state is kept at every epoch's end and every few seconds, and what an earlier sitting kept is
    taken up; a stretch that was finished is only put back.

    Raises: DivergedError when the loss stops being finite; InterruptedRunError after a signal, once the running step
    is finished and kept; ConfigError for settings out of their range.
    """
    if job.training.batch_size < 1:
        raise ConfigError("must be at least 1", where="Training.batch_size", value=job.training.batch_size)
    modes = {module: module.training for module in model.modules()}
    loop = _Loop(model, job, keeper or Keeper(None, ""))
    try:
        with own_randomness(job.device), _deterministic(job.device):
            return loop.run()
    finally:
        for parameter in model.parameters():
            parameter.grad = None
        for module, mode in modes.items():
            module.training = mode


class _Loop:
    """One stretch of training: the state that lasts from step to step."""

    def __init__(self, model: nn.Module, job: Job, keeper: Keeper) -> None:
        self.model, self.job, self.keeper = model, job, keeper
        self.accelerator = accelerator(job.device)
        optimizer = optimizer_of(model, job.training, job.settings)
        self.enforcer = Enforcer(model, optimizer)
        # where accelerate has nothing to do, its wrappers would only cost a seventh of a small network's step
        plain = self.accelerator.num_processes == 1 and self.accelerator.mixed_precision == "no"
        self.optimizer = optimizer if plain else self.accelerator.prepare(optimizer)
        self.backward = torch.Tensor.backward if plain else self.accelerator.backward
        self.precision = nullcontext if plain else self.accelerator.autocast
        self.runner = self.accelerator.prepare(model) if self.accelerator.num_processes > 1 else model
        self.average = Average(model, job.settings.average) if job.settings.average else None
        self.losses: list[float] = []
        self.sum = torch.zeros((), dtype=torch.float64, device=job.device if job.device.type != "mps" else "cpu")
        self.random = torch.Generator()
        self.order = torch.empty(0, dtype=torch.int64)

    def run(self) -> FinetuneReport:
        total = self.job.steps
        start = self._take_up()
        if start <= total:
            self.model.train()
            with self.job.progress.bar(self.job.label, total) as bar:
                bar.advance(start)
                for step in range(start, total):
                    self._step(step, total)
                    bar.advance()
                    self._keep(step + 1, total)
            self._finish(total)
        return FinetuneReport(steps=total, losses=tuple(self.losses))

    def _step(self, step: int, total: int) -> None:
        job = self.job
        seed_everything(derive(job.seed, "step", step, self.accelerator.process_index), job.device)
        if job.on_step is not None:
            job.on_step(self.model, step, total)
        self.enforcer.refresh()
        rate = cosine(step, total, job.settings.learning_rate, job.settings.final_learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self._batch(step)
        with self.precision():
            output = self.runner(*batch.inputs)
            loss = job.loss(output, batch.target)
            if job.extra_loss is not None:
                loss = loss + job.extra_loss(self.model)
        self.optimizer.zero_grad()
        self.backward(loss)
        self.enforcer.gradients()
        self.optimizer.step()
        self.enforcer.weights()
        if self.average is not None:
            self.average.follow(step)
        if job.on_batch is not None:
            job.on_batch(self.model, output, batch.target)
        self.sum += loss.detach().to(self.sum)

    def _batch(self, step: int) -> Batch:
        """The examples of this step; with several processes, this process's share of them."""
        job = self.job
        epoch, place = divmod(step, job.batches)
        if place == 0 or not len(self.order):
            self.order = torch.randperm(len(job.examples), generator=generator(job.seed, "order", epoch))
        size = job.training.batch_size
        indices = self.order[place * size : (place + 1) * size]
        processes = self.accelerator.num_processes
        if processes > 1:
            # a process without an example would leave the others waiting: it repeats one
            indices = indices[
                torch.arange(self.accelerator.process_index, max(len(indices), processes), processes) % len(indices)
            ]
        batch = gather(job.examples, indices, job.device)
        if job.augment is None:
            return batch
        self.random.manual_seed(derive(job.seed, "augment", step, self.accelerator.process_index))
        return Batch(tuple(job.augment(batch.inputs, self.random)), batch.target)

    # state -------------------------------------------------------------------------------------------------------

    def _keep(self, done: int, total: int) -> None:
        """Closes the epoch, and keeps the state where a signal or the clock asks for it."""
        place = done % self.job.batches
        stop, ends = self.keeper.stop, place == 0 or done == total
        due = done < total and (stop is not None or self.keeper.due(ends))
        if not ends and not due:
            return
        mean = float(self.sum) / (place or self.job.batches)
        if not math.isfinite(mean):
            raise DivergedError(
                f"the training loss is not finite after {done} of {total} steps",
                where=self.job.label,
                value=mean,
                fix="Lower the learning rate, or look for NaN in the training data.",
            )
        if ends:
            self.losses.append(mean)
            self.sum.zero_()
        if due:
            self.keeper.save(self._state(done))
        if due and stop is not None:
            raise stop(
                f"stopped after {done} of {total} training steps",
                where=self.job.label,
                fix="The state is kept; run the same command again to go on.",
            )

    def _finish(self, total: int) -> None:
        if self.average is not None and total:
            self.average.release()
        if total:
            project(self.model)
        tensors, constrained = model_state(self.model)
        meta = {"finished": True, "constrained": constrained, "losses": self.losses, "step": total}
        self.keeper.save(Saved(meta, tensors))

    def _state(self, done: int) -> Saved:
        tensors, constrained = model_state(self.model)
        tensors |= optimizer_state(self.optimizer)
        if self.average is not None:
            tensors |= {f"average/{name}": tensor for name, tensor in self.average.tensors.items()}
        meta = {
            "finished": False,
            "constrained": constrained,
            "losses": self.losses,
            "sum": float(self.sum),
            "step": done,
        }
        return Saved(meta, tensors)

    def _take_up(self) -> int:
        """The step to go on with; total + 1 when there is nothing left to do."""
        saved = self.keeper.load()
        if saved is None or not fits(self.model, saved):
            return 0
        restore_model(self.model, saved)
        self.losses = [float(loss) for loss in saved.meta["losses"]]
        if saved.meta["finished"]:
            return self.job.steps + 1
        self.enforcer.adopt()
        restore_optimizer(self.optimizer, saved.tensors)
        if self.average is not None:
            self.average.restore({name[8:]: t for name, t in saved.tensors.items() if name.startswith("average/")})
        self.sum.fill_(saved.meta["sum"])
        return int(saved.meta["step"])


def accelerator(device: torch.device) -> Accelerator:
    """The accelerator of this process for `device`. Raises: UsageError when it was set up for another one."""
    try:
        return Accelerator(cpu=device.type == "cpu")
    except (ValueError, NotImplementedError) as error:
        raise UsageError(
            "accelerate was already set up for another device or precision in this process",
            value=str(device),
            fix=f"Use one device a process. ({error})",
        ) from error


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic kernels on the CPU, where they cost nothing; elsewhere the user's choice stands."""
    before, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its one switch is a property that the stubs do not know
    fill = memory.fill_uninitialized_memory
    try:
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
            memory.fill_uninitialized_memory = False  # would write every buffer twice, and nothing reads it before
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        memory.fill_uninitialized_memory = fill
