"""Batch normalisation of one channel: the three ways on which a value acts on the loss, as parts of dx."""

import numpy as np

from live.figures import code_line
from minires import textbook
from minires.layers import batch_norm

EPS = 1e-5


def numbers(x, dy, weight, training):
    """x, dy: m numbers each; weight: one. -> mean, std, x_hat, y, dx and its parts: direct, through mean and variance.

    In inference the mean is 0 and the variance 1, as before the first step of training.
    """
    x, dy = np.array(x, np.float64)[:, None], np.array(dy, np.float64)[:, None]
    weight = np.array([weight], np.float64)
    y, backward = batch_norm(x, np.zeros(1), np.ones(1), weight, np.zeros(1), training=training, eps=EPS)
    dx, dweight, dbias = backward(dy)
    mean, var = (x.mean(), x.var()) if training else (0.0, 1.0)
    std = np.sqrt(var + EPS)
    x_hat = (x - mean) / std
    scale = weight / std
    ways = {
        "direct": scale * dy,
        "mean": -scale * dy.mean() * np.ones_like(x) * training,
        "variance": -scale * x_hat * (dy * x_hat).mean() * training,
    }
    return {
        **{name: way[:, 0] for name, way in ways.items()},
        **{"x_hat": x_hat[:, 0], "y": y[:, 0], "dx": dx[:, 0]},
        **{"mu": float(mean), "sigma": float(std), "dweight": float(dweight[0]), "dbias": float(dbias[0])},
        **{"dy_mean": float(dy.mean()), "dyx_hat_mean": float((dy * x_hat).mean()), "training": training},
        "code": code_line(textbook.batch_norm if training else textbook.batch_norm_inference, "dx = "),
        "sums": [float(dx.sum()), float((dx * x_hat).sum())],
    }
