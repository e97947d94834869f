"""The networks for ImageNet in PyTorch: what minires is measured and checked against. Keys are torchvision's."""

from torch import nn
from torch.nn import functional as F

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _norm(channels, keras):
    return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01) if keras else nn.BatchNorm2d(channels)


def _downsample(in_channels, out_channels, stride, keras):
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=keras), _norm(out_channels, keras))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_channels, channels, stride, keras):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride, keras)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):
    expansion = 4
    stride_first = False

    def __init__(self, in_channels, channels, stride, keras):
        super().__init__()
        first, second = (stride, 1) if keras or self.stride_first else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, first, bias=keras)
        self.bn1 = _norm(channels, keras)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, padding=1, bias=keras)
        self.bn2 = _norm(channels, keras)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=keras)
        self.bn3 = _norm(4 * channels, keras)
        self.downsample = _downsample(in_channels, 4 * channels, stride, keras)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x))


class StrideFirst(Bottleneck):
    stride_first = True


class TorchImageNetResNet(nn.Module):
    """Input (N, 3, H, W). keras: the network of keras.applications, with its zeros around conv1 and the max pool.

    v1: the stride of a bottleneck is its first convolution's.   maxpool: None for none with small_input.
    """

    def __init__(self, depth, num_classes=1000, small_input=False, keras=False, v1=False, maxpool=None):
        super().__init__()
        block = (StrideFirst if v1 else Bottleneck) if depth >= 50 else BasicBlock
        self.pools, self.keras = not small_input if maxpool is None else maxpool, keras
        kernel, stride = (3, 1) if small_input else (7, 2)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride, padding=0 if keras else kernel // 2, bias=keras)
        self.bn1 = _norm(64, keras)
        in_channels = 64
        for stage, blocks in enumerate(BLOCKS[depth]):
            layers = []
            for number in range(blocks):
                layers.append(block(in_channels, 64 << stage, 2 if stage and not number else 1, keras))
                in_channels = block.expansion * (64 << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x):
        return self.fc(self.features(x)[-1].mean(dim=(2, 3)))

    def features(self, x):
        """C2 to C5"""
        if self.keras:
            x = F.pad(x, [self.conv1.kernel_size[0] // 2] * 4)
        y = F.relu(self.bn1(self.conv1(x)))
        if self.pools:
            y = F.max_pool2d(F.pad(y, [1] * 4), 3, 2) if self.keras else F.max_pool2d(y, 3, 2, padding=1)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            y = layer(y)
            maps.append(y)
        return maps
