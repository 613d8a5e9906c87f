"""Small models of pictures, of the kinds that are shipped most."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.check.models.trained import trained


def _pictures(seed: int, *shape: int) -> list[tuple[Tensor, ...]]:
    drawn = torch.Generator().manual_seed(seed)
    return [(torch.rand(8, *shape, generator=drawn),) for _ in range(4)]


class Cnn(nn.Module):
    """As MobileNetV3: depthwise convolutions, hard activations, squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.wide = nn.Sequential(nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(48, 48, 5, 2, 2, groups=48, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.squeeze, self.excite = nn.Conv2d(48, 12, 1), nn.Conv2d(12, 48, 1)
        self.project = nn.Sequential(nn.Conv2d(48, 24, 1, bias=False), nn.BatchNorm2d(24))
        self.head = nn.Sequential(nn.Linear(24, 32), nn.Hardswish(), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.wide(self.stem(x)))
        gate = functional.hardsigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(self.project(x * gate).mean((2, 3)))


def cnn() -> nn.Module:
    return trained(Cnn(), 1, _pictures(1, 3, 32, 32))


class Residual(nn.Module):
    """As ResNet: strided blocks with shortcuts, pooling in both manners, softmax inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 5, 2, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.first = self._branch(12, 12, 1)
        self.second, self.shortcut = self._branch(12, 24, 2), nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.Conv2d(12, 24, 1))
        self.last = nn.Linear(24 * 4, 10)

    @staticmethod
    def _branch(wide: int, out: int, stride: int) -> nn.Module:
        one = (nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        return nn.Sequential(*one, nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(self.stem((x - 0.45) / 0.225))
        x = functional.relu(self.first(x) + x)
        x = functional.relu(self.second(x) + self.shortcut(x))
        scores = self.last(functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return scores, scores.softmax(-1)


def residual() -> nn.Module:
    return trained(Residual(), 2, _pictures(2, 3, 32, 32))


def vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=10)
    return trained(net, 3)


class UNet(nn.Module):
    """Down by pooling, up by both interpolations, with what was kept beside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1), nn.Conv2d(24, 24, 1)
        self.d, self.e = nn.Conv2d(48, 12, 3, padding=1), nn.Conv2d(24, 4, 3, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(24)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = functional.relu(self.a(x))
        b = functional.leaky_relu(self.norm(self.b(functional.max_pool2d(a, 2))), 0.1)
        c = functional.silu(self.c(functional.avg_pool2d(b, 3, 2, 1, count_include_pad=False)))
        up = functional.interpolate(c, size=b.shape[2:], mode="nearest")
        d = functional.relu(self.d(torch.cat([up, b], 1)))
        up = functional.interpolate(d, size=a.shape[2:], mode="bilinear", align_corners=False)
        mask = self.e(torch.cat([up, a], 1))
        return mask.sigmoid(), mask.clamp(-4, 4)


def unet() -> nn.Module:
    return trained(UNet(), 4, _pictures(4, 3, 20, 24))


class Detector(nn.Module):
    """Boxes from a grid, the best of them, without those that overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.SiLU())
        )
        self.boxes, self.classes = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        import torchvision

        f = self.body(x)
        far = self.boxes(f).clamp(-4, 3)[0].flatten(1).t().exp() * 4
        rows, columns = torch.arange(f.shape[2]), torch.arange(f.shape[3])
        y, x = torch.meshgrid(rows.to(f.dtype), columns.to(f.dtype), indexing="ij")
        centre = torch.stack([x.flatten(), y.flatten()], 1) * 4 + 2
        boxes = torch.cat([centre - far[:, :2], centre + far[:, 2:]], 1)
        best, label = self.classes(f)[0].flatten(1).t().sigmoid().max(1)
        scores, order = best.topk(24)
        boxes, label = boxes[order], label[order]
        boxes_kept = torchvision.ops.nms(boxes, scores, 0.5)
        return boxes[boxes_kept], scores[boxes_kept], label[boxes_kept]


def detector() -> nn.Module:
    net = trained(Detector(), 5, [(p[:1],) for (p,) in _pictures(5, 3, 32, 40)])
    with torch.no_grad():
        net.classes.weight.mul_(2)  # type: ignore[union-attr,operator]
    return net


class Segmenter(nn.Module):
    """A map of classes with its scores: dilated convolutions, instance norm, pixels shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.p = nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16)
        self.b, self.n = nn.Conv2d(16, 16, 3, 2, padding=2, dilation=2), nn.InstanceNorm2d(16, affine=True)
        self.c, self.d = nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.Conv2d(16, 20, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.p(self.a(x))
        x = functional.elu(self.n(self.b(x)))
        x = functional.gelu(self.c(functional.pad(x, (1, 1, 1, 1), mode="replicate"))[:, :, 1:-1, 1:-1] + x)
        scores = functional.pixel_shuffle(self.d(x), 2)
        return scores, scores.argmax(1)


def segmenter() -> nn.Module:
    return trained(Segmenter(), 6)
