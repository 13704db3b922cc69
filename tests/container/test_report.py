import json
import zlib

import pytest
import torch

from featherweight.container import pack
from featherweight.container.report import TensorBytes, report
from featherweight.container.source import MemorySource
from featherweight.encodings.attach import attach
from featherweight.encodings.sparse import Sparse
from featherweight.frontends.safetensors import holder_of


@pytest.fixture
def model():
    weight = torch.zeros(10, 20)
    weight[::3, ::7] = 1.5
    model = holder_of({"fc.weight": weight, "fc.bias": torch.arange(10.0), "FC.bias": torch.ones(2)})
    attach(model, {"fc.weight": Sparse.of(weight, weight != 0)})
    return model


def test_the_figures(model, tmp_path):
    found = pack.save(tmp_path / "a.fwt", model, extras={"recipe": b"{}", "other": b"12345"})
    assert found.path == str(tmp_path / "a.fwt")
    assert found.version == (1, 0)
    assert found.total_bytes == (tmp_path / "a.fwt").stat().st_size
    assert found.extras == {"recipe": 2, "other": 5}
    assert found.extra_bytes == 7
    assert found.checksum_bytes == 4 * 5
    assert found.decoded_bytes == 4 * (200 + 10 + 2) + 7
    assert found.overhead_bytes == found.total_bytes - found.tensor_bytes - 7
    assert (found.graph_bytes, found.padding_bytes, found.nonfinite) == (0, 0, False)
    rows = {row.name: row for row in found.tensors}
    assert rows["fc.weight"].encoding.startswith("sparse")
    assert rows["fc.weight"].elements == 200
    assert rows["fc.bias"].shape == (10,)
    assert found.notes == ("'FC.bias' differs from another name in upper and lower case only",)


def test_save_and_describe_agree(model, tmp_path):
    assert pack.save(tmp_path / "a.fwt", model) == pack.describe(tmp_path / "a.fwt")


def test_bits_per_weight():
    assert TensorBytes("a", (4,), "dense", 2, 4).bits_per_weight == 4.0
    assert TensorBytes("a", (0,), "dense", 0, 0).bits_per_weight == 0.0


def test_plain_values_for_json(model, tmp_path):
    plain = json.loads(json.dumps(pack.save(tmp_path / "a.fwt", model).as_dict()))
    assert plain["tensors"][0]["bits_per_weight"] > 0
    assert plain["overhead_bytes"] + plain["tensor_bytes"] == plain["total_bytes"]


def test_a_newer_minor_version_is_noted(model):
    data = bytearray(pack.save_bytes(model))
    data[9] = 4
    data[36:40] = zlib.crc32(bytes(data[:36])).to_bytes(4, "little")
    with pack._reader(MemorySource(bytes(data)), None, "reject") as reader:
        assert any("version 1.4" in note for note in report(reader).notes)
