"""The same network in PyTorch: what minires is measured and checked against. Keys of the state_dict are the same."""

import torch
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride, shortcut, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut, self.stride, self.activation = shortcut, stride, activation
        self.added = out_channels - in_channels
        if shortcut == "B" and (stride != 1 or self.added):
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        if self.shortcut == "none":
            return self.activation(y)
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.stride != 1 or self.added:
            before = self.added // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))
        return self.activation(y + x)


class TorchResNet(nn.Module):
    """ResNet for CIFAR (He et al. 2015, section 4.2), input (N, 3, H, W)."""

    def __init__(self, depth, num_classes=10, shortcut="A", activation=F.relu):
        super().__init__()
        n = (depth - 2) // 6
        self.activation = activation
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, n, 1, shortcut, activation)
        self.layer2 = _stage(16, 32, n, 2, shortcut, activation)
        self.layer3 = _stage(32, 64, n, 2, shortcut, activation)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.fc(y.mean(dim=(2, 3)))


def _stage(in_channels, out_channels, blocks, stride, shortcut, activation):
    first = BasicBlock(in_channels, out_channels, stride, shortcut, activation)
    rest = (BasicBlock(out_channels, out_channels, 1, shortcut, activation) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def load_from(network, model):
    """Copy a minires model's parameters and running statistics into the PyTorch network."""
    state = {key: torch.from_numpy(array) for key, array in model.state_dict().items()}
    state |= {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    network.load_state_dict(state)
    return network
