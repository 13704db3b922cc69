"""Layers: which channels of which tensors go together, index by index, and what is cut computes what is masked."""

import pytest
import torch
from tests.graph.cuts import Net, check_cuts, difference, found, randn, shaken, written
from torch import nn
from torch.nn import functional as F

from featherweight.graph import surgery


def line(*layers):
    """Layers a, b, c, ... one after the other."""

    def body(net, x):
        for name in net.order:
            x = getattr(net, name)(x)
        return x

    names = "abcdefg"[: len(layers)]
    return Net(body, order=names, **dict(zip(names, layers, strict=True)))


CONVOLUTIONS = {
    "1d": (
        lambda: line(nn.Conv1d(2, 4, 3), nn.Conv1d(4, 3, 1)),
        (2, 2, 8),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"},
    ),
    "2d dilated": (
        lambda: line(nn.Conv2d(2, 4, 3, dilation=2, stride=2), nn.Conv2d(4, 3, 1, bias=False)),
        (2, 2, 9, 9),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"},
    ),
    "3d same": (
        lambda: line(nn.Conv3d(1, 3, 3, padding="same"), nn.Conv3d(3, 2, 2, padding="valid")),
        (1, 1, 4, 4, 4),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..2"},
    ),
    "1d same": (
        lambda: line(nn.Conv1d(1, 3, 3, padding="same"), nn.Conv1d(3, 2, 2, padding="valid")),
        (1, 1, 6),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..2"},
    ),
    "2d same": (
        lambda: line(nn.Conv2d(1, 3, 3, padding="same"), nn.Conv2d(3, 2, 2, padding="valid")),
        (1, 1, 6, 6),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..2"},
    ),
    "without a batch": (
        lambda: line(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1)),
        (2, 8, 8),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"},
    ),
    "grouped": (
        lambda: line(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 3, 1)),
        (1, 2, 5, 5),
        {
            "a column": "a.weight/0 a.bias/0 = 0,3 1,4 2,5; b.weight/1 = 0..2",
            "b column": "b.weight/0 b.bias/0 c.weight/1 = 0,2 1,3",
            "a row": "a.weight/0 a.bias/0 = 0-2 3-5; b.weight/0 b.bias/0 c.weight/1 = 0-1 2-3",
        },
    ),
    "depthwise": (
        lambda: line(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 3, 1)),
        (1, 2, 5, 5),
        {"a": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0..3"},
    ),
    "depthwise with a multiplier": (
        lambda: line(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 3, 1)),
        (1, 2, 5, 5),
        {
            "a row": "a.weight/0 a.bias/0 = 0..2; b.weight/0 b.bias/0 c.weight/1 = 0-1 2-3 4-5",
            "b column": "b.weight/0 b.bias/0 c.weight/1 = 0,2,4 1,3,5",
        },
    ),
    "transposed 1d": (
        lambda: line(nn.Conv1d(2, 4, 1), nn.ConvTranspose1d(4, 3, 2, stride=2), nn.Conv1d(3, 2, 1)),
        (1, 2, 5),
        {"a": "a.weight/0 a.bias/0 b.weight/0 = 0..3", "b": "b.weight/1 b.bias/0 c.weight/1 = 0..2"},
    ),
    "transposed 2d": (
        lambda: line(nn.Conv2d(2, 4, 1), nn.ConvTranspose2d(4, 3, 2, output_padding=1, stride=2), nn.Conv2d(3, 2, 1)),
        (1, 2, 5, 5),
        {"a": "a.weight/0 a.bias/0 b.weight/0 = 0..3", "b": "b.weight/1 b.bias/0 c.weight/1 = 0..2"},
    ),
    "transposed 3d": (
        lambda: line(nn.Conv3d(2, 4, 1), nn.ConvTranspose3d(4, 3, 2), nn.Conv3d(3, 2, 1)),
        (1, 2, 2, 2, 2),
        {"a": "a.weight/0 a.bias/0 b.weight/0 = 0..3", "b": "b.weight/1 b.bias/0 c.weight/1 = 0..2"},
    ),
    "transposed and grouped": (
        lambda: line(nn.Conv2d(2, 6, 1), nn.ConvTranspose2d(6, 4, 2, groups=2), nn.Conv2d(4, 3, 1)),
        (1, 2, 4, 4),
        {
            "a column": "a.weight/0 a.bias/0 b.weight/0 = 0,3 1,4 2,5",
            "b column": "b.weight/1 = 0 1; b.bias/0 c.weight/1 = 0,2 1,3",
            "a row": "a.weight/0 a.bias/0 b.weight/0 = 0-2 3-5; b.bias/0 c.weight/1 = 0-1 2-3",
        },
    ),
    "transposed depthwise": (
        lambda: line(nn.Conv2d(2, 3, 1), nn.ConvTranspose2d(3, 3, 2, groups=3), nn.Conv2d(3, 3, 1)),
        (1, 2, 4, 4),
        {"a": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0..2"},
    ),
    "reflected border": (
        lambda: line(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 3, 1)),
        (1, 2, 5, 5),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"},
    ),
    "replicated and circular borders": (
        lambda: line(
            nn.Conv2d(2, 4, 3),
            nn.Conv2d(4, 3, 3, padding=1, padding_mode="replicate"),
            nn.Conv2d(3, 3, 1),
            nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"),
        ),
        (1, 2, 5, 5),
        {
            "a": "a.weight/0 a.bias/0 b.weight/1 = 0..3",
            "b": "b.weight/0 b.bias/0 c.weight/1 = 0..2",
            "c": "c.weight/0 c.bias/0 d.weight/1 = 0..2",
        },
    ),
    "general operator": (
        lambda: Net(
            lambda net, x: net.b(torch.convolution(net.a(x), net.w, net.v, (1, 1), (0, 0), (1, 1), True, (0, 0), 1)),
            a=nn.Conv2d(2, 3, 1),
            w=nn.Parameter(randn(3, 4, 2, 2)),
            v=nn.Parameter(randn(4)),
            b=nn.Conv2d(4, 2, 1),
        ),
        (1, 2, 4, 4),
        {"a": "a.weight/0 a.bias/0 w/0 = 0..2", "w": "w/1 v/0 b.weight/1 = 0..3"},
    ),
}


