"""Checkpoints read tensor by tensor: names, shards and what can be wrong with them; and the bytes that are written."""

import json

import pytest
import torch
from safetensors.torch import save, save_file

from featherweight.errors import StorageError, TaskError
from featherweight.frontends.safetensors_files import TYPES, is_checkpoint, lay_out, open_checkpoint, put


def _tensors():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, generator=generator)
    return {
        "b.weight": values,
        "a": values.half(),
        "c": values.bfloat16(),
        "d.steps": torch.tensor(2**40),
        "e": torch.tensor([True, False, True]),
        "f": torch.zeros(0, 4),
        "g": values.to(torch.float8_e4m3fn),
        "h": torch.arange(-3, 3, dtype=torch.int8),
        'i "quoted"': values.double(),
    }


def _bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


def _same(one, other):
    assert sorted(one) == sorted(other)
    for name, tensor in one.items():
        assert (tensor.dtype, tensor.shape) == (other[name].dtype, other[name].shape)
        assert _bits(tensor) == _bits(other[name])


@pytest.fixture
def shards(tmp_path):
    """Two shards and their index; gives a function that writes the index anew."""
    tensors = _tensors()
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:4]}, tmp_path / "m-1.safetensors")
    save_file({name: tensors[name] for name in names[4:]}, tmp_path / "m-2.safetensors")
    places = {name: "m-1.safetensors" if name in names[:4] else "m-2.safetensors" for name in names}

    def index(**changes):
        path = tmp_path / "m.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": places | changes}))
        return path

    index()
    return index


def test_one_file(tmp_path):
    save_file(_tensors(), tmp_path / "m.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.name == "m"
    assert checkpoint.bytes == sum(len(_bits(tensor)) for tensor in _tensors().values())
    _same(checkpoint.load(), _tensors())
    assert {name: value.shape for name, value in checkpoint.meta().items()} == {
        name: value.shape for name, value in _tensors().items()
    }


def test_shards_by_index_by_directory_and_without_an_index(shards, tmp_path):
    by_index = open_checkpoint(shards())
    assert by_index.name == "m"
    assert [file.name for file in by_index.files] == ["m-1.safetensors", "m-2.safetensors"]
    _same(by_index.load(), _tensors())
    _same(open_checkpoint(str(tmp_path)).load(), _tensors())
    shards().unlink()
    _same(open_checkpoint(tmp_path).load(), _tensors())
    assert open_checkpoint(tmp_path).name == tmp_path.name


def test_what_looks_like_a_checkpoint(tmp_path):
    looks = [is_checkpoint(name) for name in ("a.safetensors", "a.safetensors.index.json", str(tmp_path), "a.json")]
    assert looks == [True, True, True, False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"b.weight": "m-3.safetensors"}, "a shard is missing.*m-3"),
        ({"b.weight": "m-2.safetensors"}, "lies in m-1.safetensors, not in m-2.safetensors"),
        ({"new": "m-1.safetensors"}, "lacks a tensor that the index names.*new"),
        ({"b.weight": "../m-1.safetensors"}, "no name of a shard"),
        ({"b.weight": 7}, "no name of a shard"),
    ],
)
def test_an_index_that_is_wrong(shards, changes, said):
    with pytest.raises(TaskError, match=said):
        open_checkpoint(shards(**changes))


def test_shards_that_do_not_fit_together(shards, tmp_path):
    index = shards()
    save_file({"extra": torch.ones(1)} | {"a": torch.ones(1)}, tmp_path / "m-2.safetensors")
    with pytest.raises(TaskError, match=r"lies in m-1.safetensors and again in m-2.safetensors.*'a'"):
        open_checkpoint(index)
    names = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {name: file for name, file in names.items() if "1" in file}}))
    save_file(
        {"unknown": torch.ones(1)} | {n: _tensors()[n] for n in names if "1" in names[n]}, tmp_path / "m-1.safetensors"
    )
    with pytest.raises(TaskError, match=r"index does not name.*unknown"):
        open_checkpoint(index)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no valid JSON"), ("[]", "no JSON object"), ("{}", "no weight_map"), ('{"a": 1, "a": 2}', "given twice")],
)
def test_an_index_that_is_none(tmp_path, text, said):
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(TaskError, match=said):
        open_checkpoint(path)


def test_directories_without_or_with_several_checkpoints(shards, tmp_path):
    (tmp_path / "other.safetensors.index.json").write_text("{}")
    with pytest.raises(TaskError, match="several checkpoints"):
        open_checkpoint(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="no safetensors file"):
        open_checkpoint(tmp_path / "empty")


def test_a_type_that_cannot_be_kept_is_named(tmp_path):
    save_file({"odd": torch.ones(2, dtype=torch.uint16)}, tmp_path / "m.safetensors")
    with pytest.raises(TaskError, match=r"odd.*'U16'"):
        open_checkpoint(tmp_path / "m.safetensors")


def test_a_file_cut_short_while_it_is_read(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(100)}, path)
    (entry,) = open_checkpoint(path).entries
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StorageError, match="became shorter"):
        entry.read()


def test_what_is_written_is_what_the_library_writes(tmp_path):
    tensors = _tensors()
    layout = lay_out({name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()})
    with (tmp_path / "out").open("wb") as file:
        file.write(layout.head)
        file.flush()
        for name, tensor in tensors.items():
            put(file, layout.places[name], tensor)
    assert (tmp_path / "out").read_bytes() == save(tensors)
    assert layout.length == len(save(tensors))


def test_every_type_is_written_in_the_order_of_the_library():
    tensors = {f"t{number}": torch.zeros(1).to(dtype) for number, dtype in enumerate(TYPES.values())}
    layout = lay_out({name: (tensor.dtype, (1,)) for name, tensor in tensors.items()})
    assert save(tensors).startswith(layout.head)


def test_a_type_without_a_name_is_refused():
    with pytest.raises(StorageError, match=r"odd.*complex64"):
        lay_out({"odd": (torch.complex64, (1,))})
