"""Networks of tokens are refused wherever layers are asked for, and can be attacked; hybrids are accepted."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from gazeshift import attack, look
from gazeshift.errors import NoMapsError
from gazeshift.models import Classifier

TOKENS = {  # network and the size of its images
    "test_vit": 160,  # timm's own small ones
    "test_vit_relpos": 160,
    "deit_tiny_distilled_patch16_224": 224,
    "eva02_tiny_patch14_224": 224,
    "swin_tiny_patch4_window7_224": 224,  # channels last throughout
    "mixer_s16_224": 224,
    "resmlp_12_224": 224,
    "hiera_tiny_224": 224,
    "levit_128s": 224,  # four convolutions, then tokens
    "xcit_nano_12_p16_224": 224,  # a convolution beside each block, of which no map shows the block
}
MAPS = {
    "test_convnext": 160,
    "test_byobnet": 160,
    "test_nfnet": 160,
    "test_mambaout": 160,
    "levit_conv_128s": 224,  # the same attention on maps
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "mobilevit_xxs": 64,
    "edgenext_xx_small": 64,
    "coatnet_pico_rw_224": 224,
    "convmixer_768_32": 64,
}


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """Random numbers for weights take longer than everything else here, and no layer depends on them."""
    for fill in ("uniform_", "normal_", "erfinv_"):
        monkeypatch.setattr(torch.Tensor, fill, lambda tensor, *_, **__: tensor.detach().zero_())


@pytest.mark.parametrize("name", TOKENS)
def test_a_network_of_tokens_is_refused(name):
    classifier = Classifier(timm.create_model(name), name=name, own=True)
    with pytest.raises(NoMapsError, match=f"{name} works on tokens, as transformers and MLP-Mixers do: ") as told:
        classifier.layers((TOKENS[name], TOKENS[name]))
    assert "gazeshift attack" in str(told.value)


@pytest.mark.parametrize("name", MAPS)
def test_a_network_of_maps_is_not(name):
    layers = Classifier(timm.create_model(name), name=name, own=True).layers((MAPS[name], MAPS[name]))
    assert layers.unseen < 0.2
    assert sum("trunk" in layer.kinds for layer in layers) >= 5


@pytest.mark.parametrize(("name", "has_maps"), [("swin_t", False), ("swin_v2_t", False), ("maxvit_t", True)])
def test_torchvision(name, has_maps):
    classifier = Classifier(torchvision.models.get_model(name, weights=None), name=name, own=True)
    if has_maps:
        assert classifier.layers((224, 224)).unseen == 0
    else:
        with pytest.raises(NoMapsError, match="works on tokens"):
            classifier.layers((224, 224))


class Tokens(nn.Module):
    """Patches, `depth` linear layers on them, and a head."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = tokens + torch.relu(layer(tokens))
        return self.head(tokens.mean(1))


@pytest.mark.parametrize("depth", range(5))
def test_the_share_is_counted_by_hand(depth):
    """`depth` of depth + 2 layers of weights that work on more than one place; the head works on one."""
    classifier = Classifier(Tokens(depth), name="tokens")
    if depth > 2:
        with pytest.raises(NoMapsError, match=rf"tokens works .*: {depth} of its {depth + 2} layers of weights"):
            classifier.layers((16, 16))
    else:
        assert classifier.layers((16, 16)).unseen == depth / (depth + 2)


def test_a_head_is_no_depth():
    """LeNet: two convolutions and three linear layers, these with most of the weights."""
    head = (nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), *head)
    assert Classifier(network, name="lenet").layers((16, 16)).unseen == 0


class Hidden(torch.autograd.Function):
    """Changes a tensor where torch functions do not show how."""

    @staticmethod
    def forward(_context, tokens):
        return torch.from_numpy(tokens.numpy() * 2)

    @staticmethod
    def backward(_context, gradient):
        return gradient * 2


def test_a_way_back_that_is_lost_is_told_by_time():
    class Lost(Tokens):
        def forward(self, images):
            tokens = self.stem(images).flatten(2).transpose(1, 2)
            for layer in self.layers:
                tokens = layer(tokens)
            return self.head(Hidden.apply(tokens.mean(1)))

    with pytest.raises(NoMapsError, match="4 of its 6 layers of weights"):
        Classifier(Lost(4), name="lost").layers((16, 16))
    assert Classifier(Lost(1), name="lost").layers((16, 16)).unseen == 1 / 3


def test_tokens_may_be_written_in_any_way():
    class Written(Tokens):
        """Weights multiplied by @, by einsum and in place, in a slice."""

        def forward(self, images):
            tokens = self.stem(images).permute(0, 2, 3, 1).clone()
            for at, layer in enumerate(self.layers):
                if at % 3 == 0:
                    tokens = tokens @ layer.weight
                elif at % 3 == 1:
                    tokens[:, 1:] = torch.einsum("nhwc,cd->nhwd", tokens[:, 1:], layer.weight)
                else:
                    tokens[..., :4] += functional.linear(tokens, layer.weight)[..., :4]
            return self.head(tokens.mean((1, 2)))

    with pytest.raises(NoMapsError, match="6 of its 8 layers of weights"):
        Classifier(Written(6), name="written").layers((16, 16))


def test_a_network_of_tokens_is_not_looked_at_and_can_be_attacked():
    classifier = Classifier(Tokens(4), name="tokens")
    images = torch.rand(2, 3, 16, 16)
    for layers in ("trunk", "*", "stem.0"):
        with pytest.raises(NoMapsError, match="works on tokens"):
            look(classifier, images, layers=layers)
    assert attack(classifier, images, by="fgsm").images.shape == images.shape
