"""Schedules at the points that can be worked out by hand, and against PyTorch's."""

import math
import pickle
from dataclasses import is_dataclass

import numpy as np
import pytest
from scripts import EXAMPLES, call, load, picture

from minires import schedules
from minires.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    StepLR,
)

PICTURE = EXAMPLES.parent / "docs" / "images" / "schedules.png"


def test_numpys_scalars_as_options_give_the_same_numbers_as_pythons():
    whole, half = np.int8(100), np.float32(0.5)
    pairs = [
        (ConstantLR(half), ConstantLR(0.5)),
        (StepLR(half, whole, half), StepLR(0.5, 100, 0.5)),
        (MultiStepLR(half, np.array([3, 100], np.int8), half), MultiStepLR(0.5, (3, 100), 0.5)),
        (CosineAnnealingLR(half, whole, np.float32(0.25)), CosineAnnealingLR(0.5, 100, 0.25)),
        (CosineAnnealingWarmRestarts(half, whole, np.int8(2)), CosineAnnealingWarmRestarts(0.5, 100, 2)),
        (OneCycleLR(half, whole, half, np.float32(3), np.float16(7)), OneCycleLR(0.5, 100, 0.5, 3.0, 7.0)),
        (LinearWarmup(ConstantLR(half), whole, np.float32(0.25)), LinearWarmup(ConstantLR(0.5), 100, 0.25)),
    ]
    for numpys, pythons in pairs:
        assert numpys == pythons
        for iteration in (0, 1, 40, 99, 100, 1000):
            value = numpys(iteration)
            assert type(value) is float, numpys
            assert value == pythons(iteration)


# By hand -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ConstantLR(0.1), {0: 0.1, 10**6: 0.1}),
        (StepLR(0.8, 3, gamma=0.5), {0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2}),
        (StepLR(1.0, 3), {2: 1.0, 3: 0.1}),
        (MultiStepLR(0.8, [2, 5, 5], gamma=0.5), {0: 0.8, 1: 0.8, 2: 0.4, 4: 0.4, 5: 0.1, 10**6: 0.1}),
        (MultiStepLR(1.0, (4,)), {3: 1.0, 4: 0.1}),
        (MultiStepLR(0.3, ()), {0: 0.3, 99: 0.3}),
        (CosineAnnealingLR(0.9, 6, min_lr=0.1), {0: 0.9, 2: 0.7, 3: 0.5, 4: 0.3, 6: 0.1, 7: 0.1, 10**6: 0.1}),
        (CosineAnnealingLR(0.9, 4), {2: 0.45, 4: 0.0}),
        (CosineAnnealingWarmRestarts(0.8, 4), {0: 0.8, 2: 0.4, 4: 0.8, 6: 0.4, 4 * 10**6: 0.8, 4 * 10**6 + 2: 0.4}),
        (
            CosineAnnealingWarmRestarts(0.9, 2, 3, 0.1),
            {1: 0.5, 2: 0.9, 4: 0.7, 5: 0.5, 6: 0.3, 8: 0.9, 17: 0.5},
        ),
        # peak at 0.5 * 10 - 1 = 4, last at 9
        (OneCycleLR(1.0, 10, 0.5, div_factor=5, final_div_factor=2), {0: 0.2, 2: 0.6, 4: 1.0, 9: 0.1, 99: 0.1}),
        (OneCycleLR(1.0, 100), {0: 0.04, 29: 1.0, 99: 4e-6, 100: 4e-6}),
        (OneCycleLR(1.0, 10, pct_start=0.1), {0: 1.0, 9: 4e-6}),  # peak at once
        (OneCycleLR(1.0, 10, pct_start=1.0), {0: 0.04, 9: 1.0, 10: 1.0}),  # and at the end
        (OneCycleLR(1.0, 1), {0: 4e-6}),
        (OneCycleLR(1.0, 1, pct_start=1.0), {0: 1.0, 1: 1.0}),
        (LinearWarmup(ConstantLR(0.8), 4, start_factor=0.5), {0: 0.4, 1: 0.5, 2: 0.6, 3: 0.7, 4: 0.8, 5: 0.8}),
        (LinearWarmup(ConstantLR(0.9), 2), {0: 0.3, 1: 0.6, 2: 0.9}),
        (LinearWarmup(ConstantLR(0.8), 2, start_factor=0.0), {0: 0.0, 1: 0.4, 2: 0.8}),
        (LinearWarmup(StepLR(0.8, 2, 0.5), 4, 0.5), {0: 0.4, 1: 0.5, 2: 0.3, 3: 0.35, 4: 0.2}),  # not shifted
        (LinearWarmup(CosineAnnealingLR(0.8, 10), 2, 0.5), {5: 0.4, 10: 0.0}),
    ],
)
def test_values_by_hand(schedule, expected):
    for iteration, lr in expected.items():
        assert schedule(iteration) == pytest.approx(lr, rel=1e-12, abs=1e-16), iteration


