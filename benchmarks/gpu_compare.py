"""How far a GPU's numbers are from the CPU's and PyTorch's: every kernel, and a step of resnet20; a part of gpu.py.

    python benchmarks/gpu_compare.py            half a minute
    python benchmarks/gpu_compare.py --step     nothing but three small steps, for compute-sanitizer to watch
    python benchmarks/gpu_compare.py --double   its logic without a GPU, on the tests' double of CuPy; without PyTorch

Kernels are those of every operation, module and optimizer that tests/device_cases.py lists, and of drawn cases of
tests/kernel_cases.py. A difference is relative to the largest magnitude in its array. A step is compared with one of
minires on the CPU, in every precision, and one of PyTorch: the loss, the gradients and the parameters after an update.
Exit code 1 where something differs by more than LIMITS or OF_STEPS, or could not be computed.
"""

import argparse
import collections
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import command_line  # noqa: E402
from cases import OPTIONS, make_batch  # noqa: E402

from minires import backend, models  # noqa: E402
from minires.backend import to_device, to_numpy  # noqa: E402
from minires.optim import SGD  # noqa: E402
from minires.precision import options_for  # noqa: E402
from minires.recorded_step import RecordedStep  # noqa: E402
from minires.training import loss_and_gradients  # noqa: E402

LIMITS = {"float32": 1e-3, "float64": 1e-8}
OF_STEPS = {**LIMITS, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1}  # likewise, of steps
DRAWN = 40  # cases of kernel_cases, of which many are kernels of their own to compile


def relative(got, want):
    """Largest difference, relative to the largest magnitude of `want`; infinite where one is no number."""
    got, want = (np.asarray(to_numpy(array), np.float64) for array in (got, want))
    if not got.size:
        return 0.0
    difference = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-30))
    return difference if np.isfinite(difference) else np.inf


def compare_kernels(dtype, every=1):
    """({what: largest relative difference}, {what: what is wrong}) of each operation, module and optimizer."""
    import device_cases as cases

    runs = {str(case): (cases.run_operation, case, dtype) for case in cases.OPERATIONS}
    runs |= {name: (cases.run_module, *made, dtype) for name, made in cases.MODULES.items()}
    runs |= {name: (cases.run_optimizer, make, dtype) for name, make in cases.OPTIMIZERS.items()}
    found, wrong = {}, {}
    for name, (run, *args) in list(runs.items())[::every]:
        try:
            found[name] = largest(run(*args, "gpu"), run(*args, "cpu"))
        except Exception as error:  # of whatever kind: the others are compared all the same
            wrong[f"{name}, {dtype}"] = first_line(error)
    return found, wrong


def largest(on_gpu, on_cpu):
    """The largest difference of all arrays, relative to the largest magnitude in any, or to 1."""
    scale = max([1.0, *(float(np.abs(array).max(initial=0)) for array in on_cpu.values())])
    found = max(float(np.abs(to_numpy(on_gpu[what]) - 1.0 * on_cpu[what]).max(initial=0)) for what in on_cpu)
    return found / scale if np.isfinite(found) else np.inf


