import pytest
import torch
from tests.techniques.pruning.conftest import NETWORKS
from torch import nn

from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning._budget import candidates
from featherweight.techniques.pruning.channel._compressor import Compressor
from featherweight.techniques.pruning.channel._game import Game, Rules, below, fold, losses_of, matrix
from featherweight.techniques.pruning.channel._gates import Gates


def play(model, context, start=0.7, rate=1e-3, ratio=0.5, stages=4):
    known = anatomy(model, context.example)
    gates = Gates(model, known, candidates(model, known))
    tensors = dict(model.named_parameters())
    shapes = [tuple(matrix(tensors, group).shape) for group in gates.groups]
    compressor = Compressor(shapes, [start] * len(shapes), 8, torch.Generator().manual_seed(0))
    rules = Rules(ratio=ratio, threshold=0.8, stages=stages, rate=rate)
    return Game(model, gates, compressor, rules, context), gates


def test_choices_are_of_each_example_and_not_divided_by_their_probability(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.Linear(40, 10))
    game, gates = play(model, images.context())
    game.on_step(game, 0, 10)
    seen = []
    inputs = images.inputs[:1].repeat(400, 1, 1, 1)
    with gates.on():
        handle = model[1].register_forward_hook(lambda *given: seen.append(given[2].detach()))
        game(inputs)
    handle.remove()
    plain = model[1](model[0](inputs[:1])).detach()[0]
    values = seen[0]
    drawn = values != 0
    torch.testing.assert_close(values, torch.where(drawn, plain, torch.zeros(())))  # a * z, whatever p is
    assert len(torch.unique(drawn, dim=0)) > 300
    assert float(drawn.float().mean()) == pytest.approx(0.7, abs=0.05)


def test_a_step_draws_the_same_choices_again_and_another_others(images):
    game, gates = play(images.fresh("plain"), images.context())
    game.eval()
    found = []
    with gates.on(), torch.no_grad():
        for step in (3, 4, 3):
            game.on_step(game, step, 1000)
            found.append(game(images.inputs[:32]))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_the_threshold_rises_in_stages_and_stops_when_enough_is_below(images):
    game, _ = play(images.fresh("plain"), images.context(), start=0.5, stages=4)
    seen = []
    for step in range(100):
        game.on_step(game, step, 100)
        seen.append(round(float(game.threshold), 6))
    assert seen[:20] == [0.0] * 20
    assert sorted(set(seen))[:3] == [0.0, 0.2, 0.4]
    assert seen == sorted(seen)
    assert below(game.keep(), seen[-1]) >= 0.5
    assert seen[-1] == 0.6  # the first multiple of 0.2 above 0.5: all channels are below it, and 0.8 is not reached


def test_no_gradient_of_the_loss_reaches_the_probabilities(images):
    context = images.context()
    game, gates = play(images.fresh("plain"), context)
    before = game.keep()
    game.on_step(game, 0, 10)
    with gates.on():
        output = game(images.inputs[:16])
    context.loss(output, images.labels[:16]).backward()
    assert all(not tensor.requires_grad for tensor in game.compressor.buffers())
    assert [name for name, _ in game.named_parameters()] == [
        f"model.{name}" for name, _ in game.model.named_parameters()
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, game.keep(), strict=True))
    game.on_batch(game, output, images.labels[:16])
    assert not torch.equal(before[0], game.keep()[0])


def test_losses_are_those_of_each_example(images):
    context = images.context()
    output, target = torch.randn(7, 10), images.labels[:7]
    found = losses_of(context, output, target, 7)
    torch.testing.assert_close(found, nn.functional.cross_entropy(output, target, reduction="none"))


def test_the_matrix_holds_what_makes_a_channel(images):
    model = images.fresh("lstm")
    group = anatomy(model, images.context().example).group("rnn")
    rows = matrix(dict(model.named_parameters()), group)
    assert rows.shape == (4 * (8 + 32 + 2) + 4 * (32 + 32 + 2), 32)
    w = model.rnn.weight_ih_l0.detach()
    torch.testing.assert_close(rows[:8, 5], w[5])
    torch.testing.assert_close(rows[8:16, 5], w[32 + 5])


@pytest.mark.parametrize("name", ["plain", "residual", "concat", "lstm", "attention"])
def test_folded_factors_compute_the_same(images, name):
    model = NETWORKS[name]()
    model(images.inputs[:32])
    model.eval()
    known = anatomy(model, images.inputs[:2])
    gates = Gates(model, known, candidates(model, known))
    generator = torch.Generator().manual_seed(0)
    factors = [0.2 + 0.8 * torch.rand(len(group), generator=generator) for group in gates.groups]
    gates.values = list(factors)
    with gates.on():
        expected = model(images.inputs[:8])
    fold(model, gates, factors)
    torch.testing.assert_close(model(images.inputs[:8]), expected, rtol=1e-4, atol=1e-5)
