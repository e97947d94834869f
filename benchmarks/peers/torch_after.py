"""The networks after ResNet in PyTorch, written from their papers: what minires's are checked against, keys alike."""

import torch
from torch import nn
from torch.nn import functional as F


class PreAct(nn.Module):
    """A block whose batch norms and ReLUs come first; kernels: those of its convolutions."""

    def __init__(self, in_channels, widths, kernels, stride):
        super().__init__()
        self.stride, self.count, previous = stride, len(kernels), in_channels
        for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True), 1):
            strides = stride if kernel == 3 and number <= 2 else 1
            self.add_module(f"bn{number}", nn.BatchNorm2d(previous))
            self.add_module(f"conv{number}", nn.Conv2d(previous, width, kernel, strides, kernel // 2, bias=False))
            if kernel == 3:
                stride = 1
            previous = width
        if self.stride != 1 or in_channels != previous:
            self.downsample = nn.Conv2d(in_channels, previous, 1, self.stride, bias=False)

    def forward(self, x):
        y = a = F.relu(self.bn1(x))
        for number in range(1, self.count + 1):
            y = y if number == 1 else F.relu(getattr(self, f"bn{number}")(y))
            y = getattr(self, f"conv{number}")(y)
        return y + (self.downsample(a) if hasattr(self, "downsample") else x)


class TorchPreAct(nn.Module):
    def __init__(self, n, bottleneck, num_classes, width=1):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        channels = 16
        for stage in range(3):
            inner = 16 * width << stage
            widths, kernels = ((inner, inner, 4 * inner), (1, 3, 1)) if bottleneck else ((inner, inner), (3, 3))
            blocks = []
            for number in range(n):
                blocks.append(PreAct(channels, widths, kernels, 2 if stage and not number else 1))
                channels = widths[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        y = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(y)).mean(dim=(2, 3)))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels, channels, stride, groups=1, base=64, se=False, mean=False):
        super().__init__()
        width = channels * base // 64 * groups
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.se = Gate(4 * channels) if se else nn.Identity()
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != 4 * channels:
            first = [nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()]
            conv = nn.Conv2d(in_channels, 4 * channels, 1, 1 if mean else stride, bias=False)
            self.downsample = nn.Sequential(*(first if mean else []), conv, nn.BatchNorm2d(4 * channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.se(self.bn3(self.conv3(y))) + self.downsample(x))


class ReZero(nn.Module):
    expansion = 1

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.scale = nn.Module()
        self.scale.weight = nn.Parameter(torch.zeros(1))
        self.stride, self.more = stride, channels - in_channels

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(self.scale.weight * y + shortcut)


class TorchStaged(nn.Module):
    """stem (conv1, bn1), stages, mean, fc; channels: of the stem and of the stages.   options: of the blocks."""

    def __init__(self, block, blocks, channels, num_classes, small_input=True, deep_stem=False, **options):
        super().__init__()
        stem, *widths = channels
        if deep_stem:
            layers = []
            for into, out, stride in ((3, 32, 1 if small_input else 2), (32, 32, 1)):
                layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            self.conv1 = nn.Sequential(*layers, nn.Conv2d(32, 64, 3, 1, 1, bias=False))
        else:
            kernel, stride = (3, 1) if small_input else (7, 2)
            self.conv1 = nn.Conv2d(3, stem, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.pools, self.stages = not small_input, []
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
            made = []
            for number in range(count):
                made.append(block(stem, width, 2 if stage > 1 and not number else 1, **options))
                stem = block.expansion * width
            self.add_module(f"layer{stage}", nn.Sequential(*made))
            self.stages.append(f"layer{stage}")
        self.fc = nn.Linear(stem, num_classes)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        if self.pools:
            y = F.max_pool2d(y, 3, 2, padding=1)
        for name in self.stages:
            y = getattr(self, name)(y)
        return self.fc(y.mean(dim=(2, 3)))
