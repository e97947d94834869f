"""The shapes drawn by code: what they are, and that no linear classifier gets far with them."""

import numpy as np
import pytest

from minires.data import make_synthetic


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(train=4000, test=1000)


def test_images_and_labels_are_as_promised(dataset):
    assert dataset.train_images.shape == (4000, 32, 32, 3) and dataset.test_images.shape == (1000, 32, 32, 3)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert dataset.name == "synthetic" and "not photographs" in dataset.label
    assert len(dataset.classes) == len(set(dataset.classes)) == 10
    for labels in (dataset.train_labels, dataset.test_labels):
        assert np.bincount(labels.astype(np.intp)).tolist() == [len(labels) // 10] * 10
        assert (labels[:-1] > labels[1:]).any(), "in random order"
    assert dataset.train_images.min() < 20 and dataset.train_images.max() > 235


def test_the_seed_decides():
    first, again, other = make_synthetic(30, 20, 5), make_synthetic(30, 20, 5), make_synthetic(30, 20, 6)
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.train_images != other.train_images).any() and (first.train_labels != other.train_labels).any()


def test_the_test_images_are_others_and_do_not_depend_on_the_training_set():
    few, many = make_synthetic(30, 40), make_synthetic(40, 40)
    np.testing.assert_array_equal(few.test_images, many.test_images)
    train = {image.tobytes() for image in many.train_images}
    assert not train & {image.tobytes() for image in many.test_images}
    assert len(train) == 40


@pytest.mark.parametrize("train, test", [(0, 5), (5, 0), (-1, 5)])
def test_there_must_be_images(train, test):
    with pytest.raises(ValueError, match=r"(train|test) is -?\d, expected at least 1"):
        make_synthetic(train, test)


def test_one_image_is_enough():
    assert len(make_synthetic(1, 1).train_images) == 1


def best_linear_accuracy(dataset, ridges):
    """Accuracy on the test images of the best least-squares classifier on pixels, over strengths of the penalty."""
    x, x_test = (
        images[:, ::2, ::2].reshape(len(images), -1).astype(np.float64) / 255
        for images in (dataset.train_images, dataset.test_images)
    )
    mean = x.mean(axis=0)
    x, x_test = x - mean, x_test - mean
    targets = np.eye(10)[dataset.train_labels] - 0.1
    accuracies = []
    for ridge in ridges:
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ targets)
        accuracies.append(((x_test @ weights).argmax(axis=1) == dataset.test_labels).mean())
    return max(accuracies)


def test_a_linear_classifier_gets_nowhere(dataset):
    assert best_linear_accuracy(dataset, [3, 30, 300, 3000]) < 0.35


def test_the_linear_classifier_would_find_a_linear_clue(dataset):
    """The classifier above is not simply broken: with the class written into one corner it is right."""
    marked = {}
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images").copy(), getattr(dataset, f"{part}_labels")
        images[np.arange(len(images)), 0, 2 * labels] = 255
        images[:, 0, 1::2] = images[:, 0, 20:] = 0
        unmarked = np.delete(np.arange(20), np.arange(1, 20, 2))
        for label, column in enumerate(unmarked):
            images[labels != label, 0, column] = 0
        marked[f"{part}_images"], marked[f"{part}_labels"] = images, labels
    copy = type(dataset)("synthetic", "marked", dataset.classes, **marked)
    assert best_linear_accuracy(copy, [3, 30]) > 0.9


def test_the_class_decides_how_much_the_shape_covers(dataset):
    """Pixels vary more where a disc stands out from its background than where a thin bar or two small dots do."""
    spread = {
        name: dataset.train_images[dataset.train_labels == label].astype(np.float32).std(axis=(1, 2)).mean()
        for label, name in enumerate(dataset.classes)
    }
    assert spread["disc"] > 1.1 * spread["bar"] and spread["disc"] > 1.1 * spread["dots"]