def _w(*shape):
    return nn.Parameter(randn(*shape))


MATRICES = {
    "linear": (
        lambda: line(nn.Linear(3, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2)),
        (2, 3),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3", "b": "b.weight/0 c.weight/1 = 0..4"},
    ),
    "linear on more dimensions": (
        lambda: line(nn.Linear(3, 4), nn.Linear(4, 2)),
        (2, 5, 7, 3),
        {"a": "a.weight/0 a.bias/0 b.weight/1 = 0..3"},
    ),
    "matmul with a parameter": (
        lambda: Net(lambda net, x: (x @ net.u) @ net.v, u=_w(3, 4), v=_w(4, 2)),
        (2, 3),
        {"u": "u/1 v/0 = 0..3"},
    ),
    "matmul with a turned parameter": (
        lambda: Net(lambda net, x: torch.matmul(torch.matmul(x, net.u.t()), net.v.mT), u=_w(4, 3), v=_w(2, 4)),
        (2, 3),
        {"u": "u/0 v/1 = 0..3"},
    ),
    "vectors": (
        lambda: Net(lambda net, x: torch.dot(torch.mv(net.u, x), net.v) * x, u=_w(4, 3), v=_w(4)),
        (3,),
        {"u": "u/0 v/0 = 0..3"},
    ),
    "mm and addmm": (
        lambda: Net(lambda net, x: torch.addmm(net.w, torch.mm(x, net.u), net.v), u=_w(3, 4), v=_w(4, 2), w=_w(2)),
        (2, 3),
        {"u": "u/1 v/0 = 0..3"},
    ),
    "addmm as GPT-2 has it": (
        lambda: Net(lambda net, x: net.a(torch.addmm(net.w, x, net.v)), v=_w(3, 4), w=_w(4), a=nn.Linear(4, 2)),
        (2, 3),
        {"v": "v/1 w/0 a.weight/1 = 0..3"},
    ),
    "bmm and baddbmm": (
        lambda: Net(
            lambda net, x: torch.baddbmm(x, torch.bmm(x, net.u.expand(2, -1, -1)), net.v.expand(2, -1, -1)),
            u=_w(1, 3, 4),
            v=_w(1, 4, 3),
        ),
        (2, 5, 3),
        {"u": "u/2 v/1 = 0..3"},
    ),
    "addmv": (
        lambda: Net(lambda net, x: torch.mv(net.v, torch.addmv(net.w, net.u, x)), u=_w(4, 3), v=_w(2, 4), w=_w(4)),
        (3,),
        {"u": "u/0 w/0 v/1 = 0..3"},
    ),
    "addbmm": (
        lambda: Net(lambda net, x: net.a(torch.addbmm(net.w, x, net.u)), u=_w(2, 3, 4), w=_w(4), a=nn.Linear(4, 2)),
        (2, 5, 3),
        {"u": "u/2 w/0 a.weight/1 = 0..3"},
    ),
    "bilinear": (
        lambda: Net(
            lambda net, x: net.d(net.c(net.a(x), net.b(x))),
            a=nn.Linear(2, 3),
            b=nn.Linear(2, 4),
            c=nn.Bilinear(3, 4, 5),
            d=nn.Linear(5, 2),
        ),
        (2, 2),
        {
            "a": "a.weight/0 a.bias/0 c.weight/1 = 0..2",
            "b": "b.weight/0 b.bias/0 c.weight/2 = 0..3",
            "c": "c.weight/0 c.bias/0 d.weight/1 = 0..4",
        },
    ),
    "embedding": (
        lambda: Net(lambda net, x: net.b(net.a((x > 0).long())), a=nn.Embedding(2, 4), b=nn.Linear(4, 2)),
        (2, 5),
        {"a": "a.weight/1 b.weight/1 = 0..3"},
    ),
    "einsum": (
        lambda: Net(
            lambda net, x: torch.einsum("bth,hd->btd", torch.einsum("btd,dh->bth", x, net.u), net.v),
            u=_w(3, 4),
            v=_w(4, 2),
        ),
        (2, 5, 3),
        {"u": "u/1 v/0 = 0..3"},
    ),
    "einsum with heads": (
        lambda: Net(
            lambda net, x: torch.einsum("bthd,hdo->bto", torch.einsum("bti,ihd->bthd", x, net.u), net.v),
            u=_w(3, 2, 4),
            v=_w(2, 4, 3),
        ),
        (2, 5, 3),
        {"u": "u/1 v/0 = 0..1", "u~": "u/2 v/1 = 0..3"},
    ),
    "einsum without an arrow": (
        lambda: Net(lambda net, x: torch.einsum("ij,jk", x, net.u) @ net.v, u=_w(3, 4), v=_w(4, 2)),
        (2, 3),
        {"u": "u/1 v/0 = 0..3"},
    ),
    "einsum with dots": (
        lambda: Net(
            lambda net, x: torch.einsum("...h,hd->...d", torch.einsum("...d,dh->...h", x, net.u), net.v),
            u=_w(3, 4),
            v=_w(4, 2),
        ),
        (2, 5, 3),
        {"u": "u/1 v/0 = 0..3"},
    ),
}


