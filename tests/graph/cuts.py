"""What tests of surgery share: networks in a line, groups written down by hand, and cut against masked."""

import copy

import numpy as np
import torch
from torch import nn

from featherweight.graph import surgery
from featherweight.graph.masked import Masked
from featherweight.graph.module import tensors_of
from featherweight.graph.program import tensors_in


class Net(nn.Module):
    """A network whose code is `body(net, *inputs)`; keywords are its modules, parameters and settings."""

    def __init__(self, body, **parts):
        super().__init__()
        self.body = body
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.body(self, *inputs)


def shaken(model):
    """The model with nothing left constant: biases, norms and statistics all differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.add_(noise.abs() * 0.3 if "var" in name else noise * 0.1)
    return model.eval()


def difference(model, known, atoms, example):
    """The largest difference between the cut network and the masked one."""
    gone = known.gone(atoms)
    cut = surgery.remove(model, known, atoms, verify=False)
    with torch.no_grad():
        found = list(tensors_in(torch.utils._pytree.tree_leaves(cut(*copy.deepcopy(example)))))
    masked = Masked(known.structure, tensors_of(known.structure.flow.graph, model))
    expected = list(tensors_in(masked.run(list(tensors_in(example)), gone)))
    assert [item.shape for item in found] == [item.shape for item in expected]
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a.is_floating_point()]
    return max(float((a - b).abs().max()) for a, b in pairs)


def places(text):
    """Index sets, one for each channel: "0 1 2" has three channels of one place, "0..2" too, "0,3 1,4" two of two,
    "0-2 3-5" two of three places in a row."""
    found = []
    for word in text.split():
        if ".." in word:
            first, last = map(int, word.split(".."))
            found += [[place] for place in range(first, last + 1)]
        else:
            spans = [[int(end) for end in part.split("-")] for part in word.split(",")]
            found.append([place for span in spans for place in range(span[0], span[-1] + 1)])
    return found


def written(expected):
    """Groups from {"name" or "name kind": "a.weight/0 a.bias/0 = 0..3; b.weight/1 = 0,4 1,5 ..."}; a second group of
    the same name and kind has a "~" at its end."""
    groups = []
    for title, text in expected.items():
        name, _, kind = title.rstrip("~").partition(" ")
        slots = {}
        for part in filter(None, map(str.strip, text.split(";"))):
            left, right = part.split("=")
            slots.update(dict.fromkeys(left.split(), places(right)))
        groups.append((name, kind or "channel", dict(sorted(slots.items()))))
    return sorted(groups, key=str)


def found(known):
    """The same of an anatomy."""
    groups = [
        (item.name, item.kind, {f"{slot.tensor}/{slot.dim}": slot.index.tolist() for slot in item.slots})
        for item in known.groups
    ]
    return sorted(((name, kind, dict(sorted(slots.items()))) for name, kind, slots in groups), key=str)


def check_cuts(model, example, expected=None):
    """The groups are those that were written down, and what is cut computes what is masked for each of them: without
    the first channel, without the second, and with one alone. Gives the anatomy."""
    model = shaken(model)
    known = surgery.anatomy(model, example)
    if expected is not None:
        assert found(known) == written(expected)
    for group in known.groups:
        for atoms in (group.atoms[:1], group.atoms[1:2], group.atoms[1:]) if len(group) > 1 else ():
            assert difference(model, known, atoms, example) < 1e-5, (group.name, group.kind, len(atoms))
    return known


def randn(*shape):
    """Numbers that depend on the shape alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(np.prod(shape))))
