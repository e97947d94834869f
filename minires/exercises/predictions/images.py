"""Predictions of pooling and convolution."""

from minires.exercises.predictions.prediction import NUMBER, NUMBERS, SHAPE, VERDICT, Prediction

PREDICTIONS = {
    "predict_global_avg_pool2d": Prediction(
        "global_avg_pool2d",
        NUMBER,
        "dx[0, 0, 0, 0]",
        """
x = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
y, backward = global_avg_pool2d(x)
dx = backward(np.full((2, 3), 60.0))
""",
        "Images of 4 x 5 pixels, and dy is 60 everywhere. What is dx[0, 0, 0, 0]?",
        "How many pixels share one mean? Neither the batch nor the channels do.",
        "20 pixels share a mean, and each counts for a twentieth of it. All of dx is alike, whatever x is.",
    ),
    "predict_max_pool2d": Prediction(
        "max_pool2d",
        NUMBERS,
        "dx[0, :, :, 0]",
        """
x = np.array([[3.0, 7.0], [7.0, 7.0]]).reshape(1, 2, 2, 1)
y, backward = max_pool2d(x, 2)
dx = backward(np.full((1, 1, 1, 1), 5.0))
""",
        "One window of four pixels, three of which are the largest. What is dx, as two rows?",
        "Of equal pixels one is chosen, and it gets all of dy. Which one?",
        "The first of the largest in reading order is the winner. Any other choice would be as good a gradient; what "
        "matters is that there is one, the same on every machine.",
    ),
    "predict_max_pool2d_last": Prediction(
        "max_pool2d",
        VERDICT,
        "f, x",
        """
def f(x):
    y, _ = max_pool2d(x, 2)
    turned = max_pool2d(x[:, ::-1, ::-1], 2)[1]  # finds the last of equal pixels, as it goes through x from the end

    def backward(dy):
        return turned(dy[:, ::-1, ::-1])[:, ::-1, ::-1]

    return y, backward


x = np.random.default_rng(0).standard_normal((2, 4, 6, 3))
""",
        "A max pooling that gives dy to the last of equal pixels. What does gradcheck say?",
        "How often are two of these random numbers equal?",
        "Among random numbers none are equal, and then the first and the last of the largest are the same. At ties "
        "gradcheck cannot decide: there the exercise is compared with the textbook.",
    ),
    "predict_adaptive_avg_pool2d": Prediction(
        "adaptive_avg_pool2d",
        NUMBERS,
        "dx[0, :, 0, 0]",
        """
x = np.zeros((1, 3, 1, 1))
y, backward = adaptive_avg_pool2d(x, 2, 1)
dx = backward(np.array([4.0, 6.0]).reshape(1, 2, 1, 1))
""",
        "Three rows into two: the windows are rows 0 and 1, and rows 1 and 2. dy is 4 and 6. What are dx's rows?",
        "Each window's rows get half of its dy. Row 1 is in both.",
        "Row 1 is used twice, and gets a half of each: its gradients add up.",
    ),
    "predict_im2col": Prediction(
        "im2col",
        NUMBER,
        "dx[0, 2, 2, 0]",
        """
x = np.zeros((1, 5, 5, 1))
patches, backward = im2col(x, K=3, stride=2, padding=0)
dx = backward(np.ones(patches.shape))
""",
        "Windows of 3 x 3 at a stride of 2 on an image of 5 x 5, and dpatches is 1 everywhere. What does the pixel "
        "in the middle get?",
        "The windows begin at rows and columns 0 and 2. How many of them hold pixel (2, 2)?",
        "All four windows hold it, each in another corner, and its gradients add up. At a stride of 1 it would be "
        "nine.",
    ),
    "predict_conv2d": Prediction(
        "conv2d",
        SHAPE,
        "y.shape",
        """
x, weight, bias = np.ones((2, 8, 8, 3)), np.ones((5, 3, 3, 3)), np.ones(5)
y, backward = conv2d(x, weight, bias, stride=2, padding=1)
""",
        "Which shape must dy have, to go into this backward pass?",
        "dy has the shape of y: N, OH, OW, O, with OH = (H + 2 * padding - K) // stride + 1.",
        "(8 + 2 - 3) // 2 + 1 rows and columns, and a channel for each of the five kernels. dy always has y's shape.",
    ),
    "predict_conv2d_one_image": Prediction(
        "conv2d",
        VERDICT,
        "f, x, weight, bias",
        """
def f(x, weight, bias):
    y, conv_backward = conv2d(x, weight, bias, stride=1, padding=1)

    def backward(dy):
        dx, dweight, _ = conv_backward(dy)
        return dx, dweight, dy[0].sum(axis=(0, 1))

    return y, backward


rng = np.random.default_rng(0)
x, weight, bias = rng.standard_normal((1, 4, 5, 2)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
""",
        "dbias counts the first image alone. What does gradcheck say to it, with this x?",
        "How many images has x?",
        "With one image the first is all there is: gradcheck sees only the shapes that it is given. So check with "
        "several images, and with axes of different lengths.",
    ),
}
