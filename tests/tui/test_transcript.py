import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region

from engine.text import printable
from tui.widgets.transcript import Transcript
from tui.widgets.wrapping import CODE, FENCE, HEADING, PROSE, Wrapping

TRICKY = st.text(
    st.one_of(
        st.sampled_from(
            [*"ab  \n\t`#~|1*", "\u200d", "\ufe0f", "\u0301", "👩", "☺", "❤", "中", "。", "é", "🇩", "🇪", "🏽", "\u00ad"]
        ),
        st.characters(exclude_categories=["Cs", "Cc"]),
    ),
    max_size=120,
)


def _wrap(text: str, width: int, pieces: list[str] | None = None) -> Wrapping:
    wrapping = Wrapping(width)
    for piece in pieces if pieces is not None else [text]:
        wrapping.feed(piece)
    return wrapping


def _cut(text: str, random: random.Random) -> list[str]:
    pieces = []
    while text:
        size = random.randint(1, 7)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@settings(max_examples=400)
@given(text=TRICKY, width=st.integers(2, 30), random=st.randoms(use_true_random=False))
def test_any_cutting_gives_the_same_lines(text: str, width: int, random: random.Random) -> None:
    text = printable(text)
    whole, cut = _wrap(text, width), _wrap(text, width, _cut(text, random))
    assert cut.lines == whole.lines
    assert cut.kinds == whole.kinds
    assert len(whole.lines) == len(whole.kinds)


@settings(max_examples=400)
@given(text=TRICKY, width=st.integers(2, 30))
def test_no_line_is_wider_than_the_width(text: str, width: int) -> None:
    for line in _wrap(printable(text), width).lines:
        assert cell_len(line) <= width


@settings(max_examples=200)
@given(text=TRICKY, width=st.integers(2, 30))
def test_nothing_but_spaces_and_their_marks_is_lost(text: str, width: int) -> None:
    def ink(text: str) -> list[str]:
        return [c for c in text if not c.isspace() and cell_len(c) and c not in "\u200d\ufe0f"]

    assert ink("".join(_wrap(printable(text), width).lines)) == ink(printable(text).replace("\t", " "))


@settings(max_examples=100)
@given(text=st.text(max_size=80), width=st.integers(2, 30))
def test_no_control_character_survives(text: str, width: int) -> None:
    for line in _wrap(printable(text.replace("\r", "")), width).lines:
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in line)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("the quick brown fox", 10, ["the quick", "brown fox"]),
        ("exactly ten", 7, ["exactly", "ten"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("    indented_word_too_long", 10, ["    indent", "ed_word_to", "o_long"]),
        ("one\n\n two", 10, ["one", "", " two"]),
        ("\tx", 10, ["    x"]),
        ("中文字符测试", 5, ["中文", "字符", "测试"]),
        ("ab 中文。", 7, ["ab 中", "文。"]),
        ("e\u0301e\u0301e\u0301", 2, ["e\u0301e\u0301", "e\u0301"]),
        ("aa👩\u200d💻b", 4, ["aa👩\u200d💻", "b"]),
        ("ab☺\ufe0f", 3, ["ab", "☺\ufe0f"]),
        ("word   next", 4, ["word", "next"]),
    ],
)
def test_lines(text: str, width: int, lines: list[str]) -> None:
    assert _wrap(text, width).lines == lines


def test_lines_know_what_they_are() -> None:
    text = "# Title\n#hash\n```python\n# not a title\nx = 1\n```\nend"
    assert _wrap(text, 40).kinds == [HEADING, PROSE, FENCE, CODE, CODE, FENCE, PROSE]


def test_a_long_line_costs_no_more_per_piece_than_a_short_one() -> None:
    wrapping = _wrap("x" * 400_000 + " " + "word " * 40_000, 100)
    assert len(wrapping.lines) > 4000
    wrapping.feed("end")
    assert wrapping.lines[-1].endswith("end")


class Page(App[None]):
    """A transcript alone."""

    CSS = "Transcript { padding: 0; }"

    def compose(self) -> ComposeResult:
        yield Transcript()


def _page(transcript: Transcript) -> list[str]:
    return [transcript.render_line(y).text.rstrip() for y in range(transcript.content_size.height)]


