"""Inception v3 in PyTorch: what minires is measured and checked against. Keys are torchvision's.

A network is told by its table: for every module the branches, each a list of convolutions.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Conv(nn.Module):
    """Convolution, batch norm of eps 0.001, ReLU. kernel_size: 3, (1, 7), ...; same: padded to keep the size."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, same=False):
        super().__init__()
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = (kernel[0] // 2, kernel[1] // 2) if same else 0
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def a(c, pooled):
    return {
        "branch1x1": (c, 64, 1),
        "branch5x5_1": (c, 48, 1),
        "branch5x5_2": (48, 64, 5, 1, True),
        "branch3x3dbl_1": (c, 64, 1),
        "branch3x3dbl_2": (64, 96, 3, 1, True),
        "branch3x3dbl_3": (96, 96, 3, 1, True),
        "branch_pool": (c, pooled, 1),
    }


def b(c):
    return {
        "branch3x3": (c, 384, 3, 2),
        "branch3x3dbl_1": (c, 64, 1),
        "branch3x3dbl_2": (64, 96, 3, 1, True),
        "branch3x3dbl_3": (96, 96, 3, 2),
    }


def c7(c, n):
    return {
        "branch1x1": (c, 192, 1),
        "branch7x7_1": (c, n, 1),
        "branch7x7_2": (n, n, (1, 7), 1, True),
        "branch7x7_3": (n, 192, (7, 1), 1, True),
        "branch7x7dbl_1": (c, n, 1),
        "branch7x7dbl_2": (n, n, (7, 1), 1, True),
        "branch7x7dbl_3": (n, n, (1, 7), 1, True),
        "branch7x7dbl_4": (n, n, (7, 1), 1, True),
        "branch7x7dbl_5": (n, 192, (1, 7), 1, True),
        "branch_pool": (c, 192, 1),
    }


def d(c):
    return {
        "branch3x3_1": (c, 192, 1),
        "branch3x3_2": (192, 320, 3, 2),
        "branch7x7x3_1": (c, 192, 1),
        "branch7x7x3_2": (192, 192, (1, 7), 1, True),
        "branch7x7x3_3": (192, 192, (7, 1), 1, True),
        "branch7x7x3_4": (192, 192, 3, 2),
    }


def e(c):
    return {
        "branch1x1": (c, 320, 1),
        "branch3x3_1": (c, 384, 1),
        "branch3x3_2a": (384, 384, (1, 3), 1, True),
        "branch3x3_2b": (384, 384, (3, 1), 1, True),
        "branch3x3dbl_1": (c, 448, 1),
        "branch3x3dbl_2": (448, 384, 3, 1, True),
        "branch3x3dbl_3a": (384, 384, (1, 3), 1, True),
        "branch3x3dbl_3b": (384, 384, (3, 1), 1, True),
        "branch_pool": (c, 192, 1),
    }


class Mixed(nn.Module):
    """Branches by the beginning of their names, in order; what ends in a and b stands side by side."""

    def __init__(self, convolutions, shrinks):
        super().__init__()
        self.shrinks, self.names = shrinks, list(convolutions)
        for name, arguments in convolutions.items():
            self.add_module(name, Conv(*arguments))

    def forward(self, x):
        branches = []
        for prefix in dict.fromkeys(name.split("_")[0] for name in self.names if name != "branch_pool"):
            y = x
            steps = [name for name in self.names if name.split("_")[0] == prefix]
            for name in steps:
                if name.endswith("a"):
                    y = torch.cat([self.get_submodule(name)(y), self.get_submodule(name[:-1] + "b")(y)], dim=1)
                elif not name.endswith("b"):
                    y = self.get_submodule(name)(y)
            branches.append(y)
        pooled = F.max_pool2d(x, 3, 2) if self.shrinks else self.branch_pool(F.avg_pool2d(x, 3, 1, 1))
        return torch.cat([*branches, pooled], dim=1)


class Head(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)
        self.conv0 = Conv(768, 128, 1)
        self.conv1 = Conv(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x):
        return self.fc(self.conv1(self.conv0(self.pool(x))).mean(dim=(2, 3)))


class TorchInceptionV3(nn.Module):
    """Input (N, 3, H, W); output the logits, in training with a head (logits, aux)."""

    def __init__(self, num_classes=1000, head=False):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, same=True)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.mixed = {"5b": a(192, 32), "5c": a(256, 64), "5d": a(288, 64), "6a": b(288), "6b": c7(768, 128)}
        self.mixed |= {"6c": c7(768, 160), "6d": c7(768, 160), "6e": c7(768, 192)}
        self.mixed |= {"7a": d(768), "7b": e(1280), "7c": e(2048)}
        self.head = head
        for name, convolutions in self.mixed.items():
            if name == "7a" and head:
                self.AuxLogits = Head(num_classes)
            self.add_module(f"Mixed_{name}", Mixed(convolutions, shrinks=name in ("6a", "7a")))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)

    def stages(self, x):
        """{name: map} of what is looked at."""
        found = {}
        found["2b"] = x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        found["4a"] = x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self.mixed:
            found[name] = x = self.get_submodule(f"Mixed_{name}")(x)
        return found

    def forward(self, x):
        found = self.stages(x)
        logits = self.fc(self.dropout(found["7c"].mean(dim=(2, 3))))
        return (logits, self.AuxLogits(found["6e"])) if self.training and self.head else logits

    def maps(self, x):
        """C1 to C5"""
        found = self.stages(x)
        return [found[name] for name in ("2b", "4a", "5d", "6e", "7c")]
