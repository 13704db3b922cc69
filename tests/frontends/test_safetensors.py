"""A checkpoint alone: the names and tensors of the file, nothing more, and no way to run it."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featherweight.errors import TaskError
from featherweight.frontends.safetensors import Safetensors, holder_of


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture
def read(tmp_path):
    def reader(tensors):
        save_file(tensors, tmp_path / "weights.safetensors")
        return Safetensors().read(str(tmp_path / "weights.safetensors"), {}, seed=0)

    return reader


def test_names_tensors_and_kinds_are_those_of_the_network(read, network):
    task = read(network.state_dict())
    model = task.build()
    assert task.name == "weights"
    assert task.inputs() == ()
    assert set(model.state_dict()) == set(network.state_dict())
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in network.named_parameters()}
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in model.state_dict().items())


def test_what_it_holds_loads_back_by_name(read, network):
    model = read(network.state_dict()).build()
    with torch.no_grad():
        model.get_parameter("3.weight").mul_(2)
    want = network[3].weight.detach() * 2
    network.load_state_dict(model.state_dict())
    assert torch.equal(network[3].weight, want)


@pytest.mark.parametrize(
    "names", [["a", "a.b"], ["forward.type", "train"], ["half", "T.data", "state_dict"], ["", "x."]]
)
def test_names_that_are_methods_or_prefixes_are_held_all_the_same(names):
    tensors = {name: torch.full((2,), float(index)) for index, name in enumerate(names)}
    state = holder_of(tensors).state_dict()
    assert {name: value.tolist() for name, value in state.items()} == {k: v.tolist() for k, v in tensors.items()}


def test_the_one_name_that_modules_write_to_is_refused():
    with pytest.raises(TaskError, match=r"block\.training"):
        holder_of({"block.training": torch.ones(2)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.float8_e4m3fn])
def test_types_are_kept(read, dtype):
    model = read({"w": torch.ones(3).to(dtype)}).build()
    assert model.state_dict()["w"].dtype == dtype
    assert ("w" in dict(model.named_parameters())) == dtype.is_floating_point


def test_it_cannot_run_and_says_so(read):
    model = read({"w": torch.ones(3)}).build()
    assert type(model).forward is nn.Module.forward
    with pytest.raises(TaskError, match="into=model"):
        model(torch.ones(1))


@pytest.mark.parametrize("data", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_a_broken_file_is_refused(tmp_path, data):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(TaskError, match=r"broken\.safetensors"):
        Safetensors().read(str(path), {})


def test_a_missing_file_an_empty_one_and_arguments_are_refused(read, tmp_path):
    with pytest.raises(TaskError, match="no such file"):
        Safetensors().read(str(tmp_path / "gone.safetensors"), {})
    with pytest.raises(TaskError, match="no tensors"):
        read({})
    with pytest.raises(TaskError, match="width"):
        Safetensors().read("any.safetensors", {"width": 3})
