"""Compresses a checkpoint tensor by tensor: what lies in memory is bounded, however large the checkpoint is.

For recipes all of whose techniques can look at one tensor at a time (techniques.base.PerTensor). The file is the one
that the recipe gives in memory, byte for byte where recipe, ledger and provenance are left out; the ledger has no
sizes between the steps, because measuring them would cost more than compressing.
"""

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.container import header as headers
from featherweight.container import names, pack, writer
from featherweight.container.limits import MAX_SIZE, Limits, free_memory
from featherweight.container.report import FileReport
from featherweight.container.spec import ExtraRecord, Header
from featherweight.core.context import Progress
from featherweight.core.task import Task
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.errors import EncodingError, TaskError, UsageError
from featherweight.frontends.safetensors import holder_of
from featherweight.frontends.safetensors_files import Checkpoint, Entry
from featherweight.recipes.environment import combined, digest_of, environment
from featherweight.recipes.ledger import Ledger
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.result import extras_of
from featherweight.recipes.store import RunStore, opened
from featherweight.recipes.stream_journal import Journal
from featherweight.recipes.stream_result import Streamed, ledger_of, provenance_of, put_at
from featherweight.recipes.tiers import coders
from featherweight.techniques.base import PerTensor
from featherweight.training.progress import SilentProgress

WITHOUT_BUDGET = Limits(decoded_bytes=MAX_SIZE)
"""For files of our own that are not decoded as a whole."""

MEMORY = 800 * 2**20
"""Bytes that the tensors in work may take together; one that takes more is worked on alone."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a checkpoint is streamed; none of it changes the tensors in the file.

    `threads`: 1 or more; 0 is one for each core that the process may use. `memory`: bytes that the tensors in work may
    take together. `extras`: whether recipe, ledger and provenance go into the file.
    """

    seed: int = 0
    threads: int = 0
    memory: int = MEMORY
    extras: bool = True
    allow_env_change: bool = False
    progress: Progress = field(default_factory=SilentProgress)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needs_model(recipe: Recipe) -> str | None:
    """Why a recipe cannot stream, naming the first step that needs the whole model; None when it can."""
    if recipe.max_drop is not None or any(step.max_drop is not None for step in recipe.steps):
        return "max_drop is judged on the whole model"
    for number, step in enumerate(recipe.steps, 1):
        reason = step.settings.needs_model() if isinstance(step.settings, PerTensor) else "changes the model as a whole"
        if reason:
            return f"step {number} ({step.use}) {reason}"
    return None


