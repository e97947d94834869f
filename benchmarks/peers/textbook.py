"""A residual network as tutorials write it: whole arrays, one after another. What minires is measured against.

Images are (N, C, H, W) here. Every operation is a function `x -> (y, backward)` as in minires, and nothing but NumPy;
relu and linear, which know nothing of images, are those of minires.textbook. Convolution copies the windows of the
whole batch into one array, keeps it for the backward pass, and leaves the rest to one product (im2col: Chellapilla et
al. 2006; in this form it is in many books and courses).
"""

import numpy as np

from minires.textbook import linear, relu


def conv2d(x, weight, bias=None, stride=1, padding=0):
    """y[n, o, oh, ow] = bias[o] + sum_cij weight[o, c, i, j] * x_padded[n, c, oh * stride + i, ow * stride + j]

    x (N, C, H, W), weight (O, C, KH, KW), bias (O,) or None; stride and padding are numbers.
    Returns y (N, O, OH, OW) and backward(dy) -> (dx, dweight), or (dx, dweight, dbias) where there is a bias.
    """
    KH, KW = weight.shape[2:]
    col = im2col(x, KH, KW, stride, padding)  # (N, C, KH, KW, OH, OW)
    y = np.tensordot(col, weight, axes=((1, 2, 3), (1, 2, 3)))  # (N, OH, OW, O)
    if bias is not None:
        y += bias
    y = y.transpose(0, 3, 1, 2)

    def backward(dy):
        dweight = np.tensordot(dy, col, axes=((0, 2, 3), (0, 4, 5)))  # (O, C, KH, KW)
        dcol = np.tensordot(weight, dy, axes=(0, 1))  # (C, KH, KW, N, OH, OW)
        dx = col2im(dcol.transpose(3, 0, 1, 2, 4, 5), x.shape, stride, padding)
        return (dx, dweight) if bias is None else (dx, dweight, dy.sum(axis=(0, 2, 3)))

    return y, backward


def im2col(x, KH, KW, stride, padding):
    """col (N, C, KH, KW, OH, OW):  col[n, c, i, j, oh, ow] = x_padded[n, c, oh * stride + i, ow * stride + j]"""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    N, C, H, W = x.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    col = np.empty((N, C, KH, KW, OH, OW), x.dtype)
    for i in range(KH):
        for j in range(KW):
            col[:, :, i, j] = x[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride]
    return col


def col2im(dcol, shape, stride, padding):
    """dx of this shape (N, C, H, W): each pixel receives the sum of all its copies in dcol (N, C, KH, KW, OH, OW)."""
    N, C, H, W = shape
    KH, KW, OH, OW = dcol.shape[2:]
    dx = np.zeros((N, C, H + 2 * padding, W + 2 * padding), dcol.dtype)
    for i in range(KH):
        for j in range(KW):
            dx[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride] += dcol[:, :, i, j]
    return dx[:, :, padding : padding + H, padding : padding + W]


def batch_norm(x, running_mean, running_var, weight, bias, training=False, momentum=0.1, eps=1e-5):
    """y = weight * (x - mean) / sqrt(var + eps) + bias, for each channel of x (N, C, H, W).

    The other arrays are (C,). In training mean and var are the batch's, and the running ones move towards them in
    place; otherwise they are the running ones. Returns y and, in training, backward(dy) -> (dx, dweight, dbias).
    """
    axes, C = (0, 2, 3), (None, slice(None), None, None)  # vector[C] is (1, C, 1, 1)
    count = x.size // x.shape[1]
    mean, var = (np.mean(x, axes), np.var(x, axes)) if training else (running_mean, running_var)
    if training:
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * count / (count - 1) - running_var)
    std = np.sqrt(var + eps)
    x_hat = (x - mean[C]) / std[C]
    y = weight[C] * x_hat + bias[C]

    def backward(dy):
        dweight, dbias = np.sum(dy * x_hat, axes), np.sum(dy, axes)
        dx = (weight / std)[C] * (dy - dbias[C] / count - x_hat * dweight[C] / count)
        return dx, dweight, dbias

    return y, backward


