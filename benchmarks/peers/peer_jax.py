"""The same steps of the networks in JAX: one compiled function for a step, images (N, H, W, C).

Threads: XLA's pool on the CPU has one thread for each core that the process may use when JAX starts; JAX has no setting
for it. So `set_threads` confines the process to as many cores, where the system can do that, and it stays there:
a pool smaller than the cores at hand was found to wait for itself most of the time. It cannot give JAX more threads
than there are cores.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from cases import OPTIONS
from jax import lax

from minires import models

version = jax.__version__


def set_threads(threads):
    """Start JAX on this many cores. Only the first call in a process can do anything."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    jax.config.update("jax_platforms", "cpu")
    jax.devices()


def make_step(case, peer="jax"):
    """As in peer_minires, of a Network. Compiled before the first step."""
    depth = int(case.model.removeprefix("resnet"))
    images, labels = case.arrays()
    x, labels = jnp.asarray(images), jnp.asarray(labels)
    parameters, running = load(models.build(case.model, rng=0).state_dict())
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    held = [parameters, velocity, running]
    if case.training:
        compiled = jax.jit(train_step, static_argnums=5, donate_argnums=(0, 1, 2))
        compiled = compiled.lower(*held, x, labels, depth).compile()
    else:
        compiled = jax.jit(forward, static_argnums=(3, 4)).lower(parameters, running, x, depth, False).compile()

    def train():
        *held[:], loss = compiled(*held, x, labels)
        return [float(loss)]

    def infer():
        return [np.asarray(compiled(held[0], held[2], x)[0])]

    return train if case.training else infer


def load(state):
    """(parameters, running statistics) from a minires state_dict; weights of convolutions become (KH, KW, C, O)."""
    arrays = {
        name: jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array) for name, array in state.items()
    }
    running = {name: array for name, array in arrays.items() if ".running_" in name}
    return {name: array for name, array in arrays.items() if name not in running}, running


def train_step(parameters, velocity, running, x, labels, depth):
    """-> (parameters, velocity, running, loss) after one step of SGD."""

    def loss_of(parameters):
        logits, moved = forward(parameters, running, x, depth, True)
        log_softmax = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(log_softmax, labels[:, None], axis=1)), moved

    (loss, moved), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    lr, momentum, decay = OPTIONS["lr"], OPTIONS["momentum"], OPTIONS["weight_decay"]
    velocity = jax.tree.map(lambda v, g, p: momentum * v + g + decay * p, velocity, gradients, parameters)
    parameters = jax.tree.map(lambda p, v: p - lr * v, parameters, velocity)
    return parameters, velocity, moved, loss


def forward(parameters, running, x, depth, training):
    """-> (logits, running statistics moved towards the batch's)"""
    moved = dict(running)

    def conv_norm(x, conv, norm, stride=1):
        x = lax.conv_general_dilated(
            x,
            parameters[f"{conv}.weight"],
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        mean, var = running[f"{norm}.running_mean"], running[f"{norm}.running_var"]
        if training:
            count = x.size // x.shape[-1]
            batch_mean, batch_var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            moved[f"{norm}.running_mean"] = mean + 0.1 * (batch_mean - mean)
            moved[f"{norm}.running_var"] = var + 0.1 * (batch_var * (count / (count - 1)) - var)
            mean, var = batch_mean, batch_var
        scale = parameters[f"{norm}.weight"] * lax.rsqrt(var + 1e-5)
        return (x - mean) * scale + parameters[f"{norm}.bias"]

    def block(x, name, channels, stride):
        shortcut = x
        if stride != 1:
            added = channels - x.shape[-1]
            before = added // 2
            shortcut = jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (before, added - before)))
        y = jax.nn.relu(conv_norm(x, f"{name}.conv1", f"{name}.bn1", stride))
        return jax.nn.relu(conv_norm(y, f"{name}.conv2", f"{name}.bn2") + shortcut)

    x = jax.nn.relu(conv_norm(x, "conv1", "bn1"))
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for k in range((depth - 2) // 6):
            x = block(x, f"layer{stage}.{k}", channels, 2 if k == 0 and stage > 1 else 1)
    return x.mean((1, 2)) @ parameters["fc.weight"].T + parameters["fc.bias"], moved
