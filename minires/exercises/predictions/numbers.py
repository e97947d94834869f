"""Predictions of single numbers, layers and losses."""

from minires.exercises.predictions.prediction import NUMBER, NUMBERS, SHAPE, VERDICT, Prediction

PREDICTIONS = {
    "predict_relu": Prediction(
        "relu",
        NUMBERS,
        "dx",
        """
x = np.array([-2.0, 0.5, 3.0])
y, backward = relu(x)
dx = backward(np.array([5.0, -6.0, 7.0]))
""",
        "Three numbers go through ReLU. What is dx?",
        "Move each x a little: does its y move as much, or not at all? That times dy.",
        "The first y stays 0 whatever x does, so nothing comes back. The other two move as x does: dy comes back as "
        "it is, whatever its sign.",
    ),
    "predict_relu_mask": Prediction(
        "relu",
        VERDICT,
        "f, x",
        """
def f(x):
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (y >= 0)

    return y, backward


x = np.random.default_rng(0).standard_normal((4, 5))
""",
        "A ReLU whose mask has >= in place of >. What does gradcheck say to it?",
        "Where x is negative, what is y? And is that >= 0?",
        "y is never below 0, so the mask lets everything through, on the left as well. x >= 0 would have passed: "
        "random numbers are hardly ever exactly 0.",
    ),
    "predict_sigmoid": Prediction(
        "sigmoid",
        NUMBER,
        "dx[0]",
        """
x = np.array([0.0])
y, backward = sigmoid(x)
dx = backward(np.array([1.0]))
""",
        "How steep is the sigmoid in its middle? That is dx[0] here.",
        "The slope is y * (1 - y). What is y where x is 0?",
        "y is 1/2 there, and the slope y * (1 - y). Nowhere is it larger: each sigmoid on the way makes a gradient "
        "at least four times smaller.",
    ),
    "predict_add": Prediction(
        "add",
        NUMBERS,
        "dx",
        """
x = np.array([1.0, 2.0])
y, backward = add(x, x)
dx1, dx2 = backward(np.array([3.0, 4.0]))
dx = dx1 + dx2
""",
        "An array is added to itself. What is dx, its whole gradient?",
        "y is 2 * x. What is its slope?",
        "Each of the two uses brings back dy, and the gradients of uses add up: y = 2 x has the slope 2.",
    ),
    "predict_add_fork": Prediction(
        "add",
        VERDICT,
        "f, x",
        """
def f(x):
    y, add_backward = add(x, np.sin(x))

    def backward(dy):
        dx, dsin = add_backward(dy)
        return dsin * np.cos(x)

    return y, backward


x = np.random.default_rng(0).standard_normal((4, 5))
""",
        "x goes two ways, as it is and through a sine, and both are added. What does gradcheck say?",
        "How many ways lead from x to y, and how many of them come back?",
        "The way through the sine comes back, the direct one has been forgotten: dx + dsin * np.cos(x) is right. "
        "Just so a shortcut is forgotten.",
    ),
    "predict_linear": Prediction(
        "linear",
        SHAPE,
        "dweight.shape",
        """
x, weight, bias = np.ones((7, 5)), np.ones((3, 5)), np.ones(3)
y, backward = linear(x, weight, bias)
dx, dweight, dbias = backward(np.ones(y.shape))
""",
        "Seven images of five numbers go through a layer with three outputs. Which shape has dweight?",
        "A gradient has a slope for each element of its array, and no others.",
        "A gradient has the shape of its array, however many images there are: they are added up.",
    ),
    "predict_linear_bias": Prediction(
        "linear",
        NUMBERS,
        "dbias",
        """
x, weight, bias = np.zeros((3, 4)), np.zeros((2, 4)), np.zeros(2)
y, backward = linear(x, weight, bias)
dx, dweight, dbias = backward(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
""",
        "All inputs are 0. What is dbias?",
        "bias is added to every row of y. Does it matter what x is?",
        "bias stands in every row, and its gradients add up: the columns' sums of dy. What x and weight are does not "
        "matter.",
    ),
    "predict_mse_loss": Prediction(
        "mse_loss",
        NUMBER,
        "dprediction[3]",
        """
prediction, target = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 0.0])
loss, backward = mse_loss(prediction, target)
dprediction, dtarget = backward(1.0)
""",
        "Three of four predictions are right, the last is off by 4. What is dprediction[3]?",
        "The loss is the sum of four squares, divided by 4. Derive it by the last prediction.",
        "The square has the slope 2 * 4, and the mean takes a quarter of it. Of the right ones the slope is 0.",
    ),
    "predict_softmax": Prediction(
        "softmax",
        NUMBERS,
        "dlogits[0]",
        """
logits = np.array([[2.0, -1.0, 0.5]])
p, backward = softmax(logits)
dlogits = backward(np.array([[1.0, 1.0, 1.0]]))
""",
        "dp is 1 for all three classes. What is dlogits[0]?",
        "dp = 1 everywhere asks how the sum of the probabilities changes. Can it?",
        "The probabilities add up to 1 whatever the logits are: their sum has no slope. This is why gradcheck takes "
        "a random dy: with 1 everywhere a backward pass that gives 0 would pass.",
    ),
    "predict_cross_entropy": Prediction(
        "cross_entropy",
        NUMBERS,
        "dlogits[0]",
        """
logits, labels = np.zeros((1, 4)), np.array([2])
loss, backward = cross_entropy(logits, labels)
dlogits = backward(1.0)
""",
        "One image, four classes, all logits 0, the right class is 2. What is dlogits[0]?",
        "It is the probabilities, and at the label something is taken off.",
        "All four classes have probability 1/4; at the label 1 is taken off. A step against this gradient raises the "
        "right logit and lowers the others.",
    ),
    "predict_dropout": Prediction(
        "dropout",
        NUMBER,
        "dx[y != 0][0]",
        """
x = np.ones(100)
y, backward = dropout(x, 0.75, rng=0)
dx = backward(np.full(100, 2.0))
""",
        "dy is 2 everywhere, and three quarters are left out. What is dx where a number was kept?",
        "By what has the forward pass multiplied the numbers that it kept?",
        "What is kept is multiplied by 1 / (1 - p) = 4, so that the mean stays as it was; and a factor is a slope.",
    ),
    "predict_concat": Prediction(
        "concat",
        SHAPE,
        "dx2.shape",
        """
x1, x2 = np.ones((2, 4, 4, 3)), np.ones((2, 4, 4, 5))
y, backward = concat(x1, x2)
dx1, dx2 = backward(np.ones(y.shape))
""",
        "Three channels and five are set side by side. Which shape has dx2?",
        "dy has eight channels. How many of them does x2 own?",
        "dy is cut where the arrays met: each gradient has the shape of its array.",
    ),
}
