"""The fully convolutional network, its loss, its measures and its batches: against loops, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import data, optim
from minires.data.scenes import IGNORE, SCENE_CLASSES, draw_scenes
from minires.gradcheck import gradcheck
from minires.losses import cross_entropy, pixel_cross_entropy
from minires.models import resnet8, simple_cnn
from minires.models.last_layer import body_of
from minires.segmentation import MaskLoader, Segmentation, Segmented, build, evaluate_masks
from minires.segmentation.fcn import channels_of, resized
from minires.segmentation.measures import count_pixels
from minires.trainer import Trainer
from minires.training import Interrupted, train_step

# The loss ------------------------------------------------------------------------------------------------------------


def naive_pixel_cross_entropy(logits, labels, weight):
    """One pixel at a time: what it says of its own class, and how much that counts."""
    loss = total = 0.0
    for n, i, j in np.ndindex(labels.shape):
        label = labels[n, i, j]
        if label != IGNORE:
            e = np.exp(logits[n, i, j])
            loss -= weight[label] * np.log(e[label] / e.sum())
            total += weight[label]
    return loss / total


@st.composite
def pixels(draw):
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = tuple(draw(st.integers(1, 4)) for _ in range(3))
    K = draw(st.integers(1, 5))
    labels = rng.integers(0, K, shape)
    labels[rng.random(shape) < 0.3] = IGNORE
    labels[0, 0, 0] = 0
    return rng.standard_normal((*shape, K)), labels, rng.uniform(0.1, 2, K)


@given(pixels())
def test_the_loss_is_that_of_a_loop_over_pixels(drawn):
    logits, labels, weight = drawn
    for given_weight in (None, weight):
        loss, _ = pixel_cross_entropy(logits, labels, weight=given_weight)
        wanted = naive_pixel_cross_entropy(logits, labels, np.ones_like(weight) if given_weight is None else weight)
        np.testing.assert_allclose(loss, wanted, rtol=1e-12)


@given(pixels())
def test_the_gradient_of_the_loss(check_operation, drawn):
    logits, labels, weight = drawn
    check_operation(lambda logits: pixel_cross_entropy(logits, labels, 0.1, weight=weight), logits)


@given(pixels())
def test_ignored_pixels_get_no_gradient_and_the_others_share_the_mean(drawn):
    logits, labels, _ = drawn
    _, backward = pixel_cross_entropy(logits, labels)
    dlogits, counted = backward(), labels != IGNORE
    e = np.exp(logits)
    one_hot = np.eye(logits.shape[-1])[np.where(counted, labels, 0)]
    wanted = (e / e.sum(axis=-1, keepdims=True) - one_hot) * counted[..., None] / counted.sum()
    np.testing.assert_allclose(dlogits, wanted, atol=1e-14)
    assert (dlogits[~counted] == 0).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_pytorchs(torch, weighted, smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, 5, 4, 3)), rng.integers(0, 3, (2, 5, 4))
    labels[0, :2] = IGNORE
    weight = np.array([0.5, 1.0, 2.0]) if weighted else None
    loss, backward = pixel_cross_entropy(logits, labels, smoothing, weight=weight)
    theirs = torch.tensor(logits, requires_grad=True)
    their_loss = torch.nn.functional.cross_entropy(
        theirs.permute(0, 3, 1, 2),
        torch.tensor(labels),
        None if weight is None else torch.tensor(weight),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
    )
    their_loss.backward()
    np.testing.assert_allclose(loss, their_loss.item(), rtol=1e-12)
    np.testing.assert_allclose(backward(), theirs.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_of_one_pixel_an_image_it_is_cross_entropy():
    logits, labels = np.random.default_rng(0).standard_normal((6, 4)), np.array([0, 1, 3, 2, 2, 1])
    loss, backward = pixel_cross_entropy(logits[:, None, None], labels[:, None, None])
    wanted, wanted_backward = cross_entropy(logits, labels)
    assert loss == wanted
    np.testing.assert_array_equal(backward()[:, 0, 0], wanted_backward())


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 3, 4, 5), np.zeros((2, 3, 5), int), r"logits have shape \(2, 3, 4, 5\), labels \(2, 3, 5\)"),
        ((2, 5), np.zeros(2, int), r"logits have shape \(2, 5\), labels \(2,\)"),
        ((1, 2, 2, 5), np.full((1, 2, 2), 77), "label 77 is out of range for 5 classes"),
        ((1, 2, 2, 5), np.full((1, 2, 2), IGNORE), "every label is ignore_index, 255"),
        ((1, 2, 2, 5), np.zeros((1, 2, 2)), "soft labels have shape"),
    ],
)
def test_what_is_no_mask_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        pixel_cross_entropy(np.zeros(logits), labels)
    assert "\n" not in str(caught.value)


# The measures --------------------------------------------------------------------------------------------------------


def naive_mean_iou(labels, answers, K):
    """As sets of pixels, one class at a time."""
    places = [place for place in np.ndindex(labels.shape) if labels[place] != IGNORE]
    ious = []
    for k in range(K):
        true, said = {p for p in places if labels[p] == k}, {p for p in places if answers[p] == k}
        if true | said:
            ious.append(len(true & said) / len(true | said))
    return np.mean(ious), np.mean([labels[p] == answers[p] for p in places])


@given(st.integers(0, 999), st.integers(1, 6))
def test_mean_iou_is_that_of_sets_of_pixels(seed, K):
    rng = np.random.default_rng(seed)
    labels, answers = rng.integers(0, K, (2, 4, 3)).astype(np.uint8), rng.integers(0, K, (2, 4, 3))
    labels[rng.random(labels.shape) < 0.3] = IGNORE
    labels[0, 0, 0] = 0
    found = Segmented(0.0, count_pixels(labels, answers, K))
    mean_iou, accuracy = naive_mean_iou(labels, answers, K)
    assert found.mean_iou == pytest.approx(mean_iou, abs=1e-14) and found.accuracy == found.mean_iou
    assert found.pixel_accuracy == pytest.approx(accuracy, abs=1e-14)


def test_mean_iou_by_hand():
    """The example of docs/segmentation.md: nine pixels, of which one does not count."""
    labels = np.array([[0, 0, 1], [0, 1, 1], [2, 2, IGNORE]])
    answers = np.array([[0, 0, 1], [1, 1, 1], [2, 0, 0]])
    found = Segmented(0.0, count_pixels(labels, answers, 3))
    assert found.counts.tolist() == [[2, 1, 0], [0, 3, 0], [1, 0, 1]]
    np.testing.assert_allclose(found.ious, [2 / 4, 3 / 4, 1 / 2])
    assert found.mean_iou == pytest.approx(7 / 12) and found.pixel_accuracy == 6 / 8


def test_a_class_that_is_nowhere_has_no_part_in_the_mean():
    found = Segmented(0.0, count_pixels(np.array([[0, 1]]), np.array([[0, 0]]), 3))
    np.testing.assert_allclose(found.ious, [0.5, 0, np.nan])
    assert found.mean_iou == 0.25


def test_no_pixel_at_all_has_no_measures():
    found = Segmented(float("nan"), np.zeros((3, 3), np.int64))
    assert np.isnan(found.mean_iou) and np.isnan(found.pixel_accuracy)


def test_counts_of_other_shapes_or_classes_are_refused():
    with pytest.raises(ValueError, match=r"labels have shape \(2, 2\), answers \(2, 3\)"):
        count_pixels(np.zeros((2, 2), int), np.zeros((2, 3), int), 3)
    with pytest.raises(ValueError, match="from 77 to 77: expected 0 to 2"):
        count_pixels(np.full((2, 2), 77), np.zeros((2, 2), int), 3)


# The network ---------------------------------------------------------------------------------------------------------


def small(rng=0, K=4):
    return build("resnet8", K, rng=rng).to(np.float64)


def test_the_answer_has_the_size_of_the_image_whatever_that_is():
    model = small().eval()
    for H, W in ((32, 32), (33, 47), (8, 5), (1, 1)):
        assert model(np.zeros((2, H, W, 3)))[0].shape == (2, H, W, 4)


def naive_scores(model, x):
    """Each stage's scores by a loop over pixels, each enlarged by loops, from the finest to the image."""
    maps, _ = model.backbone(x)
    size = [C.shape[1:3] for C in maps]
    scores = [
        np.einsum("nhwc,oc->nhwo", C, layer.weight.data[:, :, 0, 0]) + layer.bias.data
        for C, layer in zip(maps, model.score, strict=True)
    ]
    s = scores[-1]
    for k in reversed(range(len(maps) - 1)):
        s = scores[k] + enlarged(s, size[k])
    return enlarged(s, x.shape[1:3])


