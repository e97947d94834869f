"""Mistakes in what residual networks are put together with."""

from minires.exercises.mistakes.mistake import Mistake

_PAD = "dy[..., before : before + C]"
_BLOCK = "return dx + dshortcut"

MISTAKES = {
    "add": [
        Mistake(
            "halved",
            "dy has been shared between the branches. Each of them moves y by as much as it moves itself: what is the "
            "slope of a sum with respect to one term?",
            ("dy, dy", "dy / 2, dy / 2"),
        ),
        Mistake("product", "These are the gradients of a product, not of a sum.", ("dy, dy", "dy * x2, dy * x1")),
        Mistake(
            "times_itself",
            "dy has been multiplied by the branch itself: the slope of a sum does not depend on its terms.",
            ("dy, dy", "dy * x1, dy * x2"),
        ),
        Mistake("difference", "This is the gradient of a difference.", ("dy, dy", "dy, -dy")),
        Mistake("one_branch", "Only one branch has a gradient: both are in the sum.", ("dy, dy", "dy, 0 * dy")),
    ],
    "concat": [
        Mistake(
            "from_behind",
            "The channels are counted from the wrong end: x1's come first in y.",
            ("dy[..., :C1], dy[..., C1:]", "dy[..., -C1:], dy[..., :-C1]"),
        ),
        Mistake(
            "from_0",
            "Both are counted from the first channel on: those of x2 stand behind those of x1.",
            ("dy[..., C1:]", "dy[..., : x2.shape[-1]]"),
        ),
        Mistake(
            "halved",
            "dy has been halved. Nothing is added here: each number of y comes from one array alone.",
            ("dy[..., :C1], dy[..., C1:]", "dy[..., :C1] / 2, dy[..., C1:] / 2"),
        ),
        Mistake(
            "turned",
            "The channels come back in reverse order.",
            ("dy[..., :C1], dy[..., C1:]", "dy[..., :C1][..., ::-1], dy[..., C1:][..., ::-1]"),
        ),
    ],
    "pad_shortcut": [
        Mistake(
            "first_channels",
            "dx is cut from the first channels of dy: there are channels of zeros before x's.",
            (_PAD, "dy[..., :C]"),
        ),
        Mistake(
            "last_channels",
            "dx is cut from the last channels of dy: there are channels of zeros behind x's.",
            (_PAD, "dy[..., -C:]"),
        ),
        Mistake(
            "spread",
            "The pixels that the stride left out have a gradient: they have no influence on y.",
            (
                "dx[:, ::stride, ::stride] =",
                "dx[...] = np.repeat(np.repeat(dy, stride, 1), stride, 2)[:, : x.shape[1], : x.shape[2], "
                "before : before + C] #",
            ),
        ),
        Mistake(
            "shifted",
            "The gradient is put on the wrong pixels: the stride begins with the first row and column.",
            (
                f"dx[:, ::stride, ::stride] = {_PAD}",
                "some = dx[:, 1::stride, 1::stride]\n"
                "some[...] = dy[:, : some.shape[1], : some.shape[2], before : before + C]",
            ),
        ),
        Mistake(
            "side_by_side",
            "The pixels of dy are put side by side: they must lie where the stride took them from.",
            ("dx[:, ::stride, ::stride]", "dx[:, : dy.shape[1], : dy.shape[2]]"),
        ),
    ],
    "basic_block": [
        Mistake(
            "shortcut_forgotten",
            "dx lacks the shortcut's part. x is used twice, by the first convolution and by the sum: "
            "where a value is used twice, its gradients add up.",
            (_BLOCK, "return dx"),
        ),
        Mistake(
            "shortcut_alone",
            "dx is the shortcut's part alone. x is used twice, by the first convolution and by the sum.",
            (_BLOCK, "return dshortcut"),
        ),
        Mistake(
            "shortcut_of_dy",
            "The shortcut's part of dx has not gone back through the last ReLU, which came after the sum.",
            ("dy, dshortcut = add_backward(relu2_backward(dy))", "dshortcut = dy\ndy = relu2_backward(dy)"),
        ),
        Mistake(
            "last_relu",
            "dy has not gone back through the last ReLU.",
            ("relu2_backward(dy)", "dy"),
        ),
        Mistake(
            "first_relu",
            "The ReLU between the two layers has been left out on the way back.",
            ("dy = relu1_backward(dy)\n", ""),
        ),
        Mistake(
            "relus_exchanged",
            "The ReLU between the two layers has been gone back through with the mask of the last one. Each backward "
            "pass belongs to its own call.",
            ("relu1_backward(dy)", "relu2_backward(dy)"),
        ),
        Mistake(
            "second_norm",
            "The second batch norm has been left out on the way from the sum to the second convolution.",
            ("dy, dgamma2, dbeta2", "_, dgamma2, dbeta2"),
        ),
        Mistake(
            "first_norm",
            "The first batch norm has been left out on the way to the first convolution.",
            ("dy, dgamma1, dbeta1", "_, dgamma1, dbeta1"),
        ),
        Mistake(
            "shortcut_twice",
            "The shortcut's part has been added twice.",
            (_BLOCK, "return dx + dshortcut + dshortcut"),
        ),
    ],
}