def _between(shape, layer, width=4, conv=nn.Conv2d):
    """A layer that keeps the channels apart, between two convolutions."""
    return lambda: line(conv(2, width, 1), layer(), conv(width, 2, 1)), shape


_FOUR = {"a": "a.weight/0 a.bias/0 c.weight/1 = 0..3"}
_OWN = {"a": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0..3"}
_TRACKED = {
    "a": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 b.running_mean/0 b.running_var/0 c.weight/1 = 0..3",
}
_IMAGE, _LINE, _VOLUME = (2, 2, 6, 6), (2, 2, 8), (1, 2, 4, 4, 4)

NORMS = {
    "batch norm": (*_between(_IMAGE, lambda: nn.BatchNorm2d(4)), _TRACKED),
    "batch norm of a batch": (*_between(_IMAGE, lambda: nn.BatchNorm2d(4, track_running_stats=False)), _OWN),
    "batch norm without weights": (
        *_between(_IMAGE, lambda: nn.BatchNorm2d(4, affine=False)),
        {"a": "a.weight/0 a.bias/0 b.running_mean/0 b.running_var/0 c.weight/1 = 0..3"},
    ),
    "instance norm": (*_between(_IMAGE, lambda: nn.InstanceNorm2d(4, affine=True)), _OWN),
    "instance norm with statistics": (
        *_between(_IMAGE, lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        _TRACKED,
    ),
    "group norm": (
        *_between(_IMAGE, lambda: nn.GroupNorm(2, 4)),
        {
            "a column": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0,2 1,3",
            "a row": "a.weight/0 a.bias/0 b.weight/0 b.bias/0 c.weight/1 = 0-1 2-3",
        },
    ),
    "one group": (*_between(_IMAGE, lambda: nn.GroupNorm(1, 4)), _OWN),
    "as many groups as channels": (*_between(_IMAGE, lambda: nn.GroupNorm(4, 4)), _OWN),
    "layer norm": (
        lambda: line(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
        (2, 5, 3),
        _OWN,
    ),
    "layer norm without weights": (
        lambda: line(nn.Linear(3, 4), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 2)),
        (2, 5, 3),
        _FOUR,
    ),
    "layer norm over channels and pixels": (
        *_between(_IMAGE, lambda: nn.LayerNorm([4, 6, 6])),
        _OWN,
    ),
    "rms norm": (
        lambda: line(nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 2)),
        (2, 5, 3),
        {"a": "a.weight/0 a.bias/0 b.weight/0 c.weight/1 = 0..3"},
    ),
    "rms norm without weights": (
        lambda: line(nn.Linear(3, 4), nn.RMSNorm(4, elementwise_affine=False), nn.Linear(4, 2)),
        (2, 3),
        _FOUR,
    ),
    "prelu a channel": (
        *_between(_IMAGE, lambda: nn.PReLU(4)),
        {"a": "a.weight/0 a.bias/0 b.weight/0 c.weight/1 = 0..3"},
    ),
    "one prelu": (*_between(_IMAGE, nn.PReLU), _FOUR),
}

_KEEPS_CHANNELS = {
    "max_pool1d": (_LINE, lambda: nn.MaxPool1d(2)),
    "max_pool2d": (_IMAGE, lambda: nn.MaxPool2d(2)),
    "max_pool3d": (_VOLUME, lambda: nn.MaxPool3d(2)),
    "avg_pool1d": (_LINE, lambda: nn.AvgPool1d(2)),
    "avg_pool2d": (_IMAGE, lambda: nn.AvgPool2d(2)),
    "avg_pool3d": (_VOLUME, lambda: nn.AvgPool3d(2)),
    "adaptive_avg_pool1d": (_LINE, lambda: nn.AdaptiveAvgPool1d(2)),
    "adaptive_avg_pool2d": (_IMAGE, lambda: nn.AdaptiveAvgPool2d((2, 3))),
    "adaptive_avg_pool3d": (_VOLUME, lambda: nn.AdaptiveAvgPool3d(1)),
    "adaptive_max_pool1d": (_LINE, lambda: nn.AdaptiveMaxPool1d(2)),
    "adaptive_max_pool2d": (_IMAGE, lambda: nn.AdaptiveMaxPool2d((2, 3))),
    "adaptive_max_pool3d": (_VOLUME, lambda: nn.AdaptiveMaxPool3d(1)),
    "upsample_nearest1d": (_LINE, lambda: nn.Upsample(scale_factor=2)),
    "upsample_nearest2d": (_IMAGE, lambda: nn.Upsample(size=(7, 8))),
    "upsample_nearest3d": (_VOLUME, lambda: nn.Upsample(scale_factor=2)),
    "_upsample_nearest_exact1d": (_LINE, lambda: nn.Upsample(scale_factor=2, mode="nearest-exact")),
    "_upsample_nearest_exact2d": (_IMAGE, lambda: nn.Upsample(scale_factor=2, mode="nearest-exact")),
    "_upsample_nearest_exact3d": (_VOLUME, lambda: nn.Upsample(scale_factor=2, mode="nearest-exact")),
    "upsample_linear1d": (_LINE, lambda: nn.Upsample(scale_factor=2, mode="linear")),
    "upsample_bilinear2d": (_IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "upsample_bicubic2d": (_IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    "upsample_trilinear3d": (_VOLUME, lambda: nn.Upsample(scale_factor=2, mode="trilinear")),
    "_upsample_bilinear2d_aa": (
        _IMAGE,
        lambda: Net(lambda net, x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True)),
    ),
    "_upsample_bicubic2d_aa": (
        _IMAGE,
        lambda: Net(lambda net, x: F.interpolate(x, size=(3, 3), mode="bicubic", antialias=True)),
    ),
    "reflection_pad1d": (_LINE, lambda: nn.ReflectionPad1d(1)),
    "reflection_pad2d": (_IMAGE, lambda: nn.ReflectionPad2d((1, 2, 0, 1))),
    "replication_pad1d": (_LINE, lambda: nn.ReplicationPad1d(1)),
    "replication_pad2d": (_IMAGE, lambda: nn.ReplicationPad2d(1)),
}
_CONVS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
PIXELS = {
    name: (*_between(shape, layer, conv=_CONVS[len(shape)]), _FOUR) for name, (shape, layer) in _KEEPS_CHANNELS.items()
} | {
    "places of the largest": (
        *_between(_IMAGE, lambda: Net(lambda net, x: F.max_pool2d(x, 2, return_indices=True)[0])),
        _FOUR,
    ),
    "grid_sampler": (
        *_between(
            _IMAGE,
            lambda: Net(
                lambda net, x: F.grid_sample(x, net.g.expand(2, 3, 3, 2), align_corners=False), g=_w(1, 3, 3, 2)
            ),
        ),
        _FOUR,
    ),
    "pixel_shuffle": (
        lambda: line(nn.Conv2d(2, 12, 1), nn.PixelShuffle(2), nn.Conv2d(3, 2, 1)),
        _IMAGE,
        {"a": "a.weight/0 a.bias/0 = 0-3 4-7 8-11; c.weight/1 = 0..2"},
    ),
    "pixel_unshuffle": (
        lambda: line(nn.Conv2d(2, 3, 1), nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 1)),
        _IMAGE,
        {"a": "a.weight/0 a.bias/0 = 0..2; c.weight/1 = 0-3 4-7 8-11"},
    ),
    "channel_shuffle": (
        lambda: line(nn.Conv2d(2, 6, 1), nn.ChannelShuffle(2), nn.Conv2d(6, 2, 1)),
        _IMAGE,
        {  # channel 3 i + j becomes 2 j + i
            "a row": "a.weight/0 a.bias/0 = 0-2 3-5; c.weight/1 = 0,2,4 1,3,5",
            "a column": "a.weight/0 a.bias/0 = 0,3 1,4 2,5; c.weight/1 = 0-1 2-3 4-5",
        },
    ),
    "im2col": (
        lambda: line(nn.Conv2d(2, 3, 1), nn.Unfold(2), nn.Conv1d(12, 2, 1)),
        _IMAGE,
        {"a": "a.weight/0 a.bias/0 = 0..2; c.weight/1 = 0-3 4-7 8-11"},
    ),
    "im2col without a batch": (
        lambda: line(nn.Conv2d(2, 3, 1), nn.Unfold(2), nn.Conv1d(12, 2, 1)),
        (2, 5, 5),
        {"a": "a.weight/0 a.bias/0 = 0..2; c.weight/1 = 0-3 4-7 8-11"},
    ),
    "col2im": (
        lambda: line(nn.Conv1d(2, 12, 1), nn.Fold((4, 4), 2, stride=2), nn.Conv2d(3, 2, 1)),
        (1, 2, 4),
        {"a": "a.weight/0 a.bias/0 = 0-3 4-7 8-11; c.weight/1 = 0..2"},
    ),
}


class Attention(nn.Module):
    """Fused attention of `heads` queries to `shared` keys (width 3) and values (width 2)."""

    def __init__(self, heads=2, shared=2, scale=None, masked=False):
        super().__init__()
        self.heads, self.shared, self.width, self.depth, self.scale = heads, shared, 3, 2, scale
        self.q, self.k = nn.Linear(4, heads * 3), nn.Linear(4, shared * 3)
        self.v, self.o = nn.Linear(4, shared * 2), nn.Linear(heads * 2, 4)
        self.mask = nn.Parameter(torch.randn(1, heads, 5, 5)) if masked else None

    def forward(self, x):
        batch, steps, _ = x.shape
        q = self.q(x).view(batch, steps, self.heads, self.width).transpose(1, 2)
        k = self.k(x).view(batch, steps, self.shared, self.width).transpose(1, 2)
        v = self.v(x).view(batch, steps, self.shared, self.depth).transpose(1, 2)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=self.mask,
            scale=self.scale,
            is_causal=self.mask is None,
            enable_gqa=self.heads != self.shared,
        )
        return self.o(y.transpose(1, 2).reshape(batch, steps, self.heads * self.depth))


