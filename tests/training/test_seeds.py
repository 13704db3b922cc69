import random

import numpy as np
import torch

from featherweight.training.seeds import derive, generator, own_randomness, seed_everything

CPU = torch.device("cpu")


def test_seeds_are_pinned() -> None:
    # every stored run depends on these numbers
    assert derive(0, "order", 1) == 8444176558443591710


def test_different_words_give_unrelated_seeds() -> None:
    seeds = {derive(0), derive(1), derive(0, "a"), derive(0, "a", "b"), derive(0, "ab"), derive(0, 1), derive(0, "1")}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_words_give_the_same_numbers() -> None:
    first = torch.rand(5, generator=generator(3, "noise"))
    assert torch.equal(first, torch.rand(5, generator=generator(3, "noise")))
    assert not torch.equal(first, torch.rand(5, generator=generator(3, "else")))


def test_own_randomness_leaves_the_users_generators_alone() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    seed_everything(1, CPU)
    undisturbed = [draw(), draw()]
    seed_everything(1, CPU)
    first = draw()
    with own_randomness(CPU):
        seed_everything(99, CPU)
        draw()
    assert [first, draw()] == undisturbed
