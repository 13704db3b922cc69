"""Checks and mistakes of He et al. 2017, as the catalogue of techniques lists them."""

import pytest
import torch
from tests.graph.cuts import difference
from torch import nn

import featherweight as fw
from featherweight.core.task import Task
from featherweight.graph import surgery
from featherweight.graph.layers import ChannelSelect
from featherweight.graph.log import log_of, replay
from featherweight.techniques.pruning.channel.lasso import Lasso
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.training.context import TaskContext


def lent(inputs):
    task = Task(model=nn.Identity(), example=inputs[:2], calibration=(inputs, torch.zeros(len(inputs))))
    return TaskContext(task)


def pair(channels=8, outputs=6, seed=0):
    """A layer of channels, and one that reads them; its input is padded."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 3, padding=1), nn.Flatten()
    ).eval()


def images(count=160, seed=1):
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def error(model, after):
    with torch.no_grad():
        whole = model(images(seed=2))
        return float((whole - after(images(seed=2))).square().mean() / whole.var())


def kept(model, after):
    """Which of the first layer's channels are left."""
    return [
        place for place, row in enumerate(model[0].weight) if any(torch.equal(row, other) for other in after[0].weight)
    ]


def test_channels_that_alone_make_the_output_are_the_ones_that_stay():
    model = pair()
    with torch.no_grad():
        model[2].weight[:, [0, 3, 5, 6]] = 0.0
    after = Lasso(ratio=0.5).apply(model, lent(images()))
    assert kept(model, after) == [1, 2, 4, 7]
    assert error(model, after) < 1e-9


def test_a_copy_of_a_channel_goes_without_error():
    model = pair()
    with torch.no_grad():
        model[0].weight[5], model[0].bias[5] = model[0].weight[2], model[0].bias[2]
        model[2].weight[:, 5] = model[2].weight[:, 2]
    after = Lasso(ratio=1 / 8).apply(model, lent(images()))
    assert len(kept(model, after)) >= 7 and error(model, after) < 1e-6


def test_the_error_falls_with_what_is_kept_and_is_nothing_when_all_is():
    model = pair()
    errors = [error(model, Lasso(ratio=gone / 8).apply(pair(), lent(images()))) for gone in (6, 4, 2, 0)]
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0.0


def correlated():
    """16 channels of which about 6 differ: each is a mixture of six, and a little of its own."""
    model = pair(16, 8)
    with torch.no_grad():
        basis = torch.randn(6, 9)
        model[0].weight.copy_((torch.randn(16, 6) @ basis + 0.3 * torch.randn(16, 9)).view(16, 1, 3, 3) / 3)
        model[0].bias.fill_(2.0)
    return model


def test_choice_and_fit_together_leave_a_fraction_of_what_the_choice_alone_leaves():
    """If what is called repaired looks like the choice alone, no least squares were done."""
    fitted = error(correlated(), Lasso(ratio=0.5).apply(correlated(), lent(images())))
    alone = error(correlated(), Lasso(ratio=0.5, repair="none").apply(correlated(), lent(images())))
    magnitude = error(correlated(), Norm(ratio=0.5, repair="least_squares").apply(correlated(), lent(images())))
    assert fitted < 0.2 * alone
    assert fitted < magnitude * 1.05


def test_what_makes_the_channels_goes_with_them():
    after = Lasso(ratio=0.5).apply(pair(), lent(images()))
    assert after[0].weight.shape == (4, 1, 3, 3) and after[0].bias.shape == (4,)
    assert after[2].weight.shape == (6, 4, 3, 3)


class Stream(nn.Module):
    """Two residual blocks on one stream."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.a1, self.b1 = nn.Conv2d(16, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.a2, self.b2 = nn.Conv2d(16, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.b1(self.a1(x).relu())
        x = x + self.b2(self.a2(x.relu()).relu())
        return self.head(x.mean((2, 3)))


class TestSampler:
    def test_the_stream_stays_whole_and_each_branch_reads_its_own_choice(self):
        torch.manual_seed(0)
        model = Stream().eval()
        after = Lasso(ratio=0.25, sampler=True).apply(model, lent(images()))
        for name in ("stem", "b1", "b2"):
            assert after.get_submodule(name).weight.shape[0] == 16
        assert after.head.weight.shape == (3, 16)
        chosen = []
        for name in ("a1", "a2"):
            sampler, conv = after.get_submodule(name)
            assert isinstance(sampler, ChannelSelect) and sampler.indices.shape == (12,)
            assert conv.weight.shape == (9, 12, 3, 3)
            chosen.append(sampler.indices.tolist())
        assert chosen[0] != chosen[1]

    def test_it_can_be_rebuilt_from_its_log(self):
        torch.manual_seed(0)
        after = Lasso(ratio=0.25, sampler=True).apply(Stream().eval(), lent(images()))
        again = replay(Stream(), log_of(after))
        again.load_state_dict(after.state_dict())
        torch.testing.assert_close(again.eval()(images()), after.eval()(images()))

    @pytest.mark.parametrize("sampler", [False, True])
    def test_it_is_pruned_again_rebuilt_and_loaded(self, sampler, tmp_path):
        """The second time the stream itself may go: what samplers choose from it is counted anew."""
        torch.manual_seed(0)
        first = Lasso(ratio=0.25, sampler=True).apply(Stream().eval(), lent(images()))
        known = surgery.anatomy(first, (images(),))
        after = Lasso(ratio=0.25, sampler=sampler).apply(first, lent(images()))
        width = 16 if sampler else 12
        assert after.stem.weight.shape[0] == width
        for name in ("a1", "a2"):
            chosen = after.get_submodule(name)[0].indices
            assert len(chosen) < 12 and len(set(chosen.tolist())) == len(chosen) and int(chosen.max()) < width
        stream = known.group("stem").atoms
        assert difference(first, known, stream[::3], (images(),)) < 1e-5
        fw.save(after, tmp_path / "small.fwt")
        again = fw.load(tmp_path / "small.fwt", into=Stream()).eval()
        assert again.a1[0].indices.tolist() == after.a1[0].indices.tolist()
        torch.testing.assert_close(again(images()), after.eval()(images()))

    @pytest.mark.parametrize("ratio", [0.2, 0.4])
    def test_budgets_count_what_samplers_save(self, ratio):
        context = lent(images())
        Lasso(ratio=ratio, of="macs", sampler=True).apply(Stream().eval(), context)
        assert context.details["reached"] == pytest.approx(ratio, abs=0.02)

    def test_a_convolution_of_a_class_of_its_own_gets_none(self):
        """EfficientNet-lite0 pads in a subclass: its description in a log would lose that."""

        class Own(nn.Conv2d):
            pass

        model, context = Stream().eval(), lent(images())
        model.a1 = Own(16, 12, 3, padding=1).eval()
        after = Lasso(ratio=0.25, sampler=True).apply(model, context)
        assert context.details["samplers"] == ["a2"]
        assert type(after.a1) is Own and isinstance(after.a2[0], ChannelSelect)
