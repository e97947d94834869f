"""The exercises, in order."""

from minires.exercises.exercise import Case, Exercise

ANY = {"x": "N C"}
IMAGES = {"x": "N H W C"}
ANY_CASES = (Case("N=3 C=4"), Case("N=5 C=2"))
NORM = {"x": "N H W C", "weight": "C", "bias": "C"}
NORM_CASES = (Case("N=3 H=4 W=6 C=5"), Case("N=2 H=5 W=3 C=4"))
BLOCK = {"x": "N H W C"} | dict(weight1="C C 3 3", gamma1="C", beta1="C", weight2="C C 3 3", gamma2="C", beta2="C")
PREACT_BLOCK = {name: BLOCK[name] for name in ("x", "gamma1", "beta1", "weight1", "gamma2", "beta2", "weight2")}

EXERCISES = {
    exercise.name: exercise
    for exercise in (
        Exercise("relu", "max(x, 0)", "layers/activations.md", ANY, ANY_CASES),
        Exercise("sigmoid", "squeezed between 0 and 1", "layers/activations.md", ANY, ANY_CASES),
        Exercise("tanh", "squeezed between -1 and 1", "layers/activations.md", ANY, ANY_CASES),
        Exercise("silu", "x, through a gate of its own", "layers/gated_activations.md", ANY, ANY_CASES),
        Exercise("add", "the sum of two branches", "layers/residual.md", {"x1": "N C", "x2": "N C"}, ANY_CASES),
        Exercise(
            "linear",
            "a matrix product and a bias",
            "layers/linear.md",
            {"x": "N C", "weight": "O C", "bias": "O"},
            (Case("N=3 C=4 O=5"), Case("N=7 C=5 O=2")),
            square=Case("N=3 C=4 O=4"),
        ),
        Exercise(
            "mse_loss",
            "mean squared error",
            "losses.md",
            {"prediction": "N C", "target": "N C"},
            (Case("N=3 C=5"), Case("N=7 C=4")),
        ),
        Exercise(
            "softmax",
            "numbers into probabilities",
            "losses.md",
            {"logits": "N classes"},
            (Case("N=3 classes=5"), Case("N=7 classes=4")),
        ),
        Exercise(
            "cross_entropy",
            "the loss of a classifier",
            "losses.md",
            {"logits": "N classes", "labels": "N"},
            (Case("N=3 classes=5"), Case("N=7 classes=4")),
        ),
        Exercise(
            "dropout",
            "numbers left out at random",
            "layers/dropout.md",
            ANY,
            (Case("N=6 C=7", p=0.4, rng=1), Case("N=5 C=9", p=0.3, rng=2)),
        ),
        Exercise(
            "concat",
            "channels side by side",
            "layers/residual.md",
            {"x1": "N C1", "x2": "N C2"},
            (Case("N=3 C1=4 C2=5"), Case("N=6 C1=7 C2=2")),
        ),
        Exercise(
            "global_avg_pool2d",
            "the mean of each channel",
            "layers/pooling.md",
            IMAGES,
            (Case("N=3 H=4 W=7 C=5"), Case("N=2 H=5 W=3 C=4")),
        ),
        Exercise(
            "avg_pool2d",
            "the mean of each window",
            "layers/pooling.md",
            IMAGES,
            (Case("N=3 H=8 W=14 C=5 K=2 OH=4 OW=7"), Case("N=2 H=12 W=15 C=6 K=3 OH=4 OW=5")),
        ),
        Exercise(
            "max_pool2d",
            "the largest of each window",
            "layers/pooling.md",
            IMAGES,
            (
                Case("N=3 H=8 W=14 C=5 K=2 OH=4 OW=7"),
                Case("N=2 H=12 W=15 C=6 K=3 OH=4 OW=5"),
                Case("N=3 H=8 W=14 C=5 K=2 OH=4 OW=7", values="ties"),
            ),
        ),
        Exercise(
            "adaptive_avg_pool2d",
            "means for an image of a given size",
            "layers/adaptive_pooling.md",
            IMAGES,
            (Case("N=2 H=5 W=7 C=6 OH=3 OW=4"), Case("N=3 H=4 W=9 C=5 OH=2 OW=7")),
        ),
        Exercise(
            "im2col",
            "every window of an image as a row",
            "layers/conv.md",
            IMAGES,
            (
                Case("N=2 H=9 W=12 C=4 K=3 OH=7 OW=10", stride=1, padding=0),
                Case("N=2 H=9 W=11 C=4 K=3 OH=5 OW=6", stride=2, padding=1),
                Case("N=1 H=11 W=9 C=3 K=2 OH=5 OW=4", stride=3, padding=2),
            ),
        ),
        Exercise(
            "conv2d",
            "convolution, with im2col",
            "layers/conv.md",
            {"x": "N H W C", "weight": "O C K K", "bias": "O"},
            (
                Case("N=2 H=8 W=12 C=4 O=5 K=3 OH=6 OW=10", stride=1, padding=0),
                Case("N=2 H=11 W=13 C=4 O=5 K=3 OH=6 OW=7", stride=2, padding=1),
                Case("N=1 H=9 W=5 C=3 O=4 K=2 OH=10 OW=6", stride=1, padding=1),
            ),
            square=Case("N=2 H=8 W=12 C=4 O=4 K=3 OH=6 OW=10", stride=1, padding=0),
        ),
        Exercise(
            "grouped_conv2d",
            "convolution, group by group",
            "layers/grouped_conv.md",
            {"x": "N H W channels", "weight": "outputs C K K"},
            (
                Case("N=2 H=7 W=6 C=3 K=3 OH=5 OW=4 channels=12 outputs=20 G=4 O=5", groups=4, padding=0),
                Case("N=3 H=5 W=7 C=4 K=2 OH=6 OW=8 channels=12 outputs=15 G=3 O=5", groups=3, padding=1),
            ),
            square=Case("N=2 H=7 W=6 C=4 K=3 OH=5 OW=4 channels=16 outputs=16 G=4 O=4", groups=4, padding=0),
        ),
        Exercise(
            "batch_norm_inference",
            "batch norm, with fixed statistics",
            "layers/batch_norm.md",
            {"x": "N H W C", "running_mean": "C", "running_var": "C", "weight": "C", "bias": "C"},
            NORM_CASES,
        ),
        Exercise("batch_norm", "batch norm, with the batch's statistics", "layers/batch_norm.md", NORM, NORM_CASES),
        Exercise(
            "batch_norm_relu",
            "batch norm, sum and ReLU in one",
            "layers/batch_norm_relu.md",
            NORM | {"shortcut": "N H W C"},
            NORM_CASES,
        ),
        Exercise(
            "pad_shortcut",
            "a shortcut without parameters",
            "layers/residual.md",
            IMAGES,
            (
                Case("N=2 H=7 W=9 C=3 OH=4 OW=5 out_channels=8", stride=2),
                Case("N=3 H=13 W=6 C=4 OH=5 OW=2 out_channels=7", stride=3),
            ),
        ),
        Exercise(
            "basic_block",
            "a whole residual block",
            "layers/residual.md",
            BLOCK,
            (Case("N=2 H=5 W=6 C=4 3=3"), Case("N=3 H=4 W=2 C=5 3=3")),
        ),
        Exercise(
            "shard_mean",
            "a loss, with its batch cut into shards",
            "scaling.md",
            {"x": "N C", "weight": "classes C", "labels": "N"},
            (
                Case("N=10 C=4 classes=5 S=3", shards=(2, 5, 3)),
                Case("N=7 C=5 classes=3 S=2", shards=(6, 1)),
            ),
        ),
        Exercise(
            "broadcast",
            "a weight for all shards, to the bit",
            "scaling.md",
            {"weight": "O C"},
            (
                Case("S=7 O=9 C=8"),  # so many elements that some of them tell any two orders from each other
                Case("S=11 O=13 C=6"),
                Case("S=7 O=9 C=8", "far"),
                Case("S=6 O=10 C=9", "far"),
            ),
            exact=True,
        ),
        Exercise(
            "batch_norm_of_shards",
            "batch norm, with each shard's statistics",
            "scaling.md",
            NORM,
            (
                Case("N=9 H=4 W=6 C=5 S=3", shards=(2, 4, 3)),
                Case("N=6 H=5 W=3 C=4 S=2", shards=(1, 5)),
            ),
        ),
        Exercise(
            "group_norm",
            "groups of an image's channels, normalised",
            "layers/group_norm.md",
            NORM,
            (Case("N=3 H=4 W=5 C=6 G=2"), Case("N=2 H=5 W=3 C=8 G=4")),
        ),
        Exercise(
            "preact_block",
            "a residual block whose sum comes last",
            "networks.md",
            PREACT_BLOCK,
            (Case("N=2 H=5 W=6 C=4 3=3"), Case("N=3 H=4 W=2 C=5 3=3")),
        ),
        Exercise(
            "dense_block",
            "layers that see all that was made before",
            "networks.md",
            IMAGES | {"weight1": "G C 3 3", "weight2": "G C+G 3 3", "weight3": "G C+2G 3 3"},
            (Case("N=2 H=4 W=5 C=3 G=2 C+G=5 C+2G=7 3=3"), Case("N=3 H=5 W=2 C=2 G=4 C+G=6 C+2G=10 3=3")),
        ),
        Exercise(
            "squeeze_excitation",
            "channels weighted by an image's own means",
            "layers/squeeze_excitation.md",
            IMAGES | {"weight1": "S C", "bias1": "S", "weight2": "C S", "bias2": "C"},
            (Case("N=3 H=4 W=6 C=5 S=2"), Case("N=2 H=5 W=3 C=4 S=6")),
        ),
    )
}
