"""Run the whole recipe within a number of minutes: folds, the teacher's answers, the student, its bias.

    python train/main_stages.py ../shared/ham10000 --init FILE --minutes 30 --output results

Meant for one GPU, where the images stay in its memory as bytes and are augmented there. How long an epoch takes is
tried first, and the time that is left is divided among the stages that are left. Each stage leaves its files in the
output folder; given again, the command goes on with the stage that was cut off, and has all its minutes anew.
``results/student.pth`` is the model, and ``results/stages.json`` says what ran, on what, for how long.

The networks of the folds learned from most of the student's validation images, so the student's figures on these are a
little optimistic.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from evaluate.arguments import UsageError, ensure_writable_folder, positive
from evaluate.dataset import FOLDERS, METADATA, DataError, find_examples
from evaluate.kept import write_json
from handler.checkpoint import CheckpointError
from train import main_teach, main_trade_off, main_train
from train.pace import Pace, measure
from train.processes import Processes
from train.recipe import Recipe

FOLDS = 5

MOST_EPOCHS = {"fold": 40, "student": 100}
"""More are not worth their time."""

SHARES = {"fold": 1.0, "student": 5.0}
"""Time of a stage of each kind, in relation to the others."""

INTERRUPTED = 130
"""Exit code of a training that Ctrl-C ended."""

RESERVE = 0.08
"""Share of the time for the teacher's answers, the bias, and what was not foreseen."""


class Stage(msgspec.Struct):
    """A stage that ran or runs: ``seconds`` and ``finished`` are known afterwards."""

    name: str
    epochs: int | None = None
    seconds: float | None = None
    finished: bool = False


class Log(msgspec.Struct):
    """What ``stages.json`` holds."""

    device: str
    torch: str
    minutes: float
    pace: Pace
    stages: list[Stage]


class StageError(RuntimeError):
    """A stage failed. Its own message is above."""


def main(argv: list[str] | None = None, recipe: Recipe | None = None) -> int:
    """Run the command line with the default recipe or another one; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        Run(arguments, recipe or Recipe()).all_stages()
    except (DataError, UsageError, CheckpointError, StageError, OSError) as error:
        print(f"main_stages.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on with this stage", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Run folds, teacher and student within a number of minutes.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    p.add_argument("--minutes", type=positive, required=True, help="time for everything that is left, from now on")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of what the stages leave")
    p.add_argument("--init", help="weights to start from (default: torchvision's ImageNet ones)")
    p.add_argument("--folds", type=positive, default=FOLDS, help=f"number of folds (default: {FOLDS})")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


class Run:
    """All stages of one command.

    Args:
        arguments: of :func:`parser`.
        recipe: of all trainings.
    """

    def __init__(self, arguments: argparse.Namespace, recipe: Recipe) -> None:
        if arguments.folds < 2:
            raise UsageError("--folds is 1: at least 2 are needed, to learn from one and answer the other")
        self.arguments, self.recipe = arguments, recipe
        self.end = time.monotonic() + 60 * arguments.minutes
        self.output: Path = ensure_writable_folder(arguments.output, "--output")
        self.images = len(find_examples(arguments.root, "train"))
        self.device = Processes().device(arguments.device)
        self.folds = [f"fold_{k}" for k in range(1, arguments.folds + 1)]
        self.path = self.output / "stages.json"
        self.log = self._read_log() or self._new_log()

    def all_stages(self) -> None:
        """Run every stage that has not finished."""
        for number, name in enumerate(self.folds, 1):
            self._train(name, "--fold", f"{number}/{len(self.folds)}")
        teacher = str(self.output / "teacher.csv")
        models = [str(self.output / f"{name}.pth") for name in self.folds]
        common = [str(self.arguments.root), "--device", str(self.device)]
        self._run("teacher", lambda: main_teach.main([*common, "--models", *models, "--output", teacher]))
        self._train("student", "--teacher", teacher)
        answers = [str(self.output / f"{name}.csv") for name in self.folds]
        student = ["--modelname", str(self.output / "student.pth"), "--output", str(self.output)]
        self._run("bias", lambda: main_trade_off.main(["--answers", *answers, *student]))
        print(f"finished: {self.output / 'student.pth'}, {self.path}")

    def _train(self, name: str, *options: str) -> None:
        """A training of as many epochs as its share of the time left allows; folds all have the first one's."""
        stage = self._stage(name)
        kind = name.partition("_")[0]
        goes_on = stage.epochs is not None
        if stage.epochs is None:
            first = self._stage(self.folds[0]).epochs
            stage.epochs = first if kind == "fold" and first else self._affordable_epochs(kind)
            self._save()  # a stage that is cut off goes on with as many
        command = [str(self.arguments.root), "--epochs", str(stage.epochs), "--device", str(self.device)]
        command += ["--modelname", str(self.output / f"{name}.pth"), *options]
        command += ["--init", self.arguments.init] if self.arguments.init else []
        ran = self._run(name, lambda: main_train.main(command, self.recipe))
        if ran and stage.seconds and not goes_on:  # else some of its epochs were not among these seconds
            self.log.pace = self.log.pace.after(stage.epochs, stage.seconds)
            self._save()

    def _affordable_epochs(self, kind: str) -> int:
        unfinished = [s.name.partition("_")[0] for s in self.log.stages if not s.finished]
        total = sum(SHARES.get(other, 0.0) for other in unfinished)
        seconds = (self.end - time.monotonic()) * (1 - RESERVE) * SHARES[kind] / total
        return self.log.pace.epochs_within(seconds, MOST_EPOCHS[kind])

    def _run(self, name: str, command: Callable[[], int]) -> bool:
        """Run a stage unless it has finished; returns whether it ran now.

        Raises:
            StageError: it failed.
            KeyboardInterrupt: it was interrupted.
        """
        stage = self._stage(name)
        if stage.finished:
            print(f"{name}: has finished before", flush=True)
            return False
        left = (self.end - time.monotonic()) / 60
        print(f"{name}: {f'{stage.epochs} epochs, ' if stage.epochs else ''}{left:.1f} minutes left", flush=True)
        started = time.monotonic()
        code = command()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise StageError(f"stage {name} failed: the same command goes on with it")
        stage.seconds, stage.finished = round(time.monotonic() - started, 1), True
        self._save()
        return True

    def _stage(self, name: str) -> Stage:
        return next(stage for stage in self.log.stages if stage.name == name)

    def _names(self) -> list[str]:
        return [*self.folds, "teacher", "student", "bias"]

    def _new_log(self) -> Log:
        cuda = self.device.type == "cuda"
        device = torch.cuda.get_device_name(self.device) if cuda else "cpu"
        print(f"measuring the pace on {device} …", flush=True)
        pace = measure(self.recipe, self.images, self.device)
        return Log(
            device, str(torch.__version__), self.arguments.minutes, pace, [Stage(name) for name in self._names()]
        )

    def _read_log(self) -> Log | None:
        try:
            log = msgspec.json.decode(self.path.read_bytes(), type=Log)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise UsageError(f"{self.path} cannot be read ({error}): give another --output") from None
        if [stage.name for stage in log.stages] != self._names():
            raise UsageError(f"{self.path} is of other --folds: give the same, or another --output")
        return log

    def _save(self) -> None:
        partial = self.path.with_name(self.path.name + ".partial")
        write_json(self.log, partial)
        partial.replace(self.path)


if __name__ == "__main__":
    sys.exit(main())
