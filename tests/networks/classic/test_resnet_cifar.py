"""Residual networks of He et al. 2016 for CIFAR-10."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featherweight.core.optional import need
from featherweight.errors import MissingExtraError, UsageError
from featherweight.networks.classic.resnet_cifar import (
    ResNetCifar,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
)

SHARED = Path(__file__).parents[4] / "shared"


@pytest.mark.parametrize(
    ("build", "parameters", "million"),
    [(resnet20, 269_722, 0.27), (resnet32, 464_154, 0.46), (resnet44, 658_586, 0.66), (resnet56, 853_018, 0.85)],
)
def test_they_have_the_parameters_of_the_paper(build, parameters, million, count):
    assert count(build()) == parameters
    assert round(parameters / 1e6, 2) == million  # table 6 of the paper


def test_there_are_6n_plus_2_layers():
    model = ResNetCifar(110)
    layers = [item for item in model.modules() if isinstance(item, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 110


@pytest.mark.parametrize("depth", [2, 18, 21, -4])
def test_other_depths_are_refused(depth):
    with pytest.raises(UsageError, match="6n"):
        ResNetCifar(depth)


def test_shortcuts_subsample_and_fill_with_zero_channels():
    block = ResNetCifar(20).layer2[0].eval()
    with torch.no_grad():
        block.bn2.weight.zero_()  # nothing but the shortcut is left
        maps = torch.rand(1, 16, 6, 6)
        out = block(maps)
    assert out.shape == (1, 32, 3, 3)
    assert torch.equal(out[:, 8:24], maps[:, :, ::2, ::2])
    assert out[:, :8].abs().sum() == 0 and out[:, 24:].abs().sum() == 0


def test_it_comes_back_from_a_graph(comes_back):
    assert comes_back(resnet20(), torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize(("build", "file"), [(resnet20, "cifar10-resnet20"), (resnet32, "cifar10-resnet32")])
def test_published_weights_load_by_name(build, file):
    path = SHARED / "models" / f"{file}.safetensors"
    if not path.exists():
        pytest.skip(f"the published weights are not on this machine: {path.name}")
    model = build()
    model.load_state_dict(load_file(path))  # strict: every name, every shape
    assert all(torch.isfinite(item).all() for item in model.state_dict().values())


@pytest.mark.slow
def test_published_weights_classify():
    weights, data = SHARED / "models" / "cifar10-resnet20.safetensors", SHARED / "data" / "cifar10-jpeg.npz"
    if not (weights.exists() and data.exists()):
        pytest.skip("the published weights or the images are not on this machine")
    try:
        image = need("PIL.Image", extra="images", purpose="this test")
    except MissingExtraError as error:
        pytest.skip(str(error))
    model = resnet20().eval()
    model.load_state_dict(load_file(weights))
    images, labels = _test_images(image, data, 1000)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = ((images.float() / 255 - mean) / spread).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = model(inputs).argmax(1)
    # 81.0 % on all 10,000 images; three standard errors of 1,000
    assert (found == labels).float().mean().item() == pytest.approx(0.81, abs=0.038)


def _test_images(image, data, count):
    import io

    arrays = np.load(data)
    coded, offsets = arrays["jpeg_test"], arrays["offset_test"]
    parts = [coded[offsets[i] : offsets[i + 1]].tobytes() for i in range(count)]
    pixels = np.stack([np.asarray(image.open(io.BytesIO(part)).convert("RGB")) for part in parts])
    return torch.from_numpy(pixels), torch.from_numpy(arrays["y_test"][:count].astype(np.int64))
