"""A training run: checks, epochs, and the final calibration."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from api.arguments import UsageError, ensure_writable
from api.classes import CLASSES
from evaluate.dataset import (
    Example,
    class_counts,
    find_ham10000,
    load_squares,
    short_sides,
    split_by_lesion,
    split_fold,
)
from evaluate.sources import HAM10000, by_source, find_sources, split_sources
from handler.model.checkpoint import Checkpoint
from handler.model.network import Normalise
from train.batches import TrainingSet, augmented_batches, sample_indices
from train.cameras import Cameras
from train.hardware import Processes, autocast
from train.learner import Learner, set_learning_rate
from train.recipe import SEVERAL_SOURCES, Recipe
from train.resume import ResumeState, RunIdentity, images_digest, load_resume_state, refuse_leakage
from train.validation import EpochMetrics, Validation
from train.weights import previous_training, starting_network, weights_digest


def recipe_for(arguments: argparse.Namespace) -> Recipe:
    """The recipe of a run with these options."""
    recipe = SEVERAL_SOURCES if arguments.also else Recipe()
    if arguments.cameras:
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, cameras=Cameras()))
    return recipe


def train(arguments: argparse.Namespace, recipe: Recipe, processes: Processes) -> Checkpoint | None:
    """Run the command: train, and write the best epoch to ``arguments.modelname``.

    Returns:
        The checkpoint in the main process; None in the others.

    Raises:
        DataError: the folder is not as documented.
        UsageError: starting weights, device or output cannot be used, or the weights were trained on held-out images.
    """
    # All checks precede the decoding of images, the cheapest first.
    found = find_ham10000(arguments.root, "train").checked()
    examples = found.examples
    if processes.is_main:
        print("".join(f"{note}\n" for note in found.notes), end="")
    if arguments.fold:
        ham10000, held_out = split_fold(examples, arguments.fold, recipe.split_seed)
    else:
        ham10000, held_out = split_by_lesion(examples, recipe.validation_fraction, recipe.split_seed)
    sources = find_sources(arguments.also)
    others = split_sources(sources.examples, held_out)
    if arguments.also and processes.is_main:
        print(f"other sources: {sources.summary()}\n  {others.summary()}")
    checkpoint_path = Path(arguments.modelname)
    if arguments.init and checkpoint_path.is_file() and Path(arguments.init).resolve() == checkpoint_path.resolve():
        raise UsageError(
            "--init and --modelname are one file, which the first epoch overwrites: give another --modelname"
        )
    if processes.is_main:
        ensure_writable(checkpoint_path, "--modelname")
    device = processes.device(arguments.device)
    torch.manual_seed(arguments.seed)
    network, init = starting_network(arguments.init)
    identity = RunIdentity(
        epochs=arguments.epochs,
        seed=arguments.seed,
        recipe=recipe,
        images=len(ham10000),
        images_sha256=images_digest(examples),
        init=init,
        init_sha256=weights_digest(network.state_dict()),
        processes=processes.world_size,
        before=previous_training(arguments.init),
        fold=str(arguments.fold) if arguments.fold else None,
        sources={name: len(part) for name, part in by_source(others.train).items()} if arguments.also else None,
        sources_sha256=images_digest(others.train + others.validation) if arguments.also else None,
    )
    refuse_leakage(identity)
    train_examples = ham10000 + others.train
    parts = {HAM10000: held_out} | by_source(others.validation)
    training_set = load_training_set(train_examples, recipe, device)
    validation = Validation(parts, device, checkpoint_path, identity.as_dict()) if processes.is_main else None
    learner = Learner.create(network, recipe, device, processes)
    if processes.is_main:
        counts = ", ".join(f"{dx} {count}" for dx, count in class_counts(examples).items())
        validated = ", ".join(f"{len(part)} of {name}" for name, part in parts.items())
        print(f"{len(train_examples)} training images, validation on {validated}; HAM10000 has {counts}")
        several = f", {processes.world_size} processes" if processes.world_size > 1 else ""
        print(f"starting from {init}, on {device}{several}")

    first_epoch = 0
    resume_path = run_file(checkpoint_path, ".resume.pth")
    saved = load_resume_state(resume_path, identity, verbose=processes.is_main) if checkpoint_path.is_file() else None
    if saved:
        first_epoch = saved.epoch
        learner.load_state_dict(saved.learner)
        if validation:
            validation.load_state_dict(saved.validation)
            print(f"resuming after epoch {first_epoch} of {arguments.epochs} ({resume_path})")

    for epoch in range(first_epoch, arguments.epochs):
        figures = train_epoch(
            learner, training_set, recipe, processes, epoch=epoch, epochs=arguments.epochs, seed=arguments.seed
        )
        if validation:
            validation.add_epoch(learner.average.module, figures)
            ResumeState(epoch + 1, learner.state_dict(), validation.state_dict()).save(resume_path, identity)
    if not validation:
        return None
    checkpoint = validation.complete(train_examples)
    if arguments.fold:
        validation.write_predictions(checkpoint, run_file(checkpoint_path, ".csv"), found.folder)
    resume_path.unlink(missing_ok=True)
    return checkpoint


def run_file(checkpoint: Path, ending: str) -> Path:
    """A file of the checkpoint's run, next to it: ``v1.1.csv`` of ``v1.1`` and of ``v1.1.pth``."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".pth") + ending)


