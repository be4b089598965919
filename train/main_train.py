"""Train the ResNet34 on a folder laid out like HAM10000, and keep the best epoch.

    python train/main_train.py ../shared/ham10000 --init ../shared/weights/resnet34_imagenet_init.safetensors
    python train/main_train.py DATA --epochs 30 --modelname model_store/mine.pth

``root`` holds HAM10000_metadata.csv, HAM10000_images_train/ and HAM10000_images_test/ (subfolders are searched). Only
the train folder is read: a tenth of its lesions is held out to choose the epoch and to fit the temperature. The test
folder is for train/evaluate.py alone. An interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import math
import os
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import ResNet34_Weights, resnet34
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that `python train/main_train.py` finds handler

from handler.classifier import Checkpoint, Normalise, as_float32, first_line, save_whole
from handler.contract import CLASSES
from train import data
from train.augment import random_batch
from train.metrics import accuracy, balanced_accuracy, expected_calibration_error, recalls

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
    "sizes": [[0.45, 160], [0.75, 192], [1.0, 224]],  # up to this share of the epochs, this side in pixels
    "validation": 0.1,  # share of each class's lesions
}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        train(arguments)
    except (data.DataError, SetupError) as error:
        print(f"main_train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on after the last whole epoch", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="Train the skin-lesion classifier on a folder laid out like HAM10000; the best epoch is kept."
    )
    p.add_argument("root", help=f"folder with {data.METADATA}, {data.FOLDERS['train']}/ and {data.FOLDERS['test']}/")
    p.add_argument("--epochs", type=_positive, default=15, help="passes over the training images (default: 15)")
    p.add_argument(
        "--modelname",
        default="model_store/model_mlbio.pth",
        help="file to write (default: model_store/model_mlbio.pth)",
    )
    p.add_argument("--init", help="weights to start from (.safetensors or .pth; default: torchvision's ImageNet ones)")
    p.add_argument(
        "--seed", type=_not_negative, default=0, help="seed of the split, the order and the augmentation (default: 0)"
    )
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


class SetupError(ValueError):
    """Starting weights, a device or a place to write cannot be had. The message says what to do."""


def train(arguments: argparse.Namespace) -> Checkpoint:
    """Train as asked; the best epoch lies in ``arguments.modelname`` afterwards and is returned.

    Raises:
        data.DataError: the folder is not as documented.
        SetupError: starting weights, the device or a place to write cannot be had.
    """
    # Everything that can be wrong is found here, cheapest first, before anything is computed.
    examples = data.find_examples(arguments.root, "train")
    chosen, held_out = data.split_by_lesion(examples, RECIPE["validation"], arguments.seed)
    target = writable(Path(arguments.modelname))
    resume_file = target.with_suffix(".resume.pth")
    device = usable_device(arguments.device)
    workers = os.cpu_count() or 1
    torch.manual_seed(arguments.seed)
    network, source = starting_network(arguments.init)
    photographs = data.load_photographs(chosen, workers, "decoding training images")
    squares = data.load_squares(held_out, workers, "decoding validation images")
    labels = np.array([e.label for e in chosen])
    held_out_labels = np.array([e.label for e in held_out])
    counts = ", ".join(f"{name} {n}" for name, n in data.class_counts(examples).items())
    print(f"{len(chosen)} images to learn from, {len(held_out)} of other lesions to validate on: {counts}")
    print(f"starting from {source}, on {device}")
    network.to(device, memory_format=torch.channels_last)
    normalise = Normalise().to(device)
    average = ExponentialAverage(network, RECIPE["ema_decay"])
    optimizer = make_optimizer(network)
    batch = min(RECIPE["batch"], len(chosen))
    steps = max(1, len(chosen) // batch)
    dtype = autocast_dtype(device)

    identity = {
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "recipe": RECIPE,
        "images": len(chosen),
        "init": source,
    }
    first, best, history = 0, -math.inf, []
    if target.is_file() and (saved := load_resume(resume_file, identity)) is not None:
        network.load_state_dict(saved["network"])
        average.load(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first, best, history = saved["epoch"], saved["best"], saved["history"]
        print(f"going on after epoch {first} of {arguments.epochs} ({resume_file})")

    for epoch in range(first, arguments.epochs):
        size = image_size(epoch, arguments.epochs)
        rng = np.random.default_rng([arguments.seed, epoch])  # an epoch is the same whether resumed or not
        order = draw(labels, steps * batch, RECIPE["sampling_power"], rng)
        network.train()
        seen, loss_sum, hits, started = 0, 0.0, np.zeros((2, len(CLASSES))), time.monotonic()
        with tqdm(total=steps * batch, desc=f"epoch {epoch + 1}/{arguments.epochs} at {size} px", unit="img") as bar:
            for step, (pixels, target_labels) in enumerate(batches(photographs, labels, order, batch, size, rng)):
                set_learning_rate(optimizer, epoch * steps + step, arguments.epochs * steps)
                pixels, wanted = pixels.to(device), target_labels.to(device)
                pixels = normalise(pixels).contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                    logits = network(pixels)
                loss = nn.functional.cross_entropy(logits.float(), wanted, label_smoothing=RECIPE["label_smoothing"])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                average.update(network, epoch * steps + step)

                right = (logits.argmax(1) == wanted).cpu().numpy()
                np.add.at(hits, (0, target_labels.numpy()), right)
                np.add.at(hits, (1, target_labels.numpy()), 1)
                seen, loss_sum = seen + len(right), loss_sum + loss.item() * len(right)
                bar.update(len(right))
                bar.set_postfix(
                    loss=f"{loss_sum / seen:.3f}", acc=f"{hits[0].sum() / seen:.3f}", bal_acc=f"{balanced(hits):.3f}"
                )
        speed = seen / (time.monotonic() - started)

        logits = predict(average.network, squares, device, dtype)
        probabilities = softmax(logits)
        score = balanced_accuracy(probabilities, held_out_labels)
        history.append(
            {
                "epoch": epoch + 1,
                "size": size,
                "loss": round(loss_sum / seen, 4),
                "images_per_second": round(speed, 1),
                "validation_accuracy": round(accuracy(probabilities, held_out_labels), 4),
                "validation_balanced_accuracy": round(score, 4),
            }
        )
        print("  validation: " + json.dumps(history[-1]), flush=True)
        if score > best:
            best = score
            checkpoint = describe(average.network, logits, held_out_labels, identity, history)
            checkpoint.save(target)
        save_whole(
            {
                "identity": identity,
                "network": network.state_dict(),
                "average": average.state(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch + 1,
                "best": best,
                "history": history,
            },
            resume_file,
        )

    resume_file.unlink(missing_ok=True)
    checkpoint = Checkpoint.load(target)
    facts = checkpoint.training
    print(
        f"best epoch {facts['epoch']}: validation balanced accuracy {facts['validation']['balanced_accuracy']:.4f}, "
        f"accuracy {facts['validation']['accuracy']:.4f}, temperature {checkpoint.temperature:.3f} -> {target}"
    )
    return checkpoint


def starting_network(init: str | None) -> tuple[nn.Module, str]:
    """A ResNet34 with a fresh head of seven classes, and a word on where the rest comes from."""
    if init is None:
        try:
            weights = ResNet34_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: the hash does not fit
            raise SetupError(
                f"torchvision's ImageNet weights cannot be downloaded ({error}): give a file with --init"
            ) from None
        source = "torchvision ResNet34_Weights.IMAGENET1K_V1"
    else:
        weights, source = read_weights(Path(init)), Path(init).name
    network = resnet34(num_classes=len(CLASSES))
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise SetupError(f"--init {init} does not hold a ResNet34: its tensors have other shapes") from None
    if unexpected or any(not name.startswith("fc.") for name in missing):
        name = next(iter(unexpected), None) or next(n for n in missing if not n.startswith("fc."))
        raise SetupError(f"--init {init} does not hold a ResNet34 in torchvision's names ({name})")
    return network, source


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The float32 tensors of a .safetensors file, a plain state dict, or a checkpoint of this command."""
    if not path.is_file():
        raise SetupError(f"--init {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise SetupError(f"--init {path} cannot be read ({first_line(error)})") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise SetupError(f"--init {path} does not hold weights by name")
    return as_float32(content)


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


def batches(photographs, labels, order, batch, size, rng):
    """Augmented batches in ``order``, made one ahead of the network in a thread of their own."""
    ready: queue.Queue = queue.Queue(maxsize=2)
    stop = threading.Event()

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
            for start in range(0, len(order), batch):
                index = order[start : start + batch]
                pixels = random_batch([photographs[i] for i in index], size, rng)
                if not offer((pixels, torch.from_numpy(labels[index]))):
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


class ExponentialAverage:
    """An exponential moving average of a network's weights (Polyak averaging), with a short memory at first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = self.network.state_dict(), network.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    def state(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    def load(self, state: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(state)


@torch.inference_mode()
def predict(network: nn.Module, squares: np.ndarray, device: torch.device, dtype: torch.dtype | None) -> np.ndarray:
    """Logits of shape (N, classes) for ``uint8`` squares (N, 224, 224, 3)."""
    logits, normalise = [], Normalise().to(device)
    for start in range(0, len(squares), 64):
        pixels = torch.from_numpy(squares[start : start + 64]).permute(0, 3, 1, 2).to(device).float()
        pixels = normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            logits.append(network(pixels).float().cpu().numpy())
    return np.concatenate(logits)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least cross-entropy (Guo et al., ICML 2017), found by golden-section search in its log."""

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())

    low, high, golden = math.log(0.2), math.log(5.0), (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return math.exp((low + high) / 2)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def describe(network: nn.Module, logits: np.ndarray, labels: np.ndarray, identity: dict, history: list) -> Checkpoint:
    """The checkpoint of this epoch, with its temperature and the facts of the run so far."""
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    return Checkpoint(
        state=network.state_dict(),
        temperature=temperature,
        training={
            **identity,
            "epoch": history[-1]["epoch"],
            "validation": {
                "images": len(labels),
                "accuracy": accuracy(probabilities, labels),
                "balanced_accuracy": balanced_accuracy(probabilities, labels),
                "sensitivity": {c: float(r) for c, r in zip(CLASSES, recalls(probabilities, labels), strict=True)},
                "expected_calibration_error": expected_calibration_error(probabilities, labels),
            },
            "history": list(history),
            "torch": str(torch.__version__),
        },
    )


def balanced(hits: np.ndarray) -> float:
    seen = hits[1] > 0
    return float((hits[0][seen] / hits[1][seen]).mean())


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """bf16 where the machine computes with it, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def load_resume(path: Path, identity: dict) -> dict | None:
    """What an interrupted run of the same command left, or None."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        print(f"{path} cannot be read and is ignored")
        return None
    if not isinstance(content, dict) or content.get("identity") != identity:
        print(f"{path} belongs to another run (other images, epochs, seed or recipe) and is ignored")
        return None
    return content


def usable_device(name: str | None) -> torch.device:
    """The device of that name, tried out; without one, CUDA where there is one."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SetupError(f"--device {name} cannot be used ({str(error).splitlines()[0]})") from None
    return device


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


def _positive(text: str) -> int:
    return _whole(text, 1)


def _not_negative(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