def enlarged(s, size):
    y = np.zeros((len(s), *size, s.shape[3]))
    for i, j in np.ndindex(*size):
        for h, of_row in between(i, size[0], s.shape[1]):
            for w, of_column in between(j, size[1], s.shape[2]):
                y[:, i, j] += of_row * of_column * s[:, h, w]
    return y


def between(o, out, length):
    place = min(max((o + 0.5) * length / out - 0.5, 0), length - 1)
    return ((int(place), 1 - place % 1), (min(int(place) + 1, length - 1), place % 1))


@pytest.mark.parametrize("size", [(8, 8), (11, 6)])
def test_the_logits_are_those_of_loops(size):
    model = small().eval()
    x = np.random.default_rng(1).standard_normal((2, *size, 3))
    np.testing.assert_allclose(model(x)[0], naive_scores(model, x), rtol=1e-10, atol=1e-12)


def test_every_gradient_of_the_network():
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 3))
    gradcheck(small(K=3), x, max_elements=3, eps=1e-7, rtol=1e-4, atol=1e-6)


def test_a_backbone_on_large_images_is_enlarged_to_the_image():
    model = build("resnet18", 3, rng=0)
    assert channels_of(model.backbone) == [64, 128, 256, 512]
    assert model.eval()(np.zeros((1, 64, 96, 3), "f"))[0].shape == (1, 64, 96, 3)