def test_a_schedule_is_a_value():
    schedule = LinearWarmup(MultiStepLR(0.1, [2, 5]), 3)
    assert schedule == LinearWarmup(MultiStepLR(0.1, (2, 5)), 3)
    assert hash(schedule) == hash(pickle.loads(pickle.dumps(schedule)))
    assert [schedule(7), schedule(0), schedule(7)] == [schedule(7), schedule(0), schedule(7)]
    with pytest.raises(AttributeError):
        schedule.steps = 4


# Against PyTorch -----------------------------------------------------------------------------------------------


def assert_agrees(ours, make_theirs, lr, iterations):
    """The learning rate of a PyTorch optimizer in each of so many iterations."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    theirs = make_theirs(torch.optim.lr_scheduler, optimizer)
    for iteration in range(iterations):
        expected = optimizer.param_groups[0]["lr"]
        assert ours(iteration) == pytest.approx(expected, rel=1e-10, abs=1e-15), iteration
        optimizer.step()
        if iteration < iterations - 1:
            theirs.step()


def test_step_agrees_with_pytorch():
    assert_agrees(StepLR(0.3, 4), lambda lib, opt: lib.StepLR(opt, 4), 0.3, 20)
    assert_agrees(StepLR(0.3, 7, 0.7), lambda lib, opt: lib.StepLR(opt, 7, gamma=0.7), 0.3, 40)


def test_multi_step_agrees_with_pytorch():
    assert_agrees(MultiStepLR(0.3, [3, 8]), lambda lib, opt: lib.MultiStepLR(opt, [3, 8]), 0.3, 20)
    assert_agrees(MultiStepLR(0.3, [1, 8, 8], 0.7), lambda lib, opt: lib.MultiStepLR(opt, [1, 8, 8], 0.7), 0.3, 20)


@pytest.mark.parametrize("min_lr", [0.0, 0.01])
def test_cosine_agrees_with_pytorch(min_lr):
    ours = CosineAnnealingLR(0.3, 17, min_lr)
    assert_agrees(ours, lambda lib, opt: lib.CosineAnnealingLR(opt, 17, eta_min=min_lr), 0.3, 18)


@pytest.mark.parametrize("min_lr", [0.0, 0.01])
@pytest.mark.parametrize(("first_steps", "factor"), [(7, 1), (3, 2), (1, 1), (2, 3)])
def test_restarts_agree_with_pytorch(min_lr, first_steps, factor):
    ours = CosineAnnealingWarmRestarts(0.3, first_steps, factor, min_lr)
    assert_agrees(
        ours, lambda lib, opt: lib.CosineAnnealingWarmRestarts(opt, first_steps, factor, eta_min=min_lr), 0.3, 45
    )


@pytest.mark.parametrize(("total_steps", "pct_start"), [(50, 0.3), (51, 0.3), (7, 0.5), (20, 0.05 / 2), (9, 0.9)])
def test_one_cycle_agrees_with_pytorch(total_steps, pct_start):
    def make(lib, opt, **factors):
        return lib.OneCycleLR(opt, 0.3, total_steps, pct_start=pct_start, cycle_momentum=False, **factors)

    assert_agrees(OneCycleLR(0.3, total_steps, pct_start), make, 0.3, total_steps)
    factors = {"div_factor": 3.0, "final_div_factor": 50.0}
    ours = OneCycleLR(0.3, total_steps, pct_start, **factors)
    assert_agrees(ours, lambda lib, opt: make(lib, opt, **factors), 0.3, total_steps)


def test_one_cycle_has_pytorchs_defaults():
    ours = OneCycleLR(0.3, 40)
    assert_agrees(ours, lambda lib, opt: lib.OneCycleLR(opt, 0.3, 40, cycle_momentum=False), 0.3, 40)


@pytest.mark.parametrize("start_factor", [1 / 3, 0.01, 1.0])
def test_warmup_agrees_with_pytorch(start_factor):
    def make(lib, opt):
        return lib.ChainedScheduler([lib.LinearLR(opt, start_factor, total_iters=5), lib.MultiStepLR(opt, [3, 9])], opt)

    assert_agrees(LinearWarmup(MultiStepLR(0.3, [3, 9]), 5, start_factor), make, 0.3, 20)


def test_warmup_has_pytorchs_default():
    assert_agrees(LinearWarmup(ConstantLR(0.3), 5), lambda lib, opt: lib.LinearLR(opt), 0.3, 10)


# Errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantLR(-0.1), r"ConstantLR: lr is -0\.1, must be at least 0 and finite"),
        (lambda: ConstantLR(math.nan), "lr is nan"),
        (lambda: ConstantLR(math.inf), "lr is inf"),
        (lambda: StepLR(-1, 3), "StepLR: lr is -1"),
        (lambda: StepLR(0.1, 0), "step_size is 0, must be at least 1"),
        (lambda: StepLR(0.1, 3, -0.1), r"gamma is -0\.1"),
        (lambda: MultiStepLR(-1, [3]), "MultiStepLR: lr is -1"),
        (lambda: MultiStepLR(0.1, [3], -0.1), r"gamma is -0\.1"),
        (lambda: MultiStepLR(0.1, [5, 3]), r"milestones are \(5, 3\), must ascend"),
        (lambda: CosineAnnealingLR(-1, 10), "CosineAnnealingLR: lr is -1"),
        (lambda: CosineAnnealingLR(0.1, 0), "total_steps is 0, must be at least 1"),
        (lambda: CosineAnnealingLR(0.1, 10, 0.2), r"min_lr is 0\.2, must be between 0 and 0\.1"),
        (lambda: CosineAnnealingLR(0.1, 10, -0.2), r"min_lr is -0\.2"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 0), "first_steps is 0, must be at least 1"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 10, 0), "factor is 0, must be at least 1"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 10, 1.5), r"factor is 1\.5, must be a whole number"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 10, 2, 0.2), r"min_lr is 0\.2"),
        (lambda: OneCycleLR(-1, 10), "OneCycleLR: max_lr is -1"),
        (lambda: OneCycleLR(0.1, 0), "total_steps is 0"),
        (lambda: OneCycleLR(0.1, 10, 1.1), r"pct_start is 1\.1, must be between 0 and 1"),
        (lambda: OneCycleLR(0.1, 10, 0.3, 0.5), r"div_factor is 0\.5, must be at least 1"),
        (lambda: OneCycleLR(0.1, 10, 0.3, 25, 0), "final_div_factor is 0, must be at least 1"),
        (lambda: LinearWarmup(ConstantLR(0.1), 0), "LinearWarmup: steps is 0, must be at least 1"),
        (lambda: LinearWarmup(ConstantLR(0.1), 5, 1.5), r"start_factor is 1\.5, must be between 0 and 1"),
    ],
)
def test_values_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_warmup_of_what_is_no_schedule():
    with pytest.raises(TypeError, match=r"schedule is a float, must be callable: ConstantLR\(0\.1\)\?"):
        LinearWarmup(0.1, 5)


def test_the_picture_shows_every_schedule(monkeypatch, capsys, tmp_path):
    script = load("experiments/schedules")
    classes = [value for value in vars(schedules).values() if isinstance(value, type) and is_dataclass(value)]
    assert [type(schedule) for schedule in script.SCHEDULES.values()] == classes
    code, out, _ = call(script, monkeypatch, capsys, "--out", tmp_path / "new" / "schedules.png")
    assert (code, out) == (0, f"wrote {tmp_path / 'new' / 'schedules.png'}\n")
    assert picture(tmp_path / "new" / "schedules.png").size == picture(PICTURE).size