async def test_the_page_shows_who_speaks_and_moves_on_by_half() -> None:
    app = Page()
    async with app.run_test(size=(40, 10)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add("user", "You", "Hello")
        transcript.add("assistant", "tiny")
        tops = set()
        for number in range(20):
            transcript.append(f"line {number}\n")
            transcript.flush()
            tops.add(transcript.top)
            assert f"line {number}" in _page(transcript)
        await pilot.pause()
        assert sorted(tops) == [0, 6, 12, 18]
        transcript.action_home()
        assert _page(transcript)[:4] == ["You", "Hello", "", "tiny"]
        assert not transcript.following
        top = transcript.top
        transcript.append("more\n" * 20)
        transcript.flush()
        assert transcript.top == top
        transcript.action_end()
        assert transcript.following
        assert "more" in _page(transcript)


async def test_only_new_cells_are_drawn() -> None:
    app = Page()
    async with app.run_test(size=(20, 10)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add("assistant", "tiny", "Hello")
        await pilot.pause()
        drawn: list[Region] = []
        refresh = transcript.refresh

        def record(*regions: Region, **options: bool) -> Transcript:
            drawn.extend(regions or [Region(0, 0, 999, 999)])
            return refresh(*regions, **options)

        transcript.refresh = record  # type: ignore[assignment,method-assign]
        transcript.append(" you")
        transcript.flush()
        assert drawn == [Region(5, 1, 4, 1)]
        drawn.clear()
        transcript.append(" wonderful wo")
        transcript.flush()
        assert drawn == [Region(9, 1, 10, 1), Region(0, 2, 2, 1)]
        drawn.clear()
        transcript.append("rldwide x")
        transcript.flush()
        assert drawn == [Region(2, 2, 9, 1)]
        drawn.clear()
        transcript.flush()
        transcript.append("")
        transcript.flush()
        assert drawn == []


async def test_a_word_that_moves_on_is_wiped_where_it_was() -> None:
    app = Page()
    async with app.run_test(size=(20, 10)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add("assistant", "tiny", "some words and extra")
        await pilot.pause()
        transcript.append("ordinary")
        transcript.flush()
        await pilot.pause()
        screen = [strip.text for strip in app.screen._compositor.render_strips()]
        assert screen[1].rstrip() == "some words and"
        assert screen[2].rstrip() == "extraordinary"


async def test_resizing_wraps_anew() -> None:
    app = Page()
    async with app.run_test(size=(40, 10)) as pilot:
        transcript = app.query_one(Transcript)
        text = "The quick brown fox jumps over the lazy dog. " * 4
        transcript.add("assistant", "tiny", text)
        await pilot.resize_terminal(20, 12)
        await pilot.pause()
        assert transcript.entries[0].wrapping.lines == _wrap(text, 20).lines
        await pilot.resize_terminal(60, 12)
        await pilot.pause()
        assert transcript.entries[0].wrapping.lines == _wrap(text, 60).lines
        assert "tiny" in _page(transcript)


async def test_keys_and_wheel_scroll() -> None:
    app = Page()
    async with app.run_test(size=(40, 10)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add("assistant", "tiny", "\n".join(f"line {n}" for n in range(100)))
        transcript.focus()
        await pilot.press("home")
        assert transcript.top == 0
        await pilot.press("pagedown")
        assert transcript.top == 9
        await pilot.press("pageup")
        assert transcript.top == 0
        await pilot.press("end")
        assert "line 99" in _page(transcript)
        assert transcript.following
        top = transcript.top
        event = events.MouseScrollUp(transcript, 1, 1, 0, 0, 0, False, False, False, 1, 1)
        transcript.post_message(event)
        await pilot.pause()
        assert transcript.top == top - 3
        assert not transcript.following


async def test_a_message_can_be_selected_and_is_marked_by_more_than_colour() -> None:
    app = Page()
    async with app.run_test(size=(40, 12)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add("user", "You", "one")
        transcript.add("assistant", "tiny", "two")
        transcript.focus()
        await pilot.press("up")
        assert transcript.selected == 1
        assert "> tiny" in _page(transcript)
        await pilot.press("up")
        assert "> You" in _page(transcript)
        assert "tiny" in _page(transcript)
        await pilot.press("up", "down", "down")
        assert transcript.selected is None
        await pilot.click(transcript, offset=(2, 4))
        assert transcript.selected == 1
        transcript.truncate(1)
        assert transcript.selected is None


async def test_hostile_text_is_drawn_harmless() -> None:
    app = Page()
    async with app.run_test(size=(60, 12)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.add(
            "assistant", "ti\x1b[31mny\n[b]", "\x1b]0;owned\x07[red]not markup[/red] \u202eabc\x9b31m\r\n\x00end"
        )
        await pilot.pause()
        text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "[red]not markup[/red]" in text
        assert "ti�[31mny�[b]" in text
        assert "�]0;owned�" in text
        assert not any(unicodedata.category(c) in ("Cc", "Cs") or c == "\u202e" for c in text.replace("\n", ""))


async def test_an_empty_transcript_bears_everything() -> None:
    app = Page()
    async with app.run_test(size=(40, 10)) as pilot:
        transcript = app.query_one(Transcript)
        transcript.focus()
        await pilot.press("up", "down", "home", "end", "pageup", "pagedown")
        transcript.flush()
        transcript.truncate(0)
        await pilot.click(transcript)
        await pilot.resize_terminal(30, 5)
        assert _page(transcript) == [""] * 5
