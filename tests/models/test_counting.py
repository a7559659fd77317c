"""Passes are counted by the thread that makes them, and a count within a count adds to it."""

import torch
from torch import nn

import gazeshift as gs


def test_counts_within_a_count_add_to_it():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = gs.Classifier(network, name="toy")
    images = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    with classifier.counting() as whole:
        found = gs.attack(classifier, images, by="pgd:epsilon=2/255,steps=3")
        with classifier.counting() as part:
            gs.look(classifier, images, layers="convs")
    assert (part.forwards, part.backwards) == (2, 2)
    assert whole.backwards == 2 * 3 + 2
    assert found.backwards == 3
    assert whole.forwards == 2 * (2 + found.forwards) + 2, "clean, attacked, judged; looked at"
