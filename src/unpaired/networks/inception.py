"""The network of FID: Inception-v3 as TensorFlow shipped it on 2015-12-05, up to its 2048 features.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision" (2016); features
for FID by Heusel et al. (2017). The published graph differs from the paper in two ways, and so does everything that
reproduces FID: average poolings do not count the border, and the last block pools by the maximum.

The architecture is written here, and not taken from torch-fidelity, because that package needs torchvision, which
cannot even be imported beside a PyTorch of another build (such as the one for CPUs alone). The tests compare the
two where both are installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self, final

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError

DIM = 2048
"""Features of an image: the last block, averaged over its 8 x 8 positions."""
SIZE = 299
"""Pixels of the square that every image is resized to."""
IGNORED = ("fc.weight", "fc.bias")
"""The classifier of 1008 classes, which the file holds and features do not need."""
COUNTER = ".num_batches_tracked"
"""Ending of what some versions of PyTorch store with a batch normalisation; it plays no part here."""


class _Step(NamedTuple):  # padded so that the size stays, or of stride 2 without padding
    name: str
    width: int
    height: int
    breadth: int
    stride: int = 1


class _Branch(NamedTuple):  # a pooling, convolutions in a row, and a fork whose ends are joined
    steps: tuple[_Step, ...]
    pool: Literal["none", "average", "maximum", "halving"] = "none"
    fork: tuple[_Step, ...] = ()


def _square(name: str, width: int, size: int, stride: int = 1) -> _Step:
    return _Step(name, width, size, size, stride)


def _block_35(pooled: int) -> tuple[_Branch, ...]:
    return (
        _Branch((_square("branch1x1", 64, 1),)),
        _Branch((_square("branch5x5_1", 48, 1), _square("branch5x5_2", 64, 5))),
        _Branch(_tripled()),
        _Branch((_square("branch_pool", pooled, 1),), "average"),
    )


def _tripled(stride: int = 1) -> tuple[_Step, ...]:
    first, second = _square("branch3x3dbl_1", 64, 1), _square("branch3x3dbl_2", 96, 3)
    return first, second, _square("branch3x3dbl_3", 96, 3, stride)


def _block_17(width: int) -> tuple[_Branch, ...]:
    """Return the branches of a block at 17 x 17: convolutions of 7 x 7, each as 1 x 7 and 7 x 1."""
    row, column = _Step("branch7x7_2", width, 1, 7), _Step("branch7x7_3", 192, 7, 1)
    doubled = (
        _square("branch7x7dbl_1", width, 1),
        _Step("branch7x7dbl_2", width, 7, 1),
        _Step("branch7x7dbl_3", width, 1, 7),
        _Step("branch7x7dbl_4", width, 7, 1),
        _Step("branch7x7dbl_5", 192, 1, 7),
    )
    return (
        _Branch((_square("branch1x1", 192, 1),)),
        _Branch((_square("branch7x7_1", width, 1), row, column)),
        _Branch(doubled),
        _Branch((_square("branch_pool", 192, 1),), "average"),
    )


def _block_8(pool: Literal["average", "maximum"]) -> tuple[_Branch, ...]:
    fork = _Step("branch3x3_2a", 384, 1, 3), _Step("branch3x3_2b", 384, 3, 1)
    second = _Step("branch3x3dbl_3a", 384, 1, 3), _Step("branch3x3dbl_3b", 384, 3, 1)
    return (
        _Branch((_square("branch1x1", 320, 1),)),
        _Branch((_square("branch3x3_1", 384, 1),), fork=fork),
        _Branch((_square("branch3x3dbl_1", 448, 1), _square("branch3x3dbl_2", 384, 3)), fork=second),
        _Branch((_square("branch_pool", 192, 1),), pool),
    )


_TO_17 = (_Branch((_square("branch3x3", 384, 3, 2),)), _Branch(_tripled(2)), _Branch((), "halving"))
_SEVEN = (
    _square("branch7x7x3_1", 192, 1),
    _Step("branch7x7x3_2", 192, 1, 7),
    _Step("branch7x7x3_3", 192, 7, 1),
    _square("branch7x7x3_4", 192, 3, 2),
)
_TO_8 = (
    _Branch((_square("branch3x3_1", 192, 1), _square("branch3x3_2", 320, 3, 2))),
    _Branch(_SEVEN),
    _Branch((), "halving"),
)


class _Convolution(nn.Module):
    def __init__(self, channels: int, width: int, kernel: tuple[int, int], *, stride: int = 1, padded: bool = True):
        super().__init__()
        padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, features: Tensor) -> Tensor:
        return nnf.relu_(self.bn(self.conv(features)))


class _Block(nn.Module):
    """Several branches side by side; what they return is joined along the channels."""

    def __init__(self, channels: int, branches: tuple[_Branch, ...]):
        super().__init__()
        self.branches = branches
        self.width = 0
        for branch in branches:
            width = channels
            for step in branch.steps:
                width = self._add(width, step)
            for step in branch.fork:
                self._add(width, step)
            self.width += sum(step.width for step in branch.fork) or width

    def _add(self, channels: int, step: _Step) -> int:
        convolution = _Convolution(
            channels, step.width, (step.height, step.breadth), stride=step.stride, padded=step.stride == 1
        )
        self.add_module(step.name, convolution)
        return step.width

    def forward(self, features: Tensor) -> Tensor:
        parts = dict(self.named_children())
        joined: list[Tensor] = []
        for branch in self.branches:
            found = _pooled(features, branch.pool)
            for step in branch.steps:
                found = parts[step.name](found)
            joined += [parts[step.name](found) for step in branch.fork] or [found]
        return torch.cat(joined, 1)


def _pooled(features: Tensor, pool: Literal["none", "average", "maximum", "halving"]) -> Tensor:
    if pool == "average":  # TensorFlow divides by the positions inside the image, not by 9
        return nnf.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
    if pool == "maximum":
        return nnf.max_pool2d(features, 3, stride=1, padding=1)
    return nnf.max_pool2d(features, 3, stride=2) if pool == "halving" else features


@final
class Inception(nn.Module):
    """Colour images [N, 3, H, W] of levels 0 to 255 to the features of FID, [N, 2048]; any size is resized to 299.

    The network is fixed: it stays in evaluation mode and has no gradients. `load` brings its weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, (3, 3), stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, (3, 3), padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Convolution(80, 192, (3, 3), padded=False)
        self.Mixed_5b = _Block(192, _block_35(32))
        self.Mixed_5c = _Block(256, _block_35(64))
        self.Mixed_5d = _Block(288, _block_35(64))
        self.Mixed_6a = _Block(288, _TO_17)
        self.Mixed_6b = _Block(768, _block_17(128))
        self.Mixed_6c = _Block(768, _block_17(160))
        self.Mixed_6d = _Block(768, _block_17(160))
        self.Mixed_6e = _Block(768, _block_17(192))
        self.Mixed_7a = _Block(768, _TO_8)
        self.Mixed_7b = _Block(1280, _block_8("average"))
        self.Mixed_7c = _Block(2048, _block_8("maximum"))
        self.requires_grad_(False)
        self.eval()

    def load(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Take weights named as pytorch-fid and torch-fidelity name them; UserError, with `origin`, for others."""
        own = {name: value for name, value in self.state_dict().items() if not name.endswith(COUNTER)}
        missing = [name for name in own if name not in weights]
        strange = [name for name in weights if name not in own and name not in IGNORED and not name.endswith(COUNTER)]
        wrong = [name for name in own if name in weights and weights[name].shape != own[name].shape]
        if missing or strange or wrong:
            raise UserError(_refusal(origin, missing, strange, wrong))
        for name, value in own.items():
            value.copy_(weights[name])

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked: the statistics of the normalisations are fixed."""
        return super().train(False)

    def forward(self, levels: Tensor) -> Tensor:
        features = (resize_as_tensorflow(levels, SIZE) - 128) / 128
        features = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(features)))
        features = nnf.max_pool2d(features, 3, stride=2)
        features = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(features))
        features = nnf.max_pool2d(features, 3, stride=2)
        for block in (self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c):
            features = block(features)
        for block in (self.Mixed_6d, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c):
            features = block(features)
        return features.mean((2, 3))


