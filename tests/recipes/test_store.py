import json
from pathlib import Path

import pytest
import torch
from tests.recipes.test_ledger import ENTRY

from featherweight.errors import InterruptedRunError, LockedError, StorageError, UsageError
from featherweight.recipes.ledger import Ledger
from featherweight.recipes.signals import Stop
from featherweight.recipes.store import RunStore, opened, read_json, write_json
from featherweight.training.checkpoint import Saved

IDENTITY = {"recipe": {"name": "a"}, "seed": 0, "environment": {"torch": "2.13.0", "threads": 1}}


def test_values_and_tensors_come_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {
        "weight/0.a": torch.randn(3, 2).T,
        "weight/b": shared,
        "weight/view": shared[2:],
        "mask": torch.tensor([True, False]),
        "half": torch.zeros(2, dtype=torch.bfloat16),
        "step": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
    }
    with opened(tmp_path) as store:
        store.write("00/0-train-000", Saved({"step": 3, "losses": [0.1]}, tensors))
        store.write("00/0-memo", Saved({"scan": [1, 2]}))
    found = RunStore(tmp_path).read("00/0-train-000")
    assert found.meta == {"step": 3, "losses": [0.1]}
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    assert all(found.tensors[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert RunStore(tmp_path).read("00/0-memo") == Saved({"scan": [1, 2]})
    assert RunStore(tmp_path).read("00/0-other") is None


def test_read_tensors_do_not_hang_on_the_file(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.write("k", Saved({}, {"a": torch.zeros(1000)}))
    found = store.read("k").tensors["a"]
    store.write("k", Saved({}, {"a": torch.ones(1000)}))
    assert float(found.sum()) == 0.0
    found.add_(1)
    assert float(store.read("k").tensors["a"].sum()) == 1000.0


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage) -> None:
    store = RunStore(tmp_path)
    store.write("k", Saved({}, {"a": torch.zeros(10)}))
    path = tmp_path / "train" / "k.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=r"k\.safetensors.*Delete it"):
        store.read("k")


def test_steps_and_their_trainings(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert store.step_notes(3) is None
    store.write("03/0-memo", Saved({"a": 1}))
    store.write("04/0-memo", Saved({"a": 1}))
    store.step_path(3).parent.mkdir()
    store.keep_step_notes(3, {"settings": {}})
    assert store.step_notes(3) is None  # notes without a model are none
    store.step_path(3).write_bytes(b"model")
    assert store.step_notes(3) == {"settings": {}}
    assert store.step_path(3) == tmp_path / "steps" / "03.fwt"
    store.drop_training(3)
    assert store.read("03/0-memo") is None
    assert store.read("04/0-memo") is not None


def test_the_ledger_comes_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert store.ledger() == Ledger()
    store.keep_ledger(Ledger((ENTRY,)))
    assert RunStore(tmp_path).ledger() == Ledger((ENTRY,))


def test_a_directory_belongs_to_one_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.claim(IDENTITY)
    store.claim(IDENTITY)
    with pytest.raises(UsageError, match="another seed"):
        store.claim(IDENTITY | {"seed": 1})
    with pytest.raises(UsageError, match="another recipe"):
        store.claim(IDENTITY | {"recipe": {"name": "b"}}, allow_env_change=True)
    assert read_json(tmp_path / "run.json") == IDENTITY


def test_another_environment_must_be_allowed(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.claim(IDENTITY)
    changed = IDENTITY | {"environment": {"torch": "2.13.0", "threads": 2}}
    with pytest.raises(UsageError, match=r"threads was 1, is 2.*allow_env_change"):
        store.claim(changed)
    store.claim(changed, allow_env_change=True)
    assert read_json(tmp_path / "run.json") == changed


def test_wishes_to_stop_come_through(tmp_path: Path) -> None:
    stop = Stop()
    store = RunStore(tmp_path, stop)
    assert store.stop_requested() is None
    stop.error = InterruptedRunError
    assert store.stop_requested() is InterruptedRunError


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "run"), pytest.raises(LockedError), opened(tmp_path / "deep" / "run"):
        pass
    assert (tmp_path / "deep" / "run" / "steps").is_dir()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="run"), opened(tmp_path / "run"):
        pass


def test_damaged_json_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(StorageError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
