"""The resume file, from which an interrupted run continues after its last complete epoch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from api.arguments import UsageError
from api.files import write_atomically
from evaluate.dataset import DataError, Example
from evaluate.held_out import FRACTION
from evaluate.sources import HELD_OUT_SOURCES
from train.recipe import Recipe


@dataclass(frozen=True)
class RunIdentity:
    """Everything that determines a run's result; a run is resumed only if all of it is the same."""

    epochs: int
    seed: int
    recipe: Recipe
    images: int  # HAM10000's training images
    images_sha256: str  # images_digest() of its training and validation images
    init: str  # origin of the initial weights
    init_sha256: str
    processes: int  # number of processes that share each batch
    before: dict[str, Any] | None = None  # Checkpoint.training of the initial checkpoint, if any
    fold: str | None = None  # the held-out fold, such as 2/5
    sources: dict[str, int] | None = None  # training images of each other source
    sources_sha256: str | None = None  # images_digest() of their training and validation images

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, including those of nested dataclasses.

        None is omitted, so that unused options do not change the identity.
        """
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})


@dataclass
class ResumeState:
    """The state of a run after a complete epoch.

    Attributes:
        epoch: number of completed epochs.
        learner: ``Learner.state_dict()``.
        validation: ``Validation.state_dict()``.
    """

    epoch: int
    learner: dict[str, Any]
    validation: dict[str, Any]

    def save(self, path: Path, identity: RunIdentity) -> None:
        """Write the resume file."""
        with write_atomically(path) as partial:
            torch.save({"identity": identity.as_dict()} | vars(self), partial)


def load_resume_state(path: Path, identity: RunIdentity, verbose: bool = True) -> ResumeState | None:
    """The state of an interrupted run with this identity, or None.

    ``verbose`` prints why a file that exists is ignored.
    """
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        different = differences(dict(content.pop("identity")), identity)
        if not different:
            return ResumeState(**content)
        reason = f"belongs to another run (different: {different})"
    except Exception:  # torch raises pickle, zip and runtime errors alike; any other content has no such keys
        reason = "cannot be read"
    if verbose:
        print(f"{path} {reason} and is ignored")
    return None


def differences(saved: dict[str, Any], identity: RunIdentity) -> str:
    """Describe the fields in which a ``saved`` run differs from ``identity``; empty if none do."""
    descriptions = {
        "images_sha256": "image files or labels",
        "sources_sha256": "image files or labels of other sources",
        "init_sha256": "starting weights",
        "before": "training of the starting weights",
    }
    facts = identity.as_dict()
    names = [field.name for field in fields(identity) if saved.get(field.name) != facts.get(field.name)]
    return ", ".join(descriptions.get(name, name) for name in names)


def refuse_leakage(identity: RunIdentity) -> None:
    """Refuse initial weights that may have been trained on images that this run holds out, as far as is recorded.

    Raises:
        UsageError: an earlier run had the same images and held out others of them, or may have done so.
    """
    facts = identity.as_dict()
    for earlier in _ancestors(identity.before):
        if earlier.get("images_sha256") == identity.images_sha256 and _held_out(earlier) != _held_out(facts):
            raise UsageError(
                "--init was trained on images that this run holds out, so its figures would be too good: start from "
                "weights that were not, or hold out the same images (--fold)"
            )
        for source in HELD_OUT_SOURCES:
            counts = [run.get("sources", {}).get(source) for run in (earlier, facts)]
            if None not in counts and counts[0] != counts[1]:
                raise UsageError(
                    f"--init was trained on {counts[0]} photographs of {source}, and this run would be on {counts[1]}, "
                    "so some that it was trained on may be held out: give the same photographs, or start from weights "
                    "that were not trained on any"
                )


def _ancestors(training: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The metadata of a run and of all runs that it builds on: initial checkpoints, and models of an average."""
    if training:
        yield training
        yield from _ancestors(training.get("before"))
        for part in training.get("mean", ()):
            yield from _ancestors(part["training"])


def _held_out(training: dict[str, Any]) -> tuple[Any, ...]:
    """The settings that determine which images a run holds out."""
    recipe = training.get("recipe", {})
    return training.get("fold") or recipe.get("validation_fraction", FRACTION), recipe.get("split_seed", 0)


def images_digest(examples: list[Example]) -> str:
    """SHA-256 of the content, name, label and lesion of all image files.

    Raises:
        DataError: a file cannot be read.
    """

    def content_digest(example: Example) -> bytes:
        try:
            with example.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"{example.path} cannot be read ({error.strerror})") from None

    digest = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for example, content in zip(examples, executor.map(content_digest, examples), strict=True):
            digest.update(f"{example.path.name}\0{example.label}\0{example.lesion}\0".encode() + content)
    return digest.hexdigest()
