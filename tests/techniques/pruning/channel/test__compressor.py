import itertools

import pytest
import torch

from featherweight.techniques.pruning.channel._compressor import Compressor, score_function, softened


def made(starts=(0.8, 0.5), seed=0):
    return Compressor([(7, 4), (5, 6)], starts, 16, torch.Generator().manual_seed(seed))


def weights(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(7, 4, generator=generator), torch.randn(5, 6, generator=generator)]


def test_the_score_function_is_the_gradient_of_the_expected_loss():
    table = torch.tensor([0.3, 2.0, -1.0, 0.5, 1.5, 0.1, 0.7, -0.4], dtype=torch.float64)  # a loss for each choice
    start = torch.tensor([0.3, 0.6, 0.85], dtype=torch.float64)
    exact = start.clone().requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for value, z in zip(table, itertools.product((0.0, 1.0), repeat=3), strict=True):
        choice = torch.tensor(z, dtype=torch.float64)
        expected = expected + value * (exact * choice + (1 - exact) * (1 - choice)).prod()
    expected.backward()
    drawn = (torch.rand(100_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < start).double()
    losses = table[(drawn @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long()]
    p = start.clone().requires_grad_()
    score_function([p[:1], p[1:]], [drawn[:, :1], drawn[:, 1:]], losses - losses.mean()).backward()
    torch.testing.assert_close(p.grad, exact.grad, rtol=0, atol=0.03)


def test_probabilities_begin_where_they_are_told_and_are_those_to_keep():
    wide = Compressor([(7, 400), (5, 600)], (0.8, 0.5), 16, torch.Generator().manual_seed(0))
    first, second = wide([torch.randn(7, 400), torch.randn(5, 600)])
    assert float(first.mean()) == pytest.approx(0.8, abs=0.05)
    assert float(second.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(first.std()) > 0


def test_every_layer_is_read_by_those_behind_it():
    model, given = made(), weights()
    first, second = model(given)
    given[0] = given[0] + 1
    changed = model(given)
    assert not torch.equal(changed[0], first)
    assert not torch.equal(changed[1], second)
    given = weights()
    given[1] = given[1] + 1
    assert torch.equal(model(given)[0], first)


def test_channels_that_lower_the_loss_are_kept_and_those_that_raise_it_are_not():
    model, given = made((0.5, 0.5)), weights()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        drawn = [(torch.rand(64, len(p), generator=generator) < p).float() for p in model(given)]
        losses = 1 - drawn[0][:, 0] + 2 * drawn[1][:, 3]
        model.learn(given, drawn, losses, 0.0, 3e-3)
    first, second = model(given)
    assert float(first[0]) > 0.9
    assert float(second[3]) < 0.1
    assert bool((first[1:] < first[0]).all())
    assert bool((second[torch.arange(6) != 3] > second[3]).all())


def test_the_baseline_follows_and_small_deviations_are_not_blown_up():
    model = made()
    assert model.advantage(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]  # the mean begins at the first one
    assert model.baseline.tolist() == pytest.approx([2.0, 1.0])
    assert model.advantage(torch.tensor([5.0, 7.0])).tolist() == [3.0, 5.0]
    assert model.baseline.tolist() == pytest.approx([0.9 * 2 + 0.1 * 6, 1.0])
    wide = made()
    assert wide.advantage(torch.tensor([0.0, 20.0])).tolist() == [-1.0, 1.0]
    narrow = made()
    assert narrow.advantage(torch.tensor([0.0, 0.2])).tolist() == pytest.approx([-0.1, 0.1])


def test_below_the_threshold_they_are_halved_and_can_return():
    keep = torch.tensor([0.2, 0.6], requires_grad=True)
    drawn_from = softened(keep, 0.5)
    assert drawn_from.tolist() == pytest.approx([0.1, 0.6])
    drawn_from.sum().backward()
    assert keep.grad.tolist() == [0.5, 1.0]


def test_all_that_is_learned_is_in_buffers():
    model, given = made(), weights()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = [torch.ones(3, 4), torch.zeros(3, 6)]
    model.learn(given, drawn, torch.tensor([1.0, 2.0, 0.0]), 0.0, 1e-2)
    assert not list(model.parameters())
    twin = made(seed=5)
    twin.load_state_dict(model.state_dict())
    for other in (model, twin):
        other.learn(given, drawn, torch.tensor([0.5, 1.0, 1.0]), 0.0, 1e-2)
    assert all(torch.equal(a, b) for a, b in zip(model(given), twin(given), strict=True))
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert {"cell_in", "left_0", "inner_1", "outer_0", "squares_outer_1", "baseline", "updates"} <= set(changed)
