"""Every operation as its page derives it: the whole batch at once, in NumPy alone.

Nothing here is cut into blocks, kept in a cache or written into memory used before, and nothing is checked. It is what
the pages in docs/ show, what the exercises (`python -m minires.exercises`) are made from, and what the tests hold the
fast operations of minires/layers to. Letters: N batch, H W rows and columns, C channels, O output channels, K kernel,
OH OW output, S shards. `dname` is the gradient of `name`.
"""

import numpy as np

# One number at a time -----------------------------------------------------------------------------------------------


def relu(x):
    """y = max(x, 0).   x: any shape. backward(dy) -> dx."""
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (y > 0)

    return y, backward


def sigmoid(x):
    """y = 1 / (1 + exp(-x)).   x: any shape. backward(dy) -> dx."""
    y = (1 + np.tanh(x / 2)) / 2  # the same, and it never overflows

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


def tanh(x):
    """y = tanh(x).   x: any shape. backward(dy) -> dx."""
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y * y)

    return y, backward


def silu(x):
    """y = x * s, s = 1 / (1 + exp(-x)).   x: any shape. backward(dy) -> dx."""
    s = (1 + np.tanh(x / 2)) / 2  # the sigmoid
    y = x * s

    def backward(dy):
        return dy * s * (1 + x * (1 - s))

    return y, backward


def dropout(x, p, rng):
    """y = x * mask, each number of mask 0 with probability p, else 1 / (1 - p).   x: any shape. backward(dy) -> dx."""
    mask = (np.random.default_rng(rng).random(x.shape) >= p) / (1 - p)
    y = x * mask

    def backward(dy):
        return dy * mask

    return y, backward


# Matrices and losses ------------------------------------------------------------------------------------------------


def linear(x, weight, bias):
    """y = x @ weight^T + bias.   x (N, C), weight (O, C), bias (O,); y (N, O). backward(dy) -> (dx, dweight, dbias)."""
    y = x @ weight.T + bias

    def backward(dy):
        dx = dy @ weight
        dweight = dy.T @ x
        dbias = dy.sum(axis=0)
        return dx, dweight, dbias

    return y, backward


def mse_loss(prediction, target):
    """loss = mean of (prediction - target)^2.   Both of one shape. backward(dloss) -> (dprediction, dtarget)."""
    difference = prediction - target
    loss = (difference**2).mean()

    def backward(dloss):
        dprediction = dloss * 2 * difference / difference.size
        return dprediction, -dprediction

    return loss, backward


