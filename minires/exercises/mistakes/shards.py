"""Mistakes in what is done with a batch that is cut into shards."""

import textwrap

from minires.exercises.mistakes import batch_norm
from minires.exercises.mistakes.mistake import Mistake

_SHARE, _ADDED = "n / N * d", "dweight += n / N * dweight_s"
_ONE_SHARD = (
    "dweight is that of the {} shard alone: weight serves every shard, and what is used several times has its "
    "gradients added up."
)


def _share(key, share, hint):
    """A mistake in the mean over shards: they have another share in it."""
    return Mistake(key, hint, (_SHARE, f"{share} * d"))


_SHARD_MEAN = [
    _share(
        "counted_alike",
        "1 / len(passes)",
        "Every shard counts alike, 1 / S, however many images it has. But the loss is the mean over the images: which "
        "part of them is a shard? (1 / S only where all have as many.)",
    ),
    _share(
        "not_weighted",
        "1",
        "The shards' gradients come in as they are. Each belongs to a mean over its own images, and the loss is not "
        "the sum of these means: which part of it is each?",
    ),
    _share(
        "divided_by_batch",
        "1 / N",
        "The shards' gradients are divided by N. That would be right for sums over their images, but they belong to "
        "means: each is divided by the number of its own already.",
    ),
    _share(
        "sum_over_images",
        "n",
        "This is the gradient of the sum over all images: n times the mean over a shard is the sum over it. The loss "
        "is a mean.",
    ),
    _share("upside_down", "N / n", "The share is upside down: a large shard counts more than a small one."),
    _share("weighted_twice", "(n / N) ** 2", "A shard's share has come in twice."),
    _share(
        "mean_of_weighted",
        "n / N / len(passes)",
        "The shards have their shares, and then the sum is divided by S as well: shares that add up to 1 make it a "
        "mean already.",
    ),
    _share(
        "against_the_rest",
        "n / (N - n)",
        "Each shard is weighed against the other ones: its share is that in all images, its own among them.",
    ),
    Mistake("last_shard", _ONE_SHARD.format("last"), (_ADDED, "dweight = n / N * dweight_s")),
    Mistake("last_shard_not_weighted", _ONE_SHARD.format("last"), (_ADDED, "dweight = dweight_s")),
    Mistake("first_shard", _ONE_SHARD.format("first"), (_ADDED, "dweight += n / N * dweight_s * (len(dx) == 1)")),
    Mistake("first_shard_not_weighted", _ONE_SHARD.format("first"), (_ADDED, "dweight += dweight_s * (len(dx) == 1)")),
]

_TERMS, _PAIRS = "terms = list(dy)", "[terms[i] + terms[i + 1] for i in range(0, len(terms) - 1, 2)]"
_LEVEL = f"    sums = {_PAIRS}\n    terms = sums + terms[2 * len(sums) :]"


def _level(key, hint, *lines):
    """A mistake in the tree: other lines for each level."""
    return Mistake(key, hint, (_LEVEL, textwrap.indent("\n".join(lines), "    ")))


def _cut(key, first):
    """A mistake in the tree: from the top down, where the first half is so long."""
    add = f"""\
def add(terms):
    half = {first}
    return add(terms[:half]) + add(terms[half:]) if half < len(terms) and half else terms[0]

terms = [add(list(dy))]"""
    hint = (
        "The terms are cut in the middle, and each half is added by itself. That is the same only where S is a power "
        "of two. Begin with neighbours, and look where the odd one comes in."
    )
    return Mistake(key, hint, (_TERMS, add))


_PARTNERS = (
    "Numbers far from each other are added first, as 0 and S/2, or 0 and S - 1. It is neighbours that are added, 0 + 1 "
    "and 2 + 3, and then their sums."
)
_SORTED = (
    "The terms have been sorted. Then their order depends on what they are, and every element has another one; it is "
    "to depend on the number of the shard alone."
)
_ONE_COPY = "dweight is that of the {} shard alone: weight serves every shard, and its gradients add up."

