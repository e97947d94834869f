"""minires against PyTorch, number by number: one step of resnet20, the first losses of training, larger networks.

    python benchmarks/parity.py --data-dir DIR        about two minutes; needs PyTorch: pip install torch
    python benchmarks/parity.py --imagenet            the networks for ImageNet instead, on noise: about a minute

Both networks start from the same weights and see the same batches of CIFAR-10. A difference is relative to the largest
magnitude in its array; of the gradients' arrays the median and the worst. PyTorch's own float32 against its own float64
stands beside it: how far rounding alone carries the same computation. (It moves numbers next to 0 across ReLU's kink,
where the derivative jumps, so that in float32 some gradients differ by far more than the outputs do; --activation tanh
has no kink, and shows it.)
"""

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from minires import data, models, optim  # noqa: E402
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, add, tanh  # noqa: E402
from minires.losses import cross_entropy  # noqa: E402


def relative(a, b):
    """Largest difference, relative to the largest magnitude of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


class BatchNormTanh2d(BatchNorm2d):
    """tanh(batch_norm(x) + shortcut), from the operations one by one, with the parameters and buffers of `norm`."""

    def __init__(self, norm):
        vars(self).update(vars(norm))

    def forward(self, x, shortcut=None):
        y, norm_backward = super().forward(x)
        if shortcut is not None:
            y, add_backward = add(y, shortcut)
        y, tanh_backward = tanh(y)

        def backward(dy):
            dy = tanh_backward(dy)
            if shortcut is None:
                return norm_backward(dy)
            dy, dshortcut = add_backward(dy)
            return norm_backward(dy), dshortcut

        return y, backward


def use_tanh(model):
    """Put tanh in the place of every ReLU: the same network without kinks."""
    for module in model.modules():
        for name, child in module.children():
            if isinstance(child, BatchNormReLU2d):
                setattr(module, name, BatchNormTanh2d(child))


def ours(shortcut, dtype, activation="relu"):
    """(step, model): step(x, labels) -> loss, logits, gradients of minires."""
    model = models.resnet20(shortcut=shortcut, rng=0).to(dtype)
    if activation == "tanh":
        use_tanh(model)

    def step(x, labels):
        model.zero_grad()
        logits, backward = model(x.astype(dtype))
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward())
        return float(loss), logits, {name: parameter.grad for name, parameter in model.named_parameters()}

    return step, model


def theirs(shortcut, dtype, activation="relu"):
    """The same of PyTorch."""
    import torch
    from peers.torch_resnet import TorchResNet, load_from

    network = load_from(
        TorchResNet(20, shortcut=shortcut, activation=getattr(torch, activation)),
        models.resnet20(shortcut=shortcut, rng=0),
    )
    network = network.to(torch.float64 if dtype == np.float64 else torch.float32)

    def step(x, labels):
        network.zero_grad()
        logits = network(torch.from_numpy(x.astype(dtype)).permute(0, 3, 1, 2))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        loss.backward()
        gradients = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
        return loss.item(), logits.detach().numpy(), gradients

    return step, network


def compare_step(batch, shortcut, make, dtype, reference_dtype, activation):
    """(loss, logits, median gradient, worst gradient) of one step: relative differences to PyTorch's."""
    loss, logits, gradients = make(shortcut, dtype, activation)[0](*batch)
    true_loss, true_logits, true_gradients = theirs(shortcut, reference_dtype, activation)[0](*batch)
    differences = [relative(gradients[name], true_gradients[name]) for name in true_gradients]
    return relative(loss, true_loss), relative(logits, true_logits), np.median(differences), max(differences)


def losses(make, batches, dtype, lr):
    """The losses of training on the batches, with SGD, momentum 0.9 and weight decay 1e-4."""
    step, model = make("A", dtype)
    options = {"lr": lr, "momentum": 0.9, "weight_decay": 1e-4}
    if make is ours:
        optimizer = optim.SGD(model.parameters(), **options)
    else:
        import torch

        optimizer = torch.optim.SGD(model.parameters(), **options)
    found = []
    for batch in batches:
        found.append(step(*batch)[0])
        optimizer.step()
    return np.array(found)


