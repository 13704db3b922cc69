"""The zoo: small networks whose wiring export has to get right, each with an example of two sequences or images."""

import math
import warnings
from collections import OrderedDict
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.graph.ir import Graph
from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.plain import from_plain, to_plain
from featherweight.graph.trace import trace

pytest.register_assert_rewrite("tests.graph.cuts")

PROJECTIONS = "LSTM with projections is not supported with oneDNN"


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a, b):
        return F.relu(self.left(a)) * torch.sigmoid(self.right(b))


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.mean, self.spread = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return self.mean(hidden), [self.spread(hidden).exp(), hidden]


class DictOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        logits = self.fc(x)
        return {"logits": logits, "more": OrderedDict(best=logits.argmax(-1), input=x), "nothing": None}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        return self.out(self.embed(tokens))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x):
        for _ in range(3):
            x = x + self.act(self.fc(x))
        return x


class Recurrent(nn.Module):
    def __init__(self, cell, **settings):
        super().__init__()
        self.rnn = cell(5, 7, **settings)
        self.fc = nn.LazyLinear(3)
        self.fc(self.rnn(torch.zeros(2, 2, 5))[0])

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


class GivenState(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x, (state["h"].transpose(0, 1).contiguous(), state["c"].transpose(0, 1).contiguous()))


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.LSTMCell(5, 6), nn.GRUCell(6, 6), nn.RNNCell(6, 6)

    def forward(self, x):
        h, _ = self.a(x)
        return self.c(self.b(h))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query, memory):
        return self.attend(query, memory, memory)


class Rotary(nn.Module):
    """Positions by rotation, computed without gradient and out of autocast, as language models do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", 1.0 / 100 ** (torch.arange(0, 4) / 4), persistent=False)
        self.fc = nn.Linear(8, 8)

    @torch.no_grad()
    def angles(self, x):
        with torch.autocast("cpu", enabled=False):
            positions = torch.arange(x.shape[1], device=x.device)
            angle = positions[:, None].float() * self.frequencies[None]
            return angle.cos(), angle.sin()

    def forward(self, x):
        a, b = self.fc(x).chunk(2, dim=-1)
        cos, sin = self.angles(x)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Causal(nn.Module):
    """Masked attention by hand: literals, masks, infinite numbers, einsum, softmax."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.register_buffer("scale", torch.tensor(1 / math.sqrt(8)))

    def forward(self, x):
        q, k, v = self.qkv(x).split(8, dim=-1)
        scores = torch.einsum("bqd,bkd->bqk", q, k) * self.scale
        steps = x.shape[1]
        mask = torch.ones(steps, steps, dtype=torch.bool).tril()
        scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1) @ v + torch.tensor([0.5, 0.25] * 4)


class Mobile(nn.Module):
    """Depthwise convolutions, squeeze and excitation, hard activations, channel shuffle."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(inplace=True))
        self.depth = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU6(), nn.Conv2d(4, 8, 1))
        self.bn = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, x):
        x = self.stem(x)
        x = self.depth(x)
        x = x * F.hardsigmoid(self.squeeze(x))
        x = self.bn(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(F.adaptive_avg_pool2d(x, 1))


class Upscaler(nn.Module):
    """Transposed convolution, pixel shuffle, interpolation, concatenation."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.mix, self.act = nn.Conv2d(11, 12, 3, padding=1, padding_mode="reflect"), nn.PReLU(8)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = self.act(self.up(self.down(x)))
        y = torch.cat([y, F.interpolate(x, scale_factor=1.0, mode="nearest")], 1)
        y = self.shuffle(self.mix(y))
        return y + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.group, self.instance = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.tracked = nn.InstanceNorm2d(4, track_running_stats=True)
        self.local, self.layer = nn.LocalResponseNorm(3), nn.LayerNorm([4, 6, 6])
        self.rms, self.free = nn.RMSNorm(6), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        x = self.local(self.instance(self.group(x)))
        x = self.free(self.rms(self.layer(self.tracked(x))))
        return F.normalize(x.flatten(1), dim=1)


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.cube = nn.Conv1d(2, 4, 3, dilation=2), nn.Conv3d(1, 3, 3, padding=1)
        self.back = nn.ConvTranspose1d(4, 2, 3)

    def forward(self, line, cube):
        a = F.avg_pool1d(self.back(F.gelu(self.line(line))), 2)
        b = F.max_pool3d(F.leaky_relu(self.cube(cube), 0.1), 2)
        return a.mean(-1), b.amax((2, 3, 4))


class Written(nn.Module):
    """Writes into slices, adds in place to what other values share."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        z = y * 2
        y[:, 0] = 0
        rest = y[:, 1:]
        rest += 1
        out = torch.empty_like(y)
        out[:] = y
        return out + z


class Windows(nn.Module):
    """Shifted windows with a table of positions, as in Swin."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 2))
        grid = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
        offset = (grid[:, :, None] - grid[:, None, :] + 1).permute(1, 2, 0)
        self.register_buffer("index", offset[..., 0] * 3 + offset[..., 1])
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        b, h, w, c = x.shape
        x = torch.roll(x, (-1, -1), (1, 2))
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 2, c // 2).transpose(1, 2)
        bias = self.table[self.index.view(-1)].view(4, 4, 2).permute(2, 0, 1)
        y = F.scaled_dot_product_attention(x, x, x, attn_mask=bias[None])
        return self.fc(y.transpose(1, 2).reshape(b, h, w, c))


