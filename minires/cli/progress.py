"""How a run is shown while it goes on, and how a signal ends it."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from minires.cli.ingredients import ingredients, network_text
from minires.cli.legs import described
from minires.cli.snapshots import SCHEDULE, how_to_evaluate, keep_snapshot
from minires.ranks.launch import find_mpiexec

if TYPE_CHECKING:
    from minires.cli.recording import Recorder
    from minires.position import HistoryRow, Position
    from minires.ranks import Ranks
    from minires.trainer import Trainer


class Watcher:
    """Shows and records how training goes: a bar on a terminal, plain lines elsewhere, one line for each epoch."""

    def __init__(self, recorder: Recorder, config: Mapping[str, Any]) -> None:
        self.recorder, self.config = recorder, config
        settings, label = config["settings"], config["dataset"]["label"]
        self.title = f"{network_text(settings['model'], config.get('options', {}))} on {label}, seed {settings['seed']}"
        self.quiet = settings["no_progress"]
        self.measure = config.get("measure", "acc")  # of the validation images
        self.bar: Any = None  # tqdm's, while it is shown
        self.last_line = time.monotonic()
        self.told_whynot = False

    def tell(self, text: str) -> None:
        """Print a line, above the bar if there is one, and keep it in train.log."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)
        self.recorder.say(text)

    def start(self, trainer: Trainer) -> None:
        """What is trained on what, and the heads of the columns."""
        config, settings = self.config, self.config["settings"]
        sizes = config["sizes"]
        self.recorder.say(time.strftime("%Y-%m-%d %H:%M:%S"))
        if config["dataset"]["notice"]:
            self.recorder.say(config["dataset"]["notice"])
        self.tell(self.title)
        images = f"{sizes['train']:,} training, {sizes['val']:,} validation, {sizes['test']:,} test"
        self.tell(f"{config['parameters']:,} parameters; images: {images}")
        precision = "" if settings["precision"] == "float32" else f", {settings['precision']}"
        how = f"{settings['epochs']} epochs, batch size {settings['batch_size']}, {settings['optimizer']}"
        cycles = f" in {settings['cycles']} cycles" if settings["schedule"] == SCHEDULE else ""
        rates = f"learning rate {settings['lr']:g}, {settings['schedule']}{cycles}{precision}"
        self.tell(f"{settings['recipe']} recipe: {how}, {rates}")
        if added := ingredients(settings):
            self.tell(f"with {added}")
        for line in described(config.get("legs", [])):
            self.tell(line)
        if trainer.steps.shards > 1:
            self.tell(f"each batch is cut into {trainer.steps.shards} shards")
        self.tell(f"writing to {trainer.folder}")
        if trainer.position.iteration:
            self.tell(f"going on after epoch {trainer.position.epoch}, iteration {trainer.position.iteration:,}")
        averaged = f" ema loss {'ema ' + self.measure:>7}" if settings["ema"] and sizes["val"] else ""
        validated = f"val loss {'val ' + self.measure:>7}{averaged}"
        self.tell(f"epoch iteration       lr train loss train acc {validated} seconds images/s")
        said = self.recorder.said() if trainer.position.history else set()
        for line in map(epoch_line, trainer.position.history):
            if line not in said:  # the process was killed before it could be told
                self.recorder.say(line)

    def batch(self, trainer: Trainer) -> None:
        """After each step."""
        position, batches = trainer.position, len(trainer.train_loader)
        if self.quiet or position.seen == 0:  # a GPU has told nothing yet
            return
        seen = position.seen
        speed = position.images / max(position.epoch_seconds, 1e-9)
        steps = min(trainer.epochs * batches, trainer.iterations or math.inf)
        left = (steps - position.iteration) / position.iteration * position.seconds
        facts = (
            f"loss {position.loss_sum / seen:.3f}, acc {position.correct / seen:.1%}, {speed:,.0f} images/s, "
            f"{clock(left)} left"
        )
        if sys.stderr.isatty():
            self.show_bar(position, batches, trainer.epochs, facts)
        elif time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            print(
                f"  epoch {position.epoch + 1}/{trainer.epochs}, batch {position.batch}/{batches}: {facts}", flush=True
            )

    def show_bar(self, position: Position, batches: int, epochs: int, facts: str) -> None:
        from tqdm import tqdm

        if self.bar is None:
            layout = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"  # tqdm puts a comma before the postfix
            self.bar = tqdm(total=batches, leave=False, dynamic_ncols=True, bar_format=layout, delay=1e-3)
        self.bar.n = position.batch
        self.bar.set_description_str(f"epoch {position.epoch + 1}/{epochs}", refresh=False)
        self.bar.set_postfix_str(facts)

    def epoch(self, trainer: Trainer, row: HistoryRow) -> None:
        """After each epoch: a line, log.csv and curves.png."""
        self.tell(epoch_line(row))
        whynot = trainer.steps.recorded and trainer.steps.recorded.whynot
        if whynot and not self.told_whynot:
            self.told_whynot = True
            self.tell(f"note: steps are given to the GPU launch by launch, not as a CUDA graph: {whynot}")
        self.last_line = time.monotonic()
        self.derive(trainer)

    def tested(self, trainer: Trainer, result: Mapping[str, Any]) -> None:
        """After the test of the best model, of which result.json is told."""
        if line := how_to_evaluate(trainer, self.config):
            self.tell(line)

    def derive(self, trainer: Trainer) -> None:
        """Write log.csv and curves.png as the trainer's history has them, and the weights of a cycle that has ended."""
        keep_snapshot(trainer, self.recorder, self.config)
        if trainer.position.history:
            self.recorder.log(trainer.position.history)
            self.recorder.curves(trainer.position.history, self.title, self.measure)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.clear()  # close() alone leaves what a bar with a delay has shown
            self.bar.close()
            self.bar = None


