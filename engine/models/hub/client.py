"""Asking the hub through huggingface_hub's own session: its token, proxies and certificates, and bounded answers."""

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from engine import __version__
from engine.errors import EdgewiseError, InputError, ResourceError
from engine.models.hub.names import endpoint
from engine.text import human_bytes, human_seconds, printable

_DEADLINE_S = 60.0
"""How long one look-up may take altogether."""
_API_BYTES = 4 << 20
_TRUE = {"1", "ON", "YES", "TRUE"}
_RESET = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")
_NETWORK_REMEDY = "Check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, then try again."
Answer = TypeVar("Answer")
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def is_offline() -> bool:
    """Whether the user has forbidden to ask the hub."""
    return any(os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def timeout_s() -> float:
    """How long the hub may be silent; HF_HUB_DOWNLOAD_TIMEOUT, as for the client."""
    stated = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
    return float(stated) if stated.isdecimal() and int(stated) else 10.0


def require_online() -> None:
    """Raise ResourceError where the hub must not be asked."""
    if is_offline():
        raise ResourceError(
            "The Hugging Face hub was not asked.",
            "HF_HUB_OFFLINE is set, so only what is on this machine already can be used.",
            "Unset HF_HUB_OFFLINE, or use a model from `edgewise models list`.",
        )


def request_headers() -> dict[str, str]:
    """The headers of every request: who asks, and the user's token if there is one."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    # Finding out for the user agent what started this program would cost a request of its own.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # Ranges count bytes of the file, not of a compressed answer.
    return dict(
        build_hf_headers(library_name="edgewise", library_version=__version__, headers={"Accept-Encoding": "identity"})
    )


def file_address(repository: str, commit: str, name: str) -> str:
    """Where a file of a repository is fetched from."""
    return f"{endpoint()}/{repository}/resolve/{quote(commit, safe='')}/{quote(name)}"


def ask(path: str, parameters: Mapping[str, Any], kind: type[Answer], what: str) -> Answer:
    """The hub's answer as a `kind` of record. Raises ResourceError or InputError that begins with `what`."""
    data, whole = read(f"{endpoint()}{path}", _API_BYTES, what, parameters=parameters)
    if not whole:
        raise ResourceError(what, f"The hub's answer is larger than {human_bytes(_API_BYTES)}.")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResourceError(
            what,
            f"The hub's answer cannot be understood: {printable(str(error)[:200], keep='')}",
            "Try again; if HF_ENDPOINT is set, check that it is a mirror that answers as the hub does.",
        ) from None


def read(
    address: str,
    limit_bytes: int,
    what: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    enough: Callable[[bytearray], bool] = lambda data: False,
) -> tuple[bytes, bool]:
    """The first bytes at an address, at most `limit_bytes`, and whether they are all there is.

    Stops as soon as `enough` says so. Raises ResourceError or InputError that begins with `what`.
    """
    require_online()
    with answers(what):
        from huggingface_hub import get_session
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        headers = request_headers()
        if parameters is None:
            headers["Range"] = f"bytes=0-{limit_bytes - 1}"
        # Pieces smaller than the client's own: what is read beyond what is enough was asked for in vain.
        began_s, data = time.monotonic(), bytearray()
        with get_session().stream(
            "GET", address, headers=headers, params=parameters, timeout=timeout_s(), follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            total = _total_bytes(response.headers)
            for piece in response.iter_bytes(1 << 14):
                data += piece
                if len(data) > limit_bytes or enough(data):
                    return bytes(data[:limit_bytes]), False
                if time.monotonic() - began_s > _DEADLINE_S:
                    slow = f"Its answer was not there after {human_seconds(_DEADLINE_S)}."
                    raise ResourceError(what, slow, _NETWORK_REMEDY)
    return bytes(data), total is None or len(data) >= total


def _total_bytes(headers: Mapping[str, str]) -> int | None:
    """The size of the whole, from `Content-Range: bytes 0-99/200`."""
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


@contextmanager
def answers(what: str) -> Iterator[None]:
    """Turn every failure of the client into an error that begins with `what`, and holds neither token nor address."""
    try:
        yield
    except EdgewiseError:
        raise
    except Exception as error:
        if (stated := explain(error, what)) is None:
            raise
        # Without its cause: that names signed addresses, and may be printed.
        raise stated from None


def explain(error: Exception, what: str) -> EdgewiseError | None:
    """The failure of the client as a person can use it; None for one that is not the hub's or the network's."""
    if (status := status_of(error)) is not None:
        return _refusal(error, status, what)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OfflineModeIsEnabled" in kinds:
        return ResourceError(what, "HF_HUB_OFFLINE is set.", "Unset HF_HUB_OFFLINE.")
    if "HFValidationError" in kinds:
        return InputError(what, clean(str(error)), "Check the name.")
    if kinds & {"InvalidURL", "UnsupportedProtocol"}:
        return ResourceError(what, f"{clean(endpoint())} is no usable address.", "Correct or unset HF_ENDPOINT.")
    if "ProxyError" in kinds:
        return ResourceError(what, f"The proxy failed: {clean(str(error))}.", "Check HTTPS_PROXY, then try again.")
    if kinds & {"TimeoutException", "TimeoutError"}:
        why = f"The hub was reached and then sent nothing for {human_seconds(timeout_s())}."
        if "ConnectTimeout" in kinds:
            why = f"The hub could not be reached within {human_seconds(timeout_s())}."
        return ResourceError(what, why, _NETWORK_REMEDY)
    if "TooManyRedirects" in kinds:
        return ResourceError(what, "The hub sends from one address to the next without end.", _NETWORK_REMEDY)
    if kinds & {"TransportError", "ConnectError"}:
        return _unreachable(error, what)
    return None


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error of the client stands for."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_transient(error: Exception) -> bool:
    """Whether another attempt may do better: a dropped or silent line, a hub that is busy or broken for a while."""
    if (status := status_of(error)) is not None:
        return status in (408, 425, 429) or status >= 500
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"TransportError", "TimeoutError"}) and "ProxyError" not in kinds and _tls(error) is None


