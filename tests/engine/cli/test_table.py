from hypothesis import given
from hypothesis import strategies as st

from engine.cli.table import cells, fit, table, wrap


def test_fit_cuts_with_a_mark_and_counts_wide_characters_twice() -> None:
    assert fit("quantize", 8) == "quantize"
    assert fit("quantizer", 8) == "quantiz…"
    assert fit("量子化モデル", 5) == "量子…"
    assert fit("anything", None) == "anything"


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_fit_never_exceeds_the_width_nor_lets_a_control_character_through(text: str, width: int) -> None:
    shown = fit(text, width)
    assert cells(shown) <= width
    assert not any(character in shown for character in "\x1b\r\n\t\x9b")


def test_table_aligns_columns() -> None:
    assert table(("Model", "Size"), [("a", "12 KiB"), ("longer", "9 B")], right=(1,)) == [
        "Model     Size",
        "a       12 KiB",
        "longer     9 B",
    ]


def test_a_narrow_table_goes_on_in_the_next_line() -> None:
    assert table(("Id", "Title", "Size"), [("1", "a title that is too long", "2 B")], width=30, right=(2,)) == [
        "Id  Title                 Size",
        "1   a title that is too    2 B",
        "    long",
    ]


def test_a_very_narrow_table_becomes_blocks() -> None:
    assert table(("Model", "Parameters", "Size"), [("tiny", "135 million", "98 MiB"), ("b", "1", "2")], width=20) == [
        "Model: tiny",
        "Parameters: 135",
        "million",
        "Size: 98 MiB",
        "",
        "Model: b",
        "Parameters: 1",
        "Size: 2",
    ]


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=4), st.integers(min_value=10, max_value=60))
def test_no_line_of_a_table_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    assert all(cells(line) <= width for line in table(("Aa", "Bb", "Cc"), rows, width))


def test_a_cell_cannot_break_its_row() -> None:
    assert table(("A",), [("x\ny\x1b[2J",)]) == ["A", "x�y�[2J"]


def test_wrap_indents_every_line_and_leaves_text_whole_without_a_width() -> None:
    assert wrap("one two three four", 10, "  ") == ["  one two", "  three", "  four"]
    assert wrap("one two three four", None, "  ") == ["  one two three four"]