def check_fits(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Raises UsageError when a recipe needs the whole model and the memory does not hold it.

    That takes the model, a copy of it to work on, and about as much again for the largest steps.
    """
    reason, free = needs_model(recipe), free_memory()
    if reason is not None and 3 * checkpoint.bytes > free:
        raise UsageError(
            f"the checkpoint takes 3 times {checkpoint.bytes} bytes in memory, {free} are free, and it cannot be "
            f"compressed tensor by tensor: {reason}",
            where=recipe.name,
            value=checkpoint.name,
            fix="Use a recipe of steps that need no training and no data, such as weights_only.",
        )


def task_of(checkpoint: Checkpoint) -> Task:
    """The checkpoint as a task whose tensors have no values."""
    return Task(model=partial(holder_of, checkpoint.meta()), example=(), name=checkpoint.name)


def compress_checkpoint(
    checkpoint: Checkpoint, recipe: Recipe, output: Path, run_dir: Path, settings: Settings | None = None
) -> Streamed:
    """Compresses a checkpoint into the file `output`; what is finished is kept in `run_dir`.

    A run that was stopped or killed at any moment goes on when the same call is made again and ends with the same
    bytes. The first SIGINT or SIGTERM stops after the tensors in work, the second at once.

    Raises: UsageError for a recipe that needs the whole model, a run directory of another run or names that a file
    cannot hold; TaskError and TechniqueError for tensors that the recipe cannot keep; LockedError, StorageError;
    InterruptedRunError after a signal.
    """
    settings = settings or Settings()
    reason = needs_model(recipe)
    if reason is not None:
        raise UsageError(f"the recipe cannot work tensor by tensor: {reason}", where=recipe.name)
    run = _Run(checkpoint, recipe, settings)
    with opened(run_dir) as store:
        store.claim(run.identity(), allow_env_change=settings.allow_env_change)
        return run.go(store, output)


@dataclass(frozen=True)
class _Item:
    """One tensor: its number in the file, where it is read from, and the steps that work on it by their number."""

    index: int
    entry: Entry
    steps: tuple[tuple[int, PerTensor], ...]

    @property
    def memory(self) -> int:
        """Bytes that it takes while it is worked on, at most."""
        weights = self.entry.length // max(self.entry.dtype.itemsize, 1)
        most = max((technique.working_bytes for _, technique in self.steps), default=2 * self.entry.dtype.itemsize + 4)
        return self.entry.length + weights * most


class _Run:
    """A recipe on its way through a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe, settings: Settings) -> None:
        self.checkpoint, self.recipe, self.settings = checkpoint, recipe, settings
        self.coders = coders(recipe.coder)
        self.model = holder_of(checkpoint.meta())
        self.items = _items(checkpoint, recipe, self.model)

    def identity(self) -> dict[str, Any]:
        """What makes a run this run and no other: also the files, by size and time of the last change."""
        stats = [(file.name, file.stat()) for file in self.checkpoint.files]
        surroundings = environment()
        del surroundings["threads"]  # each tensor is worked on by one thread, so their number changes nothing
        tensors = ((item.entry.name, _meta(item.entry), "") for item in self.items)
        return {
            "format": 1,
            "recipe": self.recipe.to_dict(),
            "seed": self.settings.seed,
            "device": "cpu",
            "task": self.checkpoint.name,
            "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
            "tensors": combined(tensors),
            "environment": surroundings,
        }

    def go(self, store: RunStore, output: Path) -> Streamed:
        """Does what is left to do and writes the file."""
        if store.result_path.is_file():  # finished in an earlier sitting
            with pack.open_file(store.result_path, limits=WITHOUT_BUDGET, nonfinite="allow") as reader:
                reader.check()
            put_at(store.result_path, output)
            return Streamed(output, self.recipe, store.ledger(), pack.describe(output))
        with Journal(store.directory) as journal, _one_thread():
            left = [item for item in self.items if item.index not in journal.finished]
            if len(left) < len(self.items):
                self.settings.progress.note(
                    f"taken up after {len(self.items) - len(left)} of {len(self.items)} tensors"
                )
            self._work(left, journal, store)
            ledger = ledger_of(self.recipe, self.settings.seed, self.model, journal.finished)
            report = self._write(journal, ledger, output)
            store.keep_ledger(ledger)
            put_at(output, store.result_path)
            journal.remove()
        return Streamed(output, self.recipe, ledger, report)

    def _work(self, left: list[_Item], journal: Journal, store: RunStore) -> None:
        """All tensors that are left, as many at a time as threads and memory allow."""
        threads = self.settings.threads or cores()
        running: dict[Future[int], int] = {}
        label = f"{self.checkpoint.name}: tensors"
        with self.settings.progress.bar(label, self.checkpoint.bytes) as bar, ThreadPoolExecutor(threads) as pool:
            done = self.checkpoint.bytes - sum(item.entry.length for item in left)
            bar.advance(done)
            for item in left:
                while running and (
                    len(running) >= threads or sum(running.values()) + item.memory > self.settings.memory
                ):
                    bar.advance(_next(running))
                stop = store.stop_requested()
                if stop is not None:
                    raise stop("stopped between two tensors", fix="Run the same command again to go on.")
                running[pool.submit(self._tensor, item, journal)] = item.memory
            while running:
                bar.advance(_next(running))

    def _tensor(self, item: _Item, journal: Journal) -> int:
        """One tensor from the checkpoint into the journal; gives its bytes."""
        weight = item.entry.read()
        source = digest_of(weight)
        with _about(item.entry.name):
            encoding, seconds = self._encoded(item, weight)
            del weight
            finite = encoding.finite
            if not finite and not _exact(item):
                fix = "Repair the checkpoint, or keep it as it is with the recipe lossless."
                raise TaskError("the tensor holds NaN or infinity", where=item.entry.name, fix=fix)
            packed = payload.encode(encoding, self.coders)
        journal.add(packed.data, index=item.index, spec=packed.spec, finite=finite, source=source, seconds=seconds)
        return item.entry.length

    def _encoded(self, item: _Item, weight: Tensor) -> tuple[Encoding, tuple[float, ...]]:
        encoding: Encoding | None = None
        seconds = [0.0] * len(self.recipe.steps)
        for number, technique in item.steps:
            start = time.monotonic()
            made = technique.encode(item.entry.name, weight, encoding)
            if made is not None:
                encoding = made
                weight = made.to_tensor() if number != item.steps[-1][0] else weight
            seconds[number] = round(time.monotonic() - start, 3)
        return (Dense(weight, weight.dtype) if encoding is None else encoding), tuple(seconds)

    def _write(self, journal: Journal, ledger: Ledger, output: Path) -> FileReport:
        done = [journal.finished[item.index] for item in self.items]
        records = tuple(
            headers.tensor_record(item.entry.name, item.entry.shape, made.spec)
            for item, made in zip(self.items, done, strict=True)
        )
        extras: Mapping[str, bytes] = {}
        if self.settings.extras:
            source = self._fingerprint(
                {item.entry.name: made.source for item, made in zip(self.items, done, strict=True)}
            )
            extras = extras_of(self.recipe, ledger, provenance_of(self.checkpoint.name, self.settings.seed, source))
        bodies: list[writer.Body] = [journal.body(item.index) for item in self.items]
        bodies += [partial(bytes, data) for data in extras.values()]
        kept = tuple(ExtraRecord(name, False, len(data)) for name, data in extras.items())
        flagged = not all(made.finite for made in done)
        self.settings.progress.note(f"writing {output}")
        writer.write(output, writer.Contents(Header(records, None, (), kept), bodies, flagged))
        return pack.describe(output)

    def _fingerprint(self, digests: Mapping[str, str]) -> str:
        tensors = (*self.model.named_parameters(), *self.model.named_buffers())
        return combined((name, tensor, digests[name]) for name, tensor in tensors)


