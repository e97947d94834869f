"""Mistakes in batch norm, alone and with what follows it."""

from minires.exercises.mistakes.mistake import Mistake

_MEAN, _X_HAT = " - dy.mean(axis=pixels)", " - x_hat * (dy * x_hat).mean(axis=pixels)"
_DX = f"weight / std * (dy{_MEAN}{_X_HAT})"
_DWEIGHT = "(dy * x_hat).sum(axis=pixels)"
_DBIAS = "dbias = dy.sum(axis=pixels)"
_INFERENCE = "dy * weight / std"

_PARAMETERS = [
    Mistake(
        "dweight_of_x",
        "dweight is made with x. What weight multiplies is x normalised: its slope is that.",
        (_DWEIGHT, "(dy * x).sum(axis=pixels)"),
    ),
    Mistake(
        "dweight_of_y",
        "dweight is made with y. What weight multiplies is x normalised, before weight and bias.",
        (_DWEIGHT, "(dy * y).sum(axis=pixels)"),
    ),
    Mistake(
        "dweight_mean",
        "dweight is a mean over the pixels. weight serves all of them, and its gradients add up.",
        (_DWEIGHT, "(dy * x_hat).mean(axis=pixels)"),
    ),
    Mistake(
        "dbias_mean",
        "dbias is a mean over the pixels. bias serves all of them, and its gradients add up.",
        (_DBIAS, "dbias = dy.mean(axis=pixels)"),
    ),
    Mistake(
        "dbias_weighted",
        "dbias is multiplied by weight, but bias is added after weight has multiplied.",
        (_DBIAS, "dbias = weight * dy.sum(axis=pixels)"),
    ),
]

_WRITTEN_OUT = f"""\
pixels, dy = (0, 1, 2), dnormalised
mean, var = x.mean(axis=pixels), x.var(axis=pixels)
std = np.sqrt(var + 1e-5)
x_hat = (x - mean) / std
dweight = {_DWEIGHT}
{_DBIAS}
dx = {_DX}"""


def _written_out(mistake):
    """A mistake in batch norm, made where its backward pass is written out after that of the ReLU."""
    body = _WRITTEN_OUT
    for old, new in mistake.edits:
        body = body.replace(old, new)
    return Mistake(f"norm_{mistake.key}", mistake.hint, ("dx, dweight, dbias = batch_norm_backward(dnormalised)", body))


