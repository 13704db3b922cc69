import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.encodings import payload
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.raw import Raw
from featherweight.recipes.ledger import Attempt, Entry, Verdict
from featherweight.report import stages


def entry(index, technique, verdict="kept"):
    guard = Verdict(0.1, verdict, (Attempt(None, 0.9),))
    return Entry(index=index, technique=technique, settings={}, seed=0, seconds=1.0, before={}, after={}, guard=guard)


@pytest.fixture
def models():
    """A layer dense, then pruned, then shared."""
    torch.manual_seed(0)
    dense = nn.Linear(40, 20)
    pruned = copy.deepcopy(dense)
    mask = dense.weight.detach().abs() > 0.08
    attach(pruned, {"weight": Sparse.of(dense.weight.detach(), mask)})
    shared = copy.deepcopy(pruned)
    centroids = torch.linspace(-0.15, 0.15, 8)
    survivors = dense.weight.detach()[mask]
    attach(shared, {"weight": Sparse(mask, Codebook.of(survivors, centroids))})
    return dense, pruned, shared


@pytest.fixture
def files(models, tmp_path) -> dict[int, Path]:
    found = {}
    for index, model in enumerate(models[1:]):
        found[index] = tmp_path / f"{index:02d}.fwt"
        pack.save(found[index], model)
    return found


ENTRIES = [entry(0, "pruning.connection.magnitude"), entry(1, "representation.sharing.kmeans")]


def test_a_run_goes_from_dense_over_its_steps_to_coded(models, files, tmp_path):
    written = pack.save(tmp_path / "result.fwt", models[2], extras={"recipe": b"{}"})
    found = stages.from_files(ENTRIES, files, tmp_path / "result.fwt")
    assert found.stages == ("dense", "pruned", "shared", "coded")
    weight = next(layer for layer in found.layers if layer.name == "weight")
    raw = [payload.coded_bytes(encodings_of(model)["weight"], [Raw()]) for model in models[1:]]
    coded = next(tensor.bytes for tensor in written.tensors if tensor.name == "weight")
    assert weight.stages == (3200, *raw, coded)
    assert weight.nonzeros == int((models[2].weight != 0).sum())
    assert found.file_bytes == written.total_bytes
    assert dict(found.extras) == {"recipe": b"{}"}


def test_histograms_show_the_weights_before_they_share_values(models, files, tmp_path):
    pack.save(tmp_path / "result.fwt", models[2])
    (shown,) = stages.from_files(ENTRIES, files, tmp_path / "result.fwt").histograms
    assert shown.name == "weight"
    assert sum(shown.counts) == int((models[1].weight != 0).sum())
    assert len([count for count in shown.counts if count]) > 8
    assert len(shown.centroids) == 8


def test_a_run_without_result_ends_with_its_last_step(files):
    found = stages.from_files(ENTRIES[:1], {0: files[0]}, None)
    assert (found.stages, found.file_bytes) == (("dense", "pruned"), None)
    assert all(len(layer.stages) == 2 for layer in found.layers)


def test_a_run_that_has_written_nothing():
    assert stages.from_files([], {}, None) == stages.Weights()


def test_a_refused_step_is_no_stage(files):
    refused = [ENTRIES[0], entry(1, "representation.sharing.kmeans", "refused")]
    assert stages.from_files(refused, files, None).stages == ("dense", "pruned")


def test_the_same_kind_of_step_twice_gets_a_number(files):
    twice = [ENTRIES[0], entry(1, "pruning.filter.norm")]
    assert stages.from_files(twice, files, None).stages == ("dense", "pruned", "pruned (2)")
    other = [ENTRIES[0], entry(1, "transfer.nesting.levels")]
    assert stages.from_files(other, files, None).stages == ("dense", "pruned", "levels")


def test_a_tensor_that_a_step_did_not_have_yet_counts_as_dense(models, tmp_path):
    pack.save(tmp_path / "00.fwt", nn.Linear(3, 2, bias=False))
    pack.save(tmp_path / "result.fwt", nn.Linear(3, 2))
    found = stages.from_files(ENTRIES[:1], {0: tmp_path / "00.fwt"}, tmp_path / "result.fwt")
    assert next(layer for layer in found.layers if layer.name == "bias").stages[:2] == (8, 8)


def test_a_model_in_memory(models):
    found = stages.from_encodings(encodings_of(models[2]))
    encoding = encodings_of(models[2])["weight"]
    assert found.stages == ("dense", "encoded", "coded")
    assert found.layers[0].stages == (3200, payload.coded_bytes(encoding, [Raw()]), payload.coded_bytes(encoding))
    assert len(found.histograms[0].centroids) == 8
