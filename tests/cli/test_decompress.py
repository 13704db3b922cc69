import json

import torch
from safetensors.torch import load_file, save_file
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


def test_a_checkpoint_comes_back_bit_for_bit_in_shards_of_the_size_asked_for(call, tmp_path):
    strange = torch.tensor([float("nan"), float("inf"), -0.0, 6e-8]).half()
    tensors = {"w": torch.randn(40, 50).bfloat16(), "v": torch.randn(300), "strange": strange, "n": torch.arange(3)}
    save_file(tensors, tmp_path / "m.safetensors")
    made = call(
        "compress", tmp_path / "m.safetensors", "-r", "lossless", "-o", tmp_path / "m.fwt", "--run-dir", tmp_path / "r"
    )
    assert (made.code, made.err.count("Traceback")) == (0, 0)
    out = tmp_path / "out.safetensors"
    answer = call("decompress", tmp_path / "m.fwt", "-o", out, "--shard-size", "4KB", "--threads", "2", "--json")
    assert answer.code == 0
    told = json.loads(answer.out)
    assert told["output"] == str(tmp_path / "out.safetensors.index.json")
    assert (told["tensors"], told["nonfinite"], len(told["files"]) > 1) == (4, True, True)
    found = {name: value for file in told["files"] for name, value in load_file(file).items()}
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))
    assert "NaN or infinity" in call("decompress", tmp_path / "m.fwt", "-o", out).err


def test_sizes_that_are_none(call, finished, tmp_path):
    for size in ("big", "-1", "0", "5 XB"):
        answer = call("decompress", finished.file, "-o", tmp_path / "x.safetensors", "--shard-size", size)
        assert (answer.code, "--shard-size" in answer.err) == (2, True)
