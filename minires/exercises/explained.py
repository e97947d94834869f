"""The solutions, explained: for each exercise the paragraphs that stand below its backward pass."""

EXPLAINED: dict[str, tuple[str, ...]] = {
    "relu": (
        "Each number acts on its own: to the right of 0 `y` moves as much as `x`, slope 1; to the left it does not "
        "move, slope 0. `y > 0` is that slope, for every number at once, and the chain rule multiplies it by `dy`.",
        "At exactly 0 there is a kink. Any slope from 0 to 1 is a subgradient there; 0 is the usual choice.",
    ),
    "sigmoid": (
        "With `e = exp(-x)` it is `y = 1 / (1 + e)`, and the quotient rule gives the slope `e / (1 + e)**2`. One "
        "factor of it is `y`, the other is `e / (1 + e) = 1 - y`.",
        "So the output is all that must be kept. Where `y` is nearly 0 or nearly 1 the slope is nearly 0: the "
        "function is saturated, and hardly any gradient comes through.",
    ),
    "tanh": (
        "`tanh = sinh / cosh`, and the quotient rule gives `(cosh**2 - sinh**2) / cosh**2 = 1 - tanh**2`: again a "
        "formula in the output.",
        "At 0 the slope is 1, four times that of the sigmoid.",
    ),
    "silu": (
        "`y = x * s` is a product, and both factors move with `x`. The first term, `s`, is what goes through the "
        "gate; the second, `x * s * (1 - s)`, is what `x` does to the gate. Put `s` before the bracket: `s * (1 + x "
        "* (1 - s))`.",
    ),
    "add": (
        "If one term grows by 0.1, so does the sum: the slope with respect to either is 1, and each branch receives "
        "all of `dy`. Nothing is shared out.",
        "This is why a residual network can be deep: along the shortcuts `dy` comes back as it is, through every sum.",
    ),
    "linear": (
        "`y[n, o]` is the sum over c of `x[n, c] * weight[o, c]`, plus `bias[o]`. `x[n, c]` stands in it for every "
        "o, so its gradient is a sum over o of `dy[n, o] * weight[o, c]`: the product `dy @ weight`.",
        "`weight[o, c]` and `bias[o]` stand in it for every n. So theirs are sums over the images: `dy.T @ x`, and "
        "`dy.sum(axis=0)`.",
        "The shapes alone nearly say it: (N, O) and (O, C) give (N, C) in one way only.",
    ),
    "mse_loss": (
        "Each prediction stands in one square. The square's slope is `2 * difference`; the mean divides by the "
        "number of all elements, `difference.size`; and `dloss` multiplies, as the chain rule has it.",
        "`target` stands in the same square with a minus, so its gradient is the same with the other sign.",
    ),
    "softmax": (
        "Derive `p[c] = exp(logits[c]) / sum` by `logits[k]`. The numerator gives `p[c]` where c is k; the "
        "denominator gives `-p[c] * p[k]` for all c. So the Jacobian of a row is `diag(p) - p p^T`.",
        "Multiply it by `dp`: `p * dp - p * (dp * p).sum()`. The sum is a mean of `dp` with the weights `p`; what "
        "counts is how far a `dp` lies above it. If all are equal nothing moves, for the probabilities always add up "
        "to 1.",
    ),
    "cross_entropy": (
        "For one row the loss is `log(sum of exp(logits)) - logits[label]`. The first term's slopes are the "
        "probabilities, `exp(log_p)`; the second takes off 1 at the label, `one_hot`.",
        "The loss is a mean over the N images: divide by N. The 1 / p of the logarithm has cancelled, which is why "
        "one derives softmax and logarithm together.",
    ),
    "dropout": (
        "`y` is `x` times a number that does not depend on `x`: 0, or 1 / (1 - p). That number is the slope, and it "
        "is the mask that the forward pass has drawn. It must be the same one: a new draw would be the gradient of "
        "another function.",
    ),
    "concat": (
        "Each number of `y` is one of `x1` or of `x2`, as it was. So `dy` is cut where the arrays met: the first C1 "
        "channels belong to `x1`, all others to `x2`.",
    ),
    "global_avg_pool2d": (
        "Each of the H * W pixels stands once in the mean and counts for 1 / (H * W) of it. So every pixel of a "
        "channel receives the same: `dy / (H * W)`, spread over the image.",
        "A mean is linear: the gradient does not depend on `x`.",
    ),
    "avg_pool2d": (
        "As in the global mean, for each window by itself: a pixel is in one window and receives that one's `dy / (K "
        "* K)`.",
        "In the shape (N, OH, K, OW, K, C) a window's rows and columns are axes of their own. `dy` is spread over "
        "these two, and the reshape puts the windows back into the image.",
    ),
    "max_pool2d": (
        "`y` is one pixel of its window, the winner. If that grows, so does `y`; the others have no influence. So "
        "`dy` goes to the winner whole, and the others receive 0.",
        "`winner` is kept from the forward pass, so that among equal pixels the same one is meant: the first in "
        "reading order.",
        "The reshape back is that of the forward pass read backwards: first the window's axes, then the transpose "
        "undone.",
    ),
    "adaptive_avg_pool2d": (
        "Each window is a mean, and each of its pixels receives `dy` divided by the number of the window's own pixels.",
        "Windows can overlap where H is no multiple of OH. A pixel in two of them is used twice, and its gradients "
        "add up: `+=`, on a view of `dx`.",
    ),
    "im2col": (
        "A patch is a copy of pixels. Copying is linear, and its backward pass adds what comes back to where it was "
        "read: the same loop, the same slices, with the sides exchanged.",
        "A pixel that K * K windows have read is used K * K times: `+=`. What lands on the padding belongs to no "
        "pixel and is cut off, on all four sides.",
    ),
    "conv2d": (
        "After im2col a convolution is a linear layer with the patches as rows, `Y = P @ W + bias`. So the gradients "
        "are those of `linear`: `dY @ W.T` for the patches, `P.T @ dY` for the matrix, and the sum over the rows for "
        "the bias.",
        "`im2col_backward` adds the patches' gradients into the image. The matrix has the axes (K, K, C, O): split "
        "first, then transpose to (O, C, K, K).",
    ),
    "grouped_conv2d": (
        "Every group is a convolution by itself, so all is as there, with an axis G in front: matrix products of "
        "stacks of matrices.",
        "What has to be undone are the transposes. In patches a pixel's channels lie group by group, so G belongs "
        "between the window's pixels and a group's channels; in `y` too a group's output channels lie side by side.",
    ),
    "batch_norm_inference": (
        "Mean and variance are constants here, so `y` is a straight line in `x` with the slope `weight / std`.",
        "`weight` multiplies `x_hat` at every pixel, so its gradient is the sum of `dy * x_hat` over all of them; "
        "`bias` is added at every pixel: the sum of `dy`.",
    ),
    "batch_norm": (
        "`x` reaches `y` in three ways. Directly, over `std`: `dy`. Through the mean, of which each pixel is 1 / m "
        "and which is taken off all of them: minus the mean of `dy`. Through the variance, which a pixel moves by as "
        "much as it lies off the mean: minus `x_hat` times the mean of `dy * x_hat`. All three times `weight / std`.",
        "A test: with `dy = 1` everywhere `dx` is 0, for a number added to all pixels goes away with the mean. With "
        "`dy = x_hat` it is nearly 0, for a factor on all pixels goes away with `std`, but for `eps`.",
    ),
    "batch_norm_relu": (
        "The forward pass is batch norm, sum, ReLU. Backwards the order turns round: ReLU, sum, batch norm.",
        "What comes out of the ReLU goes to both terms of the sum: to the shortcut as it is, and into the batch norm.",
    ),
    "pad_shortcut": (
        "The forward pass copies some pixels and channels, and all else of `y` is 0 whatever `x` is. So `dx` is 0 "
        "where nothing was copied, and where something was it is `dy` of the channels from `before` on.",
        "The slice on the left is the one that the forward pass has read with.",
    ),
    "basic_block": (
        "Seven functions one after the other; their backward passes in the reverse order, each handed what the one "
        "before it gave.",
        "`x` was used twice, by the first convolution and by the sum. So its gradient is a sum of two: what came "
        "through the layers, and `dshortcut`, which has gone back through the last ReLU and nothing else.",
    ),
    "shard_mean": (
        "A shard's `loss_s` is a mean over its n images and counts n / N in the mean over all. That factor is its "
        "slope, and multiplies everything that comes back from the shard.",
        "Images are each in one shard: their gradients stand one after the other. `weight` serves all shards: its "
        "gradients add up.",
    ),
    "broadcast": (
        "Every shard has a copy of `weight`, so its gradient is the sum of all copies'. In exact numbers that would "
        "be `dy.sum(axis=0)`.",
        "In floating point the order decides the last bits. Here neighbours are added first, then their sums, and an "
        "odd last one passes up: several machines can each add a part, and all arrive at the same bits.",
    ),
    "batch_norm_of_shards": (
        "Each shard has been normalised by itself: its pixels act through its own mean and variance and on no other "
        "shard's `y`. So each part of `dy` goes back through its own batch norm.",
        "The images' gradients stand one after the other. `weight` and `bias` serve all shards: their gradients add "
        "up, without any share, for `dy` is of one loss already.",
    ),
    "group_norm": (
        "The same three ways as in batch norm, with means over a group: some channels, and the pixels of one image.",
        "`weight` differs from channel to channel of a group, so it must go into the means: first `g = weight * dy`, "
        "then `(g - mean(g) - x_hat * mean(g * x_hat)) / std`. In batch norm all numbers of a mean share one weight, "
        "and it may stand in front.",
    ),
    "preact_block": (
        "The sum comes last, so it is the first on the way back: `dy` goes to the shortcut as it is, with no ReLU "
        "and no norm in between.",
        "The other branch is two times batch norm, ReLU, convolution, gone back through from the end. `x` was used "
        "twice, and the two gradients add up.",
    ),
    "dense_block": (
        "Go from the last layer to the first. Each time `concat_backward` cuts off what the layer has made, `dnew`; "
        "that goes back through convolution and ReLU and says what the layer asks of its input.",
        "Its input also stands in `y`, and later layers have used it: that is what is left of `dy`. The two add up, "
        "and are complete before the next layer's turn comes.",
    ),
    "squeeze_excitation": (
        "`y` is `x` times a gate, a product. One way is direct, `dy * gate`. The other goes through the gate: it "
        "multiplies all pixels of a channel, so `dgate` is the sum over them of `dy * x`.",
        "From there back through sigmoid, layer, ReLU, layer and mean, as they came. `x` was used twice, and the two "
        "gradients add up.",
    ),
}
