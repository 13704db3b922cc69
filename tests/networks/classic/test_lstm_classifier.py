"""The LSTM classifier."""

import torch

from featherweight.networks.classic.lstm_classifier import LstmClassifier


def test_it_has_the_parameters_of_the_formula(count):
    assert count(LstmClassifier()) == 4 * 128 * (28 + 128 + 2) + 128 * 10 + 10 == 82_186
    assert count(LstmClassifier(width=6, hidden=16, classes=3)) == 4 * 16 * (6 + 16 + 2) + 16 * 3 + 3


def test_an_image_is_the_sequence_of_its_rows():
    model, images = LstmClassifier(hidden=8), torch.randn(3, 1, 28, 28)
    assert torch.equal(model(images), model(images[:, 0]))
    assert model(images).shape == (3, 10)


def test_the_last_step_decides():
    model = LstmClassifier(width=4, hidden=8, layers=2)
    sequence = torch.randn(1, 5, 4)
    changed = sequence.clone()
    changed[:, 0] += 1
    assert not torch.equal(model(sequence), model(changed))
    steps, _ = model.lstm(sequence)
    torch.testing.assert_close(model(sequence), model.fc(steps[:, 4]))


def test_it_comes_back_from_a_graph(comes_back):
    assert comes_back(LstmClassifier(hidden=8, layers=2), torch.randn(1, 1, 28, 28))
