"""Predictions of normalisation, blocks and shards."""

from minires.exercises.predictions.prediction import NUMBER, NUMBERS, SHAPE, VERDICT, Prediction

PREDICTIONS = {
    "predict_batch_norm": Prediction(
        "batch_norm",
        NUMBER,
        "abs(dx).max()",
        """
x = np.random.default_rng(0).standard_normal((4, 3, 3, 2))
y, backward = batch_norm(x, np.ones(2), np.zeros(2))
dx, dweight, dbias = backward(np.ones(y.shape))
""",
        "dy is 1 everywhere. What is the largest number in dx?",
        "dy = 1 everywhere asks how the sum of y changes. What is a channel's mean, after batch norm?",
        "Each channel's y has the mean bias, whatever x is, so the sum over y has no slope at all.",
    ),
    "predict_batch_norm_bias": Prediction(
        "batch_norm",
        NUMBERS,
        "dbias",
        """
x = np.random.default_rng(0).standard_normal((4, 3, 5, 2))
y, backward = batch_norm(x, np.ones(2), np.zeros(2))
dx, dweight, dbias = backward(np.ones(y.shape))
""",
        "dy is 1 everywhere. What is dbias?",
        "bias[c] is added at every pixel of every image of its channel. How many are these?",
        "4 * 3 * 5 pixels, and each brings back a 1.",
    ),
    "predict_batch_norm_constants": Prediction(
        "batch_norm",
        VERDICT,
        "f, x",
        """
def f(x):
    mean, std = x.mean(axis=0), x.std(axis=0)
    y = (x - mean) / std

    def backward(dy):
        return dy / std

    return y, backward


x = np.random.default_rng(0).standard_normal((6, 3))
""",
        "The shapes fit, and in the forward pass x is divided by std. What does gradcheck say to dy / std?",
        "Are mean and std constants, or are they made of x?",
        "mean and std are made of x, and every number also acts through them. dy / std is the gradient at inference, "
        "where they are constants.",
    ),
    "predict_pad_shortcut": Prediction(
        "pad_shortcut",
        NUMBER,
        "(dx != 0).sum()",
        """
x = np.ones((1, 5, 5, 2))
y, backward = pad_shortcut(x, out_channels=4, stride=2)
dx = backward(np.ones(y.shape))
""",
        "dy is 1 everywhere. How many numbers of dx are not 0?",
        "Which pixels did the stride keep? Each has two channels.",
        "Rows and columns 0, 2 and 4 were kept: 9 pixels of 2 channels. The others do not act on y.",
    ),
    "predict_basic_block": Prediction(
        "basic_block",
        NUMBERS,
        "dx[0, 0, 0]",
        """
rng = np.random.default_rng(0)
x = np.abs(rng.standard_normal((2, 4, 4, 3)))
weight1, weight2 = rng.standard_normal((2, 3, 3, 3, 3))
one, zero = np.ones(3), np.zeros(3)
y, backward = basic_block(x, weight1, one, zero, weight2, zero, zero)  # gamma2 and beta2 are 0
dx = backward(np.full(y.shape, 7.0))[0]
""",
        "The last batch norm has weight 0, as at the start of many trainings, and x is positive. dy is 7 everywhere. "
        "What is dx[0, 0, 0], of three channels?",
        "What does the branch give, and what comes back through a batch norm whose weight is 0? And beside it?",
        "The branch gives 0, and dy times 0 comes back through it. What is left is the shortcut: dy, as it is. So a "
        "block can begin as if it were not there.",
    ),
    "predict_shard_mean": Prediction(
        "shard_mean",
        NUMBER,
        "dx[6, 0] / dx_alone[0, 0]",
        """
rng = np.random.default_rng(0)
x, weight, labels = rng.standard_normal((8, 4)), rng.standard_normal((3, 4)), rng.integers(0, 3, 8)
dx = shard_mean(x, weight, labels, (6, 2))[1](1.0)[0]
dx_alone = shard_mean(x[6:], weight, labels[6:], (2,))[1](1.0)[0]
""",
        "Eight images in shards of 6 and 2. How many times is image 6's gradient what it is where the second shard "
        "is alone?",
        "Which part of the mean over all images is the second shard's mean?",
        "The second shard holds 2 of 8 images: its mean counts for a quarter of the loss.",
    ),
    "predict_broadcast": Prediction(
        "broadcast",
        NUMBER,
        "dweight[0]",
        """
weight = np.zeros(1, np.float32)
y, backward = broadcast(weight, 4)
dweight = backward(np.array([[1e8], [1.0], [-1e8], [1.0]], np.float32))
""",
        "Four gradients in float32, 1e8, 1, -1e8 and 1, added as the exercise says, (0 + 1) + (2 + 3). What is "
        "dweight[0]?",
        "Near 1e8 the numbers of float32 are 8 apart. What is 1e8 + 1?",
        "1e8 + 1 is rounded to 1e8, and -1e8 + 1 to -1e8: nothing is left. From left to right it would be 1, and the "
        "exact sum is 2. The order decides.",
    ),
    "predict_group_norm": Prediction(
        "group_norm",
        NUMBER,
        "abs(dx[1]).max()",
        """
x = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
y, backward = group_norm(x, np.ones(4), np.zeros(4), G=2)
dy = np.zeros(y.shape)
dy[0] = np.random.default_rng(1).standard_normal((3, 3, 4))
dx, dweight, dbias = backward(dy)
""",
        "Only the first image has a dy. What is the largest number in the second one's dx?",
        "Does a pixel of the second image act on the first one's y?",
        "A group's statistics are those of one image: the second does not act on the first. In batch norm it would.",
    ),
    "predict_dense_block": Prediction(
        "dense_block",
        SHAPE,
        "dweight3.shape",
        """
x = np.ones((2, 4, 4, 3))
weight1, weight2 = np.ones((2, 3, 3, 3)), np.ones((2, 5, 3, 3))
weight3 = np.ones((2, 3 + 2 + 2, 3, 3))
y, backward = dense_block(x, weight1, weight2, weight3)
dx, dweight1, dweight2, dweight3 = backward(np.ones(y.shape))
""",
        "x has 3 channels, each layer makes 2 more. Which shape has dweight3?",
        "It has the shape of weight3: output channels, input channels, K, K. What does the third layer see?",
        "The third layer sees x and what the two before it made, seven channels, and makes two.",
    ),
    "predict_squeeze_excitation": Prediction(
        "squeeze_excitation",
        NUMBER,
        "dx[0, 0, 0, 0]",
        """
x = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
y, backward = squeeze_excitation(x, np.zeros((2, 4)), np.zeros(2), np.zeros((4, 2)), np.zeros(4))
dx = backward(np.full(y.shape, 10.0))[0]
""",
        "All weights and biases are 0, and dy is 10 everywhere. What is dx[0, 0, 0, 0]?",
        "What does the sigmoid give at 0? And what comes back through weights of 0?",
        "The gate is 1/2 everywhere, and through weights of 0 nothing comes back. What is left is the direct way, dy "
        "times the gate.",
    ),
}
