"""Detector, Head and detection_loss: differences, a torch definition of all of it, and what is shared."""

import sys

import cupy_double
import numpy as np
import pytest
from device_cases import GPU

from minires import models
from minires.backend import device_of, to_device, to_numpy
from minires.calling import call
from minires.detection import (
    BACKGROUND,
    Detector,
    Head,
    Targets,
    assign_targets,
    build,
    decode,
    detection_loss,
    positions,
)
from minires.detection.box_loader import BoxLoader
from minires.detection.head import exp_distances
from minires.detection.scenes import drawn_scenes
from minires.detection.task import DetectionTask
from minires.gradcheck import gradcheck
from minires.protocol import check_protocol

BOXES = [np.array([[2.0, 3, 14, 15, 1], [16, 16, 31, 30, 0]]), np.zeros((0, 5))]


def targets(boxes=BOXES, size=32):
    labels, distances = zip(*(assign_targets(of_image, positions(size)) for of_image in boxes), strict=True)
    return Targets(np.stack(labels), np.stack(distances))


def images(n=2, size=32, dtype=np.float64):
    return np.random.default_rng(3).standard_normal((n, size, size, 3)).astype(dtype)


def lively(detector):
    """A detector in float64 whose every parameter matters: those of the last layers start near 0."""
    rng = np.random.default_rng(5)
    for parameter in detector.to(np.float64).parameters():
        parameter.data = parameter.data + 0.1 * rng.standard_normal(parameter.shape)
    return detector


def test_gradients_of_the_detector():
    gradcheck(lively(build("resnet8", 2, rng=0)).eval(), images(1, 16), max_elements=3)


def test_it_keeps_the_protocol():
    check_protocol(build("resnet8", 2, rng=0), images(dtype=np.float32))


@pytest.mark.parametrize("boxes", [BOXES, BOXES[1:] * 2])
def test_gradients_of_the_loss(boxes):
    wanted = targets(boxes)
    y = np.random.default_rng(0).standard_normal((2, 84, 6))
    y[..., 2:] = np.exp(y[..., 2:]) + 0.3
    gradcheck(lambda y: detection_loss(y, wanted), y)


def test_the_loss_by_parts():
    """Position by position: every logit by itself, a box where there is an object, all divided by these."""
    wanted, y = targets(), np.random.default_rng(0).standard_normal((2, 84, 6))
    y[..., 2:] = np.exp(y[..., 2:])
    total, objects = 0.0, 0
    for n, m in np.ndindex(2, 84):
        label = wanted.labels[n, m]
        for k in range(2):
            p = 1 / (1 + np.exp(-y[n, m, k]))
            total -= 0.25 * (1 - p) ** 2 * np.log(p) if k == label else 0.75 * p**2 * np.log(1 - p)
        if label != BACKGROUND:
            objects += 1
            (l, t, r, b), (L, T, R, B) = y[n, m, 2:], wanted.distances[n, m].astype(float)
            inner = (min(l, L) + min(r, R)) * (min(t, T) + min(b, B))
            outer = (max(l, L) + max(r, R)) * (max(t, T) + max(b, B))
            union = (l + r) * (t + b) + (L + R) * (T + B) - inner
            total += 1 - inner / union + (outer - union) / outer
    assert objects > 4
    assert detection_loss(y, wanted)[0] == pytest.approx(total / objects, rel=1e-10)


def test_images_without_any_object_are_divided_by_1():
    y = np.zeros((2, 84, 6))
    loss, backward = detection_loss(y + 1, targets(BOXES[1:] * 2))
    p = 1 / (1 + np.exp(-1))
    assert loss == pytest.approx(2 * 84 * 2 * -0.75 * p**2 * np.log(1 - p))
    assert (backward()[..., 2:] == 0).all()


def test_exp_distances():
    x = np.array([[-3.0, 0, 0.5], [2, 5.9, 7]])
    gradcheck(lambda x: exp_distances(x, 4), x)
    y, backward = exp_distances(x, 4)
    assert y[0, 1] == 4 and y[1, 2] == pytest.approx(4 * np.exp(6))
    assert backward(np.ones_like(x))[1, 2] == 0
    with np.errstate(over="raise"):
        assert np.isfinite(exp_distances(np.array([1e30], np.float32), 4)[0]).all()


