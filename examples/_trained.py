"""Trains the network of an example once and keeps it in the user's cache: what the tasks of this folder share."""

import contextlib
import hashlib
import sys
from collections.abc import Callable

import torch
from safetensors.torch import load_file, save
from torch import nn

import featherweight as fw
from featherweight.core.atomic import write_atomically
from featherweight.core.context import Finetuning
from featherweight.data.base import Splits
from featherweight.data.places import cache_folder


def trained(build: Callable[[], nn.Module], splits: Splits, training: fw.Training, *, name: str, seed: int) -> fw.Task:
    """A task whose network is trained as `training` says; the same arguments give the same weights.

    The weights are kept under a name made of everything they depend on, so that a change of any of it trains anew.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    task = fw.Task(
        model=model,
        example=splits.train.gather(torch.arange(1)).inputs,
        training=training,
        name=name,
        **splits.as_task(),
    )
    words = repr((fw.__version__, torch.__version__, str(model), training, seed, splits.name, len(splits.train)))
    place = cache_folder() / "examples" / f"{name}-{hashlib.sha256(words.encode()).hexdigest()[:16]}.safetensors"
    if place.is_file():
        model.load_state_dict(load_file(place))
        return task
    say(f"{name}: training the dense network once, {training.epochs:g} epochs on {splits.describe()}")
    settings = Finetuning(epochs=training.epochs, learning_rate=training.learning_rate)
    fw.Context(task, seed=seed).finetune(model, settings)
    with contextlib.suppress(OSError, fw.FeatherweightError):  # without a cache it is trained again next time
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, save(model.state_dict()))
    return task


def say(text: str) -> None:
    """News on the standard error, so that what programs read from the standard output stays clean."""
    sys.stderr.write(f"{text}\n")
