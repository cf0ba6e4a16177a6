"""A chat template is a program that came with a model: does it render, and does the sandbox hold? For workers only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import InputError
from engine.frameworks.contract import Model, Report
from engine.frameworks.proving import Load
from engine.frameworks.tokens import ChatTemplate
from engine.measure.security import TemplateProbe
from engine.work.protocol import ChatMessage, LoadOptions

CONVERSATION = (ChatMessage("user", "What is the capital of France?"),)
ESCAPES = {
    "the classes of Python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "the globals of a function": "{{ raise_exception.__globals__['json'] }}",
    "the modules behind a helper": "{{ cycler.__init__.__globals__['os'].getcwd() }}",
    "attributes through str.format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "attributes through a filter": "{{ ('{0.__class__.__mro__}' | attr('format'))(messages) }}",
    "a file on this machine": "{% include '/etc/passwd' %}",
    "a change of the conversation": "{{ messages.append(1) }}",
    "a range without an end": "{{ range(1000000000) | list }}",
}
"""Templates that must be refused, by what they reach for."""


def try_template(load: Load, params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Load a result and try its chat template. params: path. Result: {"template": TemplateProbe}."""
    report.stage("Trying the chat template in its sandbox", expected_s=2)
    model = load(scratch / params["path"], LoadOptions(context_length=256))
    try:
        return {"template": msgspec.to_builtins(probe_template(model))}
    finally:
        model.close()


def probe_template(model: Model) -> TemplateProbe:
    """Render a conversation with a loaded model's own template, and try to leave the sandbox with others."""
    escapes = tuple(aim for aim, template in ESCAPES.items() if not _refused(template))
    try:
        model.render(CONVERSATION)
    except InputError as error:
        return TemplateProbe(False, escapes, error.why)
    return TemplateProbe(True, escapes)


def _refused(template: str) -> bool:
    try:
        ChatTemplate(template, {}).render(CONVERSATION)
    except InputError:
        return True
    return False
