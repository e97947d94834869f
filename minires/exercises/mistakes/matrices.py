"""Mistakes in the linear layer, softmax and the losses."""

from minires.exercises.mistakes.mistake import Mistake

_SUM = "(dp * p).sum(axis=1, keepdims=True)"


def _softmax_of(key, hint, axis):
    """Mistakes in cross-entropy: the probabilities along a wrong axis, of the logits and of the shifted ones."""
    return [
        Mistake(f"{key}_{of}", hint, ("np.exp(log_p)", f"np.exp({of}) / np.exp({of}).sum(axis={axis}, keepdims=True)"))
        for of in ("logits", "shifted")
    ]


MISTAKES = {
    "linear": [
        Mistake(
            "weight_transposed",
            "dx is dy times the transpose of what it should be multiplied by: follow one index. x[n, c] meets "
            "weight[o, c] for every o, so which axis of weight does the sum run over?",
            ("dy @ weight", "dy @ weight.T"),
        ),
        Mistake(
            "dweight_transposed",
            "dweight is transposed: weight[o, c] stands in row o and column c, and so does its gradient.",
            ("dy.T @ x", "x.T @ dy"),
        ),
        Mistake(
            "mean_over_batch",
            "dweight is a mean over the batch. The forward pass has no mean in it: the gradients of the images add up.",
            ("dy.T @ x", "dy.T @ x / len(x)"),
        ),
        Mistake(
            "bias_mean",
            "dbias is a mean over the batch. bias is added to every row of y, and its gradients add up.",
            ("dy.sum(axis=0)", "dy.mean(axis=0)"),
        ),
        Mistake(
            "first_image",
            "dbias counts the first image alone: bias is added to every row of y, so there is a sum over the batch.",
            ("dy.sum(axis=0)", "dy[0]"),
        ),
    ],
    "mse_loss": [
        Mistake(
            "without_two",
            "A factor of 2 is missing: what is the derivative of a square?",
            ("dloss * 2 *", "dloss *"),
        ),
        Mistake(
            "not_divided",
            "The loss is a mean, not a sum: each element has only its share in it.",
            (" / difference.size", ""),
        ),
        Mistake(
            "divided_by_batch",
            "Divided by N alone: the mean in the forward pass is over all elements, of both axes.",
            ("difference.size", "len(difference)"),
        ),
        Mistake(
            "neither",
            "Two factors are missing: that of the square's derivative, and that of the mean.",
            ("dloss * 2 * difference / difference.size", "dloss * difference"),
        ),
        Mistake(
            "sign_alone",
            "This is the slope of the mean absolute error: it knows only the sign of the difference, but a square is "
            "steeper the further one is off.",
            ("2 * difference / difference.size", "np.sign(difference) / difference.size"),
        ),
        Mistake(
            "target_alike",
            "dtarget has the sign of dprediction. If both grow, the loss stays as it is.",
            ("dprediction, -dprediction", "dprediction, dprediction"),
        ),
    ],
    "softmax": [
        Mistake(
            "diagonal",
            "Only the slope of p[n, c] with respect to its own logit is here. A logit also changes the other "
            "probabilities of its row, through the sum in the denominator.",
            (f"p * (dp - {_SUM})", "dp * p * (1 - p)"),
        ),
        Mistake(
            "numerator",
            "dlogits is dp times p: as if the sum in the denominator were a constant. It changes with every logit.",
            (f"p * (dp - {_SUM})", "dp * p"),
        ),
        Mistake(
            "without_outer_p",
            "The difference is right, and the factor before it is missing: a class that is hardly possible has hardly "
            "a slope.",
            (f"p * (dp - {_SUM})", f"dp - {_SUM}"),
        ),
        Mistake(
            "unweighted_sum",
            "What is subtracted must be weighted: each dp with the probability that it belongs to.",
            (_SUM, "dp.sum(axis=1, keepdims=True)"),
        ),
        Mistake(
            "unweighted_mean",
            "What is subtracted is a plain mean of dp: it must be weighted with the probabilities.",
            (_SUM, "dp.mean(axis=1, keepdims=True)"),
        ),
        Mistake(
            "weighted_mean",
            "What is subtracted is a mean over the classes: it is a sum, in which p are the weights already.",
            (_SUM, "(dp * p).mean(axis=1, keepdims=True)"),
        ),
        Mistake(
            "sum_over_batch",
            "The sum runs over the whole batch. Each row is a softmax of its own.",
            (_SUM, "(dp * p).sum()"),
        ),
        Mistake(
            "wrong_axis",
            "The sum runs over the images: it must run over the classes of one image.",
            (_SUM, "(dp * p).sum(axis=0, keepdims=True)"),
        ),
        Mistake("plus", "The second term has the wrong sign.", (f"dp - {_SUM}", f"dp + {_SUM}")),
    ],
    "cross_entropy": [
        Mistake("not_divided", "The loss is a mean over the batch: each image has only its share in it.", (" / N", "")),
        Mistake(
            "divided_by_classes",
            "The mean in the forward pass is over the N images, not over the classes or all logits.",
            (" / N", " / (N * classes)"),
        ),
        Mistake(
            "divided_by_classes_alone",
            "The mean in the forward pass is over the N images, and you have divided by the number of classes.",
            (" / N", " / classes"),
        ),
        Mistake(
            "label_subtracted",
            "The label itself has been subtracted, as a number: class 3 takes off 3, from every class of the row. "
            "What the loss reads is one logit of each row, so 1 is to be taken off, there alone.",
            ("one_hot) / N", "labels[:, None]) / N"),
        ),
        Mistake(
            "label_subtracted_not_divided",
            "The label itself has been subtracted, as a number, and the sum has not become a mean. Begin with the "
            "label: class 3 takes off 3, from every class of the row, but the loss reads one logit of each row.",
            ("one_hot) / N", "labels[:, None])"),
        ),
        *_softmax_of("over_images", "Softmax has run over the images: it must run over the classes of one image.", 0),
        *_softmax_of("over_all", "Softmax has run over the whole batch: each image has a softmax of its own.", None),
        Mistake(
            "not_normalised",
            "exp of the logits stands where their probabilities should: these add up to 1 in each row.",
            ("np.exp(log_p)", "np.exp(logits)"),
        ),
        Mistake(
            "not_normalised_shifted",
            "exp of the shifted logits stands where their probabilities should: these add up to 1 in each row.",
            ("np.exp(log_p)", "np.exp(shifted)"),
        ),
        *(
            Mistake(
                key,
                "This is the slope with respect to the probability, 1/p, and not yet to the logits: the chain rule "
                "goes on through the softmax. (In the product of the two the 1/p cancels.)",
                ("(np.exp(log_p) - one_hot) / N", slope),
            )
            for key, slope in {
                "slope_of_log": "-1.0 * one_hot / np.exp(log_p) / N",
                "slope_of_log_sign": "one_hot / np.exp(log_p) / N",
                "slope_of_log_everywhere": "-1 / np.exp(log_p) / N",
                "slope_of_log_not_divided": "-1.0 * one_hot / np.exp(log_p)",
            }.items()
        ),
        Mistake(
            "label_forgotten",
            "dlogits is the probabilities alone. The logit of the right class also stands by itself in the loss.",
            (" - one_hot", ""),
        ),
        Mistake(
            "label_alone",
            "Only the right class has a gradient here. The other logits are in the loss, too: through the sum.",
            ("np.exp(log_p) - one_hot", "-1.0 * one_hot"),
        ),
        Mistake(
            "log_of_p",
            "The label is subtracted from the logarithms of the probabilities: it should be the probabilities.",
            ("np.exp(log_p)", "log_p"),
        ),
        Mistake(
            "no_softmax",
            "The label is subtracted from the logits: it should be the probabilities that they stand for.",
            ("np.exp(log_p)", "logits"),
        ),
        Mistake(
            "sign",
            "The sign is wrong: the loss falls when the logit of the right class grows.",
            ("dloss *", "-dloss *"),
        ),
    ],
}
