"""Mistakes in pooling."""

from minires.exercises.mistakes.mistake import Mistake

_PUT = "np.put_along_axis(dflat, winner, dy[..., None], axis=-1)"
_COUNT = "(window.shape[1] * window.shape[2])"
_GLOBAL = "dy[:, None, None, :] / (H * W)"

MISTAKES = {
    "global_avg_pool2d": [
        Mistake(
            "not_divided",
            "Each pixel gets all of dy. It has only its share in the mean.",
            (_GLOBAL, "dy[:, None, None, :]"),
        ),
        Mistake(
            "one_axis",
            "dy is divided by the number of rows or of columns: the mean is over all pixels.",
            ("(H * W)", "W"),
        ),
        Mistake(
            "one_axis_h",
            "dy is divided by the number of rows or of columns: the mean is over all pixels.",
            ("(H * W)", "H"),
        ),
        Mistake(
            "batch_too",
            "dy is divided by N, too: each image has a mean of its own.",
            ("(H * W)", "(N * H * W)"),
        ),
        Mistake(
            "times_x",
            "dx depends on x. A mean is linear: its slope is the same whatever x is.",
            (_GLOBAL, "x * dy[:, None, None, :] / (H * W)"),
        ),
    ],
    "avg_pool2d": [
        Mistake(
            "not_divided",
            "Each pixel gets all of its window's dy. It has only its share in the mean.",
            (" / (K * K)", ""),
        ),
        Mistake("one_axis", "dy is divided by K: how many pixels has a window?", ("(K * K)", "K")),
        Mistake(
            "tiled",
            "dy has been laid out as tiles side by side (np.tile). The K x K pixels of one window have the same dy, "
            "and lie next to each other: a reshape with its axes in that order does the same.",
            ("dwindows.reshape(x.shape)", "np.tile(dy, (1, K, K, 1)) / (K * K)"),
        ),
        Mistake(
            "corner",
            "Only one pixel of each window has a gradient: each of them has its share in the mean.",
            (
                "dwindows.reshape(x.shape)",
                "(dwindows * (np.arange(K * K).reshape(1, 1, K, 1, K, 1) == 0)).reshape(x.shape) * K * K",
            ),
        ),
    ],
    "max_pool2d": [
        Mistake(
            "all_equal",
            "Several equal pixels of one window have each received all of dy. Only the first of them, "
            "in reading order, counts.",
            (_PUT, "dflat[...] = (flat == flat.max(axis=-1, keepdims=True)) * dy[..., None]"),
        ),
        Mistake(
            "shared",
            "dy has been shared among the equal pixels of a window. That is a gradient, too, but not this function's: "
            "only the first of them, in reading order, counts.",
            (
                _PUT,
                "most = flat == flat.max(axis=-1, keepdims=True)\n"
                "dflat[...] = most * dy[..., None] / most.sum(axis=-1, keepdims=True)",
            ),
        ),
        Mistake(
            "last",
            "Of equal pixels the last has received dy: it must be the first, in reading order.",
            (_PUT, _PUT.replace("winner", "(K * K - 1 - flat[..., ::-1].argmax(axis=-1))[..., None]")),
        ),
        Mistake(
            "to_all",
            "Every pixel of a window has received dy. y is the largest of them alone: the others have no influence.",
            (_PUT, "dflat[...] = dy[..., None]"),
        ),
        Mistake(
            "averaged",
            "dy is spread over the window: that is average pooling. Here y is the largest pixel alone.",
            (_PUT, "dflat[...] = dy[..., None] / (K * K)"),
        ),
        Mistake(
            "times_y",
            "The right pixels have received something, but it is dy times the pixel: the largest is passed on as it "
            "is, so its slope is 1.",
            (_PUT, _PUT.replace("dy[..., None]", "(dy * y)[..., None]")),
        ),
        Mistake(
            "axes_mixed",
            "The numbers are right and some stand in the wrong place: window and pixel have changed places in a "
            "reshape. Which axes must lie side by side before rows and columns are made of them?",
            (".transpose(0, 1, 4, 2, 5, 3)", ".transpose(0, 4, 1, 5, 2, 3)"),
        ),
    ],
    "adaptive_avg_pool2d": [
        Mistake(
            "not_divided",
            "Each pixel gets all of its window's dy. It has only its share in the mean.",
            (f" / {_COUNT}", ""),
        ),
        Mistake(
            "overwritten",
            "Where windows overlap only the last has left something. A pixel that stands in several counts in each: "
            "what it receives adds up.",
            ("window += ", "window[...] = "),
        ),
        Mistake(
            "one_size",
            "Every window's dy is divided by the same number. Where H is no multiple of OH some windows have a row "
            "more than others.",
            (_COUNT, "(-(-H // OH) * -(-W // OW))"),
        ),
        Mistake(
            "mean_size",
            "dy is divided by H W / (OH OW), which is what windows would have if they did not overlap. How many pixels "
            "has each of them?",
            (_COUNT, "(H / OH * W / OW)"),
        ),
        Mistake(
            "rows_alone",
            "dy is divided by the number of the window's rows: it has columns, too.",
            (_COUNT, "window.shape[1]"),
        ),
        Mistake(
            "columns_alone",
            "dy is divided by the number of the window's columns: it has rows, too.",
            (_COUNT, "window.shape[2]"),
        ),
        Mistake(
            "whole_image",
            "dy is divided by the pixels of the whole image: a mean is over its window's.",
            (_COUNT, "(H * W)"),
        ),
        Mistake(
            "corner",
            "Only one pixel of each window has received something: each of them has its share in the mean.",
            ("window += ", "window[:, :1, :1] += "),
        ),
    ],
}
