"""Torch-Pruning on the networks of the zoo: the peer of bench_structure.py.

    python benchmarks/structure_peer.py [NAME ...] > peer.json

MagnitudePruner (l2) at ratio 0.5 for every channel of every network, one step, heads ignored; everything else is its
default. It is given what its own examples for BERT, ViT and LLaMA give it: how many heads each layer of queries, keys
and values has; and after the cut the attributes that hold widths and heads are set anew. Two ways are tried, in the
order of its examples, and the first whose network still runs counts: narrower heads (ViT), then fewer heads (LLaMA,
whose rotary positions fix the width of a head).

A row: `ok`; `error` and `stage` (build, prune, forward, backward) where it is not; `seconds` of the CPU to build the
dependency graph and prune, median of 3 fresh models (of one where it takes over 5 s); `parameters` before, `left`
after; `removed` = 1 - left / parameters; `touched` = share of the parameters in tensors that became smaller. `ok` means
that the pruned network runs forward and backward with outputs of the same shapes and without NaN.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import nn

import structure_isolated as isolated
import structure_zoo as zoo

RATIO = 0.5
ROUNDS = 3
SLOW = 5  # seconds from which one round must do, so that the time limit is for one

PROJECTIONS = (  # how queries, keys and values are called
    *(("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"), ("q", "k", "v")),
    *(("query_proj", "key_proj", "value_proj"), ("q_proj", "kv_proj"), ("qkv",), ("qkv_proj",), ("Wqkv",)),
    *(("query_key_value",), ("c_attn",), ("in_proj",)),
)
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "heads", "nheads")
SHARED = ("num_key_value_heads", "num_kv_heads", "shared")
WIDTHS = ("all_head_size", "embed_dim", "hidden_size", "inner_dim", "split_size", "dim", "d_model", "attn_width")
HEAD_WIDTHS = ("attention_head_size", "head_dim", "head_size", "head_width", "attn_head_size", "dim_per_head")


@dataclass(frozen=True)
class Attention:
    """A module with projections; what of it has to be set anew after a cut."""

    module: nn.Module
    layers: tuple[nn.Linear, ...]  # queries first, or one fused
    heads: int
    shared: int  # heads of keys and values
    width: int  # of the queries, before the cut


def measured(name: str) -> isolated.Row:
    """The row of one network; runs in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    entry = zoo.find(name)
    first: isolated.Row = {}
    for whole in (False, True):
        row = _tried(entry, whole)
        if row["ok"]:
            more = ROUNDS - 1 if row["seconds"] < SLOW else 0
            times = [row["seconds"], *(_tried(entry, whole)["seconds"] for _ in range(more))]
            return {**row, "seconds": statistics.median(times), "heads": "fewer" if whole else "narrower"}
        first = first or row
        if not list(_attentions(entry.build())):
            break
    return first


def _tried(entry: zoo.Entry, whole: bool) -> isolated.Row:
    """One fresh model cut and run; `whole` takes heads out, else heads become narrower."""
    model, inputs = entry.build(), entry.example()
    with torch.no_grad():
        shapes = [item.shape for item in entry.output(model(*inputs))]
    sizes = {name: item.numel() for name, item in model.named_parameters()}
    before = sum(sizes.values())
    attentions = list(_attentions(model))
    stage = "build"
    try:
        start = time.process_time()
        pruner = _pruner(entry, model, attentions, whole)
        stage = "prune"
        pruner.step()
        seconds = time.process_time() - start
        for attention in attentions:
            _set_anew(attention, pruner.num_heads)
        stage = "forward"
        found = entry.output(model(*inputs))
        _check(shapes, found)
        stage = "backward"
        sum(item.sum() for item in found).backward()
    except Exception as error:  # noqa: BLE001  # whatever it raises is its answer
        return {"ok": False, "stage": stage, "error": isolated.explained(error), "parameters": before}
    left = {name: item.numel() for name, item in model.named_parameters()}
    touched = sum(size for name, size in sizes.items() if left.get(name) != size)
    return {
        "ok": True,
        "seconds": seconds,
        "parameters": before,
        "left": sum(left.values()),
        "removed": round(1 - sum(left.values()) / before, 4),
        "touched": round(touched / before, 4),
    }


def _pruner(entry: zoo.Entry, model: nn.Module, attentions: list[Attention], whole: bool) -> Any:
    heads: dict[nn.Module, int] = {}
    for item in attentions:
        query, *others = item.layers
        heads |= {query: item.heads, **dict.fromkeys(others, item.shared)}
    return torch_pruning.pruner.MagnitudePruner(
        model,
        entry.example(),
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        ignored_layers=[model.get_submodule(path) for path in entry.kept(model)],
        output_transform=lambda found: sum(item.sum() for item in entry.output(found)),
        num_heads=heads,
        prune_num_heads=whole,
        prune_head_dims=not whole,
        head_pruning_ratio=RATIO if whole else 0.0,
        in_channel_groups={},  # its defaults are dictionaries that all pruners of a process would share
        out_channel_groups={},
    )


def _check(shapes: list[torch.Size], found: tuple[torch.Tensor, ...]) -> None:
    """Raises: ValueError when an output has another shape than before, or NaN."""
    if [item.shape for item in found] != shapes:
        raise ValueError(f"outputs {[tuple(item.shape) for item in found]}, before {[tuple(item) for item in shapes]}")
    if not all(torch.isfinite(item).all() for item in found):
        raise ValueError("an output is not finite")


def _attentions(model: nn.Module) -> Iterator[Attention]:
    for module in model.modules():
        heads = _number(module, HEADS)
        for names in PROJECTIONS:
            layers = tuple(getattr(module, name, None) for name in names)
            if heads and all(isinstance(layer, nn.Linear) for layer in layers):
                yield Attention(module, layers, heads, _number(module, SHARED) or heads, layers[0].out_features)
                break


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    """The first of these attributes, of the module or of its configuration."""
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            value = getattr(holder, name, None)
            if type(value) is int:
                return value
    return None


def _set_anew(item: Attention, heads: dict[nn.Module, int]) -> None:
    """Widths and heads of an attention after the cut, as Torch-Pruning's examples do by hand."""
    query, *others = item.layers
    parts = 3 if not others and item.layers[0].out_features % 3 == 0 else 1
    count, shared = heads.get(query, item.heads), heads.get(others[-1], item.shared) if others else item.shared
    old, new = item.width // parts, query.out_features // parts
    changes = {
        **dict.fromkeys(HEADS, (item.heads, count)),
        **dict.fromkeys(SHARED, (item.shared, shared)),
        **dict.fromkeys(WIDTHS, (old, new)),
        **dict.fromkeys(HEAD_WIDTHS, (old // item.heads, new // max(count, 1))),
        "num_key_value_groups": (item.heads // item.shared, max(1, count // max(shared, 1))),
    }
    for name, (before, after) in changes.items():
        if vars(item.module).get(name) == before:
            setattr(item.module, name, after)


def main() -> int:
    """All networks, or those named, one after another; JSON on standard output."""
    names = sys.argv[1:] or [entry.name for entry in zoo.zoo()]
    rows = []
    for name in names:
        rows.append(isolated.run(measured, name))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
