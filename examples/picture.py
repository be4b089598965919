"""Make explanation.png: the drawn examples, with their explanations below.

python examples/picture.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from api.classes import CLASSES
from api.photograph import open_photograph
from handler.engines.classifier import Classifier
from handler.explain.lime.explainer import BUDGETS, LimeExplainer
from handler.model.checkpoint import Checkpoint
from handler.model.images import SIZE, network_square

HERE = Path(__file__).resolve().parent
GAP, CAPTION = 8, 40  # pixels


def main() -> None:
    """Explain every drawn example and write the picture."""
    classifier = Classifier(Checkpoint.load(HERE.parent / "model_store/model_mlbio.pth"))
    explainer = LimeExplainer(classifier.sampler)
    paths = sorted(HERE.glob("drawn_*.jpg"))
    sheet = Image.new("RGB", (len(paths) * (SIZE + GAP) + GAP, 2 * SIZE + 3 * GAP + CAPTION), "white")
    write = ImageDraw.Draw(sheet)
    for i, path in enumerate(paths):
        square = network_square(open_photograph(path.read_bytes()))
        row = classifier.probabilities(square[None])[0]
        label = int(row.argmax())
        overlay = explainer.explain(square, label, BUDGETS["Importante"]).overlay
        left = GAP + i * (SIZE + GAP)
        sheet.paste(Image.fromarray(square), (left, GAP))
        sheet.paste(Image.fromarray(overlay), (left, SIZE + 2 * GAP))
        caption = f"{CLASSES[classifier.classes[label]]}\n{row[label]:.0%}"
        write.multiline_text((left, 2 * SIZE + 3 * GAP), caption, "black", ImageFont.load_default(14))
    sheet.save(HERE / "explanation.png", optimize=True)


if __name__ == "__main__":
    main()
