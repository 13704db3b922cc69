"""Which surgery has to be replayed so that a file fits."""

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.container.structure import check_fits, surgery_for
from featherweight.errors import UsageError
from featherweight.graph.log import Cut, Log, Removal, Replacement, keep_log, replay

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
