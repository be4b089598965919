"""Whether a new model may replace the one that is served, by their score cards."""

from __future__ import annotations

from evaluate.figures import Figure
from evaluate.score_card import ScoreCard

HIGHER_IS_BETTER = ("accuracy", "balanced_accuracy", "macro_auroc")
LOWER_IS_BETTER = ("expected_calibration_error",)


def objections(new: ScoreCard, served: ScoreCard) -> list[str]:
    """Why not, a line for each reason: a figure of the new model that is outside the served one's interval.

    Two models of which neither is better differ by chance, and so may replace each other.
    """
    if (new.images, new.lesions) != (served.images, served.lesions):
        return [
            f"its score card is of {new.images} images ({new.lesions} lesions) and that of the served model of "
            f"{served.images} ({served.lesions}): make both of the same images"
        ]
    found = []
    for names, sign in ((HIGHER_IS_BETTER, 1), (LOWER_IS_BETTER, -1)):
        for name in names:
            figure: Figure = getattr(new.metrics, name)
            other: Figure = getattr(served.metrics, name)
            limit = other.low if sign == 1 else other.high
            if figure.value is None or limit is None or other.value is None:
                continue
            if sign * figure.value < sign * limit:
                comparison = "below" if sign == 1 else "above"
                found.append(
                    f"{name.replace('_', ' ')} {figure.value:.3f} is {comparison} {limit:.3f}, the end of the interval "
                    f"of the served model's {other.value:.3f}"
                )
    return found
