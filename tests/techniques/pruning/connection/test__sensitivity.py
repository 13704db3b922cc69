import pytest
import torch

from featherweight.techniques._selection import WEIGHTS, select
from featherweight.techniques.pruning.connection._sensitivity import DENSITIES, density_at, equal_drop, scan

STEEP = [[1.0, 0.9], [0.5, 0.8], [0.1, 0.3]]
FLAT = [[1.0, 0.9], [0.5, 0.9], [0.1, 0.8]]


def test_density_at_a_drop_lies_on_the_line():
    assert density_at(STEEP, 0.0) == 1.0
    assert density_at(STEEP, 0.05) == pytest.approx(0.75)
    assert density_at(STEEP, 0.1) == pytest.approx(0.5)
    assert density_at(STEEP, 0.35) == pytest.approx(0.3)
    assert density_at(STEEP, 1.0) == 0.1
    assert density_at(FLAT, 0.0) == pytest.approx(0.5)


def test_a_score_that_recovers_does_not_count():
    bumpy = [[1.0, 0.9], [0.6, 0.7], [0.3, 0.9], [0.1, 0.2]]
    assert density_at(bumpy, 0.1) == pytest.approx(0.8)


@pytest.mark.parametrize("density", [0.05, 0.2, 0.4, 0.7, 0.95])
def test_equal_drop_meets_the_budget(density):
    sizes = {"steep": 100, "flat": 900}
    found = equal_drop({"steep": STEEP, "flat": FLAT}, sizes, density)
    assert sum(sizes[name] * found[name] for name in sizes) == pytest.approx(density * 1000)
    assert found["flat"] <= found["steep"] <= 1


def test_scan_of_a_trained_network(digits):
    model = digits.dense()
    before = [parameter.clone() for parameter in model.parameters()]
    weights = select(model, (), WEIGHTS)
    curves = scan(model, weights, digits.context())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert list(curves) == ["0.weight", "2.weight", "4.weight"]
    for curve in curves.values():
        assert [density for density, _ in curve] == [1.0, *DENSITIES]
        assert curve[0][1] == digits.accuracy(model)
        assert curve[5][1] > curve[0][1] - 0.03  # half of the weights of one tensor are free
    at_tenth = {name: dict(map(tuple, curve))[0.1] for name, curve in curves.items()}
    assert at_tenth["4.weight"] < min(at_tenth["0.weight"], at_tenth["2.weight"])  # the small output layer
    sizes = {weight.name: weight.parameter.numel() for weight in weights}
    assert max(equal_drop(curves, sizes, 0.1).items(), key=lambda item: item[1])[0] == "4.weight"
