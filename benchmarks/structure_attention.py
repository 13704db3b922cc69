"""Attention in the forms that are written by hand, and a small transformer around them: for structure_tricky.py.

Each attention takes and gives steps (batch, steps, 64).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
WIDTH = 64


class FusedAttention(nn.Module):
    """Attention with one matrix for q, k and v, whose width is read off the input: `C // heads`."""

    def __init__(self, width: int = WIDTH, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, steps: Tensor) -> Tensor:
        batch, count, width = steps.shape
        fused = self.qkv(steps).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = fused.unbind(0)
        weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(batch, count, width))
        return mixed


class GroupedAttention(nn.Module):
    """Grouped-query attention written by hand: 8 heads of queries share 2 of keys and values."""

    def __init__(self, width: int = WIDTH, heads: int = 8, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared, self.head_width = heads, shared, width // heads
        self.q_proj = nn.Linear(width, heads * self.head_width, bias=False)
        self.k_proj = nn.Linear(width, shared * self.head_width, bias=False)
        self.v_proj = nn.Linear(width, shared * self.head_width, bias=False)
        self.o_proj = nn.Linear(heads * self.head_width, width, bias=False)

    def forward(self, steps: Tensor) -> Tensor:
        batch, count, _ = steps.shape
        query = self.q_proj(steps).view(batch, count, self.heads, self.head_width).transpose(1, 2)
        key = self.k_proj(steps).view(batch, count, self.shared, self.head_width).transpose(1, 2)
        value = self.v_proj(steps).view(batch, count, self.shared, self.head_width).transpose(1, 2)
        key = key.repeat_interleave(self.heads // self.shared, dim=1)
        value = value.repeat_interleave(self.heads // self.shared, dim=1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, count, -1))
        return out


class Transformer(nn.Module):
    """Two blocks of an attention and a gated layer, with learnt positions and a class token."""

    def __init__(self, attention: Callable[[], nn.Module], norm: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 13, WIDTH))
        self.attentions = nn.ModuleList(attention() for _ in range(2))
        self.norms = nn.ModuleList(norm(WIDTH) for _ in range(4))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 2 * 96) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(96, WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, steps: Tensor) -> Tensor:
        steps = torch.cat([self.token.expand(steps.shape[0], -1, -1), steps], 1) + self.positions
        for index, attention in enumerate(self.attentions):
            steps = steps + attention(self.norms[2 * index](steps))
            gate, value = self.up[index](self.norms[2 * index + 1](steps)).chunk(2, dim=-1)
            steps = steps + self.down[index](functional.silu(gate) * value)
        logits: Tensor = self.head(steps[:, 0])
        return logits


class TorchAttention(nn.Module):
    """nn.MultiheadAttention, which keeps q, k and v in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, steps: Tensor) -> Tensor:
        mixed: Tensor = self.attention(steps, steps, steps, need_weights=False)[0]
        return mixed
