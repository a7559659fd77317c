"""Finding layers leaves no trace, is the same every time, and may be done by several threads at once."""

import copy
import sys
import threading
import time

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gazeshift.models import Classifier, load


def fingerprint(module):
    """Everything that finding layers could leave behind."""
    return {
        name: (
            part.training,
            len(part._forward_hooks),
            len(part._forward_pre_hooks),
            len(part._backward_hooks),
            [
                (key, value.requires_grad, value.grad, value._version)
                for key, value in part._parameters.items()
                if value is not None
            ],
            [(key, value._version) for key, value in part._buffers.items() if value is not None],
            sorted(vars(part)),
        )
        for name, part in module.named_modules()
    }


def test_the_network_is_left_as_it_was():
    classifier = load("torchvision:resnet18", weights="random", device="cpu", input_size=64)
    before, hash_before = fingerprint(classifier.module), classifier.weights_sha256
    state, grad = torch.get_rng_state(), torch.is_grad_enabled()
    classifier.layers()
    assert fingerprint(classifier.module) == before
    assert classifier.weights_sha256 == hash_before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() == grad


def test_nothing_survives_a_network_that_fails():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2))
    classifier = Classifier(network, name="toy")
    before = fingerprint(classifier.module)
    for _ in range(2):
        try:
            classifier.layers((16, 16))
        except ValueError:
            assert fingerprint(classifier.module) == before
        else:
            raise AssertionError
    assert torch.ones(2).add(1).sum() == 4  # no function mode is left on


def test_the_answer_does_not_depend_on_modes_around_it():
    class Counting(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    def layers():
        return load("timm:resnet18", weights="random", device="cpu", input_size=64).layers()

    expected = layers()
    with torch.no_grad():
        assert layers() == expected
    with torch.inference_mode():
        assert layers() == expected
    with Counting():
        assert layers() == expected


def test_the_answer_is_kept_per_size():
    classifier = load("torchvision:resnet18", weights="random", device="cpu")
    assert classifier.layers((64, 64)) is classifier.layers((64, 64))
    assert [layer.shape[1:] for layer in classifier.layers((64, 96)) if "block" in layer.kinds][-1] == (2, 3)
    assert classifier.layers()[0].shape == (64, 112, 112)


def test_the_grey_image_is_nobodys_pass():
    classifier = load("torchvision:resnet18", weights="random", device="cpu", input_size=64)
    with classifier.counting() as passes:
        classifier.layers()
    assert (passes.forwards, passes.backwards) == (0, 0)


def test_several_threads_find_the_same_while_others_use_the_network():
    classifier = load("torchvision:resnet18", weights="random", device="cpu", input_size=64)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, logits = copy.deepcopy(classifier).layers((64, 64)), classifier(images)
    found, answers, stop = {}, [], threading.Event()

    def use():
        while not stop.is_set():
            with torch.no_grad():
                answers.append(classifier(images))

    def find(at):
        found[at] = [classifier.layers((64 + 32 * (at % 2), 64)), classifier.layers((64, 64))]

    workers = [threading.Thread(target=use) for _ in range(2)]
    finders = [threading.Thread(target=find, args=(at,)) for at in range(4)]
    for thread in (*workers, *finders):
        thread.start()
    for thread in finders:
        thread.join()
    stop.set()
    for thread in workers:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    assert all(both[1] == expected for both in found.values())
    assert answers
    assert all(torch.equal(answer, logits) for answer in answers)


def test_two_classifiers_of_one_network_in_two_threads():
    """Hooks of one thread's pass ignore the other's, though the module is the same."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    both = [Classifier(network, name="toy", own=True) for _ in range(2)]
    found = []
    threads = [
        threading.Thread(target=lambda one=one, n=n: found.append((n, one.layers((n, n)))))
        for n in range(8, 24)
        for one in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    assert all([layer.shape for layer in layers] == [(4, n - 2, n - 2)] for n, layers in found)


def test_how_long_it_takes(record_property, capsys):
    classifier = load("torchvision:resnet50", weights="random", device="cpu")
    images = torch.full((1, 3, 224, 224), 0.5)
    with torch.no_grad():
        classifier(images)
        started = time.perf_counter()
        classifier(images)
        forward = time.perf_counter() - started
    started = time.perf_counter()
    classifier.layers()
    seconds = time.perf_counter() - started
    record_property("seconds", seconds)
    with capsys.disabled():
        sys.stdout.write(f"\nlayers of ResNet-50 at 224: {seconds:.2f} s; one forward pass: {forward:.2f} s\n")
    assert seconds < 10 * forward + 2
