"""Speed of the network and of an explanation, compared with torch in float32 and the lime package, in one run.

    make bench                                          on the drawn examples
    .venv/bin/python benchmarks/speed.py PHOTO …        on other photographs
    .venv/bin/python benchmarks/speed.py --device cuda  on a GPU

lime uses its default settings, with torch. Times are medians; on a noisy machine the ratios are more reliable than the
speeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from functools import partial

import numpy as np

from benchmarks.common import CHECKPOINT, add_photo_argument, median_seconds, print_header, print_row

BATCHES = (1, 8, 32)
CUDA_BATCHES = (1, 8, 32, 128)


def main() -> None:
    """Print two tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_photo_argument(p)
    p.add_argument("--device", default="cpu", help="cpu, or a CUDA device (default: %(default)s)")
    arguments = p.parse_args()
    # Imported after parsing, because torch takes seconds.
    import torch
    from lime.lime_image import LimeImageExplainer

    from handler.engines.classifier import Classifier
    from handler.explain.lime.explainer import BUDGETS, Budget, LimeExplainer
    from handler.model.checkpoint import Checkpoint
    from handler.model.images import read_square
    from handler.model.inference import PixelsToProbabilities

    squares = np.stack([read_square(path.read_bytes()) for path in arguments.photo])
    checkpoint = Checkpoint.load(CHECKPOINT)
    ours, device = Classifier(checkpoint, arguments.device), torch.device(arguments.device)
    plain = PixelsToProbabilities(checkpoint).eval().to(device)

    @torch.inference_mode()
    def torch_probabilities(images: np.ndarray) -> np.ndarray:
        return plain(torch.from_numpy(images).to(device))[0].cpu().numpy()

    print_header("images/s", "torch float32", f"ours, {ours.arithmetic}", "ratio", "ours, LIME's samples", "ratio")
    for batch in CUDA_BATCHES if device.type == "cuda" else BATCHES:
        images = np.resize(squares, (batch, *squares.shape[1:]))
        base, answers, samples = (
            batch / median_seconds(partial(engine, images))
            for engine in (torch_probabilities, ours.probabilities, ours.sample_probabilities)
        )
        ratios = f"{answers / base:.1f}", f"{samples / base:.1f}"
        print_row(f"batch {batch}", f"{base:.1f}", f"{answers:.1f}", ratios[0], f"{samples:.1f}", ratios[1])

    count = BUDGETS["Faible"].samples
    all_samples = Budget(count, stability=2)  # unreachable
    label = int(ours.probabilities(squares[:1]).argmax())
    rng = np.random.default_rng(0)
    explain = LimeExplainer(ours.sampler, ours.batch).explain
    no_network = LimeExplainer(lambda *_: lambda m: rng.dirichlet(np.ones(len(ours.classes)), len(m))).explain
    with contextlib.redirect_stderr(io.StringIO()):  # lime's progress bar
        lime = median_seconds(
            lambda: LimeImageExplainer(random_state=0).explain_instance(
                squares[0], torch_probabilities, labels=(label,), top_labels=None, num_samples=count
            ),
            repeats=1,
        )
    mine, rest = (median_seconds(partial(run, squares[0], label, all_samples)) for run in (explain, no_network))
    print_header("seconds for an explanation", "lime as it comes", "ours", "ratio", "ours without the network")
    print_row(f"{count} samples", f"{lime:.2f}", f"{mine:.2f}", f"{lime / mine:.1f}", f"{rest:.2f}")


if __name__ == "__main__":
    main()
