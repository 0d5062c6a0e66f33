"""AlexNet and VGG-16 as lists of layers: their activations, sizes and files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unpaired.core.errors import UserError
from unpaired.networks.stacks import ALEXNET, VGG16, Convolution, Stack, minimum_size, until
from weights import random_stack


def test_activations_are_those_of_the_layers_in_a_row() -> None:
    weights = random_stack(ALEXNET)
    network = Stack(ALEXNET).load(weights, "file", "AlexNet")
    image = torch.rand(2, 3, 70, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # torchvision's `features`, written out, and its normalisation of images in [0, 1]
    reference = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    reference.load_state_dict({name.removeprefix("features."): value for name, value in weights.items()})
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = ((image + 1) / 2 - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    expected = {}
    with torch.no_grad():
        for number, layer in enumerate(reference):
            features = layer(features)
            expected[number] = features.clone()
        found = network(image, ["relu2", "relu5"])
    assert list(found) == ["relu2", "relu5"]
    torch.testing.assert_close(found["relu2"], expected[4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["relu5"], expected[11], rtol=1e-4, atol=1e-5)
    assert network.width("relu2") == 192
    assert not list(network.parameters())
    assert not network.state_dict()


def test_vgg16_counts_as_torchvision_does() -> None:
    keys = [layer.key for layer in VGG16 if isinstance(layer, Convolution)]
    assert keys == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    with torch.device("meta"):
        found = Stack(VGG16)(torch.zeros(1, 3, 64, 96), ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"])
    shapes = [tuple(features.shape[1:]) for features in found.values()]
    assert shapes == [(64, 64, 96), (128, 32, 48), (256, 16, 24), (512, 8, 12), (512, 4, 6)]


@pytest.mark.parametrize(
    ("layers", "least"), [(ALEXNET, 31), (VGG16, 16), (until(VGG16, "relu4_2"), 8), (until(VGG16, "relu1_2"), 1)]
)
def test_the_smallest_size_leaves_one_position(layers: tuple, least: int) -> None:  # type: ignore[type-arg]
    assert minimum_size(layers) == least
    name = layers[-1].name
    with torch.device("meta"):
        network = Stack(layers)
        assert network(torch.zeros(1, 3, least, least), [name])[name].shape[2:] == (1, 1)
        if least > 1:
            with pytest.raises(RuntimeError):
                network(torch.zeros(1, 3, least - 1, least), [name])


def test_weights_of_another_network_are_named() -> None:
    with pytest.raises(UserError, match=r"file does not hold the weights of VGG-16: features.0.weight should be \[64"):
        Stack(VGG16).load(random_stack(ALEXNET), "file", "VGG-16")