def test_resized_hands_on_what_has_the_size_already():
    s = np.zeros((1, 4, 4, 2))
    y, backward = resized(s, np.zeros((1, 4, 4, 3)))
    assert y is s and backward(y) is y


def test_a_frozen_backbone_learns_nothing_and_keeps_nothing():
    model = build("resnet8", 3, rng=0)
    for part in body_of(model):
        part.freeze()
    before = {name: parameter.data.copy() for name, parameter in model.named_parameters()}
    buffers = [buffer.copy() for buffer in model.buffers()]
    optimizer = optim.SGD(model.parameters(), 0.1)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((2, 16, 16, 3)).astype("f"), rng.integers(0, 3, (2, 16, 16))
    model.train()
    train_step(model, optimizer, x, labels, criterion=Segmentation())
    moved = {name for name, parameter in model.named_parameters() if (parameter.data != before[name]).any()}
    assert moved == {f"score.{k}.{name}" for k in range(3) for name in ("weight", "bias")}
    assert all((now == then).all() for now, then in zip(model.buffers(), buffers, strict=True))
    logits, backward = model(x, lean=True)
    assert backward(np.ones_like(logits)) is None, "the backbone is not gone back through"


def test_training_lean_gives_the_gradients_of_the_whole_backward_pass():
    model = small()
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((2, 8, 8, 3)), rng.integers(0, 4, (2, 8, 8))
    gradients = []
    for lean in (False, True):
        model.zero_grad()
        logits, backward = model(x, lean=lean)
        backward(pixel_cross_entropy(logits, labels)[1]())
        gradients.append([parameter.grad.copy() for parameter in model.parameters()])
    assert all((a == b).all() for a, b in zip(*gradients, strict=True))


def test_without_skips_the_last_stage_answers_alone():
    model = build("resnet8", 4, rng=0, skips=False).to(np.float64).eval()
    x = np.random.default_rng(1).standard_normal((2, 8, 6, 3))
    maps, _ = model.backbone(x)
    last = model.score[0](maps[-1])[0]
    np.testing.assert_allclose(model(x)[0], enlarged(last, (8, 6)), rtol=1e-10, atol=1e-12)
    gradcheck(model.train(), x, max_elements=3, eps=1e-7, rtol=1e-4, atol=1e-6)


def test_networks_without_stages_are_refused():
    with pytest.raises(ValueError, match="and simple_cnn has none: give a resnet"):
        build("simple_cnn", 3, backbone=simple_cnn(rng=0))


