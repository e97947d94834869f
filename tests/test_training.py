"""The training loop: what it counts, and that it can stop anywhere and go on with the same bits."""

import numpy as np
import pytest

from minires import checkpoint, optim, schedules
from minires.data import Augment, Loader
from minires.layers import Conv2d, Dropout, GlobalAvgPool2d, Linear, ReLU
from minires.losses import cross_entropy
from minires.optim import SGD
from minires.ranks import Ranks
from minires.sequential import Sequential
from minires.trainer import Position, Trainer
from minires.training import DivergenceError, Interrupted, evaluate, train_step

CLASSES = 4


def pictures(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, CLASSES, n)


def make_model(seed=0):
    return Sequential(
        Conv2d(3, 6, 3, padding=1, rng=seed),
        ReLU(),
        GlobalAvgPool2d(),
        Dropout(0.2, rng=seed),
        Linear(6, CLASSES, rng=seed),
    )


def make_trainer(folder, epochs=3, **options):
    """Twelve training images in batches of five: three batches an epoch."""
    model = options.pop("model", None) or make_model()
    lr = options.pop("lr", 0.05)
    plain = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    train_loader = Loader(*pictures(12), 5, shuffle=True, augment=Augment(padding=1), **plain)
    val_loader = options.pop("val_loader", Loader(*pictures(7, seed=1), 4, **plain))
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
    schedule = schedules.OneCycleLR(lr, 3 * epochs)
    common = {"epochs": epochs, "num_classes": CLASSES, "folder": folder, "info": {"a": 1}}
    return Trainer(model, optimizer, schedule, train_loader, val_loader, **{**common, **options})


class StopAt:
    """A watcher that asks the trainer to stop after some iterations, as Ctrl-C does."""

    def __init__(self, iterations):
        self.iterations = iterations

    def batch(self, trainer):
        trainer.stop_requested = trainer.position.iteration in self.iterations

    def epoch(self, trainer, row):
        pass


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def assert_same_run(a, b, folder_a, folder_b):
    assert without_times(a.position.history) == without_times(b.position.history)
    for name in ("last", "best"):
        one, other = (checkpoint.load(folder / f"{name}.safetensors") for folder in (folder_a, folder_b))
        assert one.model.keys() == other.model.keys()
        for key in one.model:
            np.testing.assert_array_equal(one.model[key], other.model[key])
        assert one.generators == other.generators
        if one.optimizer:
            for key, array in one.optimizer["arrays"].items():
                np.testing.assert_array_equal(array, other.optimizer["arrays"][key])


@pytest.mark.parametrize("stop", [(1,), (2,), (3,), (4, 5), (9,), tuple(range(1, 10))])
def test_a_run_stopped_anywhere_goes_on_with_the_same_bits(tmp_path, stop):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    straight = make_trainer(whole)
    straight.run()
    trainer = make_trainer(parts, watcher=StopAt(stop))
    for _ in stop:
        with pytest.raises(Interrupted):
            trainer.run()
        trainer = make_trainer(parts, watcher=StopAt(stop))
        trainer.resume(checkpoint.load(parts / "last.safetensors"))
    trainer.run()
    assert trainer.position.iteration == 9
    assert_same_run(straight, trainer, whole, parts)