MISTAKES = {
    "batch_norm": [
        Mistake(
            "mean_term",
            "The term through the mean is missing: every pixel of a channel is in its mean, which is taken off "
            "all of them. Try dy = 1 everywhere: what must dx be?",
            (_MEAN, ""),
        ),
        Mistake(
            "x_hat_term",
            "The term through the variance is missing: every pixel of a channel is in its variance, which divides "
            "all of them. It is the one with x_hat in it.",
            (_X_HAT, ""),
        ),
        Mistake(
            "both_terms",
            "Mean and variance are taken for constants: that is batch norm at inference. Here they are made of x, and "
            "each pixel also acts through them.",
            (_MEAN, ""),
            (_X_HAT, ""),
        ),
        Mistake(
            "x_hat_factor",
            "The mean in the term through the variance is right, but it is the same for all pixels: how far a pixel "
            "moves the variance depends on where it lies itself.",
            (_X_HAT, " - (dy * x_hat).mean(axis=pixels)"),
        ),
        Mistake(
            "x_hat_sign",
            "The term through the variance has the wrong sign.",
            (_X_HAT, _X_HAT.replace(" - ", " + ")),
        ),
        Mistake("mean_sign", "The term through the mean has the wrong sign.", (_MEAN, _MEAN.replace(" - ", " + "))),
        Mistake(
            "sums",
            "The terms through mean and variance are sums where they should be means: each pixel has only a share in "
            "the statistics.",
            (_MEAN, _MEAN.replace("mean", "sum")),
            (_X_HAT, _X_HAT.replace("mean", "sum")),
        ),
        Mistake(
            "x_for_x_hat",
            "In the term through the variance x stands where x normalised should.",
            (_X_HAT, " - x * (dy * x).mean(axis=pixels)"),
        ),
        Mistake("weight", "dx lacks the weight: it multiplies after the normalisation.", ("weight / std", "1 / std")),
        Mistake("std", "dx lacks the division by the standard deviation.", ("weight / std", "weight")),
        Mistake(
            "var_for_std",
            "dx is divided by the variance: it must be its square root, as in the forward pass.",
            ("weight / std", "weight / std**2"),
        ),
        Mistake(
            "var_for_std_without_eps",
            "dx is divided by the variance: it must be its square root, as in the forward pass.",
            ("weight / std", "weight / var"),
        ),
        Mistake(
            "divided_by_batch",
            "The sums are divided by N, the number of images. A channel's mean is over all its pixels: N * H * W of "
            "them.",
            (_MEAN, " - dy.sum(axis=pixels) / len(x)"),
            (_X_HAT, " - x_hat * (dy * x_hat).sum(axis=pixels) / len(x)"),
        ),
        Mistake(
            "centred_for_x_hat",
            "The term through the variance is made with x - mean: it needs x_hat, divided by std.",
            (_X_HAT, " - (x - mean) * (dy * x_hat).mean(axis=pixels)"),
        ),
        Mistake(
            "centred_for_x_hat_twice",
            "The term through the variance is made with x - mean, twice: both times it needs x_hat, divided by std.",
            (_X_HAT, " - (x - mean) * (dy * (x - mean)).mean(axis=pixels)"),
        ),
        Mistake(
            "first_term_alone",
            "weight / std stands before the first term only: it multiplies all three.",
            (_DX, f"weight / std * dy{_MEAN}{_X_HAT}"),
        ),
        Mistake(
            "mean_over_channels",
            "The means run over the channels too: each channel has its own.",
            (_MEAN, " - dy.mean()"),
            (_X_HAT, " - x_hat * (dy * x_hat).mean()"),
        ),
        Mistake(
            "x_hat_half",
            "The term through the variance is half of what it must be: a variance is made of squares, and a square "
            "has a derivative.",
            (_X_HAT, _X_HAT + " / 2"),
        ),
        Mistake(
            "x_hat_twice",
            "The term through the variance is twice what it must be: std is a square root, and a square root has a "
            "derivative.",
            (_X_HAT, " - 2 * x_hat * (dy * x_hat).mean(axis=pixels)"),
        ),
        Mistake(
            "mean_over_batch",
            "The means run over the batch alone: those of the forward pass run over all pixels of all images.",
            (_MEAN, " - dy.mean(axis=0)"),
            (_X_HAT, " - x_hat * (dy * x_hat).mean(axis=0)"),
        ),
        *_PARAMETERS,
    ],
    "batch_norm_inference": [
        Mistake(
            "as_in_training",
            "This is the gradient of batch norm in training. Here mean and variance are constants: "
            "a pixel does not act through them.",
            (_INFERENCE, "weight / std * (dy - dy.mean(axis=pixels) - x_hat * (dy * x_hat).mean(axis=pixels))"),
        ),
        Mistake("weight", "dx lacks the weight: it multiplies after the normalisation.", (_INFERENCE, "dy / std")),
        Mistake("std", "dx lacks the division by the standard deviation.", (_INFERENCE, "dy * weight")),
        Mistake(
            "var_for_std",
            "dx is divided by the variance: it must be its square root, as in the forward pass.",
            (_INFERENCE, "dy * weight / (std * std)"),
        ),
        Mistake(
            "multiplied",
            "dx is multiplied by the standard deviation where the forward pass divides by it.",
            (_INFERENCE, "dy * weight * std"),
        ),
        *_PARAMETERS,
    ],
    "batch_norm_relu": [
        Mistake(
            "relu_forgotten",
            "dy has not gone back through the ReLU: where y is 0, nothing comes through.",
            ("relu_backward(dy)", "dy"),
        ),
        Mistake(
            "mask_of_norm",
            "The ReLU's mask is that of the normalised x alone: the ReLU came after the sum with the shortcut.",
            ("relu_backward(dy)", "dy * (normalised > 0)"),
        ),
        Mistake(
            "shortcut_of_dy",
            "dshortcut is dy itself: it has not gone back through the ReLU, which came after the sum.",
            ("return dx, dweight, dbias, dshortcut", "return dx, dweight, dbias, dy"),
        ),
        Mistake(
            "shortcut_normalised",
            "dshortcut has gone back through the batch norm: the shortcut came in after it.",
            ("return dx, dweight, dbias, dshortcut", "return dx, dweight, dbias, dx"),
        ),
        Mistake(
            "norm_forgotten",
            "dx has not gone back through the batch norm.",
            ("return dx, dweight, dbias, dshortcut", "return dnormalised, dweight, dbias, dshortcut"),
        ),
        Mistake(
            "fork",
            "dx and dshortcut have been added up. x and shortcut are two inputs, each used once: "
            "each has a gradient of its own.",
            ("return dx, dweight, dbias, dshortcut", "return dx + dshortcut, dweight, dbias, dx + dshortcut"),
        ),
    ],
}

# A sum with y in it is left out: there y is what comes after the ReLU.
MISTAKES["batch_norm_relu"] += [_written_out(one) for one in MISTAKES["batch_norm"] if one.key != "dweight_of_y"]
