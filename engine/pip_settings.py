"""The user's package settings: what pip was told about indexes, proxies and certificates, as uv spells it.

pip's settings (environment and configuration files) are translated wherever uv's own are not set, so that a mirror, a
folder of wheels, a proxy or a private certificate works without being named again.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit


def uv_environment() -> dict[str, str]:
    """`os.environ` plus pip's settings as uv spells them, wherever uv's own setting is absent.

    Local folders that do not exist are left out, since pip passes over them and uv stops. EDGEWISE_WHEELS, a folder of
    wheels, takes the place of every index.
    """
    environment, pip = dict(os.environ), _pip_settings()
    if wheels := environment.get("EDGEWISE_WHEELS"):
        found = Path(wheels).expanduser().absolute().as_uri()
        return environment | {"UV_FIND_LINKS": found, "UV_NO_INDEX": "1", "UV_OFFLINE": "1"}

    def translate(key: str, *names: str, convert: Callable[[str], str] = str.strip) -> None:
        if key in pip and not any(environment.get(name) for name in names) and (value := convert(pip[key])):
            environment[names[0]] = value

    translate("index-url", "UV_DEFAULT_INDEX", "UV_INDEX_URL", convert=_present)
    had_extra = bool(environment.get("UV_INDEX") or environment.get("UV_EXTRA_INDEX_URL"))
    translate("extra-index-url", "UV_INDEX", "UV_EXTRA_INDEX_URL", convert=_present)
    if not had_extra and environment.get("UV_INDEX"):
        # pip looks at all indexes for the best version; uv by default only at the first that knows the name.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    translate("find-links", "UV_FIND_LINKS", convert=lambda value: _present(value).replace(" ", ","))
    translate("cert", "SSL_CERT_FILE")
    translate("trusted-host", "UV_INSECURE_HOST", convert=lambda value: " ".join(value.split()))
    translate("timeout", "UV_HTTP_TIMEOUT", convert=whole_seconds)
    translate("proxy", "ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy")
    translate("no-index", "UV_NO_INDEX", convert=lambda value: "1" if _is_true(value) else "")
    return environment


def index_arguments(environment: dict[str, str]) -> list[str]:
    """Arguments for uv that no variable of its own expresses: `--no-index` where the user wants none asked."""
    return ["--no-index"] if _is_true(environment.get("UV_NO_INDEX", "")) else []


def _pip_settings() -> dict[str, str]:
    """pip's options by long name (`index-url`), from its configuration files and, stronger, from PIP_ variables."""
    import configparser

    settings: dict[str, str] = {}
    for path in _pip_config_files():
        # Raw, since a percent sign in a URL is no interpolation.
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
            for section in ("global", "install", "download"):
                if parser.has_section(section):
                    settings |= {key.replace("_", "-"): value or "" for key, value in parser.items(section)}
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            settings[name[4:].lower().replace("_", "-").replace("default-timeout", "timeout")] = value
    return settings


def _pip_config_files() -> list[Path]:
    """The files pip reads, weakest first; PIP_CONFIG_FILE set to the null device turns them all off."""
    given = os.environ.get("PIP_CONFIG_FILE", "")
    if given == os.devnull:
        return []
    home = Path.home()
    if sys.platform == "win32":
        roaming = Path(os.environ.get("APPDATA", home))
        places = [Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "pip" / "pip.ini", home / "pip" / "pip.ini"]
        places += [roaming / "pip" / "pip.ini", Path(sys.prefix) / "pip.ini"]
    else:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        places = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip" / "pip.conf"]
        places.append(config / "pip" / "pip.conf")
        if sys.platform == "darwin":
            places.insert(0, Path("/Library/Application Support/pip/pip.conf"))
            places.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
        places.append(Path(sys.prefix) / "pip.conf")
    return [*places, Path(given)] if given else places


def _present(value: str) -> str:
    """The places in `value`, separated by spaces, without local ones that do not exist."""
    kept = []
    for place in value.split():
        path = _local_path(place)
        if path is None:
            kept.append(place)
        elif path.exists():
            kept.append(place if place.startswith("file:") else str(path))
    return " ".join(kept)


def _local_path(place: str) -> Path | None:
    """The path that a file URL or a plain path names; None for anything on the network."""
    scheme = urlsplit(place).scheme
    if scheme == "file":
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(place).path))
    # One letter is a Windows drive.
    return Path(place).expanduser().absolute() if len(scheme) < 2 else None


def whole_seconds(value: str) -> str:
    """A timeout as uv wants it, in whole seconds; "" for what is no number."""
    try:
        return str(max(1, round(float(value))))
    except (ValueError, OverflowError):
        return ""


def _is_true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")