def epoch_line(row: HistoryRow) -> str:
    """A finished epoch, below the heads of the columns."""
    columns = "{epoch:5d} {iteration:9,d} {lr:8.3g} {train_loss:10.4f} {train_acc:9.2%} "
    columns += f"{'-':>8} {'-':>7}" if row["val_loss"] is None else "{val_loss:8.4f} {val_acc:7.2%}"
    columns += "" if row["ema_val_loss"] is None else " {ema_val_loss:8.4f} {ema_val_acc:7.2%}"
    return (columns + " {seconds:7.1f} {images_per_second:8,.0f}").format_map(row)


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class stopping_on_signals:
    r"""Within this block Ctrl-C, SIGTERM, SIGQUIT (Ctrl-\) and SIGHUP, which a terminal sends when it goes, ask the
    trainer to stop after its step; a second one, of any kind, stops at once. Windows has SIGBREAK instead of the last
    two. What `nohup` ignores stays so.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.received: list[int] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> list[int]:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None and (name == "SIGINT" or signal.getsignal(number) != signal.SIG_IGN):
                self.before[number] = signal.signal(number, self.handle)
        return self.received

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self.trainer.stop_requested:
            raise KeyboardInterrupt
        self.trainer.stop_requested = True
        print("\nstopping after this step ...", file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def how_to_go_on(folder: str | Path, recorder: Recorder, ranks: Ranks) -> str:
    """The command that continues the run, also kept in train.log."""
    line = f"to go on: {command_to_go_on(folder, ranks)}"
    recorder.say(line)
    return line


def command_to_go_on(folder: str | Path, ranks: Ranks) -> str:
    """The command that continues the run, by as many processes."""
    mpiexec = "mpiexec" if shutil.which("mpiexec") else find_mpiexec() or "mpiexec"
    together = [mpiexec, "-n", str(ranks.size)] if ranks.size > 1 else []
    python = [sys.executable, "-m", "mpi4py"] if ranks.size > 1 else [sys.executable]
    words = [*together, *python, str(Path(sys.argv[0]).resolve()), "--resume", str(Path(folder).resolve())]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
