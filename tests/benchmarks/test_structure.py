"""The zoo of bench_structure.py: hand-written networks everywhere, the rest where transformers is installed."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of the benchmarks by name; none of them stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.startswith("structure_")]:
        sys.modules.pop(name)


@pytest.fixture
def zoo(bench):
    pytest.importorskip("transformers")
    return bench("structure_zoo")


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_tricky_networks_answer_and_pass_gradients_to_every_weight(bench):
    tricky = bench("structure_tricky")
    for item in tricky.ALL:
        torch.manual_seed(0)
        model = item.build().eval()
        found = model(*item.example())
        while isinstance(found, dict | list | tuple):
            found = torch.cat([part.flatten() for part in _leaves(found)])
        found.square().sum().backward()
        missing = [name for name, weight in model.named_parameters() if weight.grad is None]
        assert not missing, (item.name, missing)
        assert all(model.get_submodule(path) for path in item.keep), item.name


def _leaves(found):
    if isinstance(found, torch.Tensor):
        return [found]
    return [leaf for part in (found.values() if isinstance(found, dict) else found) for leaf in _leaves(part)]


def test_names_are_unique_and_nothing_is_listed_twice(zoo):
    names = [entry.name for entry in zoo.zoo()]
    assert len(names) == len(set(names))
    assert len(names) > 150


@pytest.mark.parametrize("name", ["own/resnet-20", "tricky/dictionary", "convnext", "bert", "detr/detection"])
def test_a_network_is_the_same_every_time(zoo, name):
    entry = zoo.find(name)
    first, second = entry.build(), entry.build()
    with torch.no_grad():
        answers = [entry.output(model(*entry.example())) for model in (first, second)]
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))


def test_building_leaves_the_random_state_alone(zoo):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    zoo.find("vit").build()
    zoo.find("vit").example()
    assert torch.equal(before, torch.get_rng_state())


def test_no_scale_or_shift_is_left_constant(zoo):
    for name in ("convnext", "resnet", "bert"):
        for path, weight in zoo.find(name).build().named_parameters():
            assert weight.numel() == 1 or weight.min() < weight.max(), (name, path)


def test_heads_are_the_layers_that_answer(zoo):
    for name, classes in (("vit", (10,)), ("roberta", (10,)), ("llama", (zoo.WORDS,)), ("yolos/detection", (11, 4))):
        entry = zoo.find(name)
        model = entry.build()
        layers = [model.get_submodule(path) for path in entry.kept(model)]
        assert tuple(layer.out_features for layer in layers) == classes


def test_small_is_never_larger_than_the_default(zoo, bench):
    small = bench("structure_shrink").shrunk("mobilevit")
    assert small.patch_size == 2
    assert small.image_size == 64


def test_what_takes_too_long_or_dies_is_a_row(bench, zoo):
    isolated = bench("structure_isolated")
    peer = pytest.importorskip("torch_pruning") and bench("structure_peer")
    assert isolated.explained(ValueError("two\n lines")).startswith("ValueError: two lines [")
    assert peer.measured("own/lenet-300-100")["removed"] == pytest.approx(0.5, abs=0.06)
    broken = peer.measured("tricky/lstm-projected")
    assert not broken["ok"]
    assert broken["stage"] in ("build", "prune", "forward", "backward")
