"""The same steps in PyTorch, in its default layout (pytorch-nchw) and in channels_last."""

import torch
from cases import Network, without_dropout
from torch.nn import functional as F

from minires import models
from peers.torch_after import Bottleneck, TorchStaged
from peers.torch_densenet import TorchDenseNet
from peers.torch_imagenet import TorchImageNetResNet
from peers.torch_resnet import TorchResNet, load_from
from peers.torch_vgg import TorchVGG

FAMILY = {
    "vgg16": lambda: TorchVGG(16),
    "densenet121": TorchDenseNet,
    "resnext50_32x4d": lambda: TorchStaged(
        Bottleneck, (3, 4, 6, 3), (64, 64, 128, 256, 512), 1000, small_input=False, groups=32, base=4
    ),
}
version = torch.__version__
set_threads = torch.set_num_threads


def make_step(case, peer):
    """As in peer_minires."""
    layout = torch.channels_last if peer == "pytorch-channels-last" else torch.contiguous_format
    return (_network if isinstance(case, Network) else _conv)(case, layout)


def network_of(case, layout):
    """The case's network, with the weights that minires begins with."""
    if case.model in FAMILY:
        network = FAMILY[case.model]()
    else:
        depth = int(case.model.removeprefix("resnet"))
        network = TorchImageNetResNet(depth) if case.for_imagenet else TorchResNet(depth)
    network = load_from(without_dropout(network), models.build(case.model, case.num_classes, rng=0))
    return network.train(case.training).to(memory_format=layout)


def _network(case, layout):
    network = network_of(case, layout)
    optimizer = torch.optim.SGD(network.parameters(), **case.options)
    images, labels = case.arrays()
    x, labels = images_of(images, layout), torch.from_numpy(labels)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        return [loss.item()]

    def infer():
        with torch.inference_mode():
            return [network(x).numpy()]

    return train if case.training else infer


def _conv(case, layout):
    x, weight, dy = case.arrays()
    x, dy = images_of(x, layout).requires_grad_(), images_of(dy, layout)
    weight = torch.from_numpy(weight).contiguous(memory_format=layout).requires_grad_()

    def step():
        y = F.conv2d(x, weight, None, case.stride, case.padding, groups=case.groups)
        dx, dweight = torch.autograd.grad(y, (x, weight), dy)
        return [_array(y), _array(dx), dweight.numpy()]

    return step


def images_of(x, layout):
    """An array (N, H, W, C) as a tensor (N, C, H, W) of its own, laid out so."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).clone(memory_format=layout)


def _array(x):
    """A tensor (N, C, H, W) as an array (N, H, W, C), without a copy."""
    return x.detach().permute(0, 2, 3, 1).numpy()
