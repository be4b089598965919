"""Train the ResNet34 on a folder laid out like HAM10000, and keep the best epoch.

    python train/main_train.py ../shared/ham10000 --init ../shared/weights/resnet34_imagenet_init.safetensors
    python train/main_train.py DATA --epochs 30 --modelname model_store/mine.pth
    torchrun --nproc_per_node=2 train/main_train.py DATA
    python train/main_train.py DATA --fold 2/5 --modelname folds/fold_2.pth
    python train/main_train.py ../shared/ham10000 --also ../shared/elsewhere
    python train/main_train.py DATA --check

``root`` holds HAM10000_metadata.csv, HAM10000_images_train/ and HAM10000_images_test/ (subfolders are searched), or
HAM10000 as downloaded, of which a fifth of the lesions is for testing. ``--check`` lists everything that is wrong with
it. Only the training images are read: a tenth of their lesions is held out to select the epoch and to fit bias,
temperature and thresholds. The test images are for evaluate/main_evaluate.py alone. ``--also`` adds photographs of
other sources (``evaluate/sources.py``), of which parts are held out as well. An interrupted run continues after its
last complete epoch when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from api.arguments import UsageError, not_negative, positive
from evaluate.arguments import add_also_option
from evaluate.dataset import FOLDERS, METADATA, DataError, Fold
from train.check import check

if TYPE_CHECKING:
    from train.recipe import Recipe


def main(argv: list[str] | None = None, recipe: Recipe | None = None) -> int:
    """Run the command line with the default recipe or another one; returns the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.check:
        return check(arguments.root, arguments.also)
    # Not before the options are read: importing torch takes seconds.
    from train.hardware import Processes
    from train.training import recipe_for, train

    processes = Processes.from_environment()
    try:
        train(arguments, recipe or recipe_for(arguments), processes)
    except (DataError, UsageError) as error:
        if processes.is_main:
            print(f"main_train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command resumes after the last complete epoch", file=sys.stderr)
        return 130
    finally:
        processes.close()
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(
        description="Train the skin-lesion classifier on a folder laid out like HAM10000; the best epoch is kept."
    )
    p.add_argument(
        "root", help=f"folder with {METADATA}, {FOLDERS['train']}/ and {FOLDERS['test']}/, or HAM10000 as downloaded"
    )
    add_also_option(p)
    p.add_argument(
        "--check", action="store_true", help="list what is wrong with the data and the classes; train nothing"
    )
    p.add_argument("--epochs", type=positive, default=15, help="passes over the training images (default: 15)")
    p.add_argument(
        "--modelname",
        default="model_store/model_mlbio.pth",
        help="file to write (default: model_store/model_mlbio.pth)",
    )
    p.add_argument("--init", help="weights to start from (.safetensors or .pth; default: torchvision's ImageNet ones)")
    p.add_argument("--seed", type=not_negative, default=0, help="seed of the order and the augmentation (default: 0)")
    p.add_argument(
        "--fold",
        type=Fold.parse,
        metavar="K/N",
        help="hold out the Kth of N folds instead of the validation part, and write its answers next to the model "
        "(.csv)",
    )
    p.add_argument("--cameras", action="store_true", help="vary blur, noise, compression and colours as cameras do")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


if __name__ == "__main__":
    code = main()
    if "torch" not in sys.modules:  # --check
        sys.exit(code)
    from train.hardware import Processes

    Processes.from_environment().exit(code)
