"""Pack a trained model and serve it, or go back to the previous one; no request is lost.

    python deploy/promote.py [MODEL]       default: model_store/model_mlbio.pth
    python deploy/promote.py --rollback

MODEL needs a score card (``make evaluate``), which must not be worse than that of the model that is served. The new
archive is loaded in a process of its own first, and refused if that fails. Then TorchServe restarts with it while the
gateway holds requests; if it does not predict there, the previous archive is restored. Where no service runs, the
archive is put in place for the next start.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from api.archive import ARCHIVE, ArchiveError, verify
from evaluate.comparison import regressions
from gateway.settings import Settings
from handler.engines.graphs import GraphsError, packed_version
from supervisor.processes import ROOT, print_message
from supervisor.promotion import PREVIOUS, PromotionError, promote, promotion_lock, replace_archive
from supervisor.runtime import find_service
from train.archive import PackError, build, packed_card, score_card_of

NEXT = "next"
"""Folder in the model store for the new archive."""

LOAD_SECONDS = 240.0
"""Time limit of loading an archive, on the slowest machine."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if the model is refused or does not work, 2 if a file is unusable."""
    p = argparse.ArgumentParser(description="Serve another model while the service runs.")
    p.add_argument("model", nargs="?", type=Path, help="checkpoint (default: model_store/model_mlbio.pth)")
    p.add_argument("--rollback", action="store_true", help="go back to the previously served model")
    p.add_argument("--force", action="store_true", help="even if the score card is missing or worse")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    arguments = p.parse_args(argv)
    if arguments.rollback and arguments.model:
        p.error("--rollback takes no model: it goes back to the previous one")
    if not arguments.model_store.is_dir():
        p.error(f"--model-store {arguments.model_store} is not a folder")
    # After the options are parsed, because importing torch takes seconds.
    from handler.model.checkpoint import CheckpointError

    store: Path = arguments.model_store.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that the previous archive is restored
    try:
        with promotion_lock(store):
            try:
                if arguments.rollback:
                    archive = store / PREVIOUS / ARCHIVE
                    if not archive.is_file():
                        raise PromotionError("there is nothing to go back to: no model has been promoted here")
                    verify(archive)
                else:
                    archive = pack(arguments.model or store / "model_mlbio.pth", store, arguments.force)
                serve(archive, store)
            finally:
                shutil.rmtree(store / NEXT, ignore_errors=True)
    except PromotionError as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 1
    except (PackError, CheckpointError, ArchiveError, GraphsError, OSError) as error:
        print(f"promote: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npromote: interrupted: the model is not changed", file=sys.stderr)
        return 130
    return 0


def pack(model: Path, store: Path, force: bool) -> Path:
    """Make the archive of ``model`` in the model store.

    Raises:
        PromotionError: it has no score card, or a worse one than the model that is served.
        CheckpointError, PackError, OSError: it cannot be packed.
    """
    if not model.is_file():
        raise FileNotFoundError(f"{model} does not exist")
    card = score_card_of(model)
    served = packed_card(store / ARCHIVE)
    if not force:
        if card is None:
            raise PromotionError(
                f"{model} has no score card of its own in {model.parent / 'score_card'}: make one with "
                f"`python evaluate/main_evaluate.py DATA --modelname {model} --output {model.parent / 'score_card'}`"
            )
        if served and (found := regressions(card, served)):
            raise PromotionError("\n".join([f"{model} is not promoted (--force overrides this):", *found]))
    if card:
        figures = card.metrics
        print(f"accuracy {figures.accuracy.value:.3f}, balanced accuracy {figures.balanced_accuracy.value:.3f}")
    archive = store / NEXT / ARCHIVE
    print(f"packing {model} ...", flush=True)
    build(model, archive)
    return archive


def require_loadable(archive: Path) -> None:
    """Load ``archive`` and classify a picture in a separate process, as a worker would (``deploy/try_archive.py``).

    Raises:
        PromotionError: this failed.
    """
    print_message("trying the new archive ...")
    with tempfile.TemporaryDirectory() as folder:
        python_path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))  # TorchServe's order
        try:
            with zipfile.ZipFile(archive) as files:
                files.extractall(folder)
            tried = subprocess.run(
                [sys.executable, str(ROOT / "deploy/try_archive.py"), folder],
                env=os.environ | {"PYTHONPATH": python_path},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=LOAD_SECONDS,
            )
        except (zipfile.BadZipFile, subprocess.TimeoutExpired) as error:
            raise PromotionError(f"the model cannot be loaded: {error}") from None
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        raise PromotionError(f"the model cannot be loaded: {reason}\nthe model that is served has not changed")


def serve(archive: Path, store: Path) -> None:
    """Serve ``archive``: at once if a service is running, otherwise from its next start.

    Raises:
        PromotionError: the archive is not served.
        OSError: the archive cannot be replaced.
    """
    version = packed_version(archive)
    settings = Settings.from_environment()
    require_loadable(archive)
    if service := find_service(settings):
        started = time.monotonic()
        promote(archive, service, settings, lambda text: print_message(f"{text} ..."))
        print_message(f"the service answers with {version} after {time.monotonic() - started:.0f} s")
    else:
        with replace_archive(archive, store):
            pass
        print_message(
            f"no service of yours runs at {settings.url} (MLBIO_PORT): {version} is in place for the next start"
        )
    print_message("`make archive` goes back to model_store/model_mlbio.pth, --rollback to the previous model")


if __name__ == "__main__":
    sys.exit(main())
