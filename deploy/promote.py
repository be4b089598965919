"""Pack a trained model and serve it, or go back to the model before; no request is lost.

    python deploy/promote.py [MODEL]       default: model_store/model_mlbio.pth
    python deploy/promote.py --rollback

MODEL needs a score card (``make evaluate``), which must not be worse than that of the model that is served. TorchServe
restarts with the new archive while the gateway holds requests; if the model cannot be loaded, the archive before is
restored. Where no service runs, the archive is put in place for the next start.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from api.archive import ARCHIVE, verify
from api.archive import ArchiveError as ChecksumError
from evaluate.comparison import objections
from gateway.settings import Settings
from handler.engines.graphs import GraphsError, packed_version
from supervisor.keeper import say
from supervisor.processes import ROOT
from supervisor.promotion import PREVIOUS, PromotionError, Replacement, find_service, locked
from supervisor.promotion import promote as restart_with
from train.archive import ArchiveError, build, packed_card, score_card_of

NEXT = "next"
"""Folder in the model store for archives that are to be served, each in its own folder."""

ABANDONED_SECONDS = 86_400.0
"""Age of one that was abandoned."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if the model is refused or does not work, 2 if a file is no good."""
    p = argparse.ArgumentParser(description="Serve another model while the service runs.")
    p.add_argument("model", nargs="?", type=Path, help="checkpoint (default: model_store/model_mlbio.pth)")
    p.add_argument("--rollback", action="store_true", help="go back to the model that was served before")
    p.add_argument("--force", action="store_true", help="whatever the score cards say")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    arguments = p.parse_args(argv)
    if arguments.rollback and arguments.model:
        p.error("--rollback needs no model: it goes back to the one before")
    # Not before the options are read: importing torch takes seconds.
    from handler.model.checkpoint import CheckpointError

    store: Path = arguments.model_store.resolve()
    try:
        if arguments.rollback:
            archive = store / PREVIOUS / ARCHIVE
            if not archive.is_file():
                raise PromotionError("there is nothing to go back to: no model has been promoted here")
            verify(archive)
        else:
            archive = pack(arguments.model or store / "model_mlbio.pth", store, arguments.force)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # so that the archive before is restored
        try:
            serve(archive, store)
        finally:
            if not arguments.rollback:
                shutil.rmtree(archive.parent, ignore_errors=True)
    except PromotionError as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 1
    except (ArchiveError, CheckpointError, ChecksumError, GraphsError, OSError) as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npromote: interrupted: the model is not changed", file=sys.stderr)
        return 130
    return 0


def pack(model: Path, store: Path, force: bool) -> Path:
    """The archive of ``model``, in a folder of the model store.

    Raises:
        PromotionError: it has no score card, or a worse one than the model that is served.
        CheckpointError, ArchiveError, OSError: it cannot be packed.
    """
    card = score_card_of(model)
    served = packed_card(store / ARCHIVE)
    if not force:
        if card is None:
            raise PromotionError(
                f"{model} has no score card of its own in {model.parent / 'score_card'}: make one with "
                f"`python evaluate/main_evaluate.py DATA --modelname {model} --output {model.parent / 'score_card'}`"
            )
        if served and (found := objections(card, served)):
            raise PromotionError("\n".join([f"{model} is not promoted (--force does it all the same):", *found]))
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


def serve(archive: Path, store: Path) -> None:
    """Serve ``archive``: at once where a service runs, else from its next start.

    Raises:
        PromotionError: it does not work, or another promotion is under way.
        OSError: it cannot be put in place.
    """
    version = packed_version(archive)
    settings = Settings.from_environment()
    with locked(store):
        if service := find_service(settings):
            started = time.monotonic()
            restart_with(archive, service, settings, lambda text: say(f"{text} ..."))
            say(f"the service answers with {version} after {time.monotonic() - started:.0f} s")
        else:
            Replacement(archive, store).commit()
            say(f"no service of yours runs at {settings.url} (MLBIO_PORT): {version} is in place for the next start")
    say("`make archive` would go back to model_store/model_mlbio.pth; --rollback goes back to the model before")


if __name__ == "__main__":
    sys.exit(main())
