"""The same training steps and inference passes in PyTorch on a GPU, eagerly, in channels_last."""

import contextlib

import torch
from torch.nn import functional as F

from peers.peer_torch import images_of, network_of

version = torch.__version__
AUTOCAST = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def set_precision(precision):
    """Of this process: whether products and convolutions of float32 may round their factors to TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True  # cuDNN tries its algorithms in the first steps


def make_step(case, precision, device, compiled=False):
    """A function that does one step of the case and returns [loss], or [logits], on the device.

    compiled: whether the network, forward and backward, is given to torch.compile.
    device: "cuda", "cpu", or "meta", on which nothing is computed and the optimizer goes about as on a GPU.
    """
    layout = torch.channels_last
    network = network_of(case, layout).to(device)
    forward = torch.compile(network, dynamic=False) if compiled else network
    optimizer = torch.optim.SGD(network.parameters(), **case.options, foreach=device == "meta" or None)
    images, labels = case.arrays()
    x, labels = images_of(images, layout).to(device), torch.from_numpy(labels).to(device)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "float16" and device == "cuda")

    def autocast():
        half = AUTOCAST.get(precision)
        return torch.autocast(device, half) if half else contextlib.nullcontext()

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = F.cross_entropy(forward(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return [loss.detach()]

    def infer():
        with torch.inference_mode(), autocast():
            return [forward(x)]

    return train if case.training else infer