_HEADS = "q.weight/0 q.bias/0 k.weight/0 k.bias/0 = 0-2 3-5; v.weight/0 v.bias/0 o.weight/1 = 0-1 2-3"
_WIDTHS = {
    "q column": "q.weight/0 q.bias/0 k.weight/0 k.bias/0 = 0,3 1,4 2,5",
    "v column": "v.weight/0 v.bias/0 o.weight/1 = 0,2 1,3",
}
ATTENTIONS = {
    "default scale": (Attention, (2, 5, 4), {"q row": _HEADS, **_WIDTHS}),
    "given scale": (lambda: Attention(scale=0.5), (2, 5, 4), {"q row": _HEADS, **_WIDTHS}),
    "a mask for each head": (
        lambda: Attention(masked=True),
        (2, 5, 4),
        {"q row": _HEADS + "; mask/1 = 0 1", **_WIDTHS},
    ),
    "grouped queries": (
        lambda: Attention(heads=4),
        (2, 5, 4),
        {
            "q row": "q.weight/0 q.bias/0 = 0-5 6-11; o.weight/1 = 0-3 4-7; "
            "k.weight/0 k.bias/0 = 0-2 3-5; v.weight/0 v.bias/0 = 0-1 2-3",
            "q column": "q.weight/0 q.bias/0 = 0-2,6-8 3-5,9-11; o.weight/1 = 0-1,4-5 2-3,6-7",
            "q column~": "q.weight/0 q.bias/0 = 0,3,6,9 1,4,7,10 2,5,8,11; k.weight/0 k.bias/0 = 0,3 1,4 2,5",
            "v column": "o.weight/1 = 0,2,4,6 1,3,5,7; v.weight/0 v.bias/0 = 0,2 1,3",
        },
    ),
}

