import pytest
import torch
from torch import nn

from featherweight.training.patches import output_space, patches

LAYERS = [
    nn.Conv2d(3, 4, 3),
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(2, 1), dilation=(1, 2)),
    nn.Conv2d(6, 4, 3, groups=2, padding=1, bias=False),
    nn.Conv2d(4, 4, 5, groups=4, stride=2, padding=2),
    nn.Conv2d(3, 4, 4, padding="same", dilation=1),
    nn.Conv2d(3, 4, 3, padding="valid"),
    *(nn.Conv2d(3, 4, 3, padding=2, padding_mode=mode) for mode in ("reflect", "replicate", "circular")),
    nn.Conv2d(3, 4, 4, padding="same", padding_mode="circular"),
    nn.Conv2d(5, 7, 1, stride=2),
    nn.Conv1d(3, 4, 5, stride=2, padding=1),
    nn.Conv1d(4, 6, 2, padding="same", groups=2),
    nn.Conv3d(2, 3, (2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 2), dilation=(2, 1, 1)),
    nn.Linear(5, 3),
]


def products(layer, found):
    """Patches times weight, for each group with its own channels, plus the bias."""
    groups = getattr(layer, "groups", 1)
    parts = zip(found.chunk(groups, 1), layer.weight.chunk(groups, 0), strict=True)
    out = torch.cat([patch.flatten(1) @ weight.flatten(1).T for patch, weight in parts], 1)
    return out if layer.bias is None else out + layer.bias


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_patches_times_weight_are_the_output(layer):
    """At every place, borders with their padding and all."""
    layer, generator = layer.double(), torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        value = torch.randn(2, 7, 3, 5, generator=generator).double()
        out = layer(value)
    else:
        value = torch.randn(2, layer.in_channels, *(9, 8, 7)[: len(layer.kernel_size)], generator=generator).double()
        out = layer(value).movedim(1, -1)
    assert output_space(layer, value) == tuple(out.shape[:-1])
    out = out.reshape(2, -1, out.shape[-1])
    positions = torch.stack([torch.randperm(out.shape[1], generator=generator) for _ in range(2)])
    found = patches(layer, value, positions)
    assert found.shape[1:] == (value.shape[-1 if isinstance(layer, nn.Linear) else 1], layer.weight[0, 0].numel())
    expected = torch.stack([out[example, positions[example]] for example in range(2)]).flatten(0, 1)
    assert torch.allclose(products(layer, found), expected, atol=1e-12)


def test_columns_lie_channel_by_channel_as_in_unfold():
    layer, value = nn.Conv2d(3, 4, 3, padding=1), torch.rand(2, 3, 5, 5)
    found = patches(layer, value, torch.arange(25).expand(2, -1))
    unfolded = nn.functional.unfold(value, 3, padding=1).transpose(1, 2).flatten(0, 1)
    assert torch.equal(found.flatten(1), unfolded)
