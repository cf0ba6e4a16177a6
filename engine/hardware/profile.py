"""A machine's profile in a file, so that advice can be had for a machine that is not this one."""

import os
from pathlib import Path

import msgspec

from engine.errors import InputError, ResourceError
from engine.hardware.facts import Hardware
from engine.hardware.files import MAX_NUMBER, Tree, clean
from engine.text import printable

MAX_PROFILE_BYTES = 1 << 20
SCHEMA = 1


def save_profile(hardware: Hardware, path: Path) -> None:
    """Write a profile, all or nothing. Raises ResourceError where it cannot be written."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(hardware), indent=2) + b"\n")
        os.replace(partial, path)
    except OSError as error:
        raise ResourceError(
            f"The profile cannot be written to {clean(str(path))}.",
            str(error.strerror or error),
            "Name a file in a folder that exists and is writable.",
        ) from error


def load_profile(path: Path) -> Hardware:
    """A profile that `save_profile` wrote. Raises InputError for anything else."""
    content = Tree().read_bytes(str(path), MAX_PROFILE_BYTES)
    if content is None:
        raise _broken(path, "It is missing, unreadable, no plain file, or larger than a profile can be.")
    try:
        hardware = msgspec.json.decode(content, type=Hardware)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _broken(path, clean(str(error)) or "It is not JSON.") from error
    if hardware.schema != SCHEMA:
        raise _broken(path, f"Its schema is {hardware.schema}, and this version of Edgewise reads schema {SCHEMA}.")
    if problem := _problem(msgspec.to_builtins(hardware), "profile"):
        raise _broken(path, problem)
    return hardware


def _problem(data: object, place: str) -> str | None:
    """What no machine can have: a negative or absurd number, an endless or unprintable text or list."""
    if isinstance(data, dict):
        return next((found for key, value in data.items() if (found := _problem(value, f"{place}.{key}"))), None)
    if isinstance(data, list | tuple):
        if len(data) > 256:
            return f"{place} has {len(data)} entries."
        return next((found for item in data if (found := _problem(item, place))), None)
    if isinstance(data, str):
        return None if len(data) <= 1024 and data == printable(data, keep="") else f"{place} is not a readable text."
    if isinstance(data, int | float) and not isinstance(data, bool):
        low = -274 if place == "profile.thermal_celsius.value" else 0
        return None if low <= data < MAX_NUMBER else f"{place} is {data:g}."
    return None


def _broken(path: Path, why: str) -> InputError:
    return InputError(
        f"{clean(str(path))} is not a hardware profile.",
        why,
        "Write one with `edgewise hardware --save FILE` on the machine it is to describe.",
    )
