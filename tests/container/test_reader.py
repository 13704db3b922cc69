import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from featherweight.container import limits as limits_module
from featherweight.container import pack
from featherweight.container.limits import Limits
from featherweight.container.pack import load, open_file, save
from featherweight.container.reader import Reader
from featherweight.container.source import MemorySource, Source, never
from featherweight.encodings.attach import attach
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.errors import FormatError, StorageError, UsageError
from featherweight.frontends.safetensors import holder_of
from featherweight.graph.trace import trace


@pytest.fixture
def model():
    model = holder_of({"a": torch.arange(300.0).reshape(30, 10), "b": torch.ones(4), "c": torch.arange(5)})
    attach(model, {"a": Codebook.of(model.a, torch.linspace(0, 300, 8))})
    return model


@pytest.fixture
def path(model, tmp_path):
    save(tmp_path / "a.fwt", model, extras={"recipe": b"{}", "strange": b"123"})
    return tmp_path / "a.fwt"


class Counting(Source):
    """Says which bytes are read."""

    def __init__(self, data):
        self.name, self.size, self.data, self.reads = "counting", len(data), data, []

    def read(self, offset, length, check=never):
        self.reads.append((offset, offset + length))
        return self.data[offset : offset + length]

    def close(self):
        self.reads.append("closed")


def test_single_tensors_and_encodings(model, path):
    with open_file(path) as reader:
        assert [record.name for record in reader.tensors] == ["a", "b", "c"]
        assert torch.equal(reader.tensor("a"), model.a)
        assert isinstance(reader.encoding("a"), Codebook)
        assert reader.tensor("c").dtype == torch.int64
        assert reader.graph is None
        assert reader.aliases == {}
        assert dict(reader.extras) == {"recipe": b"{}", "strange": b"123"}
        reader.verify()


def test_opening_reads_prefix_and_header_only_and_a_tensor_its_section_only(path):
    source = Counting(path.read_bytes())
    with Reader(source) as reader:
        begin = reader.sections[0].start
        assert max(end for _, end in source.reads) <= begin
        source.reads.clear()
        reader.tensor("b")
        assert source.reads == [(reader.sections[1].start, reader.sections[1].end)]
    assert source.reads[-1] == "closed"


def test_a_damaged_section_leaves_the_others_readable(model, path):
    data = bytearray(path.read_bytes())
    with open_file(path) as reader:
        data[reader.sections[0].start] ^= 1
    with Reader(MemorySource(bytes(data))) as reader:
        assert torch.equal(reader.tensor("b"), model.b)
        with pytest.raises(FormatError) as caught:
            reader.tensor("a")
        assert (caught.value.code, caught.value.section) == ("E_CHECKSUM", "a")
        assert caught.value.offset == reader.sections[0].start
        with pytest.raises(FormatError, match="E_CHECKSUM"):
            reader.verify()


def test_an_unknown_name(path):
    with open_file(path) as reader, pytest.raises(UsageError, match="no tensor of this name"):
        reader.tensor("d")


def test_extras_cannot_be_changed(path):
    with open_file(path) as reader, pytest.raises(TypeError):
        reader.extras["recipe"] = b""


