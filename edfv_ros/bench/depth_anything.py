"""The architecture of Depth Anything V2 Small with random weights, to compare speeds with.

Yang et al., "Depth Anything V2", NeurIPS 2024: a vision transformer (Oquab et al., "DINOv2", 2023) with patches of
14 px, 12 blocks of 384 channels, and the decoder of dense prediction transformers (Ranftl et al., ICCV 2021).
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH_PX = 14
CHANNELS = 384
HEADS = 6
BLOCKS = 12
TAPPED = (2, 5, 8, 11)
DECODED = (48, 96, 192, 384)
FUSED = 64


class DepthAnythingSmall(nn.Module):
    """A picture [1, 3, H, W] to relative vergence [1, 1, H, W]; made for one size, multiples of 14 px."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self._rows, self._columns = height // PATCH_PX, width // PATCH_PX
        self.patches = nn.Conv2d(3, CHANNELS, PATCH_PX, PATCH_PX)
        self.whole = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + self._rows * self._columns, CHANNELS))
        self.blocks = nn.ModuleList(_Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.project = nn.ModuleList(nn.Conv2d(CHANNELS, channels, 1) for channels in DECODED)
        self.resize = nn.ModuleList(
            (
                nn.ConvTranspose2d(DECODED[0], DECODED[0], 4, 4),
                nn.ConvTranspose2d(DECODED[1], DECODED[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(DECODED[3], DECODED[3], 3, 2, 1),
            )
        )
        self.reduce = nn.ModuleList(nn.Conv2d(channels, FUSED, 3, 1, 1, bias=False) for channels in DECODED)
        self.fuse = nn.ModuleList(_Fusion() for _ in DECODED)
        self.first_head = nn.Conv2d(FUSED, FUSED // 2, 3, 1, 1)
        self.second_head = nn.Sequential(nn.Conv2d(FUSED // 2, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU())

    def forward(self, picture: Tensor) -> Tensor:
        """Predict."""
        tokens = self.patches(picture).flatten(2).transpose(1, 2)
        x = torch.cat((self.whole, tokens), 1) + self.places
        tapped = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPPED:
                tapped.append(self.norm(x)[:, 1:].transpose(1, 2).reshape(1, CHANNELS, self._rows, self._columns))
        scales = [
            reduce(resize(project(part)))
            for part, project, resize, reduce in zip(tapped, self.project, self.resize, self.reduce, strict=True)
        ]
        x = self.fuse[3](scales[3], None, scales[2].shape[2:])
        x = self.fuse[2](x, scales[2], scales[1].shape[2:])
        x = self.fuse[1](x, scales[1], scales[0].shape[2:])
        height, width = scales[0].shape[2:]
        x = self.fuse[0](x, scales[0], (2 * height, 2 * width))
        x = F.interpolate(
            self.first_head(x), (self._rows * PATCH_PX, self._columns * PATCH_PX), mode="bilinear", align_corners=True
        )
        vergence: Tensor = self.second_head(x)
        return vergence


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.given = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.taken = nn.Linear(CHANNELS, CHANNELS)
        self.first_gain = nn.Parameter(torch.ones(CHANNELS))
        self.second_norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.perceptron = nn.Sequential(nn.Linear(CHANNELS, 4 * CHANNELS), nn.GELU(), nn.Linear(4 * CHANNELS, CHANNELS))
        self.second_gain = nn.Parameter(torch.ones(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        given = self.given(self.first_norm(x)).reshape(1, count, 3, HEADS, CHANNELS // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = given[0], given[1], given[2]
        share = torch.softmax((CHANNELS // HEADS) ** -0.5 * query @ key.transpose(-2, -1), -1)
        heard = (share @ value).transpose(1, 2).reshape(1, count, CHANNELS)
        x = x + self.first_gain * self.taken(heard)
        return x + self.second_gain * self.perceptron(self.second_norm(x))


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of_scale, self.of_both = _Residual(), _Residual()
        self.out = nn.Conv2d(FUSED, FUSED, 1)

    def forward(self, x: Tensor, scale: Tensor | None, size: tuple[int, int]) -> Tensor:
        if scale is not None:
            x = x + self.of_scale(scale)
        larger = F.interpolate(self.of_both(x), tuple(size), mode="bilinear", align_corners=True)
        fused: Tensor = self.out(larger)
        return fused


class _Residual(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.ReLU(), nn.Conv2d(FUSED, FUSED, 3, 1, 1), nn.ReLU(), nn.Conv2d(FUSED, FUSED, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def write_depth_anything(path: Path, height: int, width: int) -> None:
    """Write it as an ONNX file for pictures of one size."""
    torch.manual_seed(0)
    network = DepthAnythingSmall(height, width).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its age
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, height, width),),
            str(path),
            input_names=["picture"],
            output_names=["vergence"],
            opset_version=17,
            dynamo=False,
        )
