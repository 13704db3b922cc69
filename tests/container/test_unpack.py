"""A file becomes a checkpoint again: the library's own bytes, in one file or in shards, on any number of threads."""

import json

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from featherweight.container import pack, unpack
from featherweight.encodings.attach import attach
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import FormatError, StorageError, UsageError
from featherweight.frontends.safetensors import holder_of
from featherweight.frontends.safetensors_files import open_checkpoint


@pytest.fixture
def packed(tmp_path):
    """A file with an encoding of each kind, over several types."""
    values = torch.linspace(-1, 1, 60)
    model = holder_of(
        {
            "plain": values.bfloat16(),
            "shared": values.half().reshape(6, 10),
            "pruned": values.reshape(4, 15).clone(),
            "steps": torch.arange(60.0).reshape(5, 12) / 4,
            "kept": torch.zeros(3, 4),
            "counter": torch.tensor(5),
            "flags": torch.tensor([True, False]),
            "nothing": torch.zeros(0, 2),
        }
    )
    mask = values.reshape(4, 15) > 0.5
    attach(
        model,
        {
            "shared": Codebook.of(values.half().reshape(6, 10), torch.tensor([-0.5, 0.5]).half()),
            "pruned": Sparse.of(values.reshape(4, 15), mask),
            "steps": Uniform(torch.arange(60).reshape(5, 12), torch.tensor([0.25])),
            "kept": Dense(torch.zeros(3, 4), torch.float16),
        },
    )
    pack.save(tmp_path / "a.fwt", model)
    return tmp_path / "a.fwt"


def _plain(path):
    with pack.open_file(path) as reader:
        tensors = {record.name: reader.tensor(record.name) for record in reader.tensors}
        return tensors | {alias: tensors[name].clone() for alias, name in reader.aliases.items()}


@pytest.mark.parametrize("threads", [1, 3])
def test_one_file_is_what_the_library_writes(packed, tmp_path, threads):
    done = []
    with pack.open_file(packed) as reader:
        made = unpack.unpack(reader, tmp_path / "out.safetensors", threads=threads, advance=done.append)
    assert (tmp_path / "out.safetensors").read_bytes() == save(_plain(packed))
    assert made == unpack.Unpacked((tmp_path / "out.safetensors",), None, 8, len(save(_plain(packed))))
    assert sum(done) == sum(value.nbytes for value in _plain(packed).values())


@pytest.mark.parametrize("most", [1, 150, 400])
def test_shards_hold_no_more_than_asked_and_their_index_finds_all(packed, tmp_path, most):
    with pack.open_file(packed) as reader:
        made = unpack.unpack(reader, tmp_path / "out.safetensors", shard_bytes=most)
    assert made.index == tmp_path / "out.safetensors.index.json"
    for file in made.files:
        held = load_file(file)
        assert len(held) == 1 or sum(value.nbytes for value in held.values()) <= most
    assert made.files[-1].name == f"out-{len(made.files):05d}-of-{len(made.files):05d}.safetensors"
    found = open_checkpoint(made.index).load()
    for name, value in _plain(packed).items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert json.loads(made.index.read_text())["metadata"]["total_size"] == sum(v.nbytes for v in found.values())


def test_a_size_that_holds_all_makes_one_file(packed, tmp_path):
    with pack.open_file(packed) as reader:
        made = unpack.unpack(reader, tmp_path / "out.safetensors", shard_bytes=10**6)
    assert (made.files, made.index) == ((tmp_path / "out.safetensors",), None)


def test_tied_tensors_come_under_each_name(tmp_path):
    model = nn.Module()
    model.first, model.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model.second.weight = model.first.weight
    pack.save(tmp_path / "tied.fwt", model)
    with pack.open_file(tmp_path / "tied.fwt") as reader:
        assert unpack.unpack(reader, tmp_path / "out.safetensors").tensors == 2
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found["first.weight"], found["second.weight"])


def test_a_damaged_file_leaves_nothing_behind(packed, tmp_path):
    data = bytearray(packed.read_bytes())
    data[-40] ^= 1
    packed.write_bytes(data)
    with pack.open_file(packed) as reader, pytest.raises(FormatError, match=r"E_CHECKSUM|E_DIGEST"):
        unpack.unpack(reader, tmp_path / "out.safetensors", shard_bytes=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fwt"]


def test_targets_and_sizes_that_cannot_be(packed, tmp_path):
    with pack.open_file(packed) as reader:
        with pytest.raises(StorageError):
            unpack.unpack(reader, tmp_path / "nowhere" / "out.safetensors")
        with pytest.raises(UsageError, match="at least one byte"):
            unpack.unpack(reader, tmp_path / "out.safetensors", shard_bytes=0)
