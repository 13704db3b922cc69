import pytest
import torch
from torch.nn import functional as F

from featherweight.errors import UsageError
from featherweight.numerics.factor import bicluster, monochromatic


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def coloured(filters=96, colours=6):
    """Filters of few colours, in no order."""
    owners = torch.randperm(filters, generator=generator(3)) % colours
    return normal(colours, 3)[owners][:, :, None, None] * normal(filters, 1, 5, 5, seed=1)


def test_planted_colours_are_found_and_clusters_are_equal():
    kernel = coloured()
    found = monochromatic(kernel, 6, generator())
    assert torch.allclose(found.kernel(), kernel, atol=1e-9)
    assert found.colours.shape == (6, 3) and found.shapes.shape == (96, 5, 5)
    assert sorted(found.order.tolist()) == list(range(96))


def test_the_grouped_form_gives_the_same_as_the_sum():
    kernel = normal(12, 3, 3, 3)
    found = monochromatic(kernel, 4, generator())
    images = normal(2, 3, 8, 8, seed=5)
    mixed = F.conv2d(images, found.colours[:, :, None, None])
    grouped = F.conv2d(mixed, found.shapes[:, None], groups=4)[:, torch.argsort(found.order)]
    assert torch.allclose(grouped, F.conv2d(images, found.kernel()), atol=1e-9)


def test_as_many_colours_as_filters_lose_only_what_a_filter_alone_loses():
    kernel = normal(8, 3, 3, 3)
    lost = float((kernel - monochromatic(kernel, 8, generator()).kernel()).square().sum())
    alone = sum(float(torch.linalg.svdvals(item.flatten(1))[1:].square().sum()) for item in kernel)
    assert lost == pytest.approx(alone, rel=1e-9)


def blocks(groups, rank, seed):
    parts = []
    for group in range(groups[0]):
        row = []
        for other in range(groups[1]):
            source = 100 * seed + 10 * group + other
            outs, ins = normal(12, rank, seed=source), normal(12, rank, seed=source + 1000)
            row.append(torch.einsum("oa,abxy,ib->oixy", outs, normal(rank, rank, 3, 3, seed=source + 2000), ins))
        parts.append(torch.cat(row, dim=0))
    whole = torch.cat(parts, dim=1)
    return whole[torch.randperm(len(whole), generator=generator(seed))][
        :, torch.randperm(whole.shape[1], generator=generator(seed + 1))
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_blocks_are_found(seed):
    kernel = blocks((2, 2), 2, seed)
    found = bicluster(kernel, (2, 2), (2, 2), generator())
    assert torch.allclose(found.kernel(), kernel, atol=1e-8)
    assert sorted(found.inputs.tolist()) == sorted(found.outputs.tolist()) == list(range(24))


def test_full_ranks_in_the_blocks_change_nothing():
    kernel = normal(8, 6, 3, 3)
    assert torch.allclose(bicluster(kernel, (2, 4), (2, 3), generator()).kernel(), kernel, atol=1e-9)


def test_clusters_that_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="filters"):
        monochromatic(normal(10, 3, 3, 3), 4, generator())
    with pytest.raises(UsageError, match="inputs"):
        bicluster(normal(8, 6, 3, 3), (4, 2), (1, 1), generator())