def resize_as_tensorflow(images: Tensor, size: int) -> Tensor:
    """Resize [N, C, H, W] to a square by bilinear interpolation as TensorFlow 1 did it, which FID's figures assume.

    Position i of the result is read at i * old / new (the corner of a pixel, not its middle) and nothing is smoothed
    before shrinking.
    """
    low, high, share = _positions(images.shape[3], size, images)
    left, right = images[..., low], images[..., high]
    images = left + (right - left) * share
    low, high, share = _positions(images.shape[2], size, images)
    above, below = images[:, :, low], images[:, :, high]
    return above + (below - above) * share.unsqueeze(1)


def _positions(old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each of `new` positions the two neighbours among `old` and the share of the second."""
    at = torch.arange(new, dtype=torch.float32, device=like.device) * (old / new)
    low = at.long()
    return low, (low + 1).clamp(max=old - 1), (at - low).to(like.dtype)


def _refusal(origin: str, missing: list[str], strange: list[str], wrong: list[str]) -> str:
    found = [
        f"{what}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("of another shape", wrong), ("unknown", strange))
        if names
    ]
    return (
        f"{origin} does not hold the weights of the Inception network of FID ({'; '.join(found)}). Give the file "
        "pt_inception-2015-12-05-6726825d.pth of pytorch-fid (torch-fidelity calls it "
        "weights-inception-2015-12-05-6726825d.pth), or one with the same names and shapes."
    )
