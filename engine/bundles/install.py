"""Sets up Edgewise and what came with it, without a network: `python3 install.py BUNDLE.tar`.

This file lies in every bundle and needs nothing but Python. It borrows the code that checks and unpacks from the
bundle's own Edgewise. Old Pythons read it too, far enough to say which one is needed.
"""

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile

USAGE = """Usage: python3 install.py BUNDLE.tar

Sets up Edgewise and everything in the bundle below EDGEWISE_DATA, or the system's own place for data.
"""
BORROWED = ("edgewise-", "platformdirs-")


def main(arguments: "list[str]") -> int:
    """Check the bundle, set up Edgewise, and have it install the rest; returns the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        return _install(arguments[0])
    except (OSError, tarfile.TarError, ValueError, LookupError, TypeError, AttributeError) as error:
        sys.stderr.write(f"{arguments[0]} cannot be installed: it is damaged, or no bundle.\nWhy: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again to go on.\n")
        return 130


def _install(path: str) -> int:
    with tarfile.open(path, "r:") as archive:
        listing = json.loads(_read(archive, "bundle.json"))
        wanted = str(listing["target"]["python"])
        if wanted != f"{sys.version_info[0]}.{sys.version_info[1]}":
            return _other_python(wanted)
        checksums = {member["path"]: member["sha256"] for member in listing["files"]}
        with tempfile.TemporaryDirectory() as folder:
            for name in listing["own"]:
                wheel = name.rsplit("/", 1)[-1]
                if wheel.startswith(BORROWED):
                    content = _read(archive, name)
                    if hashlib.sha256(content).hexdigest() != checksums[name]:
                        raise ValueError(f"{name} has another sha256 than the list says.")
                    with open(os.path.join(folder, wheel), "wb") as file:
                        file.write(content)
                    sys.path.insert(0, os.path.join(folder, wheel))
            from engine.bundles.boot import set_up

            return set_up(path)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no plain file.")
    return file.read()


def _other_python(wanted: str) -> int:
    """Go on with the Python that the packages are for, if the machine has it."""
    other = shutil.which(f"python{wanted}")
    if other and "EDGEWISE_INSTALLING" not in os.environ:
        os.environ["EDGEWISE_INSTALLING"] = wanted
        os.execv(other, [other, *sys.argv])
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.stderr.write(
        f"This bundle needs Python {wanted}, and this is Python {found}.\n"
        f"Why: Its packages are compiled for Python {wanted}, and there is no python{wanted} on PATH.\n"
        f"What to do: Install Python {wanted}, or pack the bundle again with --python {found}.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