class Spectrum(nn.Module):
    """Mixes tokens by a Fourier transform; complex numbers and a look at memory layout."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(5, 6, 2))

    def forward(self, x):
        y = torch.fft.rfft(x, dim=1) * torch.view_as_complex(self.filter)
        z = torch.view_as_real(y.transpose(1, 2)).transpose(1, 2).contiguous()
        return torch.fft.irfft(torch.view_as_complex(z), n=x.shape[1], dim=1)


class Odds(nn.Module):
    """Casts, comparisons, selection, sorting, one-hot, cumulative sums."""

    def forward(self, x, mask):
        values, order = x.topk(2, dim=-1)
        hot = F.one_hot(order[..., 0], x.shape[-1]).to(x.dtype)
        kept = torch.where(mask > 0, x, torch.full_like(x, -1e9))
        x = x / x.shape[0] + x.numel()
        total = (x.double().cumsum(-1) / 3).float().clamp(min=-1.5)
        return values.sum(-1), hot + kept.log_softmax(-1), total.std(dim=-1), (x**2).mean(-1, keepdim=True).rsqrt()


def image(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(len(shape)))


ZOO = {
    "convolutions": lambda: (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)),
        (image(1, 8, 8),),
    ),
    "two_inputs": lambda: (TwoInputs(), (image(4), image(5))),
    "two_outputs": lambda: (TwoOutputs(), (image(4),)),
    "dict_output": lambda: (DictOutput(), (image(4),)),
    "tied": lambda: (Tied(), (torch.tensor([[1, 2, 3], [4, 5, 6]]),)),
    "reused": lambda: (Reused(), (image(4),)),
    "lstm": lambda: (Recurrent(nn.LSTM, batch_first=True), (image(3, 5),)),
    "lstm_projected": lambda: (
        Recurrent(nn.LSTM, batch_first=True, bidirectional=True, num_layers=2, proj_size=3, dropout=0.5),
        (image(3, 5),),
    ),
    "gru": lambda: (Recurrent(nn.GRU, num_layers=2, bias=False), (image(4, 5).transpose(0, 1),)),
    "rnn": lambda: (Recurrent(nn.RNN, batch_first=True, nonlinearity="relu"), (image(3, 5),)),
    "given_state": lambda: (GivenState(), (image(3, 5), {"h": image(1, 7), "c": image(1, 7)})),
    "cells": lambda: (Cells(), (image(5),)),
    "attention": lambda: (Attention(), (image(3, 8), image(4, 8))),
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), (image(3, 8),)),
    "decoder": lambda: (nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), (image(3, 8), image(4, 8))),
    "rotary": lambda: (Rotary(), (image(5, 8),)),
    "causal": lambda: (Causal(), (image(4, 8),)),
    "mobile": lambda: (Mobile(), (image(3, 8, 8),)),
    "upscaler": lambda: (Upscaler(), (image(3, 8, 8),)),
    "norms": lambda: (Norms(), (image(4, 6, 6),)),
    "volumes": lambda: (Volumes(), (image(2, 12), image(1, 4, 4, 4))),
    "written": lambda: (Written(), (image(4),)),
    "windows": lambda: (Windows(), (image(4, 4, 6),)),
    "spectrum": lambda: (Spectrum(), (image(8, 6),)),
    "odds": lambda: (Odds(), (image(5), torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]))),
    "double": lambda: (nn.Sequential(nn.Linear(4, 3), nn.ELU()).double(), (image(4).double(),)),
    "no_weights": lambda: (nn.Softmax(-1), (image(4),)),
}


@cache
def build(name):
    """A network of the zoo with statistics that are not the initial ones, and its example."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=PROJECTIONS)
        model, example = ZOO[name]()
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval(), example


@cache
def captured(name):
    """The network as above, its example, its graph, and the model that a file of it would give back."""
    model, example = build(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=PROJECTIONS)
        graph = trace(model, example)
    copies = {key: item.detach().clone() for key, item in tensors_of(graph, model).items()}
    return Captured(name, model, example, graph, to_module(from_plain(to_plain(graph)), copies))


class Captured(NamedTuple):
    name: str
    model: nn.Module
    example: tuple
    graph: Graph
    again: nn.Module


@pytest.fixture(params=ZOO)
def zoo(request):
    """Each network of the zoo, captured. Shared by all tests: do not change it."""
    return captured(request.param)


@pytest.fixture
def network():
    """network(name) -> the captured network of that name. Shared by all tests: do not change it."""
    return captured


@pytest.fixture(params=ZOO)
def built(request):
    """Each network of the zoo with its example, not captured. Shared by all tests: do not change it."""
    return build(request.param)
