"""The shapes of minires.data.synthetic, drawn plainly: what a network learns within a minute."""

import numpy as np


def covers(labels, shapes, size, radii, rng):
    """How much of each pixel is covered: (n, size, size) from 0 to 1, of a shape for each label.

    Each has a place, a rotation and a radius, within `radii` (least, largest) pixels, of its own, and is inside whole.
    """

    def uniform(low, high):
        return rng.uniform(low, high, (len(labels), 1, 1))

    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    radius, angle = uniform(*radii), uniform(0, 2 * np.pi)
    room = (size - 2) / 2 - radius
    dx, dy = x - uniform(-1, 1) * room, y - uniform(-1, 1) * room
    u, v = (np.cos(angle) * dx + np.sin(angle) * dy) / radius, (np.cos(angle) * dy - np.sin(angle) * dx) / radius
    found = np.empty((len(labels), size, size))
    for label, shape in enumerate(shapes):
        of = labels == label
        found[of] = np.clip(shape(u[of].astype(np.float32), v[of].astype(np.float32)) * radius[of] + 0.5, 0, 1)
    return found
