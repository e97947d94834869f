"""Trials of networks, training steps and tasks, as live/trials.py has those of layers and losses."""

import numpy as np

from live.results import module_passes, of, passes
from live.trials import X, draw
from minires import (
    calibration,
    detection,
    ensemble,
    federated,
    layers,
    models,
    optim,
    retrieval,
    robustness,
    segmentation,
    shards,
    training,
)
from minires import schedules as schedule
from minires.calling import call
from minires.compression import PruningSGD, magnitude_prune
from minires.compression.filters import prune_filters
from minires.data.images import Preprocessing
from minires.data.mix import Mix, draw_box
from minires.data.pieces import Piece
from minires.detection.average_precision import area
from minires.detection.head import Head, exp_distances
from minires.detection.pyramid import FeaturePyramid
from minires.detection.targets import assign_targets
from minires.ema import AveragedModel
from minires.inspection.explain import grad_cam
from minires.inspection.watching import watching
from minires.models.blocks import BasicBlock
from minires.models.branches import side_by_side
from minires.models.densenet import DenseLayer
from minires.models.fold import fold
from minires.models.preact import PreActBlock
from minires.models.seresnet import SEBottleneck
from minires.models.vgg import VGG
from minires.parameter import Parameter
from minires.precision import GradScaler
from minires.ranks.adding import add_over_ranks
from minires.recomputed import recomputed
from minires.segmentation.mask_loader import MaskLoader
from minires.sequential import Sequential
from minires.teacher import Teacher


def images(count=2, side=8):
    return np.random.default_rng(2).integers(0, 256, (count, side, side, 3)).astype(np.float64)


# Networks -------------------------------------------------------------------------------------------------------------


@of("minires.models.blocks")
def BasicBlocks():
    kinds = {"A": (4, 8, 2), "B": (4, 6, 1), "A-end": (4, 8, 2)}
    found = {kind: module_passes(BasicBlock(*sizes, kind, rng=0), draw(*X)) for kind, sizes in kinds.items()}
    return found | {"no change of shape": module_passes(BasicBlock(4, 4, 1, "A", rng=0), draw(*X))}


@of("minires.models.blocks")
def weights_of_a_new_network():
    return {name: np.array(value) for name, value in models.build("resnet8", rng=0).state_dict().items()}


@of("minires.models.preact")
def PreActBlock_of_one_shape():
    return module_passes(PreActBlock(4, 4, 1, rng=0), draw(*X))


@of("minires.models.densenet")
def DenseLayer_():
    return module_passes(DenseLayer(4, 2, np.random.default_rng(0)), draw(*X))


@of("minires.models.seresnet")
def SEBottleneck_():
    return module_passes(SEBottleneck(8, 4, 2, rng=0), draw(3, 6, 5, 8))


@of("minires.models.branches")
def branches_side_by_side():
    convolutions = [layers.Conv2d(4, channels, 3, padding=1, rng=channels).to(np.float64) for channels in (2, 3)]
    return passes(lambda x: side_by_side(convolutions, x), draw(*X))


@of("minires.models.fold")
def a_folded_network():
    network = models.build("resnet8", rng=0).to(np.float64)
    network.train()(draw(4, 8, 8, 3))  # so that the running statistics are not 0 and 1
    pair = Sequential(layers.Conv2d(3, 4, 3, rng=0), layers.BatchNorm2d(4)).to(np.float64)  # with a bias
    pair(draw(4, 8, 8, 3))
    return {f"{len(each.parameters())} parameters": fold(each.eval())(draw(2, 8, 8, 3))[0] for each in (network, pair)}


@of("minires.calling", "minires.recomputed", "minires.inspection.watching")
def calls_of_a_block():
    block, x = BasicBlock(4, 6, 2, "B", rng=0).to(np.float64), draw(*X)
    told = []

    def lean(x, lean=False):
        told.append(lean)
        return layers.relu(x)

    call(lean, x, lean=True, once=True)
    with watching(block, ("conv1", "conv2")) as calls:
        y, backward = block(x)
        backward(np.ones_like(y))
    seen = [{"x": c.inputs[0], "y": c.y, "dy": c.dy} for c in calls]
    return {"call": passes(lambda x: call(block, x, once=True), x), "told": told, "watched": seen} | {
        "recomputed": passes(lambda x: recomputed(block, x), x),
        "state": {name: np.array(value) for name, value in block.state_dict().items()},
    }


# Steps ----------------------------------------------------------------------------------------------------------------


