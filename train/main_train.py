"""Train the ResNet34 on a folder laid out like HAM10000, and keep the best epoch.

    python train/main_train.py ../shared/ham10000 --init ../shared/weights/resnet34_imagenet_init.safetensors
    python train/main_train.py DATA --epochs 30 --modelname model_store/mine.pth
    torchrun --nproc_per_node=2 train/main_train.py DATA

``root`` holds HAM10000_metadata.csv, HAM10000_images_train/ and HAM10000_images_test/ (subfolders are searched). Only
the train folder is read: a tenth of its lesions is held out to choose the epoch and to fit the temperature. The test
folder is for train/evaluate.py alone. An interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that `python train/main_train.py` finds handler

from handler.classifier import Checkpoint, Normalise, save_whole
from handler.contract import CLASSES
from train import data
from train.arguments import not_negative, positive
from train.augment import mix, random_batch
from train.calibrate import calibrate, complete, fit_bias, predict, worth
from train.metrics import accuracy, balanced_accuracy, expected_calibration_error, recalls
from train.processes import Processes
from train.weights import ExponentialAverage, SetupError, earlier_training, starting_network

RECIPE = {
    "batch": 64,
    "optimizer": "AdamW",
    "learning_rate": 5e-4,
    "head_learning_rate": 2e-3,
    "weight_decay": 0.05,
    "warm_up": 0.06,  # share of all steps
    "label_smoothing": 0.05,
    "sampling_power": 0.5,  # an image is drawn with weight (images of its class) ** -power; 0 as they come, 1 balanced
    "ema_decay": 0.998,
    "sizes": [[0.25, 128], [0.6, 160], [0.85, 192], [1.0, 224]],  # up to this share of the epochs, this side in pixels
    "validation": 0.1,  # share of each class's lesions
    "split_seed": 0,  # the same lesions are held out whatever --seed says, so that several runs can be compared
}

STORED = 256
"""Side in pixels of the squares that training keeps in memory: room for crops above what the network is shown."""

CORES = os.cpu_count() or 1

NOVELTY_IMAGES = 4000
"""Most training images that a photograph's novelty is measured against."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    group = Processes.from_environment()
    try:
        train(arguments, group)
    except (data.DataError, SetupError) as error:
        if group.lead:
            print(f"main_train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on after the last whole epoch", file=sys.stderr)
        return 130
    finally:
        group.leave()
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="Train the skin-lesion classifier on a folder laid out like HAM10000; the best epoch is kept."
    )
    p.add_argument("root", help=f"folder with {data.METADATA}, {data.FOLDERS['train']}/ and {data.FOLDERS['test']}/")
    p.add_argument("--epochs", type=positive, default=15, help="passes over the training images (default: 15)")
    p.add_argument(
        "--modelname",
        default="model_store/model_mlbio.pth",
        help="file to write (default: model_store/model_mlbio.pth)",
    )
    p.add_argument("--init", help="weights to start from (.safetensors or .pth; default: torchvision's ImageNet ones)")
    p.add_argument("--seed", type=not_negative, default=0, help="seed of the order and the augmentation (default: 0)")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


