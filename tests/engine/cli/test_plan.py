from engine.advice.records import Cost, Estimate, Plan, Step
from engine.cli.plan import plan_lines
from engine.cli.table import cells

FETCH = Step(
    "fetch",
    "fetch_model",
    "Fetch the model",
    cost=Cost(
        Estimate(93 << 20, "the index says so", measured=True),
        Estimate(98 << 20),
        Estimate(0),
        Estimate(30, "10 Mbit/s"),
    ),
)
BUILD = Step(
    "build",
    "environment",
    "Build llama.cpp",
    "llamacpp-run",
    cost=Cost(Estimate(0), Estimate(400 << 20), Estimate(700 << 20), Estimate(200, "a similar machine")),
)


def plan(*steps: Step) -> Plan:
    return Plan("Quantize tiny to Q4_K_M", "llamacpp", "tiny", "Q4_K_M", steps, ("It is quantized already.",))


def test_a_plan_names_costs_bases_sums_and_warnings() -> None:
    assert plan_lines(plan(FETCH, BUILD)) == [
        "Quantize tiny to Q4_K_M",
        "  1. Fetch the model",
        "     download 93.0 MiB, disk ≈98.0 MiB, time ≈30 s",
        "       (download: the index says so)",
        "       (time: 10 Mbit/s)",
        "  2. Build llama.cpp [llamacpp-run]",
        "     disk ≈400 MiB, memory ≈700 MiB, time ≈3 min 20 s",
        "       (time: a similar machine)",
        "  In all: download 93.0 MiB, disk 498 MiB, memory 700 MiB, time 3 min 50 s",
        "  Warning: It is quantized already.",
    ]


def test_what_is_present_costs_nothing() -> None:
    here = Step("fetch", "fetch_model", "Fetch the model", present=True)
    assert plan_lines(plan(here))[1:3] == ["  1. Fetch the model – already there", "  In all: nothing left to do"]


def test_an_unknown_cost_stays_unknown() -> None:
    unknown = Step("x", "x", "Guess", cost=Cost(Estimate(0), Estimate(1 << 20), Estimate(), Estimate()))
    lines = plan_lines(plan(unknown, BUILD))
    assert lines[2] == "     disk ≈1.0 MiB; memory, time unknown"
    assert lines[-2].startswith(
        "  In all: download 0 B, disk 401 MiB, memory 700 MiB and an unknown part, time 3 min 20 s and"
    )


def test_a_plan_fits_twenty_columns() -> None:
    assert all(cells(line) <= 20 for line in plan_lines(plan(FETCH, BUILD), 20))
