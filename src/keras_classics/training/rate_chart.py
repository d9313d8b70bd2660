"""The chart of a learning-rate range test."""

from __future__ import annotations

from dataclasses import replace

from keras_classics.evaluation.charts import Chart, Line, Mark
from keras_classics.training.rate_finder import RateTest

HEADROOM = 1.25  # above the loss at the beginning; what lies beyond is cut off


def rate_chart(test: RateTest) -> str:
    """An SVG: the loss over the rate, with the suggestion and the recipe's own rate."""
    low, high = min(test.losses), HEADROOM * test.smoothed[0]
    room = 0.05 * (high - low)
    shown = [
        (rate, loss, smoothed)
        for rate, loss, smoothed in zip(test.rates, test.losses, test.smoothed, strict=True)
    ]
    # A line that leaves the chart ends there.
    end = next((i for i, (*_, smoothed) in enumerate(shown) if smoothed > high), len(shown))
    own = Mark(test.own_rate, f"the recipe's {test.own_rate:.2g}")
    marks = [own]
    if test.suggestion is not None:  # the words of both stand back to back
        first = test.own_rate < test.suggestion
        marks = [
            replace(own, side="end" if first else "start"),
            Mark(test.suggestion, f"suggested {test.suggestion:.2g}", "start" if first else "end"),
        ]
    title = f"{test.network} on {test.data}: recipe {test.recipe}, batches of {test.batch_size}"
    chart = Chart(
        name="rates",
        title=title,
        text="The loss of single steps and its mean, while the learning rate rises.",
        x=(test.rates[0], max(test.rates[-1], test.own_rate)),
        y=(max(0.0, low - room), high),
        x_label=f"learning rate of {test.optimizer}, logarithmic",
        y_label=f"loss: {title}",
        x_format=lambda rate: f"{rate:.0e}".replace("e-0", "e-").replace("e+0", "e+"),
        log_x=True,
        width=640,
        height=380,
    )
    return (
        chart.lines(
            [
                Line("each step", "faint", [(rate, loss) for rate, loss, _ in shown[:end]]),
                Line("smoothed", "one", [(rate, smooth) for rate, _, smooth in shown[:end]]),
            ]
        )
        .marks([mark for mark in marks if test.rates[0] <= mark.x])
        .document()
    )
