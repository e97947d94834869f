"""GoogLeNet in PyTorch: what minires is measured and checked against. Keys are torchvision's."""

import torch
from torch import nn
from torch.nn import functional as F

MODULES = {  # channels: in, 1x1, 3x3 reduced, 3x3, "5x5" reduced, "5x5", pooled
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class Conv(nn.Module):
    """Convolution, batch norm of eps 0.001, ReLU."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, channels, one, three_reduced, three, five_reduced, five, pooled):
        super().__init__()
        self.branch1 = Conv(channels, one, 1)
        self.branch2 = nn.Sequential(Conv(channels, three_reduced, 1), Conv(three_reduced, three, 3, padding=1))
        self.branch3 = nn.Sequential(Conv(channels, five_reduced, 1), Conv(five_reduced, five, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), Conv(channels, pooled, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class Head(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.conv = Conv(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        y = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(y))))


class TorchGoogLeNet(nn.Module):
    """Input (N, 3, H, W); output the logits, in training with heads (logits, aux2, aux1)."""

    def __init__(self, num_classes=1000, small_input=False, heads=False):
        super().__init__()
        self.pools = not small_input
        self.conv1 = Conv(3, 64, 3, 1, 1) if small_input else Conv(3, 64, 7, 2, 3)
        self.conv2 = Conv(64, 64, 1)
        self.conv3 = Conv(64, 192, 3, padding=1)
        for name, channels in MODULES.items():
            self.add_module(f"inception{name}", Inception(*channels))
        if heads:
            self.aux1 = Head(512, num_classes)
            self.aux2 = Head(528, num_classes)
        self.heads = heads
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)

    def stages(self, x):
        """{name: map} of what is looked at."""
        found = {}

        def pool(x, kernel_size=3):
            return F.max_pool2d(x, kernel_size, 2, ceil_mode=True)

        found["conv1"] = x = self.conv1(x)
        found["conv3"] = x = self.conv3(self.conv2(pool(x) if self.pools else x))
        x = pool(x) if self.pools else x
        for name in MODULES:
            x = pool(x) if name == "4a" else pool(x, 2) if name == "5a" else x
            found[name] = x = self.get_submodule(f"inception{name}")(x)
        return found

    def forward(self, x):
        found = self.stages(x)
        logits = self.fc(self.dropout(found["5b"].mean(dim=(2, 3))))
        if self.training and self.heads:
            return logits, self.aux2(found["4d"]), self.aux1(found["4a"])
        return logits

    def maps(self, x):
        """C1 to C5"""
        found = self.stages(x)
        return [found[name] for name in ("conv1", "conv3", "3b", "4e", "5b")]
