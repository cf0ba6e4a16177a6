"""Chat templates and tokenizers as models bring them, the same for every framework.

Imported inside workers only. A template is a program that somebody else wrote, so it runs in a sandbox.
"""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import InputError
from engine.work.protocol import ChatMessage

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
)
"""What FolderTokenizer reads, and what an artifact keeps of its source."""

PLAIN_STOPS = ("\nUser:", "\nSystem:")
"""Words that end an answer of a model without a chat template."""


class ChatTemplate:
    """Renders conversations as transformers does; plain turns where a model has no template."""

    def __init__(self, template: str | None, special: dict[str, str]) -> None:
        self._special = special
        self._template: Any = None
        self._broken = ""
        if not template:
            return
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(template)
        except TemplateError as error:  # told when it is used: a model can be scored without its template
            self._broken = str(error)

    @property
    def is_plain(self) -> bool:
        """Whether the model brings no template."""
        return self._template is None and not self._broken

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation, ready for an answer. Raises InputError where the template refuses it."""
        if self.is_plain:
            turns = [f"{message.role.capitalize()}: {message.content}" for message in messages]
            return "\n".join([*turns, "Assistant:"])
        try:
            if self._broken:
                raise TemplateError(self._broken)
            return str(
                self._template.render(
                    messages=[{"role": message.role, "content": message.content} for message in messages],
                    add_generation_prompt=True,
                    tools=None,
                    documents=None,
                    raise_exception=_raise,
                    strftime_now=lambda form: datetime.datetime.now().strftime(form),
                    **self._special,
                )
            )
        except Exception as error:
            raise InputError(
                "The model's chat template cannot render this conversation.",
                f"{type(error).__name__}: {str(error)[:300]}",
                "Some templates take no system prompt or want user and assistant to alternate: try without.",
            ) from error


class FolderTokenizer:
    """The tokenizer, the template and the stop tokens of a Hugging Face folder or of an artifact that keeps its files.

    Raises InputError when the folder has no usable tokenizer.json.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise InputError(
                f"{folder.name} has no usable tokenizer.",
                f"tokenizer.json: {str(error)[:300]}",
                "Copy or download the model again, tokenizer.json included.",
            ) from error
        self._settings = _read_json(folder / "tokenizer_config.json")
        genai = _read_json(folder / "genai_config.json").get("model")
        self._configs = [
            _read_json(folder / "generation_config.json"),
            genai if isinstance(genai, dict) else {},
            _read_json(folder / "config.json"),
        ]
        self._template = ChatTemplate(self._find_template(folder), self._special_words())
        bare = self._tokenizer.encode("", add_special_tokens=True).ids
        begin = self._token_id("bos_token")
        self._prefix = bare[:1] if bare and bare[0] == begin else []

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation as the model's own template renders it."""
        return self._template.render(messages)

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens parsed; a beginning-of-sequence token only if the text does not bring one."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids if ids[:1] == self._prefix else [*self._prefix, *ids]

    def stop_tokens(self) -> list[int]:
        """Ids that end an answer: those of the generation settings, else of the model's, and the tokenizer's own."""
        found = {self._token_id("eos_token")}
        for config in self._configs:
            named = config.get("eos_token_id")
            found |= set(named) if isinstance(named, list) else {named}
            if named is not None:
                break
        return sorted(token for token in found if isinstance(token, int))

    def stop_texts(self) -> tuple[str, ...]:
        """Words that end an answer, where the model has no template that would."""
        return PLAIN_STOPS if self._template.is_plain else ()

    def decoder(self) -> Callable[[int], str]:
        """A fresh decoder: each id in turn gives the whole characters that are certain by then."""
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: stream.step(self._tokenizer, token) or ""

    def _token_id(self, name: str) -> int | None:
        word = self._word(name)
        found: int | None = self._tokenizer.token_to_id(word) if word else None
        return found

    def _word(self, name: str) -> str:
        value = self._settings.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) else ""

    def _special_words(self) -> dict[str, str]:
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        return {name: word for name in names if (word := self._word(name))}

    def _find_template(self, folder: Path) -> str | None:
        path = folder / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
        template = self._settings.get("chat_template")
        if isinstance(template, list):  # several, by name
            named = {str(one.get("name")): one.get("template") for one in template if isinstance(one, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None


class Tokenized:
    """The part of a Model that the tokenizer of its folder answers."""

    _tokenizer: FolderTokenizer

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation as the model's own template renders it."""
        return self._tokenizer.render(messages)

    def tokenize(self, text: str) -> list[int]:
        """Token ids, special tokens parsed."""
        return self._tokenizer.encode(text)

    def count_tokens(self, messages: tuple[ChatMessage, ...]) -> int:
        """Tokens of the rendered conversation."""
        return len(self.tokenize(self.render(messages)))

    def stop_tokens(self) -> list[int]:
        """Ids that end an answer."""
        return self._tokenizer.stop_tokens()


class _Generation(Extension):
    """`{% generation %}` marks the answer for training; here it only stands for what is inside."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> Any:
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **rest: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **rest)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
