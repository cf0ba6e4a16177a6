"""The advice room: what should this machine run? Pure code over records; only the two load functions read files.

Hardware and the user's answers walk the framework-selection tree; the frameworks are ranked; for a model, every
precision is forecast and the best that fits is recommended. Steps and plans are made elsewhere, by the frameworks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.advice.answers import parse_bytes, settle_answers
    from engine.advice.catalogue import Catalogue, load_catalogue
    from engine.advice.choosing import choose_precision
    from engine.advice.detection import detect_answers
    from engine.advice.forecasting import forecast
    from engine.advice.recommendation import recommend
    from engine.advice.tree import FRAMEWORKS, Tree, load_tree
    from engine.advice.verdicts import Verdict, judge

__all__ = [
    "FRAMEWORKS",
    "Catalogue",
    "Tree",
    "Verdict",
    "choose_precision",
    "detect_answers",
    "forecast",
    "judge",
    "load_catalogue",
    "load_tree",
    "parse_bytes",
    "recommend",
    "settle_answers",
]

_HOMES = {
    "FRAMEWORKS": "tree",
    "Catalogue": "catalogue",
    "Tree": "tree",
    "Verdict": "verdicts",
    "choose_precision": "choosing",
    "detect_answers": "detection",
    "forecast": "forecasting",
    "judge": "verdicts",
    "load_catalogue": "catalogue",
    "load_tree": "tree",
    "parse_bytes": "answers",
    "recommend": "recommendation",
    "settle_answers": "answers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
