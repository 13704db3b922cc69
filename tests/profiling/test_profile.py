"""The profile: figures by layer that add up, words, JSON, a table for notebooks."""

import json

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.sparse import Sparse
from featherweight.frontends.safetensors import holder_of
from featherweight.graph.trace import trace
from featherweight.profiling.latency import Latency
from featherweight.profiling.profile import Profile, profile
from featherweight.profiling.size import EncodedSize


@pytest.fixture(scope="module")
def network():
    """A convolution with a quarter of its weights left, batch norm, a product of activations, a linear layer."""

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3, bias=False)
            self.bn = nn.BatchNorm2d(8)
            self.fc = nn.Linear(8, 4)

        def forward(self, images):
            maps = self.bn(self.conv(images)).flatten(2)
            return self.fc(torch.bmm(maps, maps.transpose(1, 2)).mean(2))

    model = Small().eval()
    mask = torch.zeros(8, 1, 3, 3, dtype=torch.bool)
    mask[::4] = True
    attach(model, {"conv.weight": Sparse.of(model.conv.weight, mask)})
    return model


@pytest.fixture(scope="module")
def example():
    return (torch.randn(2, 1, 6, 6),)


@pytest.fixture(scope="module")
def made(network, example):
    return profile(network, example, latency=Latency(runs=2, warmups=0))


def test_each_layer_has_its_figures(made):
    layers = {layer.name: layer for layer in made.layers}
    assert list(layers) == ["conv", "bn", "fc", "bmm"]
    conv = layers["conv"]
    assert (conv.kind, conv.parameters, conv.nonzeros, conv.density, conv.macs) == ("Conv2d", 72, 18, 0.25, 16 * 8 * 9)
    assert conv.encoding.startswith("sparse")
    assert conv.bits_per_weight == 8 * conv.encoded_bytes / 72
    assert layers["bn"].macs is None
    assert layers["fc"].encoding == "dense float32"
    assert (layers["bmm"].kind, layers["bmm"].parameters, layers["bmm"].macs) == ("operator", 0, 8 * 8 * 16)
    assert layers["bmm"].bits_per_weight == 0


def test_totals_add_up(made, network):
    assert made.parameters == 72 + 16 + 36
    assert made.nonzeros == 18 + 8 + 36  # shifts of batch norm start at zero
    assert made.dense_bytes == 4 * made.parameters
    assert made.encoded_bytes == EncodedSize().measure(network).value
    assert made.macs == 1152 + 32 + 1024


def test_the_summary_is_json_with_units_in_its_names(made):
    summary = json.loads(json.dumps(made.summary()))
    assert {"parameters", "nonzeros", "density", "macs", "dense_bytes", "encoded_bytes", "file_bytes"} <= set(summary)
    assert {"latency_ms_median", "latency_ms_iqr", "latency_threads", "latency_batch_size"} <= set(summary)
    assert summary["file_bytes"] is None
    assert made.with_file(77).summary()["file_bytes"] == 77


def test_everything_is_json(made):
    plain = json.loads(json.dumps(made.to_dict()))
    assert [layer["name"] for layer in plain["layers"]] == ["conv", "bn", "fc", "bmm"]
    assert plain["layers"][0]["density"] == 0.25
    assert plain["totals"]["macs"] == made.macs
    assert any("batch_norm x1" in note for note in plain["notes"])


def test_a_graph_saves_tracing(network, example, made, monkeypatch):
    graph = trace(network, example)
    monkeypatch.setattr("featherweight.profiling.macs.trace", lambda *_: pytest.fail("traced again"))
    found = profile(network, example, graph=graph)
    assert found.macs == made.macs
    assert found.latency == {}


def test_without_a_network_there_are_no_macs_and_the_notes_say_so():
    found = profile(holder_of({"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}), ())
    assert found.macs is None
    assert (found.parameters, found.nonzeros) == (16, 12)
    assert "without a network" in found.notes[0]


def test_the_table_escapes_names():
    model = nn.Module()
    model.add_module("<script>", nn.Linear(2, 2))
    page = profile(model, ())._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_table_has_a_row_a_layer_and_one_for_all(made):
    page = made._repr_html_()
    assert page.count("<tr") == 1 + len(made.layers) + 1
    assert f"{made.macs:,}" in page


def test_an_empty_model_has_an_empty_profile():
    empty = profile(nn.Module(), ())
    assert empty.layers == ()
    assert empty.summary()["density"] == 1.0
    assert "<table>" in Profile(layers=())._repr_html_()
