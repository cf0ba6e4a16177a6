"""Three looks: dark, light, and `terminal`, which uses nothing but the terminal's own sixteen colours."""

import os
from collections.abc import Mapping

from textual.theme import Theme


def _bars(bar: str, ground: str) -> dict[str, str]:
    """Scroll bars that stay in the background."""
    grounds = ("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active")
    bars = ("scrollbar", "scrollbar-hover", "scrollbar-active")
    return {"scrollbar-corner-color": ground} | dict.fromkeys(grounds, ground) | dict.fromkeys(bars, bar)


DARK = Theme(
    name="dark",
    primary="#7fa8c9",
    secondary="#9db4c0",
    accent="#c8b27a",
    foreground="#d8dbe0",
    background="#15181c",
    surface="#15181c",
    panel="#20252b",
    success="#8dbb7a",
    warning="#d9ab62",
    error="#d9766f",
    dark=True,
    variables={
        "border": "#3b444d",
        "border-blurred": "#2b3239",
        "footer-key-foreground": "#7fa8c9",
        **_bars("#2f3a44", "#15181c"),
    },
)

LIGHT = Theme(
    name="light",
    primary="#1f5f8b",
    secondary="#47606f",
    accent="#7a5c00",
    foreground="#22262b",
    background="#fbfaf7",
    surface="#fbfaf7",
    panel="#eceae4",
    success="#2c6e2f",
    warning="#8a5200",
    error="#a82a25",
    dark=False,
    variables={
        "border": "#b9b6ad",
        "border-blurred": "#d8d5cc",
        "footer-key-foreground": "#1f5f8b",
        **_bars("#c9c5ba", "#fbfaf7"),
    },
)

TERMINAL = Theme(
    name="terminal",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    accent="ansi_cyan",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    variables={
        "border": "ansi_default",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "footer-key-foreground": "ansi_blue",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
    },
)

THEMES = (DARK, LIGHT, TERMINAL)


def choose_theme(wanted: str, environment: Mapping[str, str] = os.environ) -> str:
    """The theme's name for a setting; `auto` looks at NO_COLOR and at the background that COLORFGBG tells."""
    if wanted in {theme.name for theme in THEMES}:
        return wanted
    if "NO_COLOR" in environment:
        return "terminal"
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if background in {"7", "15"} else "dark"
