"""Which surgery has to be replayed so that a file fits."""

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.container.structure import check_fits, surgery_for
from featherweight.errors import UsageError
from featherweight.graph.fold import Folding
from featherweight.graph.log import Cut, Log, Removal, Replacement, keep_log, log_of, replay

CUT = {"0.weight": (Cut.of(0, 4, [1, 3]),), "0.bias": (Cut.of(0, 4, [1, 3]),), "2.weight": (Cut.of(1, 4, [1, 3]),)}
LOG = Log((Removal(CUT), Replacement((("1", {"kind": "Tanh"}),))))


def fresh():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture
def reader(tmp_path):
    pack.save(tmp_path / "pruned.fwt", replay(fresh(), LOG))
    with pack.open_file(tmp_path / "pruned.fwt") as opened:
        yield opened


def test_a_fresh_network_needs_all_of_it_and_is_not_changed(reader):
    model = fresh()
    assert surgery_for(reader, model) == LOG
    assert repr(model) == repr(fresh())


def test_a_network_on_which_it_was_begun_needs_the_rest(reader):
    assert surgery_for(reader, replay(fresh(), Log(LOG.steps[:1]))) == Log(LOG.steps[1:])
    assert surgery_for(reader, replay(fresh(), LOG)) == Log()


def test_a_network_of_that_structure_that_does_not_say_so_needs_none(reader):
    model = replay(fresh(), LOG)
    keep_log(model, Log())
    assert surgery_for(reader, model) == Log()


def test_another_network_is_refused_with_what_the_log_says(reader):
    with pytest.raises(UsageError, match=r"0\.weight.*another architecture"):
        surgery_for(reader, nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))


def test_fitting_means_names_shapes_and_types(reader):
    check_fits(reader, replay(fresh(), LOG))
    for other, message in (
        (fresh(), "shape"),
        (replay(fresh(), LOG).double(), r"torch.float32.*\.to\(\)"),
        (nn.Sequential(*replay(fresh(), LOG), nn.Linear(1, 1)), "lacks,"),
        (nn.Sequential(nn.Linear(3, 2)), "the model lacks"),
    ):
        with pytest.raises(UsageError, match=message):
            check_fits(reader, other)
    assert not torch.equal(reader.tensor("0.weight"), fresh()[0].weight[:2])


def normed(bias=False):
    return nn.Sequential(nn.Linear(3, 4, bias=bias), nn.BatchNorm1d(4), nn.Linear(4, 2))


FOLDED = Log((Folding((("0", {"kind": "Linear", "in_features": 3, "out_features": 4}), ("1", {"kind": "Identity"}))),))
CUT_NORMED = Log((Removal({"2.weight": (Cut.of(0, 2, [1]),), "2.bias": (Cut.of(0, 2, [1]),)}),))


@pytest.mark.parametrize("before", [Log(), CUT_NORMED], ids=["folded", "cut and folded"])
def test_folded_norms_are_found_by_the_names_of_the_tensors(before, tmp_path):
    made = replay(replay(normed(), before), FOLDED)
    pack.save(tmp_path / "folded.fwt", made)
    with pack.open_file(tmp_path / "folded.fwt") as reader:
        assert reader.log == before
        assert surgery_for(reader, normed()) == before + FOLDED
        assert surgery_for(reader, replay(normed(), before)) == FOLDED
        assert surgery_for(reader, made) == Log()
        with pytest.raises(UsageError, match=r"has no|lacks the tensor"):
            surgery_for(reader, nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4)))
    loaded = pack.load(tmp_path / "folded.fwt", into=normed())
    assert log_of(loaded) == before + FOLDED
    assert log_of(pack.load(tmp_path / "folded.fwt", into=made)) == before + FOLDED
    assert pack.save_bytes(loaded) == (tmp_path / "folded.fwt").read_bytes()


def test_steps_behind_folded_norms_keep_them_in_the_file():
    behind = Log((Removal({"0.bias": (Cut.of(0, 4, [0, 1, 2, 3]),)}),))
    made = replay(replay(normed(), FOLDED), behind)
    loaded = pack.load_bytes(pack.save_bytes(made), into=normed())
    assert log_of(loaded) == FOLDED + behind