def test_a_stop_during_validation_repeats_the_validation(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    straight = make_trainer(whole)
    straight.run()

    trainer = make_trainer(parts)
    loader, batches = trainer.val_loader, trainer.val_loader.epoch

    def interrupting(number, start=0):
        for batch in batches(number, start):
            yield batch
            trainer.stop_requested = True  # between the first and the second batch

    loader.epoch = interrupting
    with pytest.raises(Interrupted):
        trainer.run()
    assert trainer.position.epoch == 0
    assert trainer.position.batch == 3
    trainer = make_trainer(parts)
    trainer.resume(checkpoint.load(parts / "last.safetensors"))
    trainer.run()
    assert_same_run(straight, trainer, whole, parts)


def test_killed_between_checkpoints_it_goes_on_from_the_last(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    straight = make_trainer(whole)
    straight.run()

    class Killed(BaseException):
        pass

    class KillAt:
        def batch(self, trainer):
            if trainer.position.iteration == 6:
                raise Killed

        def epoch(self, trainer, row):
            pass

    with pytest.raises(Killed):
        make_trainer(parts, save_every=2, watcher=KillAt()).run()
    trainer = make_trainer(parts)
    trainer.resume(checkpoint.load(parts / "last.safetensors"))
    assert trainer.position.iteration == 4  # 5 and 6 are lost, and done again
    trainer.run()
    assert_same_run(straight, trainer, whole, parts)


def test_history_counts_what_happened(tmp_path):
    trainer = make_trainer(tmp_path, model=Sequential(GlobalAvgPool2d(), Linear(3, CLASSES, rng=0)), lr=0.0, epochs=2)
    trainer.run()
    first, second = trainer.position.history
    assert [first["epoch"], second["epoch"]] == [1, 2]
    assert [first["iteration"], second["iteration"]] == [3, 6]
    # with a learning rate of 0 the model never changes, and the mean over batches is the mean over the set
    losses, correct = [], 0
    for x, labels in trainer.train_loader.epoch(0):
        logits, _ = trainer.model(x)
        losses += [float(cross_entropy(logits[i : i + 1], labels[i : i + 1])[0]) for i in range(len(x))]
        correct += int((logits.argmax(axis=1) == labels).sum())
    assert first["train_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert first["train_acc"] == correct / 12
    assert first["val_loss"] == second["val_loss"]


def test_evaluation_counts_each_class():
    model = Sequential(GlobalAvgPool2d(), Linear(3, CLASSES, rng=0))
    images, labels = pictures(23)
    loader = Loader(images, labels, 5, (0.5,) * 3, (0.25,) * 3)
    model.train()
    evaluation = evaluate(model, loader, CLASSES)
    assert model.training
    x = ((images / 255 - 0.5) / 0.25).mean(axis=(1, 2))
    logits = x @ model[1].weight.data.T.astype(np.float64) + model[1].bias.data
    right = logits.argmax(axis=1) == labels
    assert evaluation.accuracy == right.mean()
    assert evaluation.class_total == tuple(np.bincount(labels.astype(np.intp), minlength=CLASSES))
    assert evaluation.class_correct == tuple(np.bincount(labels[right].astype(np.intp), minlength=CLASSES))
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert evaluation.loss == pytest.approx(-log_softmax[np.arange(23), labels].mean(), rel=1e-5)


def test_the_best_model_is_the_best_on_validation_images(tmp_path):
    trainer = make_trainer(tmp_path, epochs=6, lr=0.5)
    trainer.run()
    accuracies = [row["val_acc"] for row in trainer.position.history]
    ranks = [(row["val_acc"], -row["val_loss"]) for row in trainer.position.history]
    assert trainer.position.best_val_acc == max(accuracies)
    assert trainer.position.best_epoch == 1 + ranks.index(max(ranks))
    model = make_model(seed=1)
    model.load_state_dict(checkpoint.load(tmp_path / "best.safetensors").model)
    assert evaluate(model, trainer.val_loader, CLASSES).accuracy == max(accuracies)


def test_without_validation_images_the_last_model_is_the_best(tmp_path):
    trainer = make_trainer(tmp_path, val_loader=None)
    trainer.run()
    assert trainer.position.best_epoch == 3
    assert trainer.position.history[0]["val_acc"] is None


def test_iterations_end_a_run_within_an_epoch(tmp_path):
    trainer = make_trainer(tmp_path, iterations=5)
    trainer.run()
    assert trainer.position.iteration == 5
    assert len(trainer.position.history) == 2
    assert trainer.finished


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path)
    good = {}

    class Break:
        def batch(self, trainer):
            if trainer.position.iteration == 5:
                good["content"] = (tmp_path / "last.safetensors").read_bytes()
                trainer.model.parameters()[0].data[...] = np.nan

        def epoch(self, trainer, row):
            pass

    trainer.watcher = Break()
    with pytest.raises(DivergenceError, match=r"epoch 2, iteration 6: the loss \(nan\) .*: lower the learning rate;"):
        trainer.run()
    assert (tmp_path / "last.safetensors").read_bytes() == good["content"]
    assert checkpoint.load(tmp_path / "last.safetensors").position["iteration"] == 3


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    trainer = make_trainer(tmp_path, save_every=1)
    step = trainer.optimizer.step

    def exploding():
        step()
        if trainer.position.iteration == 2:  # two steps are done, this is the third
            trainer.model.parameters()[0].data[...] = np.inf

    trainer.optimizer.step = exploding
    with pytest.raises(DivergenceError, match="iteration 3: a parameter"):
        trainer.run()
    assert checkpoint.load(tmp_path / "last.safetensors").position["iteration"] == 2


def test_a_model_alone_cannot_be_resumed(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.run()
    with pytest.raises(checkpoint.CheckpointError, match=r"resume from last\.safetensors"):
        make_trainer(tmp_path).resume(checkpoint.load(tmp_path / "best.safetensors"))


def test_train_step_descends():
    model = make_model().eval()
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((6, 8, 8, 3)).astype(np.float32), rng.integers(0, CLASSES, 6)
    losses = [float(train_step(model, optimizer, x, labels)[0]) for _ in range(10)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_new_position_is_at_the_start():
    assert Position() == Position(0, 0, 0, 0.0, 0, 0, 0.0, 0.0, None, None, 0, None, [])


def test_a_step_with_soft_labels_counts_the_likeliest_class():
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    results = []
    for given in (labels, np.eye(4, dtype=np.float32)[labels]):
        model = Sequential(Linear(3, 4, rng=0))
        loss, correct = train_step(model, SGD(model.parameters(), lr=0.1), x, given)
        results.append((float(loss), int(correct)))
    assert results[0] == results[1]


# Evaluation by several ----------------------------------------------------------------------------------------------


class Noted(Exception):
    pass


class OneOf(Ranks):
    """A rank that notes what it gives the others, and ends; with theirs, it gets what all have given."""

    def __init__(self, rank, size, of_all=None):
        self.rank, self.size, self.of_all, self.given = rank, size, of_all, None

    def gather(self, thing):
        self.given = thing
        if self.of_all is None:
            raise Noted
        return self.of_all


@pytest.mark.parametrize("size", [2, 3, 5])
def test_ranks_that_share_an_evaluation_find_what_one_finds_in_the_same_order(size):
    images, labels = pictures(23)
    loader = Loader(images, labels, 6, (0.5,) * 3, (0.25,) * 3)
    model = make_model()

    def look(x, logits, labels):
        return x.sum(), labels.tolist()

    seen, all_seen = [], []
    expected = evaluate(model, loader, CLASSES, look=look, take=seen.append)
    ranks = [OneOf(rank, size) for rank in range(size)]
    for rank in ranks:
        with pytest.raises(Noted):
            evaluate(model, loader, CLASSES, look=look, ranks=rank)
    of_all = [rank.given for rank in ranks]
    found = evaluate(model, loader, CLASSES, look=look, take=all_seen.append, ranks=OneOf(size - 1, size, of_all))
    assert found == expected and all_seen == seen and len(seen) == 4


def test_one_rank_that_wants_to_stop_stops_all():
    loader = Loader(*pictures(8), 4, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(Interrupted):
        evaluate(make_model(), loader, CLASSES, ranks=OneOf(0, 2, [(False, []), (True, [])]))