def test_gradients_of_a_shared_head_add_up():
    """Called twice: the parameters' gradients are the sum of those of two heads that are called once."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((1, 4, 4, 8)), rng.standard_normal((1, 2, 2, 8))
    dfirst, dsecond = rng.standard_normal((1, 16, 7)), rng.standard_normal((1, 4, 7))

    def gradients(*calls):
        head = Head(8, 3, groups=2, rng=0).to(np.float64)
        backwards = [head(x, stride)[1] for x, stride, _ in calls]
        for backward, (_, _, dy) in zip(backwards, calls, strict=True):
            backward(dy)
        return {name: parameter.grad for name, parameter in head.named_parameters()}

    one, other = gradients((first, 4, dfirst)), gradients((second, 8, dsecond))
    both = gradients((first, 4, dfirst), (second, 8, dsecond))
    for name, gradient in both.items():
        np.testing.assert_allclose(gradient, one[name] + other[name], rtol=1e-12, atol=1e-14, err_msg=name)


def torch_detector(torch, detector, weights, x, maps):
    """The pyramid and the head once more, over the backbone's last map and the further stages' maps."""
    F = torch.nn.functional

    def conv(x, name, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=padding)

    merged = [conv(one, f"pyramid.lateral.{k}") for k, one in enumerate(maps)]
    for k in (1, 0):
        size = merged[k].shape[2:]
        merged[k] = merged[k] + F.interpolate(merged[k + 1], size=size, mode="bilinear", align_corners=False)
    said = []
    for k, stride in enumerate((4, 8, 16)):
        level, of_level = conv(merged[k], f"pyramid.output.{k}", 1), []
        for name, last in (("what", "logits"), ("where", "distances")):
            h = conv(level, f"head.{name}.0", 1)
            h = F.relu(F.group_norm(h, 8, weights[f"head.{name}.1.weight"], weights[f"head.{name}.1.bias"]))
            of_level.append(conv(h, f"head.{last}", 1))
        of_level[1] = stride * torch.exp(of_level[1])
        said.append(torch.cat(of_level, dim=1).flatten(2).transpose(1, 2))  # (N, K, H, W) -> (N, H*W, K)
    return torch.cat(said, dim=1)


def torch_loss(torch, y, wanted):
    """Focal loss and GIoU of PyTorch's parts, in coordinates."""
    labels, distances = torch.tensor(wanted.labels), torch.tensor(wanted.distances, dtype=torch.float64)
    logits, found = y[..., :-4], y[..., -4:]
    true = torch.nn.functional.one_hot(labels + 1, logits.shape[-1] + 1)[..., 1:].to(logits.dtype)
    p = torch.sigmoid(logits)
    costs = -(true * torch.log(p) + (1 - true) * torch.log(1 - p))
    p_true = true * p + (1 - true) * (1 - p)
    focal = ((0.25 * true + 0.75 * (1 - true)) * (1 - p_true) ** 2 * costs).sum()
    own, sign = labels >= 0, torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)
    a, b = found[own] * sign, distances[own] * sign
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).prod(-1)
    outer = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - inner
    return (focal + (1 - inner / union + (outer - union) / outer).sum()) / own.sum()


