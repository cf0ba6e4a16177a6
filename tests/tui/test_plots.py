"""Plots in characters: where things are put, and what is done where there is no room or nothing to draw."""

from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.plots import Bar, Point, Series, bars, over_categories, scatter

ODD = st.floats(-1e-9, 1e9)
SIZES = st.tuples(st.integers(0, 130), st.integers(0, 50))


def test_a_scatter_has_the_fastest_on_the_right_and_the_nearest_to_the_source_below() -> None:
    points = [Point("A", 50, 0.0), Point("B", 100, 0.4), Point("C", 100, 0.1)]
    rows = scatter(points, "tokens/s", "KL", 60, 20).plain.splitlines()
    places = {letter: (row.index(letter), at) for at, row in enumerate(rows[1:-2]) for letter in "ABC" if letter in row}
    assert places["A"][0] < places["B"][0] == places["C"][0]
    assert places["B"][1] < places["C"][1] < places["A"][1]
    assert rows[1].startswith("  0.400 ┤")
    assert "100" in rows[-2]


def test_letters_that_meet_stand_beside_each_other() -> None:
    drawn = over_categories([Series(letter, [10.0, None]) for letter in "ABC"], ["32", "512"], "x", "y", 60, 14).plain
    assert "CAB" in drawn or "ABC" in drawn
    assert drawn.count("A") == 1


def test_bars_are_as_long_as_their_values_say() -> None:
    rows = bars([Bar("A", 100, "100 MiB"), Bar("B", 50, "50 MiB"), Bar("C", 0, "none")], "Memory", 60, 10).plain
    first, second, third = rows.splitlines()[1:]
    assert first.count("█") == 2 * second.count("█") + second.count("▌")
    assert "█" not in third


def test_nothing_to_draw_and_no_room_are_said() -> None:
    assert scatter([], "x", "y", 60, 20).plain == "Nothing was measured that could be drawn."
    assert scatter([Point("A", 1, 1)], "x", "y", 20, 20).plain == "No room for a plot."
    assert over_categories([Series("A", [None])], ["1"], "x", "y", 60, 20).plain.startswith("Nothing")
    assert over_categories([Series("A", [1.0])], ["1"], "x", "y", 60, 5).plain == "No room for a plot."


@given(st.lists(st.tuples(ODD, ODD), max_size=40), SIZES)
def test_whatever_is_drawn_stays_within_its_cells(values: list[tuple[float, float]], size: tuple[int, int]) -> None:
    width, height = size
    points = [Point("A", max(0.0, x), y) for x, y in values]
    shown = [
        scatter(points, "tokens/s", "KL divergence", width, height),
        over_categories([Series("B", [point.x, None]) for point in points], ["32", "2,048"], "x", "y", width, height),
    ]
    for text in (each.plain for each in shown):
        if not text.startswith(("No room", "Nothing")):
            assert max(map(len, text.splitlines())) <= width
            assert len(text.splitlines()) <= height