def _items(checkpoint: Checkpoint, recipe: Recipe, model: nn.Module) -> list[_Item]:
    """The tensors in the order of the file, each with its steps. Raises: UsageError for a name that is not allowed."""
    chosen = []
    for number, step in enumerate(recipe.steps):
        if isinstance(step.settings, PerTensor):
            chosen.append((number, step.settings, frozenset(step.settings.names(model))))
    entries = {entry.name: entry for entry in checkpoint.entries}
    items = []
    for index, name in enumerate(model.state_dict()):
        fault = names.fault(name)
        if fault is not None:
            raise UsageError(f"cannot be kept in a .fwt file: {fault}", where=name, fix="Rename the tensor.")
        steps = tuple((number, technique) for number, technique, works_on in chosen if name in works_on)
        items.append(_Item(index, entries[name], steps))
    return items


def _exact(item: _Item) -> bool:
    """Whether the recipe keeps this tensor with all its bits, whatever they are."""
    return bool(item.steps) and all(technique.lossless for _, technique in item.steps)


def _meta(entry: Entry) -> Tensor:
    return torch.empty(entry.shape, dtype=entry.dtype, device="meta")


def _next(running: dict[Future[int], int]) -> int:
    """Waits until a tensor is finished; gives the bytes of all that are."""
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    total = 0
    for one in finished:
        del running[one]
        total += one.result()
    return total


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Names the tensor in errors of its encoding."""
    try:
        yield
    except EncodingError as error:
        raise EncodingError(error.what, where=name, value=error.value, fix=error.fix) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets torch work on one thread in each of ours: sums come out the same however many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
