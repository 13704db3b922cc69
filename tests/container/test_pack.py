import copy

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.container.limits import Limits
from featherweight.container.pack import describe, load, load_bytes, open_file, repack, save, save_bytes
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError, FormatError, StorageError, TaskError, UsageError
from featherweight.frontends.safetensors import holder_of
from featherweight.graph.plain import Ref, from_plain


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


GRAPH = from_plain(
    [
        [["x", [None, 6]]],
        8,
        ["linear", "batch_norm", "relu"],
        [
            [0, Ref(0), Ref(1), Ref(2)],
            [1, Ref(9), Ref(3), Ref(4), Ref(5), Ref(6)],
            [2, Ref(10)],
            [0, Ref(11), Ref(7), Ref(8)],
        ],
        Ref(12),
    ],
    [
        f"{layer}.{name}"
        for layer, names in {
            "fc1": ["weight", "bias"],
            "norm": ["weight", "bias", "running_mean", "running_var"],
            "fc2": ["weight", "bias"],
        }.items()
        for name in names
    ],
)


@pytest.fixture
def net():
    torch.manual_seed(3)
    net = Net()
    net(torch.randn(10, 6))
    net.eval()
    weight = net.fc1.weight.detach()
    mask = weight.abs() > 0.2
    attach(net, {"fc1.weight": Sparse(mask, Codebook.of(weight[mask], torch.linspace(-0.5, 0.5, 5)))})
    attach(net, {"fc2.weight": Dense(net.fc2.weight.detach().clone(), torch.float16)})
    return net


@pytest.fixture
def path(net, tmp_path):
    save(tmp_path / "net.fwt", net, graph=GRAPH, extras={"recipe": b"{}", "ledger": b"[]"})
    return tmp_path / "net.fwt"


def test_a_loaded_file_computes_the_same_without_the_class(net, path):
    model = load(path)
    example = torch.randn(4, 6)
    assert torch.equal(model(example), net(example))
    assert not isinstance(model, Net)
    assert "norm.num_batches_tracked" not in model.state_dict()


def test_encodings_are_attached_again(net, path):
    found, wanted = encodings_of(load(path)), encodings_of(net)
    assert {name: type(item) for name, item in found.items()} == {name: type(item) for name, item in wanted.items()}
    assert torch.equal(found["fc1.weight"].mask, wanted["fc1.weight"].mask)
    assert found["fc2.weight"].stored == torch.float16


def test_saving_what_was_loaded_gives_the_same_bytes(path, tmp_path):
    with open_file(path) as reader:
        extras = dict(reader.extras)
    save(tmp_path / "again.fwt", load(path), extras=extras)
    assert (tmp_path / "again.fwt").read_bytes() == path.read_bytes()
    save(tmp_path / "again.fwt", copy.deepcopy(load(path)), extras=extras)
    assert (tmp_path / "again.fwt").read_bytes() == path.read_bytes()


def test_a_loaded_model_can_be_trained_and_saved(path, tmp_path):
    model = load(path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 6)).sum().backward()
    optimizer.step()
    save(tmp_path / "b.fwt", model)
    assert not torch.equal(load(tmp_path / "b.fwt").state_dict()["fc2.bias"], load(path).state_dict()["fc2.bias"])


def test_weights_alone_load_by_name_and_cannot_be_called(net, tmp_path):
    save(tmp_path / "w.fwt", net)
    model = load(tmp_path / "w.fwt")
    assert set(model.state_dict()) == set(net.state_dict())
    with pytest.raises(TaskError, match="into=model"):
        model(torch.randn(4, 6))


def test_saving_does_not_change_the_model(net, tmp_path):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    save(tmp_path / "a.fwt", net, graph=GRAPH)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert set(encodings_of(net)) == {"fc1.weight", "fc2.weight"}


def test_values_that_an_encoding_cannot_hold_name_the_tensor(net, tmp_path):
    net.fc2.weight.data.fill_(1e6)
    with pytest.raises(EncodingError, match=r"fc2.weight: too large for torch.float16"):
        save(tmp_path / "a.fwt", net)
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_no_encoding_holds(tmp_path):
    with pytest.raises(EncodingError, match="wave"):
        save(tmp_path / "a.fwt", holder_of({"wave": torch.ones(2, dtype=torch.complex64)}))


def test_fewer_coders_give_a_larger_file(net):
    few, all_of_them = save_bytes(net, graph=GRAPH, coders=[Raw()]), save_bytes(net, graph=GRAPH)
    assert len(few) >= len(all_of_them)
    example = torch.randn(4, 6)
    assert torch.equal(load_bytes(few)(example), net(example))


# into ------------------------------------------------------------------------------------------------------------


