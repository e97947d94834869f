"""The backward passes with one mistake: which of the known mistakes, and where a pass is one line, its steps.

The steps are the textbook's backward pass in several lines; a test sees that they pass, and that with the wrong line
in them the judge finds the known mistake.
"""

from dataclasses import dataclass

from minires.exercises.catalogue import EXERCISES
from minires.exercises.generate import backward_body, source
from minires.exercises.mistakes import MISTAKES, wrong_body
from minires.exercises.mistakes.mistake import Mistake


@dataclass(frozen=True)
class Bug:
    """A mistake, by its key, in the backward pass of an exercise.   steps: right lines, the one that is wrong in it."""

    exercise: str
    key: str
    steps: tuple[str, str, str] | None = None  # all lines, one of them, and what stands in its place

    @property
    def mistake(self) -> Mistake:
        return next(mistake for mistake in MISTAKES[self.exercise] if mistake.key == self.key)

    @property
    def right(self) -> list[str]:
        """The lines of the right backward pass."""
        text = self.steps[0] if self.steps else backward_body(source(EXERCISES[self.exercise]))
        return _lines(text)

    @property
    def wrong(self) -> list[str]:
        """The lines with the mistake in one of them."""
        if self.steps:
            return _lines(self.steps[0].replace(*self.steps[1:]))
        return _lines(wrong_body(EXERCISES[self.exercise], self.mistake))

    @property
    def line(self) -> int:
        """The number of the wrong one, from 1."""
        differ = [i for i, (one, other) in enumerate(zip(self.right, self.wrong, strict=True), 1) if one != other]
        (number,) = differ
        return number


def _lines(text):
    """Without what is said behind them, which would tell too much."""
    return [line.split("  #")[0] for line in text.rstrip("\n").splitlines()]


_SIGMOID = "slope = y * (1 - y)\nreturn dy * slope"
_SILU = "through = s\nof_the_gate = x * s * (1 - s)\nreturn dy * (through + of_the_gate)"
_SOFTMAX = "mean = (dp * p).sum(axis=1, keepdims=True)\nabove = dp - mean\nreturn p * above"
_CROSS_ENTROPY = """\
dlogits = np.exp(log_p)
dlogits = dlogits - one_hot
dlogits = dlogits / N
return dloss * dlogits"""
_DROPOUT = "kept = mask > 0\nscaled = kept / (1 - p)\nreturn dy * scaled"
_CONCAT = "dx1 = dy[..., :C1]\ndx2 = dy[..., C1:]\nreturn dx1, dx2"
_MEAN = "share = dy / (H * W)\nspread = share[:, None, None, :]\nreturn np.broadcast_to(spread, x.shape)"

BUGS = {
    f"find_{name}": bug
    for name, bug in {
        "sigmoid": Bug("sigmoid", "plus", (_SIGMOID, "(1 - y)", "(1 + y)")),
        "silu": Bug("silu", "without_x", (_SILU, "x * s * (1 - s)", "s * (1 - s)")),
        "linear": Bug("linear", "mean_over_batch"),
        "mse_loss": Bug("mse_loss", "divided_by_batch"),
        "softmax": Bug("softmax", "wrong_axis", (_SOFTMAX, "axis=1", "axis=0")),
        "cross_entropy": Bug("cross_entropy", "label_subtracted", (_CROSS_ENTROPY, "one_hot", "labels[:, None]")),
        "dropout": Bug("dropout", "not_scaled", (_DROPOUT, "kept / (1 - p)", "1.0 * kept")),
        "concat": Bug("concat", "from_0", (_CONCAT, "dy[..., C1:]", "dy[..., : x2.shape[-1]]")),
        "global_avg_pool2d": Bug("global_avg_pool2d", "batch_too", (_MEAN, "(H * W)", "(N * H * W)")),
        "avg_pool2d": Bug("avg_pool2d", "one_axis"),
        "max_pool2d": Bug("max_pool2d", "axes_mixed"),
        "adaptive_avg_pool2d": Bug("adaptive_avg_pool2d", "one_size"),
        "im2col": Bug("im2col", "overwritten"),
        "im2col_again": Bug("im2col", "cut_at_corner"),
        "conv2d": Bug("conv2d", "dweight_order"),
        "conv2d_again": Bug("conv2d", "dx_order"),
        "grouped_conv2d": Bug("grouped_conv2d", "dx_groups_first"),
        "batch_norm_inference": Bug("batch_norm_inference", "dbias_weighted"),
        "batch_norm": Bug("batch_norm", "x_hat_factor"),
        "batch_norm_again": Bug("batch_norm", "dweight_of_x"),
        "batch_norm_relu": Bug("batch_norm_relu", "shortcut_of_dy"),
        "pad_shortcut": Bug("pad_shortcut", "side_by_side"),
        "basic_block": Bug("basic_block", "relus_exchanged"),
        "basic_block_again": Bug("basic_block", "second_norm"),
        "shard_mean": Bug("shard_mean", "last_shard"),
        "broadcast": Bug("broadcast", "odd_one_first"),
        "batch_norm_of_shards": Bug("batch_norm_of_shards", "mean_over_shards"),
        "group_norm": Bug("group_norm", "weight"),
        "preact_block": Bug("preact_block", "relus_exchanged"),
        "dense_block": Bug("dense_block", "relu_of_both"),
        "squeeze_excitation": Bug("squeeze_excitation", "dgate_mean"),
    }.items()
}
