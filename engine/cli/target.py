"""The machine that `--target` names: one whose profile was saved, or a well-known device."""

import os
from pathlib import Path

from engine.hardware.facts import Hardware


def is_profile(target: str) -> bool:
    """Whether `target` means a file, be it there or not; a device's name has neither folders nor an ending."""
    return os.path.exists(target) or os.sep in target or target.endswith(".json")


def machine_of(target: str) -> Hardware:
    """The machine. Raises UsageError for an unknown device, InputError for a file that is no profile."""
    if is_profile(target):
        from engine.hardware import load_profile

        return load_profile(Path(target))
    from engine.advice.devices import load_devices, require_device

    return require_device(load_devices(), target)
