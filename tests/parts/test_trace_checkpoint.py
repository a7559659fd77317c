"""Networks that would run parts of themselves again in the backward pass: the same maps as of those that do not."""

import pytest
import timm
import torch
import torchvision

from gazeshift import attack, look
from gazeshift.models import Classifier


def from_timm(*, checkpointing):
    network = timm.create_model("test_resnet", num_classes=4)
    network.set_grad_checkpointing(checkpointing)
    return network


def from_torchvision(*, checkpointing):
    """DenseNet calls it memory-efficient."""
    return torchvision.models.DenseNet(4, (2, 2), 8, num_classes=4, memory_efficient=checkpointing)


@pytest.mark.parametrize("make", [from_timm, from_torchvision])
def test_gradient_checkpointing(make):
    """Each layer by itself: its graph then begins inside a part that would be run again, without that beginning."""
    torch.manual_seed(0)
    plain = Classifier(make(checkpointing=False), name="plain")
    network = make(checkpointing=True)
    network.load_state_dict(plain.module.state_dict())
    checkpointed = Classifier(network, name="plain")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for layer in [layer.name for layer in plain.layers((64, 64))]:
        found, wanted = (look(one, images, layers=layer).maps(layer) for one in (checkpointed, plain))
        assert torch.equal(found, wanted)
    attacked = [attack(one, images, by="fgsm").images for one in (checkpointed, plain)]
    assert torch.equal(*attacked)
