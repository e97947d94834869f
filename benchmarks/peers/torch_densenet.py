"""DenseNet in PyTorch: what minires is measured and checked against. Keys are torchvision's."""

import torch
from torch import nn
from torch.nn import functional as F


class Layer(nn.Module):
    def __init__(self, channels, k):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * k, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * k)
        self.conv2 = nn.Conv2d(4 * k, k, 3, padding=1, bias=False)

    def forward(self, maps):
        y = self.conv1(F.relu(self.norm1(torch.cat(maps, dim=1))))
        return self.conv2(F.relu(self.norm2(y)))


class Block(nn.Module):
    def __init__(self, channels, layers, k):
        super().__init__()
        for number in range(layers):
            self.add_module(f"denselayer{number + 1}", Layer(channels + number * k, k))

    def forward(self, x):
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, dim=1)


class Transition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class TorchDenseNet(nn.Module):
    """Input (N, 3, H, W)."""

    def __init__(self, blocks=(6, 12, 24, 16), k=32, channels=64, num_classes=1000, small_input=False):
        super().__init__()
        if small_input:
            features = {"conv0": nn.Conv2d(3, channels, 3, padding=1, bias=False)}
        else:
            features = {"conv0": nn.Conv2d(3, channels, 7, 2, padding=3, bias=False)}
            features |= {"norm0": nn.BatchNorm2d(channels), "relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, padding=1)}
        for number, layers in enumerate(blocks):
            features[f"denseblock{number + 1}"] = Block(channels, layers, k)
            channels += layers * k
            if number < len(blocks) - 1:
                features[f"transition{number + 1}"] = Transition(channels)
                channels //= 2
        self.features = nn.Sequential()
        for name, module in (features | {"norm5": nn.BatchNorm2d(channels)}).items():
            self.features.add_module(name, module)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.classifier(F.relu(self.features(x)).mean(dim=(2, 3)))

    def maps(self, x):
        """C2 to C5, the last after norm5 and ReLU"""
        found = []
        for name, module in self.features.named_children():
            x = module(x)
            if name.startswith("denseblock"):
                found.append(x)
        return [*found[:-1], F.relu(x)]