def first_line(error):
    """An exception as a sentence."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')[:200]}"


def compare_drawn(number, until):
    """({case: largest relative difference}, {case: what is wrong}) of kernels on drawn arrays."""
    import kernel_cases

    found, wrong = collections.defaultdict(float), {}
    for seed in range(number):
        if time.monotonic() > until:
            wrong["drawn cases"] = f"no time was left after {seed} of {number}"
            break
        rng = np.random.default_rng([2, seed])
        name = kernel_cases.CASES[seed % len(kernel_cases.CASES)].__name__

        def noted(got, want, rtol=0.0, name=name):
            if got.dtype != want.dtype or got.shape != want.shape:
                raise AssertionError(f"{got.dtype} {got.shape}, not {want.dtype} {want.shape}")
            found[name] = max(found[name], largest({name: got}, {name: want}))

        with mock.patch.object(kernel_cases, "_same", noted), kernel_cases.circumstances(rng) as real:
            try:
                kernel_cases.CASES[seed % len(kernel_cases.CASES)](rng, real)
            except Exception as error:  # likewise
                wrong[f"{name} {seed}"] = first_line(error)
    return dict(found), wrong


def step_of_minires(name, batch, kind, device, record=False):
    """{what: array} of a step: the loss, the gradients, and the parameters after it.   kind: one of OF_STEPS."""
    dtype = "float64" if kind == "float64" else "float32"
    model = models.build(name, rng=0).to(np.dtype(dtype)).to(device)
    parameters = dict(model.named_parameters())
    optimizer = SGD(parameters.values(), **OPTIONS)
    x, labels = to_device(batch[0].astype(dtype), device), to_device(batch[1], device)
    how = options_for(model, "float32" if kind == "float64" else kind)
    loss, _ = loss_and_gradients(model, x, labels, dtype=how["dtype"])
    found = {"loss": to_numpy(loss)}
    found |= {f"gradient of {name}": to_numpy(parameter.grad) for name, parameter in parameters.items()}
    recorded = RecordedStep(model, optimizer, **how)
    if record:  # the second call is recorded; then the weights and the optimizer are as they were
        before = {name: parameter.data for name, parameter in parameters.items()}
        for _ in range(2):
            recorded(x, labels)
        for name, parameter in parameters.items():
            parameter.data = before[name]
        optimizer.state.clear()
    loss, _ = recorded(x, labels)
    if recorded.whynot:
        raise RuntimeError(f"a step is not recorded: {recorded.whynot}")
    found["loss"] = to_numpy(loss)
    return found | {f"new {name}": to_numpy(parameter.data) for name, parameter in parameters.items()}


def step_of_pytorch(name, batch, dtype, device):
    """The same of PyTorch, without TF32."""
    import torch
    from peers import torch_gpu
    from peers.torch_resnet import TorchResNet, load_from

    torch_gpu.set_precision("float32")
    network = load_from(TorchResNet(int(name.removeprefix("resnet"))), models.build(name, rng=0))
    network = network.to(device, getattr(torch, dtype))
    optimizer = torch.optim.SGD(network.parameters(), **OPTIONS)
    x = torch.from_numpy(batch[0].astype(dtype)).permute(0, 3, 1, 2).to(device)
    loss = torch.nn.functional.cross_entropy(network(x), torch.from_numpy(batch[1]).to(device))
    loss.backward()
    named = dict(network.named_parameters())
    found = {"loss": loss.detach().cpu().numpy()}
    found |= {f"gradient of {name}": parameter.grad.cpu().numpy() for name, parameter in named.items()}
    optimizer.step()
    return found | {f"new {name}": parameter.detach().cpu().numpy() for name, parameter in named.items()}


def compare_steps(name, batch, double):
    """[{"kind", "who", "with", "loss", "gradients", "parameters"}]: relative differences, of arrays the largest."""
    rows = []
    for kind in ("float32", "float16") if double else OF_STEPS:
        steps = {
            "minires GPU": lambda kind=kind: step_of_minires(name, batch, kind, "gpu"),
            "minires GPU, recorded": lambda kind=kind: step_of_minires(name, batch, kind, "gpu", record=True),
            "minires CPU": lambda kind=kind: step_of_minires(name, batch, kind, "cpu"),
        }
        if kind in LIMITS and not double:
            steps["PyTorch GPU"] = lambda kind=kind: step_of_pytorch(name, batch, kind, "cuda")
        elif kind not in LIMITS:
            steps["minires CPU, float32"] = lambda: step_of_minires(name, batch, "float32", "cpu")
        found = {}
        for who, step in steps.items():
            try:
                found[who] = step()
            except Exception as error:  # of whatever kind: the others are compared all the same
                missing = isinstance(error, ImportError) or "ml_dtypes" in str(error)
                row = {"kind": kind, "who": who, "with": f"not compared: {first_line(error)}"}
                rows.append(row if missing else {**row, "loss": np.inf, "gradients": np.inf, "parameters": np.inf})
        if not found:
            continue
        first, *others = found
        for other in others:
            pairs = {what: relative(found[first][what], found[other][what]) for what in found[first]}
            kinds = {"loss": "loss", "gradients": "gradient of", "parameters": "new"}
            worst = {
                many: max(pairs[what] for what in pairs if what.startswith(begin)) for many, begin in kinds.items()
            }
            rows.append({"kind": kind, "who": first, "with": other, **worst})
    return rows


def line(row):
    if "loss" not in row:
        return f"{row['kind']:8} {row['who']} {row['with']}"
    numbers = " ".join(f"{row[kind]:11.1e}" for kind in ("loss", "gradients", "parameters"))
    return f"{row['kind']:8} {row['who']:12} {row['with']:22} {numbers}"


def small_steps(name, size, batch_size=8):
    """Three steps, of which the third is recorded: every kernel of training, quickly, even where it is watched."""
    model = models.build(name, rng=0).to("gpu")
    step = RecordedStep(model, SGD(model.parameters(), **OPTIONS))
    x, labels = (to_device(array, "gpu") for array in make_batch(batch_size, size))
    losses = [float(step(x, labels)[0]) for _ in range(3)]
    print(f"{'plain' if step.whynot else 'recorded'} steps of {name}, batch {batch_size}, losses {losses}")
    return 0 if np.isfinite(losses).all() else 1


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", action="store_true", help="three small steps and nothing else")
    parser.add_argument("--seconds", type=float, metavar="S", default=60, help="draw no case after; default: 60")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--double", action="store_true", help="on the tests' double of CuPy, and smaller")
    args = parser.parse_args(argv)
    args.until = time.monotonic() + args.seconds
    command_line.check_folder("--json", args.json)
    if args.double:
        import cupy_double

        sys.modules["cupy"] = cupy_double
    try:
        backend.resolve_device("gpu")
    except backend.DeviceError as error:
        sys.exit(command_line.in_a_sentence(error))
    return args


def main(argv=None):
    args = parse(argv)
    name, size = ("resnet8", 8) if args.double else ("resnet20", 32)
    if args.step:
        return small_steps(name, size)
    content = {"double": args.double, "limits": OF_STEPS, "steps": [], "kernels": {}, "drawn": {}, "wrong": {}}
    content["steps"] = compare_steps(name, make_batch(4 if args.double else 64, size), args.double)
    head = f"{'in':8} {'who':12} {'with':22} {'loss':>11} {'gradients':>11} {'parameters':>11}"
    print(f"a step of {name}, largest relative differences", head, *map(line, content["steps"]), sep="\n", flush=True)
    command_line.save(args.json, content)
    for dtype in LIMITS:
        found, wrong = compare_kernels(dtype, every=9 if args.double else 1)
        content["kernels"][dtype], content["wrong"] = found, content["wrong"] | wrong
        for worst in sorted(found, key=found.get)[-1:]:
            print(f"{len(found)} operations, modules, optimizers in {dtype}: {found[worst]:.1e} at most, of {worst}")
        sys.stdout.flush()
        command_line.save(args.json, content)
    content["drawn"], wrong = compare_drawn(5 if args.double else DRAWN, args.until)
    content["wrong"] |= wrong
    for case, difference in content["drawn"].items():
        print(f"drawn: {case}: {difference:.1e}")
    content["wrong"] |= too_far(content)
    for what, reason in content["wrong"].items():
        print(f"wrong: {what}: {reason}")
    command_line.save(args.json, content)
    return bool(content["wrong"])


def too_far(content):
    """{what: a sentence} of what differs by more than LIMITS."""
    found = {}
    for dtype, differences in content["kernels"].items():
        found |= {f"{name}, {dtype}": value for name, value in differences.items() if not value <= LIMITS[dtype]}
    found |= {f"drawn {name}": value for name, value in content["drawn"].items() if not value <= LIMITS["float32"]}
    for row in content["steps"]:
        exact = row["kind"] == "float64" or row["with"].endswith("recorded")
        checked = ("loss", "parameters") if exact else ("loss",)  # other roundings move numbers across ReLU's kink
        pairs = {f"{what}, {row['kind']}, {row['with']}": row.get(what, 0) for what in checked}
        found |= {what: value for what, value in pairs.items() if not value <= OF_STEPS[row["kind"]]}
    return {what: f"differs by {value:.1e}" for what, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
