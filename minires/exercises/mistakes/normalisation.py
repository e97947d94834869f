"""Mistakes in batch norm with fixed statistics, and with a sum and a ReLU behind it."""

from minires.exercises.mistakes import batch_norm
from minires.exercises.mistakes.batch_norm import EPS, PARAMETERS
from minires.exercises.mistakes.mistake import Mistake

_INFERENCE = "dy * weight / std"


def _written_out(mistake):
    """A mistake in batch norm, made where its backward pass is written out after that of the ReLU."""
    body = f"dy = dnormalised\n{batch_norm.written_out(mistake)}"
    return Mistake(f"norm_{mistake.key}", mistake.hint, ("dx, dweight, dbias = batch_norm_backward(dnormalised)", body))


MISTAKES = {
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
        *(
            Mistake(
                f"eps_{key}",
                EPS,
                (_INFERENCE, _INFERENCE.replace("std", std)),
                ("dy * x_hat", f"dy * (x - running_mean) / {std}"),
            )
            for key, std in {
                "left_out": "np.sqrt(running_var)",
                "outside": "(np.sqrt(running_var) + eps)",
            }.items()
        ),
        Mistake(
            "weight_twice", "dx holds the weight twice: it multiplies once.", (_INFERENCE, f"{_INFERENCE} * weight")
        ),
        Mistake(
            "multiplied",
            "dx is multiplied by the standard deviation where the forward pass divides by it.",
            (_INFERENCE, "dy * weight * std"),
        ),
        *PARAMETERS,
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
MISTAKES["batch_norm_relu"] += [
    _written_out(one) for one in batch_norm.MISTAKES["batch_norm"] if one.key != "dweight_of_y"
]
