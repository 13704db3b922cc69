import copy

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.errors import TechniqueError
from featherweight.graph.layers import ChannelSelect
from featherweight.graph.log import log_of, replay
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.channel._selectors import Reader, readers, selected
from featherweight.techniques.pruning.channel.network_slimming import NetworkSlimming


class PreActivation(nn.Module):
    """A residual network whose batch norms stand before the convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(12), nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, padding=1)
        self.bn3, self.head = nn.BatchNorm2d(12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))
        return self.head(torch.relu(self.bn3(x)).mean((2, 3)))


def lively():
    model = PreActivation()
    with torch.no_grad():
        for norm in (model.bn1, model.bn2, model.bn3):
            norm.weight.uniform_(0.1, 1.0)
            norm.bias.uniform_(-0.2, 0.2)
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


def test_it_finds_norms_that_only_a_convolution_reads(images):
    model = lively()
    known = anatomy(model, images.inputs[:2])
    assert readers(model, known) == [Reader("bn1", ("conv1",))]  # bn2 can be cut, bn3 goes to a mean
    assert readers(model, known, ["bn1"]) == []


def test_selected_equals_masked(images):
    model = lively()
    masked, kept = copy.deepcopy(model), torch.tensor([0, 3, 4, 10])
    with torch.no_grad():
        gone = [place for place in range(12) if place not in kept.tolist()]
        masked.bn1.weight[gone] = masked.bn1.bias[gone] = 0
    narrow = selected(copy.deepcopy(model), [(Reader("bn1", ("conv1",)), kept)])
    x = images.inputs[:20]
    assert torch.allclose(narrow.eval()(x), masked(x), atol=1e-5)
    assert isinstance(narrow.bn1[0], ChannelSelect)
    assert narrow.conv1.weight.shape == (8, 4, 3, 3)
    assert narrow.bn1[1].num_features == 4


def test_the_log_builds_it_again(images):
    narrow = selected(lively(), [(Reader("bn1", ("conv1",)), torch.tensor([1, 2]))])
    again = replay(PreActivation(), log_of(narrow))
    again.load_state_dict(narrow.state_dict())
    assert torch.equal(again.eval()(images.inputs[:5]), narrow.eval()(images.inputs[:5]))


def test_all_channels_are_no_selection():
    model = lively()
    assert selected(model, [(Reader("bn1", ("conv1",)), torch.arange(12))]) is model
    assert isinstance(model.bn1, nn.BatchNorm2d)


def test_an_encoded_weight_is_not_selected_of():
    model = lively()
    attach(model, {"conv1.weight": Dense(model.conv1.weight.detach().clone(), torch.float16)})
    with pytest.raises(TechniqueError, match=r"conv1\.weight"):
        selected(model, [(Reader("bn1", ("conv1",)), torch.tensor([1, 2]))])


def test_slimming_selects_by_the_same_threshold(images):
    model, context = lively(), images.context()
    with torch.no_grad():
        model.bn1.weight.copy_(torch.linspace(0.1, 1.2, 12))
        model.bn2.weight.copy_(torch.linspace(0.1, 0.8, 8))
    settings = NetworkSlimming(ratio=0.5, select=True, sparsity_epochs=0, repair="none")
    cut = settings.apply(model, context)
    values = torch.cat([torch.linspace(0.1, 1.2, 12), torch.linspace(0.1, 0.8, 8)]).sort().values
    assert context.details["selected"] == {"bn1": [12, int((torch.linspace(0.1, 1.2, 12) > values[10]).sum())]}
    assert cut.conv1.weight.shape[:2] == (
        int((torch.linspace(0.1, 0.8, 8) >= values[10]).sum()),
        cut.bn1[1].num_features,
    )
    assert cut.stem.out_channels == 12  # the stream keeps its width
    assert cut(images.inputs[:2]).shape == (2, 10)
