"""What gpu.py has found, as a page of tables."""

MOST_KERNELS = 12  # of a step, the longest


def markdown(content):
    """The page. Parts that have found nothing, or are missing, have no section."""
    sections = [heading(content), outcomes(content["parts"])]
    found = {part: entry["results"] for part, entry in content["parts"].items() if entry.get("results")}
    profiles = found.get("profile", {}).get("profiles", {})
    if "compare" in found:
        sections += comparison(found["compare"])
    if "speed" in found:
        sections += speed(found["speed"]["results"], profiles)
    if "train" in found:
        sections.append(training(found["train"]))
    if profiles:
        sections += kernels(profiles)
    left_out = {name: why for part in found.values() for name, why in part.get("left_out", {}).items()}
    if left_out:
        sections.append("\n".join(["**Left out.**", "", *(f"- {name}: {why}" for name, why in left_out.items())]))
    return "\n\n".join(sections) + "\n"


def table(head, rows):
    """A table of Markdown: a row's values as they are printed."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def heading(content):
    """Date, machine and versions."""
    machine = content["machine"]
    card, driver, cuda = (machine.get(name, "-") for name in ("gpu", "driver", "cuda"))
    where = f"{card}, driver for CUDA {driver}, CuPy for {cuda}"
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    warning = "**On the tests' double of a GPU: no figure means anything.**\n\n" if content["double"] else ""
    return (
        f"## {content['date']}\n\n{warning}{where}; {machine['cores']} cores, {machine['processor']}; {versions}; "
        f"commit {content['commit']}"
    )


def outcomes(parts):
    """How each part ended, and what the tests counted."""
    rows = []
    for part, entry in parts.items():
        results = entry.get("results", {})
        counted = ", ".join(f"{results[name]} {name}" for name in ("passed", "failed", "skipped") if name in results)
        last = [line for line in entry.get("said", []) if line.strip()][-1:]
        note = entry.get("reason") or counted or "; ".join(results.get("wrong", {})) or " ".join(last)
        rows.append([part, entry.get("outcome", "under way"), entry.get("seconds", ""), note.replace("|", "/")])
    return table(["part", "outcome", "seconds", ""], rows)


def comparison(found):
    """How far the numbers of a step, and of kernels, are from others'."""
    rows = [
        [row["kind"], row["who"], row["with"], *(f"{row[name]:.1e}" for name in ("loss", "gradients", "parameters"))]
        for row in found["steps"]
        if "loss" in row
    ]
    yield "**A step.** Largest relative differences.\n\n" + table(
        ["in", "who", "with", "loss", "gradients", "new parameters"], rows
    )
    rows = []
    for dtype, differences in found["kernels"].items():
        for name in sorted(differences, key=differences.get, reverse=True)[:3]:
            rows.append([f"{name}, one of {len(differences)}", dtype, f"{differences[name]:.1e}"])
    rows += [[f"drawn {name}", "both", f"{difference:.1e}"] for name, difference in found["drawn"].items()]
    yield "**Kernels.** The largest differences from the CPU's.\n\n" + table(["what", "dtype", "difference"], rows)


def speed(rows, profiles):
    """Images per second and the rest; launches where they were profiled."""
    if not rows:
        return
    lines = []
    for row in rows:
        ratio, profile = row["over_pytorch_tf32"], profiles.get(f"{row['case']} {row['who']}")
        spread = f" ({ratio['spread'][0]} to {ratio['spread'][1]})" if ratio["ratio"] is not None else ""
        lines.append(
            [
                row["case"],
                row["who"],
                f"{row['images_per_second']:,.6g}",
                f"{'-' if ratio['ratio'] is None else ratio['ratio']}{spread}",
                row["ms"],
                row["given_ms"],
                f"{row['pool_mb']:,}",
                f"{profile['host_launches']:.0f}" if profile else "",
                row["difference"],
            ]
        )
    head = ["step", "who", "images/s", "over pytorch-tf32", "ms", "given by the host after, ms", "MB"]
    yield "**Speed.**\n\n" + table([*head, "calls of the host", "differs by"], lines)


def training(found):
    """The quick recipe's result."""
    return (
        f"**Training.** The quick recipe on {found['data']}: test accuracy {found['test_acc']:.2%} after "
        f"{found['epochs']} epochs in {found['seconds']:.1f} s, {found['peak_memory_mb']:,.0f} MB."
    )


def kernels(profiles):
    """The longest kernels of each step."""
    for name, found in profiles.items():
        total = sum(milliseconds for _, _, milliseconds in found["kernels"])
        rows = [
            [f"`{kernel[:80]}`".replace("|", "/"), f"{times:.0f}", f"{milliseconds:.3f}"]
            for kernel, times, milliseconds in found["kernels"][:MOST_KERNELS]
        ]
        yield (
            f"**Kernels of {name}.** {found['host_launches']:.0f} calls of the host a step, {total:.3g} ms on the "
            "GPU.\n\n" + table(["kernel", "times a step", "ms"], rows)
        )
