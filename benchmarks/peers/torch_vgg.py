"""VGG in PyTorch: what minires is measured and checked against. Keys are torchvision's."""

from torch import nn
from torch.nn import functional as F

LAYERS = {  # channels of the convolutions between the max pools
    11: [[64], [128], [256, 256], [512, 512], [512, 512]],
    13: [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]],
    16: [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3],
    19: [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4],
}


class TorchVGG(nn.Module):
    """Input (N, 3, H, W). hidden: width of the classifier's hidden layers."""

    def __init__(self, depth, num_classes=1000, batch_norm=False, small_input=False, hidden=4096):
        super().__init__()
        layers, channels = [], 3
        for stage in LAYERS[depth]:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1)]
                layers += [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.small_input = small_input
        if small_input:
            self.classifier = nn.Linear(512, num_classes)
        else:
            first = [nn.Linear(512 * 7 * 7, hidden), nn.ReLU(), nn.Dropout()]
            second = [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
            self.classifier = nn.Sequential(*first, *second, nn.Linear(hidden, num_classes))

    def forward(self, x):
        y = F.adaptive_avg_pool2d(self.features(x), 1 if self.small_input else 7)
        return self.classifier(y.flatten(1))

    def maps(self, x):
        """C1 to C5"""
        found = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        return found
