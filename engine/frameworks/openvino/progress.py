"""NNCF's progress bars as a report: the counts are NNCF's own, taken where it advances its bars."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.frameworks.contract import Report

TITLES = {
    "Statistics collection": "Collecting statistics of the activations",
    "Mixed-Precision assignment": "Choosing each layer's precision",
    "Applying AWQ": "Applying AWQ",
    "Applying data-aware AWQ": "Applying AWQ",
    "Applying Scale Estimation": "Estimating scales",
    "Applying GPTQ": "Applying GPTQ",
    "Applying Weight Compression": "Compressing the weights",
    "Applying Smooth Quant": "Smoothing activations",
    "Applying Fast Bias correction": "Correcting biases",
}


@contextmanager
def counted(report: Report) -> Iterator[None]:
    """Within it, every outermost progress bar of NNCF is a stage of the report, and none is drawn."""
    from nncf.common.logging.track_progress import track

    depth = [0]
    begun: Counter[str] = Counter()

    def enter(bar: Any) -> Any:
        depth[0] += 1
        bar.counted_total = _total(bar)
        bar.counted_done = 0
        if depth[0] == 1:
            total = None if bar.counted_total is None else float(bar.counted_total)
            title = TITLES.get(bar.description, bar.description)
            begun[title] += 1
            title = title if begun[title] == 1 else f"{title} ({begun[title]})"
            report.stage(title, total, "weights" if bar.weights else "steps")
        return bar

    def leave(bar: Any, kind: Any = None, *_: Any) -> None:
        if depth[0] == 1 and kind is None and bar.counted_total is not None:
            report.progress(float(bar.counted_total))
        depth[0] -= 1

    def update(bar: Any, advance: float, **_: Any) -> None:
        bar.counted_done += int(advance)
        if depth[0] == 1:
            report.progress(float(sum(bar.weights[: bar.counted_done]) if bar.weights else bar.counted_done))

    def iterate(bar: Any) -> Iterator[Any]:
        with bar:
            for item in bar.sequence:
                yield item
                bar.update(1)

    own = {"__enter__": enter, "__exit__": leave, "__iter__": iterate, "update": update}
    kept = {name: getattr(track, name) for name in own}
    for name, function in own.items():
        setattr(track, name, function)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(track, name, function)


def _total(bar: Any) -> float | None:
    if bar.weights:
        return float(sum(bar.weights))
    if bar.total is not None:
        return float(bar.total)
    return float(len(bar.sequence)) if hasattr(bar.sequence, "__len__") else None