def pad_shortcut(x, out_channels, stride):
    """Every stride-th pixel, with zero channels around (He et al. 2015, option A).   backward(dy) -> dx"""
    before = (out_channels - x.shape[1]) // 2
    after = out_channels - x.shape[1] - before
    y = np.pad(x[:, :, ::stride, ::stride], ((0, 0), (before, after), (0, 0), (0, 0)))

    def backward(dy):
        dx = np.zeros(x.shape, dy.dtype)
        dx[:, :, ::stride, ::stride] = dy[:, before : before + x.shape[1]]
        return dx

    return y, backward


def global_avg_pool2d(x):
    """y[n, c] = mean over all pixels of x[n, c].   backward(dy) -> dx"""
    N, C, H, W = x.shape
    return np.mean(x, axis=(2, 3)), lambda dy: np.broadcast_to(dy[:, :, None, None] / (H * W), x.shape)


class ResNet:
    """ResNet for CIFAR with shortcut A (He et al. 2015, section 4.2), x (N, 3, H, W).

    state: {name: array}, the state_dict of the minires network of this depth, whose arrays it copies.
    """

    def __init__(self, state, depth):
        self.state = {name: array.copy() for name, array in state.items()}
        self.gradients = {}
        self.blocks = [(f"layer{stage}.{k}", stage, k) for stage in (1, 2, 3) for k in range((depth - 2) // 6)]
        self.training = True

    def __call__(self, x):
        """-> (logits, backward), with backward(dlogits), which fills `gradients`."""
        backwards = []
        x, backward = self.conv_norm(x, "conv1", "bn1")
        backwards.append(backward)
        x, backward = relu(x)
        backwards.append(backward)
        for name, stage, k in self.blocks:
            x, backward = self.block(x, name, 8 * 2**stage, 2 if k == 0 and stage > 1 else 1)
            backwards.append(backward)
        x, backward = global_avg_pool2d(x)
        backwards.append(backward)
        x, linear_backward = linear(x, self.state["fc.weight"], self.state["fc.bias"])

        def backward_all(dy):
            dy, *gradients = linear_backward(dy)
            self.keep("fc", gradients)
            for backward in reversed(backwards):
                dy = backward(dy)

        return x, backward_all

    def block(self, x, name, channels, stride):
        """relu(F(x) + shortcut(x)): -> (y, backward)"""
        shortcut, shortcut_backward = (x, lambda dy: dy) if stride == 1 else pad_shortcut(x, channels, stride)
        y, first_backward = self.conv_norm(x, f"{name}.conv1", f"{name}.bn1", stride)
        y, inner_backward = relu(y)
        y, second_backward = self.conv_norm(y, f"{name}.conv2", f"{name}.bn2")
        y, outer_backward = relu(y + shortcut)

        def backward(dy):
            dy = outer_backward(dy)
            return first_backward(inner_backward(second_backward(dy))) + shortcut_backward(dy)

        return y, backward

    def conv_norm(self, x, conv, norm, stride=1):
        """A convolution 3x3 and batch norm: -> (y, backward)"""
        running = self.state[f"{norm}.running_mean"], self.state[f"{norm}.running_var"]
        affine = self.state[f"{norm}.weight"], self.state[f"{norm}.bias"]
        y, conv_backward = conv2d(x, self.state[f"{conv}.weight"], None, stride, padding=1)
        y, norm_backward = batch_norm(y, *running, *affine, self.training)

        def backward(dy):
            dy, *gradients = norm_backward(dy)
            self.keep(norm, gradients)
            dx, dweight = conv_backward(dy)
            self.keep(conv, [dweight])
            return dx

        return y, backward

    def keep(self, name, gradients):
        """Note the gradients of `name`.weight and, where there are two, `name`.bias."""
        self.gradients.update(zip((f"{name}.weight", f"{name}.bias"), gradients, strict=False))


class SGD:
    """velocity = momentum * velocity + gradient + weight_decay * parameter;   parameter -= lr * velocity"""

    def __init__(self, network, lr, momentum, weight_decay):
        self.network, self.lr, self.momentum, self.weight_decay = network, lr, momentum, weight_decay
        self.velocity = {}

    def step(self):
        for name, gradient in self.network.gradients.items():
            parameter = self.network.state[name]
            velocity = self.momentum * self.velocity.get(name, 0) + gradient + self.weight_decay * parameter
            self.network.state[name] = parameter - self.lr * velocity
            self.velocity[name] = velocity