def test_the_whole_network_is_that_of_an_independent_definition(torch):
    """ResNet-8 and its head written anew with PyTorch's layers: logits and all gradients, float64."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, C, O, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(C, O, 3, stride, 1, bias=False), nn.BatchNorm2d(O)
            self.conv2, self.bn2 = nn.Conv2d(O, O, 3, 1, 1, bias=False), nn.BatchNorm2d(O)
            self.stride, self.more = stride, O - C

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            shortcut = x[:, :, :: self.stride, :: self.stride]
            return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.more // 2, self.more // 2)))

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(Block(16, 16, 1))
            self.layer2 = nn.Sequential(Block(16, 32, 2))
            self.layer3 = nn.Sequential(Block(32, 64, 2))

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()
            self.score = nn.Sequential(*(nn.Conv2d(C, 4, 1) for C in (16, 32, 64)))

        def forward(self, x):
            b = self.backbone
            fine = b.layer1(F.relu(b.bn1(b.conv1(x))))
            middle = b.layer2(fine)
            s = self.score[2](b.layer3(middle))
            s = self.score[1](middle) + F.interpolate(s, size=middle.shape[2:], mode="bilinear", align_corners=False)
            return self.score[0](fine) + F.interpolate(s, size=fine.shape[2:], mode="bilinear", align_corners=False)

    model = small()
    theirs = Theirs().double()
    state = {name: torch.tensor(array) for name, array in model.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    rng = np.random.default_rng(5)
    x, labels = rng.standard_normal((3, 12, 10, 3)), rng.integers(0, 4, (3, 12, 10))
    labels[0, :3] = IGNORE
    model.train()
    theirs.train()
    logits, backward = model(x)
    loss, loss_backward = pixel_cross_entropy(logits, labels)
    dx = backward(loss_backward())
    their_x = torch.tensor(x, requires_grad=True)
    their_logits = theirs(their_x.permute(0, 3, 1, 2))
    F.cross_entropy(their_logits, torch.tensor(labels), ignore_index=IGNORE).backward()
    near = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(logits, their_logits.permute(0, 2, 3, 1).detach().numpy(), **near)
    np.testing.assert_allclose(dx, their_x.grad.numpy(), **near)
    gradients = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, gradients[name], **near, err_msg=name)


# The batches ---------------------------------------------------------------------------------------------------------


def marked(n=6, size=16):
    """Images whose red channel is their mask's class: whatever moves one must move the other."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 5, (n, size, size)).astype(np.uint8)
    masks[:, 3, 5] = IGNORE
    images = rng.integers(0, 255, (n, size, size, 3)).astype(np.uint8)
    images[..., 0] = masks
    return images, masks


@pytest.mark.parametrize("augment", [None, data.Augment(4), data.Augment(0, True), data.Augment(3, False, cutout=6)])
def test_mask_and_image_move_together(augment):
    images, masks = marked()
    loader = MaskLoader(images, masks, 4, (0.0,) * 3, (1 / 255,) * 3, augment=augment, shuffle=True, seed=3)
    for number in range(4):
        batches = list(loader.epoch(number))
        assert [len(x) for x, _ in batches] == [4, 2] and len(loader) == 2
        for x, labels in batches:
            assert x.dtype == np.float32 and labels.dtype == np.int64 and x.flags.c_contiguous
            red, counted = np.rint(x[..., 0]).astype(int), labels != IGNORE
            np.testing.assert_array_equal(red[counted], labels[counted])
            assert set(np.unique(red[~counted])) <= {0, IGNORE}  # beyond the edge, or ignored in the mask itself
            assert augment is None or (~counted).sum() >= counted.size / 400


def test_what_lies_beyond_the_edge_does_not_count():
    images, masks = np.full((1, 8, 8, 3), 200, np.uint8), np.zeros((1, 8, 8), np.uint8)
    loader = MaskLoader(images, masks, 1, (0.5,) * 3, (0.25,) * 3, augment=data.Augment(4, False), shuffle=True)
    seen = 0
    for number in range(20):
        for x, labels in loader.epoch(number):
            np.testing.assert_array_equal(labels == IGNORE, (x == 0).all(axis=-1))
            seen += int((labels == IGNORE).sum())
    assert seen > 0


def test_the_images_are_those_of_an_image_loader():
    scenes = draw_scenes(10, size=32, rng=0)
    mean, std = data.channel_mean_std(scenes.images)
    how = {"augment": data.Augment(4), "shuffle": True, "seed": 7}
    ours = MaskLoader(scenes.images, scenes.masks, 4, mean, std, **how)
    plain = data.Loader(scenes.images, np.zeros(10, int), 4, mean, std, **how)
    for (x, _), (wanted, _) in zip(ours.epoch(2), plain.epoch(2), strict=True):
        np.testing.assert_array_equal(x, wanted)
    whole, rest = list(ours.epoch(1)), list(ours.epoch(1, 2))
    assert (whole[2][0] == rest[0][0]).all() and (whole[2][1] == rest[0][1]).all()


def test_every_class_of_a_byte_survives_the_normalisation():
    masks = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    loader = MaskLoader(np.zeros((1, 16, 16, 3), np.uint8), masks, 1, (0.0,) * 3, (1.0,) * 3)
    [(_, labels)] = loader.epoch(0)
    np.testing.assert_array_equal(labels, masks)


def test_pixels_are_counted_by_class():
    images, masks = marked()
    loader = MaskLoader(images, masks, 4, (0.0,) * 3, (1.0,) * 3)
    assert loader.counts(5).tolist() == [int((masks == k).sum()) for k in range(5)]


