"""Mistakes in group norm."""

from minires.exercises.mistakes.batch_norm import EPS
from minires.exercises.mistakes.mistake import Mistake

_DX, _G = "(g - mean_g - x_hat * mean_product) / std", "g = (weight * dy).reshape(groups.shape)"
_DWEIGHT, _DBIAS = "(dy * x_hat.reshape(x.shape)).sum(axis=(0, 1, 2))", "dbias = dy.sum(axis=(0, 1, 2))"


def _means(key, axes, hint):
    """A mistake in which numbers the means are over."""
    return Mistake(key, hint, ("axis=inside", f"axis={axes}"))


MISTAKES = {
    "group_norm": [
        Mistake(
            "weight_outside",
            "weight stands before the bracket, as in batch norm. There all numbers of a mean have one weight; here a "
            "mean runs over several channels, and each has its own.",
            (_G, "g = dy.reshape(groups.shape)"),
            ("return dx.reshape(x.shape)", "return weight * dx.reshape(x.shape)"),
        ),
        Mistake(
            "weight",
            "dx lacks the weight: it multiplies after the normalisation.",
            (_G, "g = dy.reshape(groups.shape)"),
        ),
        Mistake(
            "weight_twice",
            "dx holds the weight twice: it multiplies once.",
            (_G, "g = (weight * weight * dy).reshape(groups.shape)"),
        ),
        Mistake(
            "constants",
            "Mean and variance are taken for constants. They are made of x, and each number of a group also acts "
            "through them.",
            (_DX, "g / std"),
        ),
        Mistake(
            "mean_term",
            "The term through the mean is missing: every number of a group is in its mean, which is taken off all of "
            "them.",
            (_DX, "(g - x_hat * mean_product) / std"),
        ),
        Mistake(
            "x_hat_term",
            "The term through the variance is missing: every number of a group is in its variance, which divides all "
            "of them. It is the one with x_hat in it.",
            (_DX, "(g - mean_g) / std"),
        ),
        Mistake(
            "x_hat_factor",
            "The mean in the term through the variance is right, but it is the same for all numbers of a group: how "
            "far one moves the variance depends on where it lies itself.",
            (_DX, "(g - mean_g - mean_product) / std"),
        ),
        Mistake(
            "mean_sign",
            "The term through the mean has the wrong sign.",
            (_DX, "(g + mean_g - x_hat * mean_product) / std"),
        ),
        Mistake(
            "x_hat_sign",
            "The term through the variance has the wrong sign.",
            (_DX, "(g - mean_g + x_hat * mean_product) / std"),
        ),
        Mistake("std", "dx lacks the division by the standard deviation.", (_DX, _DX.removesuffix(" / std"))),
        Mistake(
            "var_for_std",
            "dx is divided by the variance: it must be its square root, as in the forward pass.",
            (_DX, f"{_DX}**2"),
        ),
        Mistake(
            "sums",
            "The terms through mean and variance are sums where they should be means: each number has only a share in "
            "the statistics.",
            (".mean(axis=inside", ".sum(axis=inside"),
        ),
        Mistake("eps_left_out", EPS, (_DX, _DX.replace("/ std", "/ np.sqrt(var)"))),
        _means(
            "batch_norms_means",
            "(0, 1, 2)",
            "The means run over all images and one channel: that is batch norm. Here they run over a group of channels "
            "of one image.",
        ),
        _means(
            "each_channel",
            "(1, 2)",
            "The means run over one channel of an image. A group has several, and they share one mean.",
        ),
        _means(
            "whole_image",
            "(1, 2, 3, 4)",
            "The means run over all channels of an image: each group has its own.",
        ),
        _means("over_the_batch_too", "(0, 1, 2, 4)", "The means run over the batch, too: each image has its own."),
        _means(
            "pixels_alone", "4", "The means run over the channels of one pixel: a group has all pixels of an image."
        ),
        Mistake(
            "groups_dealt_out",
            "The axes have been split in the other order, C / G before G. Channels of a group lie side by side: 0, 1, "
            "2 and 3, 4, 5, not 0, 2, 4 and 1, 3, 5.",
            (
                f"{_G}  # each channel of a group has a weight of its own",
                "g = (weight * dy).reshape(N, H, W, C // G, G).swapaxes(3, 4)",
            ),
        ),
        Mistake(
            "dweight_of_x",
            "dweight is made with x. What weight multiplies is x normalised: its slope is that.",
            (_DWEIGHT, "(dy * x).sum(axis=(0, 1, 2))"),
        ),
        Mistake(
            "dweight_of_y",
            "dweight is made with y. What weight multiplies is x normalised, before weight and bias.",
            (_DWEIGHT, "(dy * y).sum(axis=(0, 1, 2))"),
        ),
        Mistake(
            "dweight_mean",
            "dweight is a mean over the pixels. weight serves all of them, and its gradients add up.",
            (_DWEIGHT, _DWEIGHT.replace(".sum(", ".mean(")),
        ),
        Mistake(
            "dbias_mean",
            "dbias is a mean over the pixels. bias serves all of them, and its gradients add up.",
            (_DBIAS, _DBIAS.replace(".sum(", ".mean(")),
        ),
        Mistake(
            "dbias_weighted",
            "dbias is multiplied by weight, but bias is added after weight has multiplied.",
            (_DBIAS, "dbias = weight * dy.sum(axis=(0, 1, 2))"),
        ),
    ]
}