def steps(make, count=3):
    """Parameters of two sizes and their state, after some steps with the same gradients."""
    weights = [Parameter(draw(3, 4, seed=1)), Parameter(draw(4, seed=2))]
    optimizer = make(weights)
    for t in range(count):
        for number, weight in enumerate(weights):
            weight.grad = draw(*weight.shape, seed=10 * t + number)
        optimizer.step()
    state = [{name: np.array(value) for name, value in optimizer.state[weight].items()} for weight in weights]
    return {"weight": weights[0].data, "bias": weights[1].data, "state": state}


OPTIMIZERS = {
    "SGD": lambda w: optim.SGD(w, 0.1),
    "SGD, momentum": lambda w: optim.SGD(w, 0.1, 0.9, weight_decay=0.01),
    "SGD, Nesterov": lambda w: optim.SGD(w, 0.1, 0.9, nesterov=True, l1=0.01),
    "Adam": lambda w: optim.Adam(w, 0.1, weight_decay=0.01),
    "AdamW": lambda w: optim.AdamW(w, 0.1, weight_decay=0.01),
    "RMSprop": lambda w: optim.RMSprop(w, 0.1, momentum=0.9, weight_decay=0.01),
    "RMSprop, centered": lambda w: optim.RMSprop(w, 0.1, centered=True),
    "LARS": lambda w: optim.LARS(w, 0.1, momentum=0.9, weight_decay=0.01),
    "LAMB": lambda w: optim.LAMB(w, 0.1, weight_decay=0.01),
}


@of(*(f"minires.optim.{name}" for name in ("adam", "formulas", "lamb", "lars", "optimizer", "rmsprop", "sgd")))
def three_steps_of_each_optimizer():
    return {name: steps(make) for name, make in OPTIMIZERS.items()}


@of("minires.optim.clip")
def clipped_gradients():
    def clipped(most):
        weights = [Parameter(draw(3, 4)), Parameter(draw(4))]
        for weight in weights:
            weight.grad = draw(*weight.shape, seed=1)
        norm = optim.clip_grad_norm_(weights, most)
        return {"norm": norm, "gradients": [weight.grad for weight in weights]}

    return {"at most 0.5": clipped(0.5), "at most 100": clipped(100.0)}


@of("minires.schedules")
def learning_rates():
    made = {
        "OneCycleLR": schedule.OneCycleLR(0.1, 20),
        "LinearWarmup": schedule.LinearWarmup(schedule.OneCycleLR(0.1, 20), 5),
        "CosineAnnealingWarmRestarts": schedule.CosineAnnealingWarmRestarts(0.1, 4, 2),
        "with equal restarts": schedule.CosineAnnealingWarmRestarts(0.1, 4, 1, 0.01),
        "of a single step": schedule.OneCycleLR(0.1, 1),
    }
    return {name: [rate(t) for t in range(25)] for name, rate in made.items()}


def small_network():
    return models.build("resnet8", rng=0).to(np.float64)


def trained(step, network=None):
    """What a step of a network's training gives, and what it leaves."""
    network = network or small_network()
    loss, right = step(network, optim.SGD(network.parameters(), 0.1, 0.9), draw(4, 8, 8, 3), np.array([1, 0, 3, 2]))
    return {"loss": loss, "right": right, **{name: np.array(value) for name, value in network.state_dict().items()}}


@of("minires.training")
def training_steps():
    return {
        "train_step": trained(training.train_step),
        "scaled": trained(lambda *given: training.train_step(*given, scaler=GradScaler(1024.0))),
        "smoothed and clipped": trained(lambda *given: training.train_step(*given, label_smoothing=0.1, clip_norm=0.1)),
    }


@of("minires.robustness.training", "minires.robustness.attacks")
def attacks_and_steps_on_them():
    network, x, labels = small_network(), images(), np.array([3, 1])

    def attack(model, x, labels):
        return robustness.pgd(model, x, labels, 8.0, 3)

    found = {norm: robustness.pgd(network, x, labels, 8.0, 3, norm=norm) for norm in ("linf", "l2")}
    found["targeted"] = robustness.pgd(network, x, labels, 8.0, 3, step=1.0, targeted=True)
    rngs = [np.random.default_rng(seed) for seed in (0, 1)]
    found["from near it"] = robustness.pgd(network, x, labels, 8.0, 1, rngs=rngs)
    found["gradient, logits"] = robustness.loss_gradient(network, x, labels)
    found["step"] = trained(
        lambda model, optimizer, x, labels: robustness.adversarial_step(model, optimizer, images(4), labels, attack)
    )
    return found


@of("minires.ema")
def averaged_weights():
    network = layers.Linear(3, 2, rng=0).to(np.float64)
    averaged = AveragedModel(network, 0.9)
    for t in (0, 3, 500):
        network.weight.data = draw(2, 3, seed=t)
        averaged.update(t)
    return {"weight": averaged.averaged.weight.data, "bias": averaged.averaged.bias.data}