def test_masks_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"masks are uint8 of shape \(6, 8, 8\), expected uint8 of \(6, 16, 16\)"):
        MaskLoader(marked()[0], np.zeros((6, 8, 8), np.uint8), 4, (0.0,) * 3, (1.0,) * 3)


# Together ------------------------------------------------------------------------------------------------------------


def test_evaluation_counts_what_the_model_says(monkeypatch):
    images, masks = marked()
    loader = MaskLoader(images, masks, 4, (0.5,) * 3, (0.5,) * 3)
    model = build("resnet8", 5, rng=0)
    found = evaluate_masks(model, loader, 5)
    counts, losses, pixels = np.zeros((5, 5), int), 0.0, 0
    model.eval()
    for x, labels in loader.epoch(0):
        logits, _ = model(x)
        for n, i, j in np.ndindex(labels.shape):
            if labels[n, i, j] != IGNORE:
                counts[labels[n, i, j], logits[n, i, j].argmax()] += 1
        losses += float(pixel_cross_entropy(logits, labels)[0]) * (labels != IGNORE).sum()
        pixels += (labels != IGNORE).sum()
    np.testing.assert_array_equal(found.counts, counts)
    assert found.loss == pytest.approx(losses / pixels, rel=1e-5)
    with pytest.raises(Interrupted):
        evaluate_masks(model, loader, 5, lambda: True)


def test_it_learns_what_a_few_scenes_show():
    scenes = draw_scenes(8, size=32, rng=0)
    mean, std = data.channel_mean_std(scenes.images)
    loader = MaskLoader(scenes.images, scenes.masks, 8, mean, std, shuffle=True)
    model = build("resnet8", len(SCENE_CLASSES), rng=0)
    optimizer = optim.Adam(model.parameters(), 0.01)
    before = evaluate_masks(model, loader, len(SCENE_CLASSES))
    for number in range(60):
        for x, labels in loader.epoch(number):
            train_step(model, optimizer, x, labels, criterion=Segmentation())
    after = evaluate_masks(model, loader, len(SCENE_CLASSES))
    assert before.mean_iou < 0.3 and after.mean_iou > 0.8 and after.pixel_accuracy > 0.95


def test_class_weights_and_right_pixels_of_a_step():
    rng = np.random.default_rng(0)
    model = build("resnet8", 3, rng=0)
    x, labels = rng.standard_normal((2, 8, 8, 3)).astype("f"), rng.integers(0, 3, (2, 8, 8))
    labels[0] = IGNORE
    logits, _ = model.train()(x)
    weight = np.array([1, 2, 3], "f")
    _, right = train_step(model, optim.SGD(model.parameters(), 0.1), x, labels, 0.0, weight, criterion=Segmentation())
    assert int(right) == int((logits.argmax(axis=-1) == labels).sum()) > 0
    assert int(Segmentation().count_answers(labels)) == 64


def test_channels_are_found_without_a_trace():
    backbone = resnet8(rng=0)
    before = [buffer.copy() for buffer in backbone.buffers()]
    assert channels_of(backbone) == [16, 32, 64] and not backbone.return_features
    assert all((a == b).all() for a, b in zip(before, backbone.buffers(), strict=True))


def test_a_trainer_counts_pixels_and_chooses_by_mean_iou(tmp_path):
    """With a learning rate of 0 nothing changes: the accuracy of an epoch is that of the pixels that count."""
    images, masks = marked()
    masks[:4, :8] = IGNORE
    loader = MaskLoader(images, masks, 2, (0.5,) * 3, (0.5,) * 3)
    model = build("resnet8", 5, rng=0)
    right = counted = 0
    for x, labels in loader.epoch(0):
        said = model.train()(x)[0].argmax(axis=-1)
        right += int(((said == labels) & (labels != IGNORE)).sum())
        counted += int((labels != IGNORE).sum())
    trained = build("resnet8", 5, rng=0)
    trainer = Trainer(
        trained,
        optim.SGD(trained.parameters(), 0.0),
        lambda iteration: 0.0,
        loader,
        loader,
        epochs=1,
        num_classes=5,
        folder=tmp_path,
        criterion=Segmentation(),
    )
    trainer.run()
    [row] = trainer.position.history
    assert row["train_acc"] == pytest.approx(right / counted, abs=1e-12)
    assert row["val_acc"] == trainer.position.best_val_acc == evaluate_masks(trainer.model, loader, 5).mean_iou
    assert row["images_per_second"] < 6 / trainer.position.seconds * 10  # of images, of which there are six
