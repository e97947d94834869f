"""Mistakes in the blocks of residual networks' relatives: pre-activation, and dense blocks."""

from minires.exercises.mistakes.mistake import Mistake

_BLOCK, _NEW = "return dx + dshortcut", "dy = dy + relu_backward(dnew)"

MISTAKES = {
    "preact_block": [
        Mistake(
            "shortcut_forgotten",
            "dx lacks the shortcut's part. x is used twice, by the first batch norm and by the sum: "
            "where a value is used twice, its gradients add up.",
            (_BLOCK, "return dx"),
        ),
        Mistake(
            "shortcut_alone",
            "dx is the shortcut's part alone. x is used twice, by the first batch norm and by the sum.",
            (_BLOCK, "return dshortcut"),
        ),
        Mistake(
            "shortcut_after_activation",
            "The shortcut's part has gone back through the first batch norm and ReLU. Here the shortcut leaves before "
            "them: it is x itself.",
            ("relu1_backward(dy)", "relu1_backward(dy + dshortcut)"),
            (_BLOCK, "return dx"),
        ),
        Mistake(
            "relu_after_the_sum",
            "dy has gone back through a ReLU of y, as in a block of the first kind. Here nothing comes after the sum.",
            ("dshortcut, dy = add_backward(dy)", "dshortcut, dy = add_backward(dy * (y > 0))"),
        ),
        Mistake(
            "first_relu",
            "The first ReLU has been left out on the way back.",
            ("relu1_backward(dy)", "dy"),
        ),
        Mistake(
            "second_relu",
            "The second ReLU has been left out on the way back.",
            ("relu2_backward(dy)", "dy"),
        ),
        Mistake(
            "relus_exchanged",
            "The second ReLU has been gone back through with the mask of the first one. Each backward pass belongs to "
            "its own call.",
            ("relu2_backward(dy)", "relu1_backward(dy)"),
        ),
        Mistake(
            "norm_and_relu_exchanged",
            "The second batch norm has been gone back through before the ReLU that comes after it: backwards the "
            "order turns round.",
            (
                "dy, dgamma2, dbeta2 = bn2_backward(relu2_backward(dy))",
                "dy, dgamma2, dbeta2 = bn2_backward(dy)\ndy = relu2_backward(dy)",
            ),
        ),
        Mistake(
            "shortcut_twice",
            "The shortcut's part has been added twice.",
            (_BLOCK, "return dx + dshortcut + dshortcut"),
        ),
    ],
    "dense_block": [
        Mistake(
            "later_layers_alone",
            "The part of dy that came through the concatenation has been lost: what a layer was given stands in y as "
            "it is, and in all later layers. Its gradient is a sum.",
            (_NEW, "dy = relu_backward(dnew)"),
        ),
        Mistake(
            "concatenation_alone",
            "What the layers ask of their inputs is missing: dy has only been cut up.",
            (_NEW, "dy = dy"),
        ),
        Mistake(
            "relu_of_both",
            "The part that came through the concatenation has gone back through the layer's ReLU, too. What stands in "
            "y is the layer's input itself, before the ReLU.",
            (_NEW, "dy = relu_backward(dy + dnew)"),
        ),
        Mistake(
            "relu_forgotten",
            "What came back from the convolution has not gone back through the ReLU.",
            (_NEW, "dy = dy + dnew"),
        ),
        Mistake(
            "first_to_last",
            "The layers have been gone back through from the first to the last: the last one comes first.",
            (
                "for relu_backward, conv_backward, concat_backward in reversed(passes):",
                "parts = np.split(dy, np.cumsum([x.shape[3]] + 2 * [len(weight1)]), axis=3)\n"
                "for k, (relu_backward, conv_backward, concat_backward) in reversed(list(enumerate(passes))):",
            ),
            (
                "dy, dnew = concat_backward(dy)",
                "dy, dnew = np.concatenate(parts[: k + 1], axis=3), parts[k + 1]",
            ),
        ),
        Mistake(
            "halved",
            "The two parts have been averaged. Where a value is used twice, its gradients add up.",
            (_NEW, "dy = (dy + relu_backward(dnew)) / 2"),
        ),
        Mistake(
            "weights_turned_round",
            "The gradients of the weights come in the order in which the backward pass meets them: the last first.",
            ("dweights.insert(0, dweight)", "dweights.append(dweight)"),
        ),
    ],
}
