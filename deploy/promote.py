"""Pack a trained model and change to it while the service runs; no request is lost. Or go back to the one before.

    python deploy/promote.py [MODEL]       default: model_store/model_mlbio.pth
    python deploy/promote.py --rollback

MODEL needs a score card (``make evaluate``), which must not be worse than that of the model that is served. Where no
service runs, the archive is put in place for the next start.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from evaluate.gate import objections
from gateway.archive import ArchiveError as ChecksumError
from gateway.archive import verify
from gateway.control import NotRunning, Order, ask
from gateway.exchange import PREVIOUS, ExchangeError, install
from gateway.processes import ARCHIVE, ROOT
from gateway.settings import Settings
from handler.graphs import GraphsError, packed_version
from train.archive import ArchiveError, build, packed_card, score_card_of

NEXT = "next"
"""Folder in the model store where archives wait, each in a folder of its own."""

ABANDONED_SECONDS = 86_400.0
"""Age of one that nobody waits for any more."""


class PromoteError(RuntimeError):
    """Nothing has changed. The message says why."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where nothing was changed, 2 where it cannot work as it was given."""
    p = argparse.ArgumentParser(description="Change to another model while the service runs.")
    p.add_argument("model", nargs="?", type=Path, help="checkpoint (default: model_store/model_mlbio.pth)")
    p.add_argument("--rollback", action="store_true", help="go back to the model that was served before")
    p.add_argument("--force", action="store_true", help="whatever the score cards say")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    arguments = p.parse_args(argv)
    if arguments.rollback and arguments.model:
        p.error("--rollback needs no model: it goes back to the one before")
    # Not before the options are read: importing torch takes seconds.
    from handler.checkpoint import CheckpointError

    store: Path = arguments.model_store.resolve()
    try:
        if arguments.rollback:
            archive = store / PREVIOUS / ARCHIVE
            if not archive.is_file():
                raise PromoteError("there is nothing to go back to: no model has been promoted here")
            verify(archive)
        else:
            archive = pack(arguments.model or store / "model_mlbio.pth", store, arguments.force)
        try:
            change(archive, store)
        except Exception:  # but not Ctrl-C: then the change may go on
            if not arguments.rollback:
                shutil.rmtree(archive.parent, ignore_errors=True)
            raise
    except (PromoteError, ExchangeError) as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 1
    except (ArchiveError, CheckpointError, ChecksumError, GraphsError, OSError) as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npromote: interrupted; a change that has begun goes on (see the service's output)", file=sys.stderr)
        return 130
    return 0


def pack(model: Path, store: Path, force: bool) -> Path:
    """The archive of ``model``, in a folder of the model store.

    Raises:
        PromoteError: it has no score card, or a worse one than the model that is served.
        CheckpointError, ArchiveError, OSError: it cannot be packed.
    """
    card = score_card_of(model)
    served = packed_card(store / ARCHIVE)
    if not force:
        if card is None:
            raise PromoteError(
                f"{model} has no score card of its own in {model.parent / 'score_card'}: make one with "
                f"`python evaluate/main_evaluate.py DATA --modelname {model} --output {model.parent / 'score_card'}`"
            )
        if served and (found := objections(card, served)):
            raise PromoteError("\n".join([f"{model} is not promoted (--force does it all the same):", *found]))
    if card:
        figures = card.metrics
        print(f"accuracy {figures.accuracy.value:.3f}, balanced accuracy {figures.balanced_accuracy.value:.3f}")
    folder = store / NEXT
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        with contextlib.suppress(OSError):  # of another promotion, which has ended meanwhile
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    # Another promotion may be under way.
    archive = Path(tempfile.mkdtemp(dir=folder), ARCHIVE)
    print(f"packing {model} ...", flush=True)
    try:
        build(model, archive)
    except BaseException:
        shutil.rmtree(archive.parent, ignore_errors=True)
        raise
    return archive


def change(archive: Path, store: Path) -> None:
    """Serve ``archive``: at once where a service runs, else from its next start.

    Raises:
        ExchangeError: the service does not take it.
        OSError: it cannot be moved.
    """
    version = packed_version(archive)
    try:
        ask(Settings.from_environment(), Order(str(archive), version), lambda text: print(text, flush=True))
        print(f"the service answers with {version}")
    except NotRunning as nobody:
        install(archive, store)
        print(f"{nobody}: {version} is in place for the next start")
    if archive.parent.parent == store / NEXT:
        shutil.rmtree(archive.parent, ignore_errors=True)
    print("`make archive` would go back to model_store/model_mlbio.pth; --rollback goes back to the model before")


if __name__ == "__main__":
    sys.exit(main())