def test_pytorch(torch):
    """Pyramid, heads and loss as one: the loss, every parameter's gradient, and what flows back into the maps."""
    detector, wanted = lively(build("resnet8", 2, rng=0)), targets()
    rng = np.random.default_rng(2)
    maps = [rng.standard_normal((2, side, side, 64)) for side in (8, 4, 2)]
    levels, pyramid_backward = detector.pyramid(maps)
    y, head_backward = detector.every_level(levels)
    loss, loss_backward = detection_loss(y, wanted)
    dmaps = pyramid_backward(head_backward(loss_backward()))
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in detector.state_dict().items()}
    tensors = [torch.tensor(one.transpose(0, 3, 1, 2), requires_grad=True) for one in maps]
    theirs = torch_detector(torch, detector, weights, None, tensors)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-9, atol=1e-11)
    their_loss = torch_loss(torch, theirs, wanted)
    their_loss.backward()
    assert loss == pytest.approx(their_loss.item(), rel=1e-9)
    for dmap, tensor in zip(dmaps, tensors, strict=True):
        np.testing.assert_allclose(dmap, tensor.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-11)
    checked = 0
    for name, parameter in detector.named_parameters():
        if name.startswith(("pyramid", "head")):
            np.testing.assert_allclose(parameter.grad, weights[name].grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
            checked += 1
    assert checked == 12 + 10


def test_a_frozen_backbone_is_not_gone_through():
    detector = build("resnet8", 2, rng=0)
    detector.backbone.freeze()
    detector.train()
    before = detector.backbone.state_dict()
    y, backward = call(detector, images(dtype=np.float32), lean=True)
    loss, loss_backward = detection_loss(y, targets())
    assert backward(loss_backward()) is None
    assert all(parameter.grad is None for parameter in detector.backbone.parameters())
    assert all(parameter.grad is not None for parameter in detector.pyramid.parameters() + detector.head.parameters())
    assert all(parameter.grad is not None for parameter in detector.stage5.parameters())
    for name, array in detector.backbone.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_lean_or_not_the_gradients_are_the_same():
    x, wanted = images(dtype=np.float32), targets()
    found = []
    for lean in (False, True):
        detector = build("resnet8", 2, rng=0)
        y, backward = call(detector, x, lean=lean)
        backward(detection_loss(y, wanted)[1]())
        found.append({name: parameter.grad for name, parameter in detector.named_parameters()})
    for name, gradient in found[0].items():
        np.testing.assert_array_equal(gradient, found[1][name], err_msg=name)


def test_before_training_hardly_anything_is_found():
    detector = build("resnet8", 3, rng=0).eval()
    y, _ = detector(images(dtype=np.float32))
    probabilities = 1 / (1 + np.exp(-y[..., :3]))
    assert abs(probabilities - 0.01).max() < 0.02
    assert y.shape == (2, 84, 7) and (y[..., 3:] > 0).all()


def test_what_the_targets_say_is_decoded():
    """Logits and distances as the targets have them give back the boxes, each once."""
    where, boxes = positions(32), BOXES[0]
    labels, distances = assign_targets(boxes, where)
    y = np.concatenate([np.where(labels[:, None] == np.arange(2), 6.0, -6), distances], axis=1)
    found = decode(y, where, 32)
    order = np.argsort(found.labels)
    np.testing.assert_allclose(found.boxes[order], boxes[[1, 0], :4], atol=1e-5)
    assert sorted(found.labels) == [0, 1] and found.scores == pytest.approx(1 / (1 + np.exp(-6)))


def test_boxes_end_at_the_edge_and_only_the_best_stay():
    where = positions(16)
    y = np.full((len(where.x), 5), -9.0)
    y[:, 1:] = 3
    y[:, 0] = np.arange(len(where.x)) - 5.0
    found = decode(y, where, 16, most=4)
    assert len(found.boxes) == 4 and (np.diff(found.scores) <= 0).all()
    assert found.boxes.min() >= 0 and found.boxes.max() <= 16
    assert len(decode(y - 99, where, 16).boxes) == 0


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match=r"^Detector: the backbone is a SimpleCNN: give a ResNet for CIFAR$"):
        Detector(models.build("simple_cnn"), 2)


@pytest.mark.parametrize("device", ["double", GPU])
def test_a_step_on_the_gpu(device, monkeypatch):
    """Loss and all gradients as on the CPU, and every array where it belongs."""
    if device == "double":
        monkeypatch.setitem(sys.modules, "cupy", cupy_double)

    def run(device):
        detector = build("resnet8", 2, rng=0).to(np.float64).to(device)
        wanted = Targets(*(to_device(array, device) for array in targets()))
        y, backward = call(detector, to_device(images(), device), lean=True)
        loss, loss_backward = detection_loss(y, wanted)
        backward(loss_backward())
        arrays = {"y": y, "loss": loss, **{name: p.grad for name, p in detector.named_parameters()}}
        arrays |= {name: getattr(DetectionTask(), name)(*given) for name, given in counted(y, wanted).items()}
        assert {device_of(array) for array in arrays.values()} == {device}
        return {name: to_numpy(array) for name, array in arrays.items()}

    def counted(y, wanted):
        return {"count_right": (y, wanted), "count_answers": (wanted,)}

    on_cpu, on_gpu = run("cpu"), run("gpu")
    for name, array in on_cpu.items():
        np.testing.assert_allclose(on_gpu[name], array, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("device", ["double", GPU])
def test_an_evaluation_on_the_gpu(device, monkeypatch):
    if device == "double":
        monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    boxed = drawn_scenes(3, 32, 0)

    def run(device):
        loader = BoxLoader(boxed, 2, (0.5,) * 3, (0.25,) * 3, mirror=True, device=device)
        return DetectionTask().evaluate(build("resnet8", 5, rng=0).to(device), loader, 5)

    on_cpu, on_gpu = run("cpu"), run("gpu")
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-4)