def train(arguments: argparse.Namespace, group: Processes) -> Checkpoint | None:
    """Train as asked; the best epoch lies in ``arguments.modelname`` afterwards and is returned (by the lead).

    Raises:
        data.DataError: the folder is not as documented.
        SetupError: starting weights, the device or a place to write cannot be had.
    """
    # Everything that can be wrong is found here, cheapest first, before anything is computed.
    examples = data.find_examples(arguments.root, "train")
    chosen, held_out = data.split_by_lesion(examples, RECIPE["validation"], RECIPE["split_seed"])
    target = writable(Path(arguments.modelname)) if group.lead else Path(arguments.modelname)
    resume_file = target.with_suffix(".resume.pth")
    device = group.device(arguments.device)
    torch.manual_seed(arguments.seed)
    network, source = starting_network(arguments.init)
    labels = np.array([e.label for e in chosen])
    photographs = torch.from_numpy(data.load_squares(chosen, CORES, "decoding training images", STORED)).to(device)
    identity = {
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "recipe": RECIPE,
        "images": len(chosen),
        "init": source,
        "processes": group.count,
    }
    if before := earlier_training(arguments.init):
        identity["before"] = before
    network = group.join(network, device)
    core = network.module if group.count > 1 else network
    average = ExponentialAverage(core, RECIPE["ema_decay"])
    optimizer = make_optimizer(core)
    validation = Validation(held_out, device, target, identity) if group.lead else None
    if group.lead:
        counts = ", ".join(f"{name} {n}" for name, n in data.class_counts(examples).items())
        print(f"{len(chosen)} images to learn from, {len(held_out)} of other lesions to validate on: {counts}")
        print(f"starting from {source}, on {device}" + (f", {group.count} processes" if group.count > 1 else ""))

    first = 0
    if target.is_file() and (saved := load_resume(resume_file, identity, group.lead)) is not None:
        core.load_state_dict(saved["network"])
        average.load(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"]
        if validation:
            validation.best, validation.history = saved["best"], saved["history"]
            print(f"going on after epoch {first} of {arguments.epochs} ({resume_file})")

    for epoch in range(first, arguments.epochs):
        facts = train_epoch(network, average, optimizer, photographs, labels, epoch, arguments, group)
        if validation:
            validation.judge(average.network, facts)
            save_whole(
                {
                    "identity": identity,
                    "network": core.state_dict(),
                    "average": average.state(),
                    "optimizer": optimizer.state_dict(),
                    "epoch": epoch + 1,
                    "best": validation.best,
                    "history": validation.history,
                },
                resume_file,
            )
    if not validation:
        return None
    checkpoint = validation.complete(chosen)
    resume_file.unlink(missing_ok=True)
    return checkpoint


def train_epoch(
    network: nn.Module,
    average: ExponentialAverage,
    optimizer: torch.optim.Optimizer,
    photographs: torch.Tensor,
    labels: np.ndarray,
    epoch: int,
    arguments: argparse.Namespace,
    group: Processes,
) -> dict[str, Any]:
    """One pass over as many images as there are; the epoch's facts.

    ``photographs`` is ``uint8`` (N, :data:`STORED`, :data:`STORED`, 3) on the device to compute on, ``labels`` (N,).
    """
    device, dtype = photographs.device, autocast_dtype(photographs.device)
    size = image_size(epoch, arguments.epochs)
    batch = max(1, min(RECIPE["batch"], len(labels)) // group.count) * group.count
    steps = max(1, len(labels) // batch)
    rng = np.random.default_rng([arguments.seed, epoch])  # an epoch is the same whether resumed or not
    order = draw(labels, steps * batch, RECIPE["sampling_power"], rng)
    mine = order.reshape(steps, batch)[:, group.rank :: group.count]
    rng = np.random.default_rng([arguments.seed, epoch, 1 + group.rank])
    normalise = Normalise().to(device)
    network.train()
    tally = torch.zeros(2, len(CLASSES), device=device)  # images right, images seen, by class
    loss_sum, started = torch.zeros(1, device=device), time.monotonic()
    description = f"epoch {epoch + 1}/{arguments.epochs} at {size} px"
    with tqdm(total=order.size, desc=description, unit="img", disable=not group.lead) as bar:
        for step, (views, wanted, true) in enumerate(batches(photographs, labels, mine, size, rng)):
            set_learning_rate(optimizer, epoch * steps + step, arguments.epochs * steps)
            pixels = normalise(views).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                logits = network(pixels)
            loss = nn.functional.cross_entropy(logits.float(), wanted, label_smoothing=RECIPE["label_smoothing"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            average.update(network.module if group.count > 1 else network, epoch * steps + step)

            right = (logits.argmax(1) == true).float()
            tally.index_add_(1, true, torch.stack([right, torch.ones_like(right)]))
            loss_sum += loss.detach()
            bar.update(batch)
            if step % 10 == 9 or step == steps - 1:  # reading a figure makes a GPU wait
                bar.set_postfix(loss=f"{loss_sum.item() / (step + 1):.3f}", bal_acc=f"{balanced(tally):.3f}")
    seconds = time.monotonic() - started
    tally, loss_sum = group.sum(tally), group.sum(loss_sum)
    return {
        "epoch": epoch + 1,
        "size": size,
        "loss": round(loss_sum.item() / steps / group.count, 4),
        "balanced_accuracy": round(balanced(tally), 4),
        "images_per_second": round(order.size / seconds, 1),
    }


class Validation:
    """The images held out, the best network so far on them, and the file that it is kept in."""

    def __init__(
        self, held_out: list[data.Example], device: torch.device, target: Path, identity: dict[str, Any] | None = None
    ) -> None:
        self.squares = data.load_squares(held_out, CORES, "decoding validation images")
        self.labels = np.array([e.label for e in held_out])
        self.device, self.dtype = device, autocast_dtype(device)
        self.identity, self.target = identity or {}, target
        self.best, self.history = -math.inf, []

    def judge(self, network: nn.Module, facts: dict[str, Any]) -> None:
        """Add the epoch to the history, and keep its network if no earlier one was better."""
        _, logits = predict(network, self.squares, self.device, self.dtype)
        score = worth(logits + fit_bias(logits, self.labels), self.labels)
        facts = facts | {
            "validation_accuracy": round(accuracy(logits, self.labels), 4),
            "validation_balanced_accuracy": round(balanced_accuracy(logits, self.labels), 4),
            "validation_score": round(score, 4),
        }
        self.history.append(facts)
        print("  validation: " + json.dumps(facts), flush=True)
        if score > self.best:
            self.best = score
            training = self.identity | {"epoch": facts["epoch"], "torch": str(torch.__version__)}
            checkpoint = Checkpoint(network.state_dict())
            checkpoint.training = training | self._facts(calibrate(checkpoint, logits, self.labels))
            checkpoint.save(self.target)

    def complete(self, chosen: list[data.Example]) -> Checkpoint:
        """Fit what serving needs beside the weights of the best epoch, and save it with them."""
        checkpoint = Checkpoint.load(self.target)
        some = np.random.default_rng(0).permutation(len(chosen))[:NOVELTY_IMAGES]
        known = data.load_squares([chosen[i] for i in some], CORES, "decoding images to compare with")
        checkpoint.training |= self._facts(
            complete(checkpoint, known, self.squares, self.labels, self.device, self.dtype)
        )
        checkpoint.save(self.target)
        facts = checkpoint.training["validation"]
        print(
            (f"best epoch {checkpoint.training['epoch']}: " if self.history else "")
            + f"validation balanced accuracy {facts['balanced_accuracy']:.4f}, accuracy {facts['accuracy']:.4f}, "
            f"temperature {checkpoint.temperature:.3f} -> {self.target}"
        )
        return checkpoint

    def _facts(self, probabilities: np.ndarray) -> dict[str, Any]:
        return {
            "validation": {
                "images": len(self.labels),
                "accuracy": accuracy(probabilities, self.labels),
                "balanced_accuracy": balanced_accuracy(probabilities, self.labels),
                "sensitivity": {c: float(r) for c, r in zip(CLASSES, recalls(probabilities, self.labels), strict=True)},
                "expected_calibration_error": expected_calibration_error(probabilities, self.labels),
            },
            "history": list(self.history),
        }


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """AdamW; the fresh head learns faster, and scales and biases do not decay."""
    head = {id(p) for p in network.fc.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault((id(parameter) in head, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "peak": RECIPE["head_learning_rate"] if is_head else RECIPE["learning_rate"],
            "weight_decay": RECIPE["weight_decay"] if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
    """Linear warm-up, then half a cosine down to zero."""
    warm_up = max(1, round(RECIPE["warm_up"] * total))
    if step < warm_up:
        factor = (step + 1) / warm_up
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def image_size(epoch: int, epochs: int) -> int:
    """Progressive resolution: small pictures first, 224 at the end (Touvron et al., NeurIPS 2019; fast.ai)."""
    return next(size for share, size in RECIPE["sizes"] if (epoch + 1) / epochs <= share)


def draw(labels: np.ndarray, count: int, power: float, rng: np.random.Generator) -> np.ndarray:
    """``count`` indices: rare classes more often than they come (square-root sampling at power 0.5)."""
    weights = np.bincount(labels, minlength=len(CLASSES))[labels].astype(float) ** -power
    expected = weights / weights.sum() * count
    # Each image is taken the whole part of its expected count, the rest by chance: few are left out of an epoch.
    taken = np.floor(expected).astype(int)
    rest = expected - taken
    short = count - taken.sum()
    if short > 0:
        extra = rng.choice(len(labels), size=short, replace=short > np.count_nonzero(rest), p=rest / rest.sum())
        np.add.at(taken, extra, 1)
    return rng.permutation(np.repeat(np.arange(len(labels)), taken))


def batches(
    photographs: torch.Tensor, labels: np.ndarray, order: np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Augmented batches, made one ahead of the network in a thread of their own.

    ``order`` (steps, batch) holds indices. Each step yields views (batch, 3, size, size), the probabilities wanted of
    them (batch, classes) and the classes that they were drawn for (batch,).
    """
    ready: queue.Queue = queue.Queue(maxsize=2)
    stop = threading.Event()
    device = photographs.device
    classes = torch.from_numpy(labels).to(device)

    def offer(item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for index in torch.from_numpy(order).to(device):
                true = classes[index]
                wanted = nn.functional.one_hot(true, len(CLASSES)).float()
                if not offer((*mix(random_batch(photographs[index], size, rng), wanted, rng), true)):
                    return
            offer(None)
        except BaseException as error:  # handed to the training thread, which raises it
            offer(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def balanced(tally: torch.Tensor) -> float:
    right, seen = tally[:, tally[1] > 0]
    return float((right / seen).mean())


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """bf16 where the machine computes with it, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def load_resume(path: Path, identity: dict, tell: bool = True) -> dict | None:
    """What an interrupted run of the same command left, or None; ``tell`` whether a word is said of another's."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        reason = "belongs to another run (other images, epochs, seed or recipe)"
    except Exception:
        content, reason = None, "cannot be read"
    if isinstance(content, dict) and content.get("identity") == identity:
        return content
    if tell:
        print(f"{path} {reason} and is ignored")
    return None


def writable(path: Path) -> Path:
    """``path``, after making its folder and trying that a file can be put there."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = path.with_name(path.name + ".partial")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise SetupError(f"--modelname {path} cannot be written ({error.strerror})") from None
    return path


if __name__ == "__main__":
    Processes.from_environment().exit(main())
