"""Options: what may be set for a conversion to one precision, kept for it until it is set back."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from tui.screens.page import Page
from tui.widgets.cells import heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.frameworks.contract import Framework, Option
    from engine.settings import Settings

COLUMNS = (Column("Option"), Column("Value", grows=True), Column("Set by"))


class OptionsScreen(Page):
    """Takes a framework and a precision, and keeps the user's values in the settings.

    `check` is called with them off the loop after every change, and raises EdgewiseError for values that will not do.
    """

    STATION = "Precision"
    HELP = """
What may be set for a conversion to this precision. Below the table is what the option under the cursor means; where
the value is a file, also what the file may use: Tab goes there, arrows scroll.

Enter changes an option, x sets it back to its default. What you set is kept for this precision, also for other models
and after a restart. A value that will not do is told at once, and stays until you change it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("x", "reset", "Default", id="options.reset")]

    def __init__(self, framework: "Framework", precision: str, check: Callable[[Mapping[str, str]], object]) -> None:
        super().__init__()
        self.framework, self.precision, self._check = framework, precision, check
        self._options = {option.name: option for option in framework.options(precision)}

    def body(self) -> ComposeResult:
        """What is being set, a row for each option, the meaning of one."""
        yield Static(Content.assemble(strong(self.precision), muted(f"  with {self.framework.title}")), classes="line")
        yield Table(COLUMNS, enter="Change", id="options")
        with VerticalScroll(id="meaning", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table, the cursor on the first option; values that will not do any more are told."""
        self._show()
        self.query_one(Table).options.focus()
        if kept := own_values(self.framework, self.precision, self.edgewise.settings):
            self._try(kept)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Explain the option under the cursor, from its beginning."""
        self._explain(event.option_id or "")
        self.query_one("#meaning").scroll_home(animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Ask for another value: one of the choices, or a text where there are none."""
        from tui.screens.dialog import Dialog

        option = self._options[event.option_id or ""]
        value = self._value(option)
        choices = _choices(option, value, self.framework)
        entry = "" if choices else f"empty is the default: {option.default or 'none'}"
        dialog = Dialog(lines(strong(option.title), muted(option.help)), choices, value, entry)
        self.app.push_screen(dialog, lambda chosen: None if chosen is None else self._set(option, chosen))

    def action_reset(self) -> None:
        """Set the option under the cursor back to its default."""
        if (option := self._options.get(self.query_one(Table).key or "")) is not None:
            self._set(option, "")

    def _set(self, option: "Option", value: str) -> None:
        settings = self.edgewise.settings
        kept = own_values(self.framework, self.precision, settings)
        kept.pop(option.name, None)
        if value and value != option.default:
            kept[option.name] = value if option.choices else _full_path(value)
        everything = {**settings.options, self.precision: kept}
        self.edgewise.remember(options={precision: values for precision, values in everything.items() if values})
        self._show()
        self._explain(option.name)
        self._try(kept)

    def _try(self, values: Mapping[str, str]) -> None:
        self.in_thread(partial(self._check, values), lambda _: self.say())

    def _value(self, option: "Option") -> str:
        return own_values(self.framework, self.precision, self.edgewise.settings).get(option.name, option.default)

    def _show(self) -> None:
        self.query_one(Table).update([self._row(option) for option in self._options.values()])

    def _row(self, option: "Option") -> Row:
        value = self._value(option)
        origin = muted("· default") if value == option.default else Content.styled("● you", "$text-primary")
        return row(option.name, plain(option.title), _shown(option, value, self.framework), origin)

    def _explain(self, name: str) -> None:
        if option := self._options.get(name):
            self.query_one("#meaning Static", Static).update(meaning(option, self._value(option), self.framework))


def meaning(option: "Option", value: str, framework: "Framework") -> Content:
    """What an option is for, what it is, what it may be, and the words of the file that it names, if it names one."""

    def told(label: str, *what: Content) -> Content:
        return Content.assemble((f"{label:<9}", "$foreground-muted"), *what)

    found = [
        heading(option.title),
        plain(option.help),
        told("Value", _shown(option, value, framework)),
        told("Default", _shown(option, option.default, framework)),
    ]
    if option.choices:
        found.append(told("Choices", plain(", ".join(option.choices))))
    found.append(told("Command", muted(f"edgewise convert … --set {option.name}={quote(value) if value else '…'}")))
    if option.parts:
        found += [Content(""), heading(f"What the {option.name} may use")]
        found += [Content.assemble(strong(name), "  ", plain(what)) for name, what in option.parts]
    return lines(*found)


def own_values(framework: "Framework", precision: str, settings: "Settings") -> dict[str, str]:
    """The user's own values for a precision; those that the framework does not know (any more) are passed over."""
    options = {option.name: option for option in framework.options(precision)}
    return {
        name: value
        for name, value in settings.options.get(precision, {}).items()
        if name in options and (not options[name].choices or value in options[name].choices)
    }


def needed(framework: "Framework", precision: str) -> "Option | None":
    """The option without which there is no conversion: one that neither has a default nor is left to the framework."""
    wanting = (option for option in framework.options(precision) if not (option.default or option.choices))
    return next(wanting, None)


def differences(framework: "Framework", precision: str, values: Mapping[str, str]) -> str:
    """What differs from the defaults on one line: "group_size=64, awq=yes", or "" where nothing does."""
    told = [(option, values.get(option.name, option.default)) for option in framework.options(precision)]
    return ", ".join(f"{option.name}={value}" for option, value in told if value != option.default)


def _shown(option: "Option", value: str, framework: "Framework") -> Content:
    """A value in words: a conversion chooses what is left open, but no file."""
    if not value:
        return muted(f"left to {framework.title}" if option.choices else "none")
    return plain(value) if value == option.default else strong(value)


def _choices(option: "Option", now: str, framework: "Framework") -> list[tuple[str, Content]]:
    """Key and words of each choice; leaving it to the framework is one where that is the default."""
    if not option.choices:
        return []
    keys = option.choices if option.default in option.choices else (option.default, *option.choices)
    marks = {key: "● " if key == now else "  " for key in keys}
    default = muted("  default")
    return [
        (key, Content.assemble(marks[key], _shown(option, key, framework), default if key == option.default else ""))
        for key in keys
    ]


def _full_path(text: str) -> str:
    """A file's path, good in any folder; other text as it is."""
    with contextlib.suppress(OSError, RuntimeError):
        path = Path(text).expanduser()
        return str(path.absolute()) if path.is_file() else text
    return text