CASES = CONVOLUTIONS | MATRICES | NORMS | PIXELS | ATTENTIONS


@pytest.mark.parametrize("name", CASES)
def test_groups_are_exact_and_cuts_compute_what_masks_do(name):
    build, shape, expected = CASES[name]
    known = check_cuts(build(), (randn(*shape),), expected)
    assert known.notes == ()


def test_experts_lose_channels_in_fours():
    """torch takes matrices of experts only where a row of them is a multiple of 16 bytes."""
    model = shaken(
        Net(
            lambda net, x: net.b(torch._grouped_mm(net.a(x), net.w, offs=torch.tensor([2, 4], dtype=torch.int32))),
            a=nn.Linear(3, 8),
            w=_w(2, 8, 16),
            b=nn.Linear(16, 2),
        )
    )
    example = (randn(4, 3),)
    known = surgery.anatomy(model, example)
    assert found(known) == written({"a": "a.weight/0 a.bias/0 w/1 = 0..7", "w": "w/2 b.weight/1 = 0..15"})
    for group in known.groups:
        assert difference(model, known, group.atoms[2:6], example) < 1e-5


def test_weights_that_are_turned_first_know_their_roles():
    model = Net(lambda net, x: (x @ net.u.t()) @ net.v.transpose(0, 1), u=_w(4, 3), v=_w(2, 4))
    (group,) = surgery.anatomy(model, (randn(2, 3),)).groups
    assert {(slot.tensor, slot.dim): slot.role for slot in group.slots} == {("u", 0): "out", ("v", 1): "in"}


def test_letters_of_einsum_know_their_roles():
    model = Net(
        lambda net, x: torch.einsum("...h,hd->...d", torch.einsum("...d,dh", x, net.u), net.v), u=_w(3, 4), v=_w(4, 2)
    )
    (group,) = surgery.anatomy(model, (randn(2, 5, 3),)).groups
    assert {(slot.tensor, slot.dim): slot.role for slot in group.slots} == {("u", 1): "out", ("v", 0): "in"}


def test_biases_of_added_products_are_values_of_their_channels():
    model = Net(lambda net, x: torch.addmm(net.w, x, net.v) @ net.u, v=_w(3, 4), w=_w(4), u=_w(4, 2))
    (group,) = surgery.anatomy(model, (randn(2, 3),)).groups
    assert {slot.tensor: slot.role for slot in group.slots} == {"v": "out", "w": "each", "u": "in"}