_BROADCAST = [
    Mistake(
        "left_to_right",
        "The bits are those of a sum from left to right, ((0 + 1) + 2) + 3, as sum() and .sum(axis=0) make it. "
        "There each number has to wait for all before it. In the tree 2 + 3 needs nothing of 0 + 1.",
        (_TERMS, "terms = [sum(dy)]"),
    ),
    Mistake(
        "right_to_left",
        "The bits are those of a sum from right to left, 0 + (1 + (2 + 3)). In the tree 0 + 1 needs nothing of 2 + 3.",
        (_TERMS, "terms = [sum(dy[::-1])]"),
    ),
    _level(
        "far_partners",
        _PARTNERS,
        "half = len(terms) // 2",
        "terms = [terms[i] + terms[i + half] for i in range(half)] + terms[2 * half :]",
    ),
    _level(
        "far_partners_rounded_up",
        _PARTNERS,
        "half = (len(terms) + 1) // 2",
        "terms = [terms[i] + terms[i + half] for i in range(len(terms) - half)] + terms[len(terms) - half : half]",
    ),
    _level(
        "from_both_ends",
        _PARTNERS,
        "half = len(terms) // 2",
        "terms = [terms[i] + terms[-1 - i] for i in range(half)] + terms[half : len(terms) - half]",
    ),
    _cut("halves", "len(terms) // 2"),
    _cut("halves_rounded_up", "(len(terms) + 1) // 2"),
    _level(
        "odd_one_first",
        "An odd one has been put in front of the sums. It stays where it is, the last.",
        f"sums = {_PAIRS}",
        "terms = terms[2 * len(sums) :] + sums",
    ),
    _level(
        "first_one_odd",
        "Where their number is odd, the first term has been left over, and neighbours added from the second on. It is "
        "the last that passes up.",
        "odd = len(terms) % 2",
        "terms = terms[:odd] + [terms[i] + terms[i + 1] for i in range(odd, len(terms), 2)]",
    ),
    _level(
        "odd_one_into_the_last_pair",
        "An odd one has been added to the last sum at once. It passes up as it is, and is a term of the next level.",
        f"sums = {_PAIRS}",
        "terms = [*sums[:-1], sums[-1] + terms[-1]] if len(terms) % 2 else sums",
    ),
    Mistake(
        "odd_one_at_the_end",
        "Odd ones have been kept until all others were added. One passes up as it is, and is a term of the next level: "
        "there it may have a neighbour.",
        (_TERMS, "terms, left = list(dy), []"),
        (_LEVEL, f"    left = terms[len(terms) // 2 * 2 :] + left\n    terms = {_PAIRS}"),
        ("return terms[0]", "return sum(left, terms[0])"),
    ),
    Mistake(
        "in_float64",
        "The bits are those of a sum in float64 that is rounded at the end. It is nearer to the exact sum, and not "
        "the number that is asked for: that has every sum of two rounded to float32.",
        (_TERMS, "terms = [dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)]"),
    ),
    Mistake("sorted", _SORTED, (_TERMS, "terms = list(np.sort(dy, axis=0))")),
    Mistake("sorted_left_to_right", _SORTED, (_TERMS, "terms = [sum(np.sort(dy, axis=0))]")),
    Mistake(
        "sorted_by_size",
        _SORTED,
        (_TERMS, "terms = [sum(np.take_along_axis(dy, np.abs(dy).argsort(axis=0), axis=0))]"),
    ),
    _level(
        "odd_one_lost",
        "An odd one is lost: it has no neighbour, and zip, or a range over pairs, ends before it.",
        f"terms = {_PAIRS}",
    ),
    Mistake("one_level", "Only one level has been added: it goes on until one term is left.", ("while", "if")),
    Mistake(
        "mean_over_shards",
        "dweight is a mean over the shards. weight serves all of them, and its gradients add up.",
        ("return terms[0]", "return terms[0] / S"),
    ),
    Mistake("first_shard", _ONE_COPY.format("first"), (_TERMS, "terms = [dy[0]]")),
    Mistake("last_shard", _ONE_COPY.format("last"), (_TERMS, "terms = [dy[-1]]")),
]

_GRADIENTS = "gradients = [backward_s(dy_s) for (_, backward_s), dy_s in zip(passes, np.split(dy, ends), strict=True)]"
_DX, _SUMS = "np.concatenate(dx)", "sum(dweight), sum(dbias)"
_BY_SHARE = "[n / len(x) * d for n, d in zip(shards, {}, strict=True)]"


