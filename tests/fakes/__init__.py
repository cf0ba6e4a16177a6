"""A fake framework, and the environment that a worker finds it in."""

import os
import sysconfig
import venv
from pathlib import Path

FAKE_ENVIRONMENT = "fake-run"


def make_fake_home(home: Path) -> Path:
    """Make an environment as `edgewise setup` leaves it, with the fake framework and what a worker needs."""
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    packages = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    shelves = [str(Path(__file__).parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    Path(packages, "fakes.pth").write_text("".join(f"{shelf}\n" for shelf in dict.fromkeys(shelves)))
    (home / "ready.json").write_text(
        '{"name":"fake-run","fingerprint":"","verified_at":0,"size_bytes":0,"versions":{},"build":{}}'
    )
    return home
