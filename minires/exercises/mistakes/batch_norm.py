"""Mistakes in batch norm with the batch's own statistics."""

from minires.exercises.mistakes.mistake import Mistake

_MEAN, _X_HAT = " - dy.mean(axis=pixels)", " - x_hat * (dy * x_hat).mean(axis=pixels)"
DX = f"weight / std * (dy{_MEAN}{_X_HAT})"
DWEIGHT = "(dy * x_hat).sum(axis=pixels)"
DBIAS = "dbias = dy.sum(axis=pixels)"

EPS = (
    "Right but for eps, which is left out or in another place than in the forward pass: there it stands under the "
    "root, beside the variance."
)
_WITHOUT_EPS = {  # what stands for std
    "left_out": "np.sqrt(var)",
    "outside": "(np.sqrt(var) + eps)",
}


def _counted(key, count, said):
    """A mistake in batch norm: the sums of both terms divided by another number than that of the pixels."""
    return Mistake(
        f"divided_by_{key}",
        f"The sums are divided by {said}: a channel's mean is over all its pixels, N * H * W of them.",
        (_MEAN, f" - dy.sum(axis=pixels) / {count}"),
        (_X_HAT, f" - x_hat * (dy * x_hat).sum(axis=pixels) / {count}"),
    )


PARAMETERS = [
    Mistake(
        "dweight_of_x",
        "dweight is made with x. What weight multiplies is x normalised: its slope is that.",
        (DWEIGHT, "(dy * x).sum(axis=pixels)"),
    ),
    Mistake(
        "dweight_of_y",
        "dweight is made with y. What weight multiplies is x normalised, before weight and bias.",
        (DWEIGHT, "(dy * y).sum(axis=pixels)"),
    ),
    Mistake(
        "dweight_mean",
        "dweight is a mean over the pixels. weight serves all of them, and its gradients add up.",
        (DWEIGHT, "(dy * x_hat).mean(axis=pixels)"),
    ),
    Mistake(
        "dbias_mean",
        "dbias is a mean over the pixels. bias serves all of them, and its gradients add up.",
        (DBIAS, "dbias = dy.mean(axis=pixels)"),
    ),
    Mistake(
        "dbias_weighted",
        "dbias is multiplied by weight, but bias is added after weight has multiplied.",
        (DBIAS, "dbias = weight * dy.sum(axis=pixels)"),
    ),
]


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
        _counted("rows", "(x.shape[0] * x.shape[1])", "N * H"),
        _counted("columns", "(x.shape[0] * x.shape[2])", "N * W"),
        _counted("image", "(x.shape[1] * x.shape[2])", "H * W, the pixels of one image"),
        _counted("all", "x.size", "the number of all elements, those of the other channels too"),
        Mistake(
            "m_minus_1",
            "The sums are divided by one less than the number of pixels. The variance of the forward pass is the "
            "biased one, a plain mean over all m of them.",
            (_MEAN, " - dy.sum(axis=pixels) / (x[..., 0].size - 1)"),
            (_X_HAT, " - x_hat * (dy * x_hat).sum(axis=pixels) / (x[..., 0].size - 1)"),
        ),
        Mistake(
            "m_minus_1_in_variance",
            "The term through the variance is divided by one less than the number of pixels. The variance of the "
            "forward pass is the biased one, a plain mean over all m of them.",
            (_X_HAT, " - x_hat * (dy * x_hat).sum(axis=pixels) / (x[..., 0].size - 1)"),
        ),
        Mistake(
            "weight_twice",
            "dx holds the weight twice. It multiplies once, after the normalisation: it is in dy on the way back, or "
            "before the bracket, not both.",
            ("weight / std", "weight * weight / std"),
        ),
        Mistake(
            "weight_in_terms",
            "The terms through mean and variance hold the weight twice, the first one once. It multiplies once.",
            (_MEAN, " - weight * dy.mean(axis=pixels)"),
            (_X_HAT, " - x_hat * weight * (dy * x_hat).mean(axis=pixels)"),
        ),
        *(Mistake(f"eps_{key}", EPS, (DX, DX.replace("std", std))) for key, std in _WITHOUT_EPS.items()),
        *(
            Mistake(
                f"eps_{key}_everywhere", EPS, (DX, DX.replace("std", std).replace("x_hat", f"((x - mean) / {std})"))
            )
            for key, std in _WITHOUT_EPS.items()
        ),
        *(
            Mistake(f"eps_{key}_in_dweight", EPS, (DWEIGHT, f"(dy * (x - mean) / {std}).sum(axis=pixels)"))
            for key, std in _WITHOUT_EPS.items()
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
            (DX, f"weight / std * dy{_MEAN}{_X_HAT}"),
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
        *PARAMETERS,
    ],
}

_WRITTEN_OUT = f"""\
pixels = (0, 1, 2)
mean, var, eps = x.mean(axis=pixels), x.var(axis=pixels), 1e-5
std = np.sqrt(var + eps)
x_hat = (x - mean) / std
dweight = {DWEIGHT}
{DBIAS}
dx = {DX}"""


def written_out(mistake: Mistake) -> str:
    """The lines of batch norm with the mistake in its backward pass, of x and dy, where y is not at hand."""
    body = _WRITTEN_OUT
    for old, new in mistake.edits:
        body = body.replace(old, new)
    return body