@of("minires.compression.magnitude", "minires.compression.sparse_training")
def pruned_weights():
    weights = [Parameter(draw(3, 4)), Parameter(draw(4, 5, seed=1))]
    magnitude_prune(weights, 0.5)
    kept = [weight.data for weight in weights]
    by_layer = [Parameter(draw(3, 4)), Parameter(draw(4, 5, seed=1) * 9)]
    magnitude_prune(by_layer, 0.25, "layer")

    def make(weights):
        return PruningSGD(weights, 0.1, 0.9, pruned=weights[:1], sparsity=lambda t: 0.2 + 0.2 * t, every=2)

    return {"global": kept, "layer": [weight.data for weight in by_layer], "PruningSGD": steps(make, 4)}


@of("minires.compression.filters")
def pruned_filters():
    pruned, kept = prune_filters(models.build("resnet8", rng=0), 0.5)
    return {"kept": kept, "shapes": {name: value.shape for name, value in pruned.state_dict().items()}}


@of("minires.federated")
def a_federated_round():
    network = layers.Linear(3, 2, rng=0).to(np.float64)

    def train(model, client):
        federated.train_locally(
            model,
            lambda epoch: [(draw(4, 3, seed=9 * client + epoch), np.array([0, 1, 1, 0]))],
            number=1,
            epochs=2,
            optimizer_of=lambda parameters: optim.SGD(parameters, 0.1),
        )

    federated.federated_round(network, [4, 12, 8], [0, 2], train)
    return {"weight": network.weight.data, "bias": network.bias.data}


# What is cut, drawn and put together ----------------------------------------------------------------------------------


@of("minires.data.mix", "minires.data.pieces")
def drawn_boxes_and_pieces():
    mixing = Mix(4, mixup=0.0, cutmix=1.0).draw(6, (9, 12), np.random.default_rng(0))
    boxes = [draw_box(share, (9, 12), np.random.default_rng(seed)) for seed, share in enumerate((0.0, 0.3, 0.7, 1.0))]
    pieces = [Piece.of_shard(1, 6, slice(2, 4), 1, mixed) for mixed in (mixing, None)]
    said = [{"rows": piece.rows, "own": piece.own, "place": piece.place, "span": piece.span} for piece in pieces]
    return {"boxes": boxes, "mixing": mixing._asdict(), "pieces": said}


@of("minires.shards")
def shards_and_their_sum():
    tree = shards.TreeSum()
    for number in range(6):
        tree.put(number, [draw(3, seed=number)])
    parts = [[(part.start, part.stop) for part in shards.cut(count, 4)] for count in (0, 3, 8, 13)]
    return {"cut": parts, "total": tree.total(), "nodes": [tuple(node[:2]) for node in tree.nodes]}


@of("minires.ranks.adding")
def a_sum_over_one_rank():
    tree = shards.TreeSum()
    for number in range(5):
        tree.put(number, [draw(3, 2, seed=number), draw(4, seed=number, dtype=np.float32), draw(5, seed=9 * number)])
    return {"total": add_over_ranks(tree, [range(5)], lambda rows, counts: rows[0], lambda part: part)}


@of("minires.segmentation.mask_loader")
def batches_with_masks():
    masks = np.random.default_rng(0).integers(0, 4, (5, 8, 8)).astype(np.uint8)
    masks[0, :2] = 255
    loader = MaskLoader(images(5).astype(np.uint8), masks, 2, (0.5,) * 3, (0.2,) * 3, shuffle=True, seed=0)
    return {"batches": [*loader.epoch(0)]}


@of("minires.robustness.corruptions")
def corrupted_images():
    pictures = images(2, 16).astype(np.uint8)
    return {kind: robustness.corrupt(pictures, kind, 3, seed=1, first=5) for kind in robustness.CORRUPTIONS} | {
        "strength 0": robustness.corrupt(pictures, "gaussian_noise", 0)
    }


# Tasks ----------------------------------------------------------------------------------------------------------------

BOXES = np.array([[2, 3, 12, 13, 0], [20, 10, 60, 40, 1], [3, 3, 11, 12, 2], [5, 30, 30, 62, 1]], np.float64)


@of("minires.detection.targets", "minires.detection.loss")
def targets_and_their_loss():
    labels, distances = assign_targets(BOXES, detection.positions(64))
    targets = detection.Targets(labels[None], distances[None])
    y = draw(1, len(labels), 3 + 4)
    y[..., 3:] = abs(y[..., 3:]) + 0.5
    return {
        "labels": labels,
        "distances": distances,
        "without objects": assign_targets(np.zeros((0, 5)), detection.positions(64)),
        "loss": passes(lambda y: detection.detection_loss(y, targets), y),
    }