def load_training_set(examples: list[Example], recipe: Recipe, device: torch.device) -> TrainingSet:
    """Decode ``examples`` and move them to ``device``.

    Raises:
        DataError: an image cannot be read.
    """
    workers = os.cpu_count() or 1
    squares = load_squares(examples, workers, "decoding training images", recipe.stored_size)
    names = sorted({example.source for example in examples} | {""})
    return TrainingSet(
        photographs=torch.from_numpy(squares).to(device),
        labels=np.array([example.label for example in examples]),
        sources=np.array([names.index(example.source) for example in examples]),
        sides=short_sides(examples, workers),
    )


def train_epoch(
    learner: Learner,
    training_set: TrainingSet,
    recipe: Recipe,
    processes: Processes,
    *,
    epoch: int,
    epochs: int,
    seed: int,
) -> EpochMetrics:
    """Train ``learner`` on about as many images as there are, sampled anew.

    Args:
        learner: is changed in place.
        training_set: what to sample from.
        recipe: how to train.
        processes: those that share each batch.
        epoch: number of this epoch, from 0.
        epochs: how many there will be.
        seed: of the order and the augmentation.
    """
    photographs, labels = training_set.photographs, training_set.labels
    device = photographs.device
    size = recipe.image_size(epoch, epochs)
    weights = training_set.weights(size, recipe)
    images = int(np.count_nonzero(weights))
    batch_size = max(1, min(recipe.batch_size, images) // processes.world_size) * processes.world_size
    steps = max(1, images // batch_size)
    rng = np.random.default_rng([seed, epoch])  # an epoch is the same whether resumed or not
    indices = sample_indices(weights, steps * batch_size, rng)
    own_indices = indices.reshape(steps, batch_size)[:, processes.rank :: processes.world_size]
    rng = np.random.default_rng([seed, epoch, 1 + processes.rank])
    batches = augmented_batches(photographs, labels, own_indices, size, recipe.augmentation, rng)

    normalise = Normalise().to(device)
    context = autocast(device)
    learner.network.train()
    hits = torch.zeros(2, len(CLASSES), device=device)  # by class: correct answers, images
    loss_sum = torch.zeros(1, device=device)
    started = time.monotonic()
    description = f"epoch {epoch + 1}/{epochs} at {size} px"
    with tqdm(total=indices.size, desc=description, unit="img", disable=not processes.is_main) as bar:
        for step, batch in enumerate(batches):
            set_learning_rate(learner.optimizer, (epoch + (step + 1) / steps) / epochs, recipe.warm_up)
            pixels = normalise(batch.views).contiguous(memory_format=torch.channels_last)
            with context:
                logits = learner.network(pixels)
            loss = nn.functional.cross_entropy(logits.float(), batch.targets, label_smoothing=recipe.label_smoothing)
            learner.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            learner.optimizer.step()
            learner.average.update_parameters(learner.core)

            correct = (logits.argmax(1) == batch.labels).float()
            hits.index_add_(1, batch.labels, torch.stack([correct, torch.ones_like(correct)]))
            loss_sum += loss.detach()
            bar.update(batch_size)
            if step % 10 == 9 or step == steps - 1:  # reading a value waits for the GPU
                bar.set_postfix(loss=f"{loss_sum.item() / (step + 1):.3f}", bal_acc=f"{mean_recall(hits):.3f}")
    seconds = time.monotonic() - started
    hits, loss_sum = processes.sum(hits), processes.sum(loss_sum)
    return EpochMetrics(
        epoch=epoch + 1,
        size=size,
        loss=round(loss_sum.item() / steps / processes.world_size, 4),
        balanced_accuracy=round(mean_recall(hits), 4),
        images_per_second=round(indices.size / seconds, 1),
    )


def mean_recall(hits: torch.Tensor) -> float:
    """Balanced accuracy from correct answers and images by class, shape (2, C); classes without images are skipped."""
    correct, images = hits[:, hits[1] > 0]
    return float((correct / images).mean())
