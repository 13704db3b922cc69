"""The table of kinds: every entry makes its class, and defaults are those of torch."""

import inspect
import json

import pytest
import torch
from torch import nn

from featherweight.graph._described_forms import REQUIRED
from featherweight.graph._described_kinds import KINDS
from featherweight.graph.described import build, describe
from featherweight.graph.layers import ChannelPad, ChannelSelect, Constant, LowRankGRU, LowRankLSTM, PassOn, Zeros

EXAMPLES = [
    nn.Linear(3, 4, bias=False),
    nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    nn.Conv2d(3, 8, (3, 5), padding="same", dilation=(1, 2), bias=False, padding_mode="reflect"),
    nn.Conv3d(2, 2, 1),
    nn.ConvTranspose1d(3, 4, 2),
    nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2),
    nn.ConvTranspose3d(2, 2, 2, dilation=2),
    nn.BatchNorm1d(3),
    nn.BatchNorm2d(3, eps=1e-3, momentum=None, affine=False),
    nn.BatchNorm3d(3, track_running_stats=False),
    nn.InstanceNorm1d(3),
    nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    nn.InstanceNorm3d(3, momentum=0.2),
    nn.LayerNorm(5),
    nn.LayerNorm((4, 4), bias=False),
    nn.LayerNorm(5, elementwise_affine=False),
    nn.RMSNorm(4, eps=1e-6),
    nn.GroupNorm(2, 6, affine=False),
    nn.LocalResponseNorm(3, alpha=1e-3),
    nn.PReLU(4),
    nn.ELU(0.5, inplace=True),
    nn.LeakyReLU(0.2),
    nn.Hardtanh(-2.0, 2.0),
    nn.Threshold(0.1, 20),
    nn.GELU("tanh"),
    nn.Softmax(-1),
    nn.Flatten(0, -2),
    nn.Unflatten(1, (2, 3)),
    nn.MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True),
    nn.MaxPool1d(2),
    nn.AvgPool2d(3, count_include_pad=False, divisor_override=2),
    nn.AvgPool1d(2, stride=1),
    nn.LPPool2d(2, 3),
    nn.AdaptiveAvgPool2d((1, None)),
    nn.AdaptiveMaxPool1d(3, return_indices=True),
    nn.Upsample(scale_factor=(2.0, 3.0), mode="bilinear", align_corners=True),
    nn.Upsample(size=(4, 5)),
    nn.ZeroPad2d((1, -1, 0, 2)),
    nn.ReflectionPad1d(2),
    nn.ConstantPad3d(1, 0.5),
    nn.Dropout2d(0.2),
    nn.Embedding(10, 4, padding_idx=-1, max_norm=2.0),
    nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True, proj_size=2, dropout=0.1),
    nn.GRU(3, 4, bias=False),
    nn.RNN(3, 4, nonlinearity="relu"),
    nn.LSTMCell(3, 4),
    nn.RNNCell(3, 4, bias=False, nonlinearity="relu"),
    nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True),
    nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True, kdim=4, vdim=6),
    nn.PixelShuffle(2),
    nn.ChannelShuffle(3),
    ChannelSelect([4, 1, 1], dim=-1),
    ChannelPad(2, 0),
    Constant(torch.ones(3, 1, 1)),
    Constant(torch.tensor(2.0)),
    PassOn(),
    PassOn(3),
    Zeros((1, 1, 1)),
    Zeros((-1, 4), 2, filled=True),
    LowRankLSTM(4, 5, [2, 3, 0, 2], [2, 3, 0, 2], 2, bidirectional=True, shared=True, dropout=0.1),
    LowRankGRU(4, 5, [2], [0], bias=False, batch_first=True),
    nn.LSTM(2, 3).double(),
    nn.Conv2d(1, 2, 1).half(),
]


def _layout(module):
    return {name: (tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("module", EXAMPLES, ids=lambda module: str(module)[:60])
def test_a_module_comes_back_from_its_description(module):
    description = json.loads(json.dumps(describe(module), allow_nan=False))
    again = build(description)
    assert repr(again) == repr(module)
    assert _layout(again) == _layout(module)
    assert describe(again) == description


@pytest.mark.parametrize("name", sorted(KINDS))
def test_defaults_are_those_of_torch(name):
    """They are part of stored descriptions: should torch change one, the table has to pass the old one on."""
    kind = KINDS[name]
    base = nn.RNNBase if issubclass(kind.cls, nn.RNNBase) else kind.cls
    known = inspect.signature(base.__init__).parameters
    for setting in kind.settings:
        if setting.name in known:
            default = known[setting.name].default
            assert (REQUIRED if default is inspect.Parameter.empty else default) == setting.default, setting.name
        else:
            assert kind.make is not None or setting.name == "nonlinearity"


def test_every_kind_with_weights_has_an_example():
    shown = {type(module).__name__ for module in EXAMPLES}
    weighty = {"Linear", "Embedding", "PReLU", "LSTM", "GRU", "RNN", "MultiheadAttention", "GroupNorm", "RMSNorm"}
    assert weighty <= shown
    assert {name for name in KINDS if "Conv" in name or "BatchNorm" in name or "InstanceNorm" in name} <= shown


@pytest.mark.parametrize(
    "name",
    [name for name, kind in KINDS.items() if all(setting.default is not REQUIRED for setting in kind.settings)],
)
def test_kinds_without_required_settings_are_made_from_their_name_alone(name):
    assert describe(build({"kind": name})) == {"kind": name}