@of("minires.detection.boxes", "minires.detection.average_precision")
def boxes_that_are_kept():
    near = np.concatenate([BOXES[:, :4], BOXES[:, :4] + 1, BOXES[:, :4] + 4])
    scores, labels = np.round(abs(draw(12)), 1), np.tile(BOXES[:, 4].astype(int), 3)
    right = np.array([1, 1, 0, 1, 0, 0, 1], bool)
    return {
        "nms": [detection.nms(near, scores, labels, threshold) for threshold in (0.3, 0.5, 0.9)],
        "area": [area(right, 6, points) for points in (101, 11, None)],
    }


@of("minires.detection.head", "minires.detection.pyramid")
def head_and_pyramid():
    pyramid = FeaturePyramid([3, 4], 8, rng=0).to(np.float64)
    maps = (draw(2, 6, 6, 3), draw(2, 3, 3, 4))
    levels, backward = pyramid(maps)
    return {
        "exp_distances": passes(lambda x: exp_distances(x, 4.0), 4 * draw(5, 4)),
        "head": module_passes(Head(8, 3, rng=0), draw(2, 4, 4, 8)),
        "pyramid": {"outputs": levels, "dmaps": backward(tuple(draw(*level.shape, seed=1) for level in levels))},
        "gradients": {name: np.array(weight.grad) for name, weight in pyramid.named_parameters()},
    }


@of("minires.detection.detector")
def a_detector():
    return module_passes(detection.build("resnet8", 3, rng=0), draw(1, 32, 32, 3), calls=1)


@of("minires.segmentation.fcn")
def an_FCN():
    return {
        "skips": module_passes(segmentation.build("resnet8", 3, rng=0), draw(1, 16, 16, 3)),
        "without": module_passes(segmentation.build("resnet8", 3, rng=0, skips=False), draw(1, 16, 16, 3)),
    }


@of("minires.models.vgg")
def a_VGG():
    """Of two stages: the smallest of those that have a name has nine million weights."""
    network = VGG.__new__(VGG)
    stages = [(layers.Conv2d(C, C + 1, 3, padding=1, rng=C), layers.ReLU(), layers.MaxPool2d(2)) for C in (3, 4)]
    network.features = Sequential(*(layer for stage in stages for layer in stage))
    network.avgpool, network.classifier = layers.AdaptiveAvgPool2d((7, 7)), layers.Linear(5 * 49, 3, rng=0)
    network.small_input = network.return_features = False
    x = draw(2, 32, 32, 3)
    found = module_passes(network, x)
    network.avgpool, network.classifier = layers.GlobalAvgPool2d(), layers.Linear(5, 3, rng=0).to(np.float64)
    network.small_input = True
    found["small_input"] = passes(lambda x: network(x), x)
    network.return_features = True
    return {**found, "features": network(x)[0]}


def answers(count=2):
    return draw(count, 8, 5, seed=1)


@of("minires.ensemble")
def networks_together():
    network = layers.Conv2d(3, 2, 1, rng=0).to(np.float64)
    own = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "BGR", 32)
    prepared = ensemble.Prepared(network, own, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)).to(np.float64)
    return {
        "log_mean_softmax": passes(ensemble.log_mean_softmax, 3 * answers()),
        "far": passes(ensemble.log_mean_softmax, 1000 * answers()),
        "prepared": passes(lambda x: prepared(x), draw(2, 4, 4, 3)),
    }


@of("minires.calibration")
def a_temperature():
    labels, surely = np.arange(8) % 5, 4 * np.eye(5)
    logits = [3 * (answers()[0] * 2 + surely[labels]), 0.1 * (answers()[1] * 2 + surely[labels])]
    return {"temperature": [calibration.fit_temperature(found, labels) for found in logits]}


@of("minires.teacher")
def a_teacher():
    own = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "RGB", 32)
    networks = [(models.build("resnet8", rng=seed), own) for seed in (0, 1)]
    teacher, x = Teacher(networks, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)), draw(2, 8, 8, 3, dtype=np.float32)
    loss, labels = teacher.criterion(0.7)(x), np.array([1, 2])
    logits = draw(2, 10, dtype=np.float32)
    return {"probabilities": teacher(x), "loss": passes(lambda logits: loss(logits, labels), logits)}


@of("minires.retrieval")
def nearest_vectors():
    vectors = retrieval.unit(np.round(draw(9, 4, dtype=np.float32)))  # with equal ones among them
    numbers, cosines = retrieval.search(vectors, vectors[:3], 5)
    return {"numbers": numbers, "cosines": cosines}


@of("minires.inspection.explain", "minires.inspection.watching")
def heat_of_an_image():
    network, x = small_network().eval(), draw(2, 16, 16, 3)
    return {"heat": grad_cam(network, x, [1, 2]), "layer1": grad_cam(network, x, 1, "layer1")}
