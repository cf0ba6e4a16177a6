"""How long the table of predictions takes for all precisions of all frameworks, the catalogue read before.

`python -m benchmarks.prediction_table`. Status 1 where 40 rows take over 50 ms.
"""

import statistics
import sys
import time

from engine.advice import load_catalogue
from engine.advice.forecasting import forecast
from engine.advice.tree import FRAMEWORKS
from engine.cli.plan import estimate_text
from engine.cli.table import table
from engine.hardware import probe
from engine.models import packaged_card
from engine.text import human_bytes

ROWS, BUDGET_S, RUNS = 40, 0.05, 20


def main() -> int:
    """Predict and lay out the rows again and again, and print the median."""
    catalogue, hardware, card = load_catalogue(), probe(), packaged_card()
    took, count = [], 0
    for _ in range(RUNS):
        started = time.perf_counter()
        rows = [row for name in FRAMEWORKS for row in forecast(catalogue, name, hardware, card, 4096)]
        cells = [
            (row.title, *(estimate_text(one, human_bytes) for one in (row.size_bytes, row.memory_bytes)))
            for row in rows
        ]
        lines = table(("Precision", "Size", "Memory"), cells, 100, right=(1, 2))
        took.append((time.perf_counter() - started) * ROWS / len(rows))
        count = len(lines) - 1
    median = statistics.median(took)
    print(f"{count} rows; {ROWS} take {1000 * median:.1f} ms, budget {1000 * BUDGET_S:.0f} ms")  # noqa: T201
    return int(median > BUDGET_S)


if __name__ == "__main__":
    sys.exit(main())
