"""The run directory: what a run keeps so that a killed one goes on where it was.

run.json       what is run, on what, where; compared before a run is taken up
ledger.json    the finished steps
steps/NN.fwt   the model after step NN (0, 1, ...); steps/NN.json what a file of weights cannot hold
train/NN/...   checkpoints, finished trainings and remembered values of step NN
result.fwt     the end
lock           the owner
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from featherweight.core.atomic import storage_errors, write_atomically
from featherweight.errors import FeatherweightError, StorageError, UsageError
from featherweight.recipes.ledger import Ledger
from featherweight.recipes.lock import owned
from featherweight.recipes.signals import Stop, listening
from featherweight.training.checkpoint import Saved

_META = "state"


class RunStore:
    """One run directory that this process owns. Implements training.checkpoint.Store."""

    def __init__(self, directory: Path, stop: Stop | None = None) -> None:
        self.directory = directory
        self._stop = stop or Stop()

    # training.checkpoint.Store -----------------------------------------------------------------------------------

    def read(self, key: str) -> Saved | None:
        """See Store.read. Raises: StorageError for a file that is damaged."""
        tensors, plain = self._train(key, ".safetensors"), self._train(key, ".json")
        if tensors.is_file():
            return _read_tensors(tensors)
        return Saved(read_json(plain)) if plain.is_file() else None

    def write(self, key: str, saved: Saved) -> None:
        """See Store.write. Raises: StorageError."""
        path = self._train(key, ".safetensors" if saved.tensors else ".json")
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if saved.tensors:
            data = save(_apart(saved.tensors), {_META: json.dumps(saved.meta)})
            write_atomically(path, data)
        else:
            write_json(path, saved.meta)

    def stop_requested(self) -> type[FeatherweightError] | None:
        """See Store.stop_requested."""
        return self._stop.error

    # steps -------------------------------------------------------------------------------------------------------

    @property
    def result_path(self) -> Path:
        """Where the result goes."""
        return self.directory / "result.fwt"

    def step_path(self, index: int) -> Path:
        """Where the model after step `index` goes."""
        return self.directory / "steps" / f"{index:02d}.fwt"

    def step_notes(self, index: int) -> dict[str, Any] | None:
        """What was kept beside the model after step `index`; None when it cannot be taken up from there."""
        path = self.step_path(index).with_suffix(".json")
        return read_json(path) if path.is_file() and self.step_path(index).is_file() else None

    def keep_step_notes(self, index: int, notes: Mapping[str, Any]) -> None:
        """Marks the model after step `index`, written before, as one that a run can be taken up from."""
        write_json(self.step_path(index).with_suffix(".json"), notes)

    def drop_training(self, index: int) -> None:
        """Forgets the checkpoints of step `index`."""
        shutil.rmtree(self.directory / "train" / f"{index:02d}", ignore_errors=True)

    def ledger(self) -> Ledger:
        """The finished steps."""
        path = self.directory / "ledger.json"
        return Ledger.from_list(read_json(path)) if path.is_file() else Ledger()

    def keep_ledger(self, ledger: Ledger) -> None:
        """Writes the finished steps."""
        write_json(self.directory / "ledger.json", ledger.to_list())

    def claim(self, identity: Mapping[str, Any], *, allow_env_change: bool = False) -> None:
        """Makes the directory that of the run `identity`, or makes sure that it is.

        Raises: UsageError when another run or another environment left its state here.
        """
        path = self.directory / "run.json"
        if path.is_file():
            _compare(read_json(path), identity, self.directory, allow_env_change)
        write_json(path, identity)

    def _train(self, key: str, ending: str) -> Path:
        return self.directory / "train" / f"{key}{ending}"


@contextmanager
def opened(directory: str | Path) -> Iterator[RunStore]:
    """The run directory, made where it is not there yet, owned and listening to signals while the context is open.

    Raises: LockedError, StorageError.
    """
    path = Path(directory)
    with storage_errors(path):
        (path / "steps").mkdir(parents=True, exist_ok=True)
        (path / "train").mkdir(exist_ok=True)
    stop = Stop()
    with owned(path), listening(stop):
        yield RunStore(path, stop)


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises: StorageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            "the file of the run cannot be read", where=str(path), value=str(error), fix="Start in an empty directory."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that people can read, at once and durably. Raises: StorageError."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def _read_tensors(path: Path) -> Saved:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})[_META])
        # not load_file: its tensors are windows on the file, which the next checkpoint replaces
        return Saved(meta, load(path.read_bytes()))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise StorageError(
            "the checkpoint cannot be read", where=str(path), value=str(error), fix="Delete it to compute it again."
        ) from error


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, and no two on the same memory, as safetensors wants them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        place = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return apart


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], directory: Path, allow_env_change: bool) -> None:
    for key, value in new.items():
        if key == "environment" or old.get(key) == value:
            continue
        raise UsageError(
            f"this run directory belongs to a run with another {key}",
            where=str(directory),
            value=value,
            fix="Name another directory, or delete this one.",
        )
    before, now = dict(old.get("environment", {})), dict(new.get("environment", {}))
    changed = [f"{key} was {before.get(key)}, is {now.get(key)}" for key in now if before.get(key) != now.get(key)]
    if changed and not allow_env_change:
        raise UsageError(
            "the environment has changed, so the result would not be the same bit for bit: " + "; ".join(changed),
            where=str(directory),
            fix="Go back to the old environment, or allow the change (allow_env_change=True).",
        )