def test_the_digest_is_compared_before_anything_is_decoded(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with Reader(MemorySource(bytes(data))) as reader:
        assert reader.tensor("b").numel() == 4  # single tensors are under their own checksum
        with pytest.raises(FormatError, match="E_DIGEST"):
            next(reader.encodings())


def test_a_deadline(path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(limits_module.time, "monotonic", lambda: now[0])
    with open_file(path, limits=Limits(seconds=1.0)) as reader:
        encodings = reader.encodings()
        next(encodings)
        now[0] = 2.0
        with pytest.raises(FormatError) as caught:
            next(encodings)
    assert (caught.value.code, caught.value.section) == ("E_DEADLINE", "b")


def test_only_two_answers_about_nonfinite(path):
    with pytest.raises(UsageError, match="nonfinite"):
        open_file(path, nonfinite="perhaps")


def test_a_file_cut_while_it_is_open(path):
    with open_file(path) as reader:
        os.truncate(path, reader.sections[1].start)
        assert reader.tensor("a").numel() == 300
        with pytest.raises(StorageError, match="became shorter"):
            reader.tensor("b")


def test_a_file_replaced_while_it_is_open_is_read_as_it_was(model, path):
    with open_file(path) as reader:
        save(path, holder_of({"a": torch.zeros(2)}))
        assert torch.equal(reader.tensor("a"), model.a)
        reader.verify()
    assert list(load(path).state_dict()) == ["a"]


def test_tensors_do_not_lie_in_the_file(path):
    """What was decoded stays right when the file is cut afterwards."""
    with open_file(path) as reader:
        tensor = reader.tensor("b")
        os.truncate(path, 10)
    assert torch.equal(tensor, torch.ones(4))
    tensor.add_(1)


class Clock:
    """Stands still until it has been looked at `looks` times; then a year has passed."""

    def __init__(self, looks=10**9):
        self.looks, self.seen = looks, 0

    def __call__(self):
        self.seen += 1
        return 0.0 if self.seen <= self.looks else 3.2e7


def test_a_deadline_inside_sections_and_graph(tmp_path, monkeypatch):
    """Wherever loading is when the time is over: it ends there, and says in which part of the file."""
    model = nn.Sequential(nn.Linear(200, 30), nn.ReLU(), nn.Linear(30, 4))
    attach(model, {"0.weight": Sparse.from_tensor(model[0].weight.detach().clamp(min=0))})
    save(tmp_path / "b.fwt", model, graph=trace(model, torch.zeros(1, 200)), extras={"recipe": b"{}"})
    clock = Clock()
    monkeypatch.setattr(limits_module.time, "monotonic", clock)
    load(tmp_path / "b.fwt", limits=Limits(seconds=1.0))
    places = {}
    for looks in range(1, clock.seen):
        monkeypatch.setattr(limits_module.time, "monotonic", Clock(looks))
        with pytest.raises(FormatError) as caught:
            load(tmp_path / "b.fwt", limits=Limits(seconds=1.0))
        assert caught.value.code == "E_DEADLINE"
        places.setdefault(caught.value.section, set()).add(caught.value.offset)
    assert set(places) == {"graph", "0.weight", "0.bias", "2.weight", "2.bias", "recipe"}
    assert len(places["0.weight"]) > 1  # the streams of one section are told apart
    with open_file(tmp_path / "b.fwt") as reader:
        for section in reader.sections:
            assert all(section.start <= place < section.end for place in places[section.name])


# threads, and a caller's own memory ----------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """A file with a large tensor and several small ones, of several kinds."""
    generator = torch.Generator().manual_seed(0)
    tensors = {f"t{number}": torch.randn(40, 50, generator=generator).half() for number in range(6)}
    tensors["large"] = torch.randn(600, 700, generator=generator)
    tensors["count"] = torch.tensor(3)
    pack.save(tmp_path / "many.fwt", holder_of(tensors))
    return tmp_path / "many.fwt", tensors


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_threads_reads_the_same(many, threads):
    path, tensors = many
    with pack.open_file(path) as reader:
        for name, tensor in tensors.items():
            assert torch.equal(reader.tensor(name, threads=threads), tensor)
        read = list(reader.values(threads=threads))
        assert [name for name, _, _ in read] == [record.name for record in reader.tensors]
        assert [name for name, _ in reader.encodings(threads=threads)] == [name for name, _, _ in read]
        assert all(torch.equal(values, tensors[name]) for name, _, values in read)
    state = pack.load(path, threads=threads).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_several_callers_may_read_one_file_at_once(many):
    path, tensors = many
    with pack.open_file(path) as reader, ThreadPoolExecutor(4) as pool:
        names = [*tensors] * 5
        for name, values in zip(names, pool.map(reader.tensor, names), strict=True):
            assert torch.equal(values, tensors[name])


def test_values_go_where_the_caller_wants_them(many):
    path, tensors = many
    with pack.open_file(path) as reader:
        wide = torch.full((600, 1400), -1.0)
        out = wide[:, ::2]
        assert reader.tensor("large", out) is out
        assert torch.equal(wide[:, ::2], tensors["large"])
        assert bool((wide[:, 1::2] == -1).all())
        for bad in (torch.empty(600, 700).half(), torch.empty(700, 600)):
            with pytest.raises(UsageError, match=r"large: the file holds torch\.float32"):
                reader.tensor("large", bad)
        with pytest.raises(UsageError, match="no tensor of this name"):
            reader.tensor("lost", torch.empty(1))


def test_one_tensor_is_read_without_the_others(many, monkeypatch):
    path, tensors = many
    data = bytearray(path.read_bytes())
    with pack.open_file(path) as reader:
        for section in reader.sections[1:]:
            data[section.start] ^= 1
    path.write_bytes(data)
    with pack.open_file(path) as reader:
        assert torch.equal(reader.tensor("t0"), tensors["t0"])
        with pytest.raises(FormatError, match="E_CHECKSUM"):
            reader.tensor("t1")


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_cannot_read(many, threads):
    path, _ = many
    with pack.open_file(path) as reader:
        with pytest.raises(UsageError, match="at least one thread"):
            reader.tensor("t0", threads=threads)
        with pytest.raises(UsageError, match="at least one thread"):
            next(reader.encodings(threads=threads))
    with pytest.raises(UsageError, match="at least one thread"):
        pack.load(path, threads=threads)