def test_into_a_model_of_the_class(net, path):
    target = Net().eval()
    attach(target, {"fc2.bias": Codebook.of(target.fc2.bias, torch.zeros(1))})  # of another life
    assert load(path, into=target) is target
    example = torch.randn(4, 6)
    assert torch.equal(target(example), net(example))
    assert set(encodings_of(target)) == {"fc1.weight", "fc2.weight"}


def test_into_a_model_with_ties(tmp_path):
    model = nn.ModuleDict({"b": nn.Linear(3, 3, bias=False), "a": nn.Linear(3, 3, bias=False)})
    model["a"].weight = model["b"].weight
    attach(model, {"b.weight": Codebook.of(model["b"].weight, torch.tensor([-1.0, 1.0]))})
    save(tmp_path / "t.fwt", model)
    other = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    other["b"].weight = other["a"].weight  # the same tie, listed under its other name
    load(tmp_path / "t.fwt", into=other)
    assert torch.equal(other["a"].weight, model["b"].weight)
    assert set(encodings_of(other)) == {"a.weight"}


def wrong_shape():
    model = Net()
    model.fc2 = nn.Linear(8, 4)
    return model


def missing():
    model = Net()
    model.fc2 = nn.Linear(8, 3, bias=False)
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (wrong_shape, r"fc2\.weight: the file holds the shape \(3, 8\) \(got \(4, 8\)\)"),
        (missing, "the model lacks the tensor.*fc2.bias"),
        (lambda: Net().double(), "the file holds torch.float32"),
    ],
    ids=["shape", "missing", "type"],
)
def test_into_a_model_that_does_not_fit_changes_nothing(path, build, message):
    target = build()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        load(path, into=target)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_into_a_model_with_more_than_the_weights_that_are_kept(net, tmp_path):
    save(tmp_path / "w.fwt", net)
    larger = Net()
    larger.extra = nn.Linear(1, 1)
    with pytest.raises(UsageError, match=r"the file lacks.*extra"):
        load(tmp_path / "w.fwt", into=larger)


def test_a_damaged_file_changes_nothing(path):
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    target = Net()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(FormatError):
        load_bytes(bytes(data), into=target)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


# repack, describe, errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drop", "left"),
    [
        (False, ["recipe", "ledger"]),
        (True, []),
        (["ledger"], ["recipe"]),
        ("recipe", ["ledger"]),
        ((), ["recipe", "ledger"]),
    ],
)
def test_repack_drops_what_is_named(net, path, tmp_path, drop, left):
    found = repack(path, tmp_path / "slim.fwt", drop_extras=drop)
    assert list(found.extras) == left
    example = torch.randn(4, 6)
    assert torch.equal(load(tmp_path / "slim.fwt")(example), net(example))


def test_repack_in_place_is_the_file_saved_without_extras(net, path):
    repack(path, path, drop_extras=True)
    assert path.read_bytes() == save_bytes(net, graph=GRAPH)


def test_repack_of_an_unknown_section(path, tmp_path):
    with pytest.raises(UsageError, match="There are: recipe, ledger"):
        repack(path, tmp_path / "b", drop_extras=["recepi"])
    assert not (tmp_path / "b").exists()


def test_repack_refuses_a_damaged_file(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="E_DIGEST"):
        repack(path, tmp_path / "b")


def test_repack_keeps_what_is_not_finite(tmp_path):
    save(tmp_path / "a", holder_of({"a": torch.tensor([float("nan")])}), nonfinite="allow")
    assert repack(tmp_path / "a", tmp_path / "b").nonfinite
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_files(tmp_path):
    for function in (load, open_file, describe):
        with pytest.raises(StorageError, match="No such file"):
            function(tmp_path / "no.fwt")


def test_memory_that_does_not_suffice_is_a_typed_error(path, monkeypatch):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")):

        def fail(*_args, error=error):
            raise error

        monkeypatch.setattr(pack.payload, "decode_planned", fail)
        with pytest.raises(FormatError) as caught:
            load(path)
        assert caught.value.code == "E_BUDGET"


def test_other_errors_are_not_renamed(path, monkeypatch):
    def fail(*_args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(pack.payload, "decode_planned", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        load(path)


def test_limits_are_passed_on(path):
    with pytest.raises(FormatError, match="E_BUDGET"):
        load(path, limits=Limits(decoded_bytes=100))
    with pytest.raises(FormatError, match="E_BUDGET"):
        open_file(path, limits=Limits(tensors=3))


@pytest.mark.parametrize("function", [save_bytes, lambda model, **options: save("no.fwt", model, **options)])
def test_only_two_answers_about_nonfinite(function):
    with pytest.raises(UsageError, match="nonfinite"):
        function(nn.Module(), nonfinite="maybe")