def retry_after_s(error: Exception) -> float | None:
    """How long the hub asks to be left alone."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    stated = headers.get("Retry-After", "").strip()
    if stated.isdecimal():
        return float(stated)
    reset = _RESET.search(headers.get("ratelimit", ""))
    return float(reset[1]) if reset else None


def clean(text: str) -> str:
    """What somebody else said, for a message: one line, short, without the token and without addresses' queries."""
    from huggingface_hub import get_token

    if token := get_token():
        text = text.replace(token, "…")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(re.sub(r"\?\S+", "", " ".join(lines))[:300], keep="").rstrip(".")


def _refusal(error: Any, status: int, what: str) -> EdgewiseError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = clean(getattr(error, "server_message", None) or "")
    if "GatedRepoError" in kinds:
        why = "Its publisher wants its conditions accepted first, and your token's account has not done so."
        if status == 401:
            why = "Its publisher wants its conditions accepted first, and no token says who you are."
        return ResourceError(what, why, f"Accept the conditions on its page {_page(error)}, and {_LOGIN}.")
    if "DisabledRepoError" in kinds:
        return ResourceError(what, "The hub has disabled this repository.", "Choose another one.")
    if "RevisionNotFoundError" in kinds:
        return InputError(what, "The repository has no such branch, tag or commit.", "Leave the revision out.")
    if "EntryNotFoundError" in kinds:
        return InputError(what, "The repository has no such file at this commit.", "Choose another revision.")
    if status == 401 and "Invalid credentials" in said:
        return ResourceError(
            what, "The hub does not accept your token.", f"It may have expired: {_LOGIN} again, or unset HF_TOKEN."
        )
    if "RepositoryNotFoundError" in kinds or status == 404:
        return InputError(
            what,
            "The hub has no such repository, or it is private.",
            f"Check the name with `edgewise models search`; if it is private, {_LOGIN}.",
        )
    if status == 401:
        return ResourceError(what, "The hub wants to know who you are.", f"First {_LOGIN}.")
    if status == 403:
        why = f"The hub forbids it{f': {said}' if said else ''}."
        return ResourceError(what, why, f"Check that your token may read this repository, or {_LOGIN}.")
    if status == 429:
        wait_s = retry_after_s(error)
        wait = f"Wait {human_seconds(wait_s)}" if wait_s is not None else "Wait some minutes"
        more = "" if "authorization" in _sent_headers(error) else f", or {_LOGIN}: accounts may ask more often"
        return ResourceError(what, "The hub has been asked too often from here (429).", f"{wait}{more}.")
    if status >= 500:
        return ResourceError(
            what,
            f"The hub itself has trouble ({status}).",
            "Try again later; https://status.huggingface.co shows more.",
        )
    return ResourceError(what, f"The hub answered {status}{f': {said}' if said else ''}.", _NETWORK_REMEDY)


def _unreachable(error: Exception, what: str) -> ResourceError:
    host = clean(endpoint().partition("://")[2])
    tls = _tls(error)
    if tls is not None and "CERTIFICATE_VERIFY_FAILED" in str(tls):
        reason = clean(str(getattr(tls, "verify_message", "") or "it could not be verified"))
        return ResourceError(
            what,
            f"The certificate of {host} is not trusted: {reason}.",
            "If a proxy of your organisation stands in between, point SSL_CERT_FILE at its certificates.",
        )
    if tls is not None:
        reason = clean(getattr(tls, "reason", "") or str(tls))
        return ResourceError(what, f"{host} gives no encrypted connection: {reason}.", _NETWORK_REMEDY)
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return ResourceError(what, f"The name {host} could not be found.", _NETWORK_REMEDY)
    if "ConnectError" in {kind.__name__ for kind in type(error).__mro__}:
        return ResourceError(what, f"{host} could not be reached: {clean(str(error))}.", _NETWORK_REMEDY)
    return ResourceError(what, f"The connection to {host} broke off.", _NETWORK_REMEDY)


def _tls(error: Exception) -> BaseException | None:
    """What went wrong with a certificate or the encryption, if that is the cause."""
    found = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    return found or (error if "CERTIFICATE_VERIFY_FAILED" in str(error) else None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _sent_headers(error: Any) -> Mapping[str, str]:
    headers: Mapping[str, str] = error.response.request.headers
    return headers


def _page(error: Any) -> str:
    """The address of a repository's page."""
    repository = getattr(error, "repo_id", None)
    return f"{endpoint()}/{repository}" if isinstance(repository, str) else "on the hub"
