import json

import torch
from safetensors.torch import load_file
from torch import nn

from featherweight.container import pack


def test_the_weights_come_out_by_name(call, finished, tmp_path):
    target = tmp_path / "out.safetensors"
    answer = call("decompress", finished.file, "-o", target, "--json")
    assert answer.code == 0
    tensors = load_file(target)
    assert json.loads(answer.out) == {
        "file": str(finished.file),
        "output": str(target),
        "tensors": 4,
        "bytes": target.stat().st_size,
    }
    with pack.open_file(finished.file) as reader:
        for name, tensor in tensors.items():
            assert torch.equal(tensor, reader.tensor(name))


def test_tied_tensors_come_out_under_each_name(call, tmp_path):
    model = nn.Module()
    model.first, model.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model.second.weight = model.first.weight
    pack.save(tmp_path / "tied.fwt", model)
    answer = call("decompress", tmp_path / "tied.fwt", "-o", tmp_path / "tied.safetensors")
    assert answer.code == 0
    tensors = load_file(tmp_path / "tied.safetensors")
    assert sorted(tensors) == ["first.weight", "second.weight"]
    assert torch.equal(tensors["first.weight"], tensors["second.weight"])


def test_a_target_that_cannot_be(call, finished, tmp_path):
    answer = call("decompress", finished.file, "-o", tmp_path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