def _sums(key, hint, made):
    """A mistake in what becomes of the parameters' gradients, of which each shard has its own."""
    return Mistake(key, hint, (_SUMS, ", ".join(made.format(name) for name in ("dweight", "dbias"))))


def _by_shard(key, hint, body):
    """A mistake in each shard's backward pass, of its x and dy."""
    function = f"def backward_s(x, dy):\n{textwrap.indent(body, '    ')}\n    return dx, dweight, dbias\n\n"
    called = "gradients = list(map(backward_s, np.split(x, ends), np.split(dy, ends)))"
    return Mistake(key, hint, (_GRADIENTS, function + called))


_MEANS_OF_THE_BATCH = """\
pixels, x_hat = (0, 1, 2), (y - bias) / weight
var = [np.broadcast_to(x_s.var(axis=pixels), x_s.shape) for x_s in np.split(x, ends)]
std = np.sqrt(np.concatenate(var) + 1e-5)
centred = dy - dy.mean(axis=pixels) - x_hat * (dy * x_hat).mean(axis=pixels)
gradients = [(weight / std * centred, (dy * x_hat).sum(axis=pixels), dy.sum(axis=pixels))]"""
_COUNTED_IN_THE_BATCH = Mistake(
    "counted_in_the_batch",
    "The sums run over a shard, and are divided by the number of pixels of the whole batch: a shard's statistics are "
    "means over its own.",
    (" - dy.mean(axis=pixels)", " - dy.sum(axis=pixels) / (y.size / len(bias))"),
    (" - x_hat * (dy * x_hat).mean(axis=pixels)", " - x_hat * (dy * x_hat).sum(axis=pixels) / (y.size / len(bias))"),
)

_BATCH_NORM_OF_SHARDS = [
    Mistake(
        "statistics_of_the_batch",
        "This is the gradient of batch norm with the statistics of the whole batch. Here each shard is normalised with "
        "its own mean and variance: what does a pixel do to the images of another shard?",
        (_GRADIENTS, "gradients = [batch_norm(x, weight, bias)[1](dy)]"),
    ),
    Mistake(
        "means_of_the_batch",
        "x normalised is right, but the means in the terms through mean and variance run over the whole batch. A pixel "
        "is in the statistics of its own shard only.",
        (_GRADIENTS, _MEANS_OF_THE_BATCH),
    ),
    _by_shard(_COUNTED_IN_THE_BATCH.key, _COUNTED_IN_THE_BATCH.hint, batch_norm.written_out(_COUNTED_IN_THE_BATCH)),
    _sums(
        "weighted_by_share",
        "It is weighted by each shard's share of the images. That belongs to a mean; dy is the gradient of one loss at "
        "every pixel of the batch already, and what serves all shards has its gradients added up.",
        f"sum({_BY_SHARE})",
    ),
    _sums(
        "mean_over_shards",
        "It is a mean over the shards. The parameter serves all of them, and its gradients add up.",
        "sum({}) / len(passes)",
    ),
    _sums("first_shard", "It is that of the first shard alone: the parameter serves all of them.", "{}[0]"),
    _sums("last_shard", "It is that of the last shard alone: the parameter serves all of them.", "{}[-1]"),
    Mistake(
        "dx_weighted_by_share",
        "dx is weighted by each shard's share of the images. That belongs to a mean; dy is the gradient of one loss at "
        "every pixel of the batch already.",
        (_DX, f"np.concatenate({_BY_SHARE.format('dx')})"),
    ),
    Mistake(
        "dx_over_shards",
        "dx is divided by the number of shards. Each image is in one of them.",
        (_DX, f"{_DX} / len(passes)"),
    ),
]

# Where a shard's backward pass is written out. A hint that speaks of the batch's images or their number is left out.
_BATCH_NORM_OF_SHARDS += [
    _by_shard(f"norm_{one.key}", one.hint, batch_norm.written_out(one))
    for one in batch_norm.MISTAKES["batch_norm"]
    if one.key != "dweight_of_y" and " N" not in one.hint and "image" not in one.hint
]

MISTAKES = {
    "shard_mean": _SHARD_MEAN,
    "broadcast": _BROADCAST,
    "batch_norm_of_shards": _BATCH_NORM_OF_SHARDS,
}
