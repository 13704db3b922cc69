"""A pruned network in a fresh instance of its class, from all that a log comes in; `load(into=...)` does the same."""

import json

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.container import pack
from featherweight.container.rebuild import rebuild
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.errors import FormatError, StorageError, UsageError
from featherweight.graph.log import Cut, Log, Removal, Replacement, log_of, replay


class Mine(nn.Module):
    """Code that no file holds: a branch that depends on an attribute."""

    def __init__(self):
        super().__init__()
        self.width = 6
        self.inner, self.act, self.outer = nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        y = self.act(self.norm(self.inner(x))).reshape(-1, self.width)
        return self.outer(y)


KEPT = Cut.of(0, 6, [0, 2, 3, 5])
NAMES = ("inner.weight", "inner.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
LOG = Log(
    (
        Removal(dict.fromkeys(NAMES, (KEPT,)) | {"outer.weight": (Cut(1, 6, KEPT.kept),)}, (("", "width", 4),)),
        Replacement((("act", {"kind": "Hardswish"}),)),
    )
)


@pytest.fixture
def pruned():
    torch.manual_seed(3)
    model = replay(Mine(), LOG)
    model(torch.randn(8, 5))  # moves the statistics
    attach(model, {"inner.weight": Codebook.of(model.inner.weight.detach(), torch.tensor([-0.3, 0.0, 0.3]))})
    return model.eval()


def test_a_log_in_every_form_gives_the_structure(pruned, tmp_path):
    text = log_of(pruned).to_json()
    (tmp_path / "log.json").write_text(text)
    original = Mine()
    for given in (LOG, json.loads(text), tmp_path / "log.json", str(tmp_path / "log.json")):
        again = rebuild(original, given)
        assert type(again) is Mine
        assert (again.width, again.inner.out_features, type(again.act)) == (4, 4, nn.Hardswish)
        assert torch.equal(again.inner.weight, original.inner.weight[[0, 2, 3, 5]])
        again.load_state_dict(pruned.state_dict())
    assert (original.width, original.inner.out_features) == (6, 6)


def test_a_file_gives_weights_and_encodings_too(pruned, tmp_path):
    path = tmp_path / "pruned.fwt"
    fw.save(pruned, path)
    original = Mine()
    again = fw.rebuild(original, path).eval()
    x = torch.randn(4, 5)
    assert torch.equal(again(x), pruned(x))
    assert isinstance(encodings_of(again)["inner.weight"], Codebook)
    assert log_of(again) == LOG
    assert original.width == 6
    again(x).sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())
    fw.save(again, tmp_path / "again.fwt")
    assert (tmp_path / "again.fwt").read_bytes() == path.read_bytes()


def test_load_into_changes_the_original_and_gives_it_back(pruned, tmp_path):
    fw.save(pruned, tmp_path / "pruned.fwt", example=torch.randn(2, 5))
    original = Mine().eval()
    assert fw.load(tmp_path / "pruned.fwt", into=original) is original
    x = torch.randn(4, 5)
    assert torch.equal(original(x), pruned(x))
    assert fw.load(tmp_path / "pruned.fwt", into=original) is original  # and once more, nothing left to replay
    assert log_of(original) == LOG


def test_a_file_that_runs_by_itself_keeps_its_log(pruned, tmp_path):
    path = tmp_path / "pruned.fwt"
    fw.save(pruned, path, example=torch.randn(2, 5))
    model = fw.load(path)
    assert log_of(model) == LOG
    pack.save(tmp_path / "again.fwt", model)
    assert (tmp_path / "again.fwt").read_bytes() == path.read_bytes()


def test_a_file_without_surgery_has_no_section_and_rebuilds_as_it_is(tmp_path):
    fw.save(Mine(), tmp_path / "whole.fwt")
    with pack.open_file(tmp_path / "whole.fwt") as reader:
        assert dict(reader.extras) == {}
        assert not reader.log
    assert rebuild(Mine(), tmp_path / "whole.fwt").width == 6


def test_nothing_is_half_done_when_a_file_is_damaged(pruned, tmp_path):
    path = tmp_path / "pruned.fwt"
    fw.save(pruned, path)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    original = Mine()
    with pytest.raises(FormatError):
        fw.load(path, into=original)
    assert (original.width, original.inner.out_features, type(original.act)) == (6, 6, nn.ReLU)


def test_another_architecture_is_refused(pruned, tmp_path):
    fw.save(pruned, tmp_path / "pruned.fwt")
    other = Mine()
    other.inner = nn.Linear(5, 7)
    for given in (LOG, tmp_path / "pruned.fwt"):
        with pytest.raises(UsageError, match=r"inner\.weight.*another architecture"):
            rebuild(other, given)


def test_what_is_no_log_is_named(tmp_path):
    (tmp_path / "other.json").write_text('{"steps": []}')
    with pytest.raises(FormatError, match=r"other\.json.*E_LOG"):
        rebuild(Mine(), tmp_path / "other.json")
    with pytest.raises(FormatError, match="E_LOG"):
        rebuild(Mine(), {"steps": []})
    with pytest.raises(StorageError):
        rebuild(Mine(), tmp_path / "missing.json")
    with pytest.raises(UsageError, match="int"):
        rebuild(Mine(), 3)
