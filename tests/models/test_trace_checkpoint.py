"""Networks that would run parts of themselves again in the backward pass: the same maps as of those that do not."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

from gazeshift import attack, look
from gazeshift.errors import ModelError
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


class Recomputing(nn.Module):
    """Calls torch's checkpointing by itself, with no flag to switch off."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        blocks = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()
        self.conv, self.head, self.reentrant = nn.Sequential(*blocks), nn.Linear(4, 3), reentrant

    def forward(self, images):
        return self.head(checkpoint(self.conv, images, use_reentrant=self.reentrant).mean((2, 3)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_network_that_checkpoints_by_itself_is_told_as_such(reentrant):
    classifier = Classifier(Recomputing(reentrant=reentrant), name="toy")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    message = r"recomputes parts of itself in the backward pass \(torch.utils.checkpoint\)"
    with pytest.raises(ModelError, match=message):
        attack(classifier, images, by="fgsm") if reentrant else look(classifier, images, layers="conv.0")
