"""The same steps of the networks in Keras on TensorFlow, each a compiled graph (tf.function), images (N, H, W, C).

Keras's SGD decays weights apart from momentum, so the decay is added to the gradients here, as in PyTorch. Threads:
TensorFlow takes them before its first operation; `set_threads` sets both of its pools.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from cases import OPTIONS
from keras import layers

from minires import models

if keras.backend.backend() != "tensorflow":
    raise ImportError(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow")
version = f"{keras.__version__} on TensorFlow {tf.__version__}"


def set_threads(threads):
    """Only the first call in a process, before TensorFlow's first operation, can do anything."""
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def make_step(case, peer="keras-tensorflow"):
    """As in peer_minires, of a Network. Compiled before the first step."""
    model = build(int(case.model.removeprefix("resnet")))
    load(model, models.build(case.model, rng=0).state_dict())
    optimizer = keras.optimizers.SGD(OPTIONS["lr"], OPTIONS["momentum"])
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x, labels = map(tf.constant, case.arrays())

    @tf.function
    def train_step(x, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(x, training=True))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        decayed = [g + OPTIONS["weight_decay"] * v for g, v in zip(gradients, variables, strict=True)]
        optimizer.apply(decayed, variables)
        return loss

    @tf.function
    def forward(x):
        return model(x, training=False)

    def train():
        return [float(train_step(x, labels))]

    def infer():
        return [forward(x).numpy()]

    if case.training:
        train_step.get_concrete_function(x, labels)
        return train
    forward.get_concrete_function(x)
    return infer


def build(depth):
    """ResNet for CIFAR with shortcut A; its layers have PyTorch's names."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(_conv_norm(x, 16, "conv1", "bn1"))
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for k in range((depth - 2) // 6):
            x = _block(x, channels, f"layer{stage}.{k}", 2 if k == 0 and stage > 1 else 1)
    return keras.Model(inputs, layers.Dense(10, name="fc")(layers.GlobalAveragePooling2D()(x)))


def _block(x, channels, name, stride):
    shortcut = x
    if stride != 1:
        added = channels - x.shape[-1]
        widths = ((0, 0), (0, 0), (0, 0), (added // 2, added - added // 2))
        shortcut = layers.Lambda(lambda x: keras.ops.pad(x[:, ::stride, ::stride], widths))(x)
    y = layers.ReLU()(_conv_norm(x, channels, f"{name}.conv1", f"{name}.bn1", stride))
    y = _conv_norm(y, channels, f"{name}.conv2", f"{name}.bn2")
    return layers.ReLU()(layers.Add()([y, shortcut]))


def _conv_norm(x, channels, conv, norm, stride=1):
    if stride != 1:  # "same" would put the padding below and to the right only
        x = layers.ZeroPadding2D(1)(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.Conv2D(channels, 3, stride, padding, use_bias=False, name=conv)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)


def load(model, state):
    """Copy a minires state_dict into the Keras model."""
    names = ("weight", "bias", "running_mean", "running_var")  # the order of Keras's weights, too
    for layer in model.layers:
        arrays = [state[f"{layer.name}.{name}"] for name in names if f"{layer.name}.{name}" in state]
        if arrays:
            layer.set_weights([_turned(array) for array in arrays])


def _turned(array):
    """PyTorch's axes in Keras's order: (O, C, KH, KW) -> (KH, KW, C, O), (O, C) -> (C, O)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
