"""Text wrapped to a number of cells while it arrives, each character looked at once.

No screen here: a transcript owns one `Wrapping` per message. Widths are those of `rich.cells`, which Textual uses too.
"""

import re
from functools import lru_cache

from rich.cells import cell_len, get_character_cell_size

TAB = "    "
PROSE, CODE, FENCE, HEADING = "prose", "code", "fence", "heading"

_JOINER, _EMOJI_SELECTOR = "\u200d", "\ufe0f"
_CLOSING = frozenset("、。，．！？：；）」』】〉》〕］｝…")
_TOKEN = re.compile(r"[!-~]+|[^!-~]")
_HEADING = re.compile(r"#{1,6} ")
_HEAD_LENGTH = 8


class Wrapping:
    """Lines no wider than `width` cells (2 at least). However a text is cut into pieces, the lines are the same.

    A line is broken at its last space or beside a wide character, and inside a word only if the word alone is too
    wide. The spaces at a break are dropped. `text` must be printable: no control character but newline and tab.
    """

    def __init__(self, width: int) -> None:
        self.width = max(2, width)
        self.lines = [""]
        self.kinds = [PROSE]
        self._fenced = False
        self._begin_logical_line()

    def feed(self, text: str) -> None:
        """Append text."""
        for number, part in enumerate(text.replace("\t", TAB).split("\n")):
            if number:
                self._end_logical_line()
            if part:
                self._note_head(part)
                for token in _TOKEN.findall(part):
                    if token == " ":
                        self._space()
                    elif token.isascii():
                        self._word(token)
                    else:
                        self._character(token)

    def _begin_logical_line(self) -> None:
        self._head = ""
        self._first = len(self.lines) - 1
        self._clear_line_state()

    def _clear_line_state(self) -> None:
        self._cells = 0
        self._inked = False  # is there anything but spaces in the line?
        self._break: tuple[int, int, int] | None = None  # where it may end, where the next begins, cells up to there
        self._base = 0  # where the last visible character begins
        self._base_cells = 0  # and the cells before it
        self._last = ""  # the last visible character, which an emoji selector may widen
        self._joining = False  # is the next character joined to the last?
        self._dropped_space = False

    def _note_head(self, part: str) -> None:
        """Decide what the line is from its first characters."""
        if len(self._head) >= _HEAD_LENGTH:
            return
        self._head += part[: _HEAD_LENGTH - len(self._head)]
        if self._head.lstrip(" ").startswith(("```", "~~~")):
            kind = FENCE
        elif self._fenced:
            kind = CODE
        else:
            kind = HEADING if _HEADING.match(self._head) else PROSE
        if kind != self.kinds[-1]:
            for index in range(self._first, len(self.kinds)):
                self.kinds[index] = kind

    def _end_logical_line(self) -> None:
        if self.kinds[-1] == FENCE:
            self._fenced = not self._fenced
        self.lines.append("")
        self.kinds.append(CODE if self._fenced else PROSE)
        self._begin_logical_line()

    def _space(self) -> None:
        self._joining = False
        end = len(self.lines[-1])
        fits = self._cells < self.width
        if self._inked:
            self._break = (end, end + fits, self._cells + fits)
        if fits:
            self._base, self._base_cells, self._last = end, self._cells, " "
            self._put(" ", 1)
        else:
            self._last, self._dropped_space = "", True

    def _word(self, word: str) -> None:
        """Part of a word of single-cell characters."""
        self._joining = False
        if self._wide_before():
            self._allow_break()
        while len(word) > (room := self.width - self._cells):
            if self._break is None:
                self._append(word[:room])
                word = word[room:]
            self._wrap(len(self.lines[-1]), self._cells)
        self._append(word)

    def _append(self, word: str) -> None:
        if word:
            self._put(word, len(word))
            self._base, self._base_cells, self._last = len(self.lines[-1]) - 1, self._cells - 1, word[-1]
            self._inked, self._dropped_space = True, False

    def _character(self, character: str) -> None:
        cells = get_character_cell_size(character)
        if self._joining or character in (_JOINER, _EMOJI_SELECTOR) or not cells:
            self._attach(character)
            return
        if character not in _CLOSING and (self._wide_before() or (cells == 2 and self._inked)):
            self._allow_break()
        while self._cells + cells > self.width:
            self._wrap(len(self.lines[-1]), self._cells)
        self._base, self._base_cells, self._last = len(self.lines[-1]), self._cells, character
        self._inked, self._dropped_space = True, False
        self._put(character, cells)

    def _attach(self, mark: str) -> None:
        """A character that takes no cells of its own stays with the one before it."""
        if self._dropped_space:
            return
        self.lines[-1] += mark
        if mark == _EMOJI_SELECTOR and not self._joining and self._last:
            self._cells += _widened(self._last)
            self._last = ""
            if self._cells > self.width:
                self._wrap(self._base, self._base_cells)
        self._joining = mark == _JOINER

    def _wide_before(self) -> bool:
        return bool(self._last) and not self._last.isascii() and get_character_cell_size(self._last) == 2

    def _allow_break(self) -> None:
        end = len(self.lines[-1])
        self._break = (end, end, self._cells)

    def _put(self, text: str, cells: int) -> None:
        self.lines[-1] += text
        self._cells += cells

    def _wrap(self, fallback: int, fallback_cells: int) -> None:
        """Begin a new line with what comes after the last break, or after `fallback`."""
        end, begin, cells_before = self._break or (fallback, fallback, fallback_cells)
        line, rest_cells = self.lines[-1], self._cells - cells_before
        base, base_cells, last, joining = self._base - begin, self._base_cells - cells_before, self._last, self._joining
        self.lines[-1] = line[:end]
        self.lines.append(line[begin:])
        self.kinds.append(self.kinds[-1])
        self._clear_line_state()
        if rest_cells:
            self._cells, self._inked = rest_cells, True
            self._base, self._base_cells, self._last, self._joining = base, base_cells, last, joining


@lru_cache(1024)
def _widened(character: str) -> int:
    """Cells that an emoji selector adds to a character."""
    return cell_len(character + _EMOJI_SELECTOR) - cell_len(character)
