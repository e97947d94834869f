"""The range test of the learning rate: against a loop by hand, and as --find-lr."""

import numpy as np
import pytest
import scripts
from scripts import one_sentence, picture, table
from test_data_cifar import make_batches, write_binary

from minires import Sequential, data
from minires.layers import Dropout, Flatten, Linear
from minires.losses import cross_entropy
from minires.lr_finder import lr_find
from minires.optim import SGD


def loader(images=64, batch_size=16):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 8, 8, 3), np.uint8)
    labels = (pixels.mean(axis=(1, 2, 3)) > 127).astype(np.int64)
    return data.Loader(pixels, labels, batch_size, (0.5,) * 3, (0.3,) * 3, shuffle=True)


def linear():
    return Sequential(Flatten(), Linear(192, 2, rng=0))


def test_against_a_loop_by_hand():
    """Plain gradient descent on a linear layer, at rates that grow by equal factors."""
    model = linear()
    W, b = (parameter.data.astype(np.float64) for parameter in model.parameters())
    found = lr_find(model, SGD(model.parameters(), lr=0.3), loader(), start=1e-3, end=1e-1, iterations=10)
    assert found.lrs == pytest.approx(np.geomspace(1e-3, 1e-1, 10))
    losses = []
    batches = [batch for epoch in range(3) for batch in loader().epoch(epoch)]
    for lr, (x, labels) in zip(found.lrs, batches, strict=False):
        flat = model[0](x)[0].astype(np.float64)
        logits = flat @ W.T + b
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(x)), labels]).mean())
        dlogits = (p - np.eye(2)[labels]) / len(x)
        W, b = W - lr * dlogits.T @ flat, b - lr * dlogits.sum(axis=0)
    assert found.losses == pytest.approx(losses, rel=1e-4)
    weights = 0.9 ** np.arange(10)
    by_hand = [(weights[: n + 1][::-1] @ losses[: n + 1]) / weights[: n + 1].sum() for n in range(10)]
    assert found.means == pytest.approx(by_hand, rel=1e-4)
    assert found.suggested == pytest.approx(found.lrs[int(np.argmin(by_hand))] / 3)


def test_it_ends_where_the_loss_explodes_and_suggests_less():
    """A quadratic bowl is left at 2 / a; a softmax whose inputs are large is near enough to one."""
    model = linear()
    found = lr_find(model, SGD(model.parameters(), lr=0.1), loader(), start=1e-5, end=1e4, iterations=100)
    assert len(found.lrs) < 100 and "the loss explodes" in found.ended
    assert found.suggested < found.lowest < found.lrs[-1] < 1e3
    assert np.isfinite(found.losses).all()


def test_model_and_optimizer_are_as_before():
    model = Sequential(Flatten(), Dropout(0.5, rng=3), Linear(192, 8, rng=0), Dropout(0.5, rng=4), Linear(8, 2, rng=1))
    model[1].eval()
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.9)
    x, labels = next(iter(loader().epoch(0)))

    def step():
        model.zero_grad()
        logits, backward = model(x)
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward())
        optimizer.step()
        return float(loss)

    step()
    before, modes = model.state_dict(), [module.training for module in model.modules()]
    state = optimizer.state_dict()
    lr_find(model, optimizer, loader(), iterations=20)
    assert [module.training for module in model.modules()] == modes
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())
    after = optimizer.state_dict()
    assert (after["lr"], after["steps"]) == (state["lr"], state["steps"])
    assert all(np.array_equal(state["arrays"][key], value) for key, value in after["arrays"].items())
    twin = Sequential(Flatten(), Dropout(0.5, rng=3), Linear(192, 8, rng=0), Dropout(0.5, rng=4), Linear(8, 2, rng=1))
    twin[1].eval()
    expected_optimizer = SGD(twin.parameters(), lr=0.3, momentum=0.9)
    losses = []
    for _ in range(2):
        twin.zero_grad()
        logits, backward = twin(x)
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward())
        expected_optimizer.step()
        losses.append(float(loss))
    assert step() == losses[1]  # dropout draws as if nothing had been


def test_it_is_put_back_after_an_error_too():
    model = linear()
    before = model.state_dict()

    class Broken:
        def epoch(self, number):
            yield from list(loader().epoch(0))[:2]
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        lr_find(model, SGD(model.parameters(), lr=0.1), Broken(), start=1.0)
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 0}, "must be above 0 and grow"),
        ({"start": 1, "end": 1}, "must be above 0 and grow"),
        ({"end": float("inf")}, "must be above 0 and grow"),
        ({"iterations": 9}, "at least 10"),
    ],
)
def test_what_is_refused(options, words):
    model = linear()
    with pytest.raises(ValueError, match=words):
        lr_find(model, SGD(model.parameters(), lr=0.1), loader(), **options)


def test_a_model_that_gives_no_number():
    model = linear()
    model[1].weight.data[:] = np.nan
    with pytest.raises(ValueError, match="no finite loss"):
        lr_find(model, SGD(model.parameters(), lr=0.1), loader())


# The script ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def main(tmp_path, monkeypatch, capsys):
    write_binary(tmp_path / "cifar", make_batches(12))
    flags = ("--data-dir", tmp_path / "cifar", "--device", "cpu", "--model", "simple_cnn", "--batch-size", 8)
    script = scripts.load("train_cifar")
    return lambda *more: scripts.call(script, monkeypatch, capsys, *flags, *more)


def test_find_lr(main, tmp_path):
    code, out, err = main("--find-lr", "--iterations", 30, "--out", tmp_path / "found")
    assert (code, err) == (0, "")
    rows = table(tmp_path / "found" / "lr_find.csv")
    assert 10 < len(rows) <= 30 and float(rows[0]["lr"]) == pytest.approx(1e-4)
    assert picture(tmp_path / "found" / "lr_find.png").format == "PNG"
    lowest = min(rows, key=lambda row: float(row["mean"]))
    assert f"--lr {float(lowest['lr']) / 3:.2g}" in out
    assert max(len(line) for line in out.splitlines() if not line.startswith(("data:", "all steps"))) <= 80
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"lr_find.csv", "lr_find.png"}
    before = (tmp_path / "found" / "lr_find.csv").read_bytes()
    code, _, err = main("--find-lr", "--out", tmp_path / "found")
    assert code == 1 and "name another folder" in one_sentence(err)
    assert (tmp_path / "found" / "lr_find.csv").read_bytes() == before


def test_no_test_or_validation_image_takes_part(main, tmp_path):
    main("--find-lr", "--iterations", 12, "--out", tmp_path / "a")
    batches = make_batches(12)
    name = next(name for name in batches if "test" in name)
    batches[name] = make_batches(12, seed=9)[name]
    write_binary(tmp_path / "other", batches)
    main("--find-lr", "--iterations", 12, "--out", tmp_path / "b", "--data-dir", tmp_path / "other")
    files = [(tmp_path / run / "lr_find.csv").read_bytes() for run in "ab"]
    assert files[0] == files[1]