def softmax(logits):
    """p[n, c] = exp(logits[n, c]) / sum_k exp(logits[n, k])

    logits (N, classes); p as logits. backward(dp) -> dlogits.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)  # a constant cancels
    exponentials = np.exp(shifted)  # none overflows
    p = exponentials / exponentials.sum(axis=1, keepdims=True)

    def backward(dp):
        return p * (dp - (dp * p).sum(axis=1, keepdims=True))

    return p, backward


def cross_entropy(logits, labels):
    """loss = mean over n of -log softmax(logits[n])[labels[n]]

    logits (N, classes), labels: integers (N,). backward(dloss) -> dlogits.
    """
    N, classes = logits.shape
    one_hot = labels[:, None] == np.arange(classes)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_p[one_hot].sum() / N

    def backward(dloss):
        return dloss * (np.exp(log_p) - one_hot) / N

    return loss, backward


# Images -------------------------------------------------------------------------------------------------------------


def global_avg_pool2d(x):
    """y[n, c] = mean over the pixels of x[n, :, :, c].   x (N, H, W, C), y (N, C). backward(dy) -> dx."""
    N, H, W, C = x.shape
    y = x.mean(axis=(1, 2))

    def backward(dy):
        return np.broadcast_to(dy[:, None, None, :] / (H * W), x.shape)

    return y, backward


def avg_pool2d(x, K):
    """y[n, oh, ow, c] = mean of x's pixels in window (oh, ow), K x K, side by side.   x (N, H, W, C), H and W multiples
    of K; y (N, H / K, W / K, C). backward(dy) -> dx.
    """
    N, H, W, C = x.shape
    windows = x.reshape(N, H // K, K, W // K, K, C)
    y = windows.mean(axis=(2, 4))

    def backward(dy):
        dwindows = np.broadcast_to(dy[:, :, None, :, None, :] / (K * K), windows.shape)
        return dwindows.reshape(x.shape)

    return y, backward


def max_pool2d(x, K):
    """y[n, oh, ow, c] = largest of x's pixels in window (oh, ow), K x K, side by side.   x (N, H, W, C), H and W
    multiples of K; y (N, H / K, W / K, C). backward(dy) -> dx: of equal pixels the first, in reading order, counts.
    """
    N, H, W, C = x.shape
    windows = x.reshape(N, H // K, K, W // K, K, C).transpose(0, 1, 3, 5, 2, 4)  # (N, OH, OW, C, K, K)
    flat = windows.reshape(*windows.shape[:4], K * K)
    winner = flat.argmax(axis=-1)[..., None]  # (N, OH, OW, C, 1), the first of equals
    y = np.take_along_axis(flat, winner, axis=-1)[..., 0]

    def backward(dy):
        dflat = np.zeros_like(flat)
        np.put_along_axis(dflat, winner, dy[..., None], axis=-1)
        return dflat.reshape(windows.shape).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)

    return y, backward


def adaptive_avg_pool2d(x, OH, OW):
    """y[n, oh, ow, c] = mean of x's pixels in window (oh, ow): its rows go from floor(oh H / OH) to
    ceil((oh + 1) H / OH), its columns likewise.   x (N, H, W, C), y (N, OH, OW, C). backward(dy) -> dx.
    """
    N, H, W, C = x.shape
    rows = [slice(oh * H // OH, -(-(oh + 1) * H // OH)) for oh in range(OH)]
    columns = [slice(ow * W // OW, -(-(ow + 1) * W // OW)) for ow in range(OW)]
    y = np.empty((N, OH, OW, C), x.dtype)
    for oh in range(OH):
        for ow in range(OW):
            y[:, oh, ow] = x[:, rows[oh], columns[ow]].mean(axis=(1, 2))

    def backward(dy):
        dx = np.zeros_like(x)
        for oh in range(OH):
            for ow in range(OW):
                window = dx[:, rows[oh], columns[ow]]  # a view of dx
                window += dy[:, oh, ow, None, None] / (window.shape[1] * window.shape[2])
        return dx

    return y, backward


def im2col(x, K, stride, padding):
    """patches[n, oh, ow, i, j, c] = x_padded[n, oh * stride + i, ow * stride + j, c].   x (N, H, W, C), padded with
    zeros on its four sides; patches (N, OH, OW, K, K, C), OH = (H + 2 * padding - K) // stride + 1.
    backward(dpatches) -> dx, which is col2im.
    """
    N, H, W, C = x.shape
    OH, OW = (H + 2 * padding - K) // stride + 1, (W + 2 * padding - K) // stride + 1
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    patches = np.empty((N, OH, OW, K, K, C), x.dtype)
    for i in range(K):
        for j in range(K):
            patches[:, :, :, i, j] = padded[:, i : i + stride * OH : stride, j : j + stride * OW : stride]

    def backward(dpatches):
        dpadded = np.zeros_like(padded)
        for i in range(K):
            for j in range(K):
                dpadded[:, i : i + stride * OH : stride, j : j + stride * OW : stride] += dpatches[:, :, :, i, j]
        return dpadded[:, padding : padding + H, padding : padding + W]

    return patches, backward


def conv2d(x, weight, bias, stride, padding):
    """y[n, oh, ow, o] = bias[o]
    + sum_ijc weight[o, c, i, j] * x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C), weight (O, C, K, K), bias (O,); y (N, OH, OW, O).
    backward(dy) -> (dx, dweight, dbias).
    """
    O, C, K, _ = weight.shape
    patches, im2col_backward = im2col(x, K, stride, padding)
    N, OH, OW = patches.shape[:3]
    P = patches.reshape(N * OH * OW, K * K * C)
    weight_matrix = weight.transpose(2, 3, 1, 0).reshape(K * K * C, O)
    y = (P @ weight_matrix + bias).reshape(N, OH, OW, O)

    def backward(dy):
        dY = dy.reshape(N * OH * OW, O)
        dx = im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))
        dweight = (P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1)
        dbias = dY.sum(axis=0)
        return dx, dweight, dbias

    return y, backward


def grouped_conv2d(x, weight, groups, padding):
    """conv2d at stride 1 of each group of channels by itself, the groups' results side by side.

    x (N, H, W, groups * C), weight (groups * O, C, K, K); y (N, OH, OW, groups * O). backward(dy) -> (dx, dweight).
    """
    G, O, (_, C, K, _) = groups, len(weight) // groups, weight.shape
    patches, im2col_backward = im2col(x, K, 1, padding)
    N, OH, OW = patches.shape[:3]
    P = patches.reshape(N * OH * OW, K * K, G, C).transpose(2, 0, 1, 3).reshape(G, N * OH * OW, K * K * C)
    matrices = weight.reshape(G, O, C, K, K).transpose(0, 3, 4, 2, 1).reshape(G, K * K * C, O)
    y = (P @ matrices).transpose(1, 0, 2).reshape(N, OH, OW, G * O)  # a product for each group

    def backward(dy):
        dY = dy.reshape(N * OH * OW, G, O).transpose(1, 0, 2)
        dP = (dY @ matrices.transpose(0, 2, 1)).reshape(G, N * OH * OW, K * K, C)
        dx = im2col_backward(dP.transpose(1, 2, 0, 3).reshape(patches.shape))
        dmatrices = P.transpose(0, 2, 1) @ dY
        dweight = dmatrices.reshape(G, K, K, C, O).transpose(0, 4, 3, 1, 2).reshape(weight.shape)
        return dx, dweight

    return y, backward


# Normalisation ------------------------------------------------------------------------------------------------------


def batch_norm(x, weight, bias, eps=1e-5):
    """y = weight * (x - mean) / sqrt(var + eps) + bias, mean and (biased) var of each channel

    x (N, H, W, C) or (N, C), weight (C,), bias (C,); y as x.
    backward(dy) -> (dx, dweight, dbias).
    """
    pixels = tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=pixels), x.var(axis=pixels)
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    y = weight * x_hat + bias

    def backward(dy):
        dweight = (dy * x_hat).sum(axis=pixels)
        dbias = dy.sum(axis=pixels)
        dx = weight / std * (dy - dy.mean(axis=pixels) - x_hat * (dy * x_hat).mean(axis=pixels))
        return dx, dweight, dbias

    return y, backward


def batch_norm_inference(x, running_mean, running_var, weight, bias, eps=1e-5):
    """y = weight * (x - running_mean) / sqrt(running_var + eps) + bias: the statistics are constants.

    x (N, H, W, C) or (N, C), the others (C,); y as x. backward(dy) -> (dx, dweight, dbias).
    """
    pixels = tuple(range(x.ndim - 1))
    std = np.sqrt(running_var + eps)
    x_hat = (x - running_mean) / std
    y = weight * x_hat + bias

    def backward(dy):
        dx = dy * weight / std
        dweight = (dy * x_hat).sum(axis=pixels)
        dbias = dy.sum(axis=pixels)
        return dx, dweight, dbias

    return y, backward


def group_norm(x, weight, bias, G, eps=1e-5):
    """y = weight * (x - mean) / sqrt(var + eps) + bias: mean and var of each group of an image's channels.

    x (N, H, W, C), weight (C,), bias (C,), G groups of C / G channels that lie side by side; y as x.
    backward(dy) -> (dx, dweight, dbias).
    """
    N, H, W, C = x.shape
    groups = x.reshape(N, H, W, G, C // G)
    inside = (1, 2, 4)  # the axes of one group of one image
    mean, var = groups.mean(axis=inside, keepdims=True), groups.var(axis=inside, keepdims=True)
    std = np.sqrt(var + eps)
    x_hat = (groups - mean) / std
    y = weight * x_hat.reshape(x.shape) + bias

    def backward(dy):
        dweight = (dy * x_hat.reshape(x.shape)).sum(axis=(0, 1, 2))
        dbias = dy.sum(axis=(0, 1, 2))
        g = (weight * dy).reshape(groups.shape)  # each channel of a group has a weight of its own
        mean_g, mean_product = g.mean(axis=inside, keepdims=True), (g * x_hat).mean(axis=inside, keepdims=True)
        dx = (g - mean_g - x_hat * mean_product) / std
        return dx.reshape(x.shape), dweight, dbias

    return y, backward


# Residual networks --------------------------------------------------------------------------------------------------


def add(x1, x2):
    """y = x1 + x2.   Both of one shape. backward(dy) -> (dx1, dx2)."""
    y = x1 + x2

    def backward(dy):
        return dy, dy

    return y, backward


def concat(x1, x2):
    """y = the channels of x1, then those of x2.   x1 (..., C1), x2 (..., C2). backward(dy) -> (dx1, dx2)."""
    C1 = x1.shape[-1]
    y = np.concatenate([x1, x2], axis=-1)

    def backward(dy):
        return dy[..., :C1], dy[..., C1:]

    return y, backward


def pad_shortcut(x, out_channels, stride):
    """y = every stride-th pixel of x, between (out_channels - C) // 2 channels of zeros and as many as are missing.

    x (N, H, W, C); y (N, OH, OW, out_channels), OH = ceil(H / stride). backward(dy) -> dx.
    """
    C = x.shape[-1]
    kept = x[:, ::stride, ::stride]
    before = (out_channels - C) // 2
    y = np.pad(kept, ((0, 0), (0, 0), (0, 0), (before, out_channels - C - before)))

    def backward(dy):
        dx = np.zeros_like(x)
        dx[:, ::stride, ::stride] = dy[..., before : before + C]
        return dx

    return y, backward


def batch_norm_relu(x, weight, bias, shortcut):
    """y = relu(batch_norm(x) + shortcut).   x and shortcut (N, H, W, C); y as x.

    backward(dy) -> (dx, dweight, dbias, dshortcut).
    """
    normalised, batch_norm_backward = batch_norm(x, weight, bias)
    total, add_backward = add(normalised, shortcut)
    y, relu_backward = relu(total)

    def backward(dy):
        dnormalised, dshortcut = add_backward(relu_backward(dy))
        dx, dweight, dbias = batch_norm_backward(dnormalised)
        return dx, dweight, dbias, dshortcut

    return y, backward


def basic_block(x, weight1, gamma1, beta1, weight2, gamma2, beta2):
    """y = relu(F(x) + x), F = convolution, batch norm, ReLU, convolution, batch norm

    He et al. 2015, figure 2. x (N, H, W, C), weights (C, C, 3, 3), gammas and betas (C,); y as x.
    Stride 1, padding 1, no bias.
    backward(dy) -> (dx, dweight1, dgamma1, dbeta1, dweight2, dgamma2, dbeta2).
    """
    no_bias = np.zeros(len(weight1), x.dtype)
    y, conv1_backward = conv2d(x, weight1, no_bias, 1, 1)
    y, bn1_backward = batch_norm(y, gamma1, beta1)
    y, relu1_backward = relu(y)
    y, conv2_backward = conv2d(y, weight2, no_bias, 1, 1)
    y, bn2_backward = batch_norm(y, gamma2, beta2)
    y, add_backward = add(y, x)
    y, relu2_backward = relu(y)

    def backward(dy):
        dy, dshortcut = add_backward(relu2_backward(dy))
        dy, dgamma2, dbeta2 = bn2_backward(dy)
        dy, dweight2, _ = conv2_backward(dy)
        dy = relu1_backward(dy)
        dy, dgamma1, dbeta1 = bn1_backward(dy)
        dx, dweight1, _ = conv1_backward(dy)
        # x was used twice
        return dx + dshortcut, dweight1, dgamma1, dbeta1, dweight2, dgamma2, dbeta2

    return y, backward


def squeeze_excitation(x, weight1, bias1, weight2, bias2):
    """y[n, h, w, c] = x[n, h, w, c] * gate[n, c]: the means of an image's channels say how much of each goes on.

    x (N, H, W, C), weight1 (S, C), bias1 (S,), weight2 (C, S), bias2 (C,); y as x.
    backward(dy) -> (dx, dweight1, dbias1, dweight2, dbias2).
    """
    mean, mean_backward = global_avg_pool2d(x)
    hidden, linear1_backward = linear(mean, weight1, bias1)
    hidden, relu_backward = relu(hidden)
    logits, linear2_backward = linear(hidden, weight2, bias2)
    gate, sigmoid_backward = sigmoid(logits)
    y = x * gate[:, None, None]

    def backward(dy):
        dgate = (dy * x).sum(axis=(1, 2))
        dhidden, dweight2, dbias2 = linear2_backward(sigmoid_backward(dgate))
        dmean, dweight1, dbias1 = linear1_backward(relu_backward(dhidden))
        dx = dy * gate[:, None, None] + mean_backward(dmean)  # x was used twice
        return dx, dweight1, dbias1, dweight2, dbias2

    return y, backward


def preact_block(x, gamma1, beta1, weight1, gamma2, beta2, weight2):
    """y = x + F(x), F = batch norm, ReLU, convolution, twice (He et al. 2016, figure 1b): nothing after the sum.

    x (N, H, W, C), weights (C, C, 3, 3), stride 1, padding 1, no bias; gammas and betas (C,); y as x.
    backward(dy) -> (dx, dgamma1, dbeta1, dweight1, dgamma2, dbeta2, dweight2).
    """
    no_bias = np.zeros(len(weight1), x.dtype)
    y, bn1_backward = batch_norm(x, gamma1, beta1)
    y, relu1_backward = relu(y)
    y, conv1_backward = conv2d(y, weight1, no_bias, 1, 1)
    y, bn2_backward = batch_norm(y, gamma2, beta2)
    y, relu2_backward = relu(y)
    y, conv2_backward = conv2d(y, weight2, no_bias, 1, 1)
    y, add_backward = add(x, y)

    def backward(dy):
        dshortcut, dy = add_backward(dy)
        dy, dweight2, _ = conv2_backward(dy)
        dy, dgamma2, dbeta2 = bn2_backward(relu2_backward(dy))
        dy, dweight1, _ = conv1_backward(dy)
        dx, dgamma1, dbeta1 = bn1_backward(relu1_backward(dy))
        return dx + dshortcut, dgamma1, dbeta1, dweight1, dgamma2, dbeta2, dweight2  # x was used twice

    return y, backward


def dense_block(x, weight1, weight2, weight3):
    """Three layers, each of which sees all that was made before it: x1 = F1(x), x2 = F2([x, x1]), x3 = F3([x, x1, x2]).

    F is ReLU and convolution; y = [x, x1, x2, x3], channels side by side (Huang et al. 2017, equation 2).
    x (N, H, W, C), weight1 (G, C, 3, 3), weight2 (G, C + G, 3, 3), weight3 (G, C + 2G, 3, 3), padding 1, no bias;
    y (N, H, W, C + 3G). backward(dy) -> (dx, dweight1, dweight2, dweight3).
    """
    no_bias = np.zeros(len(weight1), x.dtype)
    y, passes = x, []
    for weight in (weight1, weight2, weight3):
        new, relu_backward = relu(y)
        new, conv_backward = conv2d(new, weight, no_bias, 1, 1)
        y, concat_backward = concat(y, new)
        passes.append((relu_backward, conv_backward, concat_backward))

    def backward(dy):
        dweights: list = []
        for relu_backward, conv_backward, concat_backward in reversed(passes):
            dy, dnew = concat_backward(dy)
            dnew, dweight, _ = conv_backward(dnew)
            dy = dy + relu_backward(dnew)  # what came before was used by this layer, and stands in y besides
            dweights.insert(0, dweight)
        return dy, *dweights

    return y, backward


# A batch cut into shards --------------------------------------------------------------------------------------------


def shard_mean(x, weight, labels, shards):
    """loss = mean over all N images of the cross-entropy of x @ weight^T, from each shard's mean over its own images.

    x (N, C), weight (classes, C), labels: integers (N,), shards: how many images each has, one after the other, N in
    all. backward(dloss) -> (dx, dweight).
    """
    N, ends = len(x), np.cumsum(shards)[:-1]
    loss, passes = 0, []
    for x_s, labels_s in zip(np.split(x, ends), np.split(labels, ends), strict=True):
        logits, linear_backward = linear(x_s, weight, 0)
        loss_s, loss_backward = cross_entropy(logits, labels_s)
        n = len(x_s)
        loss += loss_s * n / N
        passes.append((n, loss_backward, linear_backward))

    def backward(dloss):
        dx, dweight = [], 0
        for n, loss_backward, linear_backward in passes:
            dx_s, dweight_s, _ = linear_backward(loss_backward(dloss))  # of the shard's own mean
            dx.append(n / N * dx_s)
            dweight += n / N * dweight_s
        return np.concatenate(dx), dweight

    return loss, backward


def broadcast(weight, S):
    """y[s] = weight, for each of S shards.   weight: any shape; y (S, *weight.shape).

    backward(dy) -> dweight: the sum over s, in one order, so that its bits are the same whoever adds which part: first
    neighbours, then their sums, level by level, ((0 + 1) + (2 + 3)) + ...; an odd last one passes up as it is.
    """
    y = np.broadcast_to(weight, (S, *weight.shape))

    def backward(dy):
        terms = list(dy)
        while len(terms) > 1:
            sums = [terms[i] + terms[i + 1] for i in range(0, len(terms) - 1, 2)]
            terms = sums + terms[2 * len(sums) :]
        return terms[0]

    return y, backward


def batch_norm_of_shards(x, weight, bias, shards):
    """y = batch_norm of each shard by itself: with its own mean and variance, not the batch's.

    x (N, H, W, C) or (N, C), weight (C,), bias (C,), shards: how many images each has, one after the other, N in all;
    y as x. backward(dy) -> (dx, dweight, dbias).
    """
    ends = np.cumsum(shards)[:-1]
    passes = [batch_norm(x_s, weight, bias) for x_s in np.split(x, ends)]
    y = np.concatenate([y_s for y_s, _ in passes])

    def backward(dy):
        gradients = [backward_s(dy_s) for (_, backward_s), dy_s in zip(passes, np.split(dy, ends), strict=True)]
        dx, dweight, dbias = zip(*gradients, strict=True)
        return np.concatenate(dx), sum(dweight), sum(dbias)

    return y, backward
