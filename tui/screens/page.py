"""What all screens share: trail, body, a place for notices, footer, help, back, and work in threads."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from engine.errors import EdgewiseError
from engine.text import printable
from tui.widgets.trail import Trail

if TYPE_CHECKING:
    from tui.app import EdgewiseApp

T = TypeVar("T")


class Page(Screen[None]):
    """A screen that shows one noun. Subclasses give `body`, a HELP text and their place on the trail."""

    PLACE = ""
    """The name to return to after a restart; "" for screens that are not returned to."""
    STATION: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", id="page.back")]

    @property
    def edgewise(self) -> "EdgewiseApp":
        """The application, typed."""
        return cast("EdgewiseApp", self.app)

    def body(self) -> ComposeResult:
        """The widgets between the trail and the footer."""
        yield from ()

    def compose(self) -> ComposeResult:
        """Trail, body, notice and footer."""
        yield Trail(self.STATION)
        with Vertical(id="body"):
            yield from self.body()
        yield Static(id="notice", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_screen_resume(self) -> None:
        """Remember that this screen is the one in view."""
        if self.PLACE:
            self.edgewise.remember(screen=self.PLACE)

    def action_back(self) -> None:
        """Return to the screen before this one."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def say(self, text: str | Content = "") -> None:
        """Show a notice above the footer; nothing takes it away again."""
        notice = self.query_one("#notice", Static)
        notice.display = bool(text)
        notice.update(printable(text) if isinstance(text, str) else text)

    def show_error(self, error: Exception) -> None:
        """Show what happened, why and what to do, above the footer."""
        if isinstance(error, EdgewiseError):
            first, *rest = error.lines()
        else:
            first, rest = f"Edgewise met an unexpected fault: {type(error).__name__}: {error}", []
        text = Content.styled(f"✗ {printable(first)}", "$text-error")
        self.say(Content("\n").join([text, *(Content(printable(line)) for line in rest)]))

    def in_thread(
        self, task: Callable[[], T], then: Callable[[T], object], doing: str = "", *, abandon: bool = False
    ) -> None:
        """Run `task` off the loop and hand its result to `then`; say what is being done, or what went wrong.

        A task to `abandon` is not waited for when the screen or the program goes: one that only asks the network.
        """
        if doing:
            self.say(doing)
        self.run_worker(self._carry(task, then, bool(doing), abandon), exit_on_error=False)

    async def _carry(self, task: Callable[[], T], then: Callable[[T], object], clear: bool, abandon: bool) -> None:
        try:
            result = await (_aside(task) if abandon else asyncio.to_thread(task))
            if clear:
                self.say()
            then(result)
        except Exception as error:
            self.show_error(error)


async def _aside(task: Callable[[], T]) -> T:
    """The result of `task`, in a thread that ends with the program."""
    loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = task()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the program has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return cast(T, await future)