def imagenet(size=64, batch_size=2):
    """Print, for every network for ImageNet in float64, how far logits, dx and the gradients are from PyTorch's."""
    import torch
    from peers.torch_imagenet import TorchImageNetResNet
    from peers.torch_resnet import load_from

    rng = np.random.default_rng(0)
    x, dlogits = rng.standard_normal((batch_size, size, size, 3)), rng.standard_normal((batch_size, 1000))
    print(f"one pass in float64, {batch_size} images of {size}x{size} of noise: relative difference to PyTorch")
    print(f"{'network':16} {'variant':11} {'mode':9} {'logits':>9} {'dx':>9} {'median gradient':>16} {'worst':>9}")
    networks = [(depth, "torchvision") for depth in (18, 34, 50, 101, 152)] + [(d, "keras") for d in (50, 101, 152)]
    for depth, variant in networks:
        model = models.ImageNetResNet(depth, variant=variant, rng=0).to(np.float64)
        network = load_from(TorchImageNetResNet(depth, keras=variant == "keras").double(), model)
        biases = [module.bias for module in model.modules() if isinstance(module, Conv2d)]
        for training in (True, False):  # the running statistics of the first are those of the second
            model.train(training).zero_grad()
            network.train(training).zero_grad()
            logits, backward = model(x)
            dx = backward(dlogits)
            their_x = torch.from_numpy(x).requires_grad_()
            their_logits = network(their_x.permute(0, 3, 1, 2))
            their_logits.backward(torch.from_numpy(dlogits))
            pairs = zip(model.parameters(), network.parameters(), strict=True)
            without = biases if training else ()  # batch norm takes them out again: their gradient is 0
            differences = [relative(p.grad, q.grad) for p, q in pairs if p not in without]
            numbers = (
                f"{relative(logits, their_logits.detach()):9.1e} {relative(dx, their_x.grad):9.1e} "
                f"{np.median(differences):16.1e} {max(differences):9.1e}"
            )
            mode = "training" if training else "inference"
            print(f"{f'resnet{depth}':16} {variant:11} {mode:9} {numbers}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument(
        "--activation", default="relu", choices=["relu", "tanh"], help="tanh has no kink; one step only"
    )
    parser.add_argument("--imagenet", action="store_true", help="only the networks for ImageNet, which need no data")
    args = parser.parse_args()
    if args.imagenet:
        imagenet()
        return
    dataset, _ = data.load("cifar10", args.data_dir)
    mean, std = data.channel_mean_std(dataset.train_images)
    loader = data.Loader(dataset.train_images, dataset.train_labels, 128, mean, std, shuffle=True)
    batches = [batch for _, batch in zip(range(20), loader.epoch(0), strict=False)]

    print(
        f"{dataset.label}, batch size 128\none step of resnet20 with {args.activation}, relative difference to PyTorch"
    )
    print(f"{'shortcut':9} {'compared':17} {'with':17} {'loss':>9} {'logits':>9} {'median gradient':>16} {'worst':>9}")
    pairs = (
        (ours, np.float64, np.float64),
        (ours, np.float32, np.float64),
        (theirs, np.float32, np.float64),
        (ours, np.float32, np.float32),
    )
    for shortcut in "AB":
        for make, dtype, reference in pairs:
            loss, logits, median, worst = compare_step(batches[0], shortcut, make, dtype, reference, args.activation)
            who = f"{'minires' if make is ours else 'PyTorch'} {np.dtype(dtype).name}"
            names = f"{shortcut:9} {who:17} {'PyTorch ' + np.dtype(reference).name:17}"
            print(f"{names} {loss:9.1e} {logits:9.1e} {median:16.1e} {worst:9.1e}", flush=True)

    if args.activation != "relu":
        return
    print(f"first {len(batches)} losses of training (option A), largest difference")
    for lr in (0.1, 0.01, 0.001):
        exact = losses(theirs, batches, np.float64, lr)
        rows = {
            "minires float64 to PyTorch float64": losses(ours, batches, np.float64, lr) - exact,
            "minires float32 to PyTorch float64": losses(ours, batches, np.float32, lr) - exact,
            "PyTorch float32 to PyTorch float64": losses(theirs, batches, np.float32, lr) - exact,
        }
        for name, difference in rows.items():
            print(f"  learning rate {lr:<5} {name}  {np.max(np.abs(difference)):9.1e}", flush=True)


if __name__ == "__main__":
    main()
