"""The platform a bundle is for: read from a profile, named for uv, and compared with the machine at hand."""

import pytest

from engine.bundles import target
from engine.bundles.target import Target, here, misfits, require_fit, target_of, uv_platform
from engine.errors import InputError, UsageError
from engine.hardware import probe
from engine.hardware.facts import Cpu, Fact, Hardware

PI = Target("linux", "aarch64", "glibc 2.36", "3.11")
HERE = here()


class TestTarget:
    @pytest.mark.parametrize(
        ("system", "machine", "libc", "platform"),
        [
            ("linux", "x86_64", "glibc 2.36", "x86_64-manylinux_2_36"),
            ("linux", "aarch64", "glibc 2.29", "aarch64-manylinux_2_28"),
            ("linux", "aarch64", "glibc 2.99", "aarch64-manylinux_2_40"),
            ("linux", "x86_64", "musl", "x86_64-unknown-linux-musl"),
            ("darwin", "aarch64", "", "aarch64-apple-darwin"),
            ("windows", "x86_64", "", "x86_64-pc-windows-msvc"),
        ],
    )
    def test_uv_has_a_name_for_it(self, system: str, machine: str, libc: str, platform: str) -> None:
        assert uv_platform(Target(system, machine, libc, "3.11")) == platform

    @pytest.mark.parametrize(
        ("system", "machine", "libc"),
        [("linux", "armv7l", "glibc 2.36"), ("linux", "x86_64", "glibc 2.12"), ("linux", "x86_64", "glibc x"),
         ("freebsd", "x86_64", "")],
    )  # fmt: skip
    def test_what_has_no_packages_is_refused(self, system: str, machine: str, libc: str) -> None:
        with pytest.raises(InputError, match="cannot be made"):
            uv_platform(Target(system, machine, libc, "3.11"))

    def test_a_profile_says_it(self) -> None:
        machine = Hardware(os=Fact("linux"), cpu=Cpu(architecture=Fact("aarch64")))
        with pytest.raises(UsageError, match="which Python") as caught:
            target_of(machine)
        assert "--python" in caught.value.remedy
        assert target_of(machine, "3.12.4") == Target("linux", "aarch64", target.CAREFUL_GLIBC, "3.12")
        assert target_of(machine, "3.12", "2.35").libc == "glibc 2.35"
        with pytest.raises(UsageError, match="does not run"):
            target_of(machine, "3.10")
        with pytest.raises(UsageError, match="which system"):
            target_of(Hardware(), "3.12")

    def test_this_machine_says_it(self) -> None:
        assert target_of(probe()) == HERE

    @pytest.mark.parametrize(
        ("found", "why"),
        [
            (PI, ""),
            (Target("linux", "aarch64", "glibc 2.41", "3.11"), ""),
            (Target("linux", "x86_64", "glibc 2.36", "3.11"), "x86_64"),
            (Target("linux", "aarch64", "glibc 2.31", "3.11"), "glibc 2.31"),
            (Target("linux", "aarch64", "musl", "3.11"), "musl"),
            (Target("linux", "aarch64", "", "3.11"), "unknown"),
            (Target("linux", "aarch64", "glibc 2.36", "3.12"), "Python 3.12"),
        ],
    )
    def test_what_does_not_fit_is_said(self, found: Target, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
        reasons = misfits(PI, found)
        assert why in " ".join(reasons)
        assert bool(reasons) == bool(why)
        monkeypatch.setattr(target, "here", lambda: found)
        if why:
            with pytest.raises(InputError, match="another machine"):
                require_fit("b.tar", PI)
        else:
            require_fit("b.tar", PI)
