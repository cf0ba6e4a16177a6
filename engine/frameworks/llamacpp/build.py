"""How llama.cpp is built for the machine at hand, and how the build is proven.

The source archive of llama-cpp-python is fetched once; it holds the library, the binding and the converter. The
compiler's work is kept between attempts, so that an interrupted build goes on where it was.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.downloads import ByteProgress, fetch, require_disk
from engine.errors import InputError, ResourceError, UsageError
from engine.frameworks.contract import Environment, Prepared, Report
from engine.frameworks.environments import home_of
from engine.hardware.facts import Hardware
from engine.packages import index_arguments, locate, uv_binary, uv_environment
from engine.paths import ASSETS, room
from engine.work.tool import run_tool

BUILDS = ("auto", "tuned", "portable", "prebuilt")
CONVERTER_PARTS = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
BYTES_PER_COMPILER = 1_000_000_000
COMPILER_PACKAGES = {
    "debian": "sudo apt install g++",
    "ubuntu": "sudo apt install g++",
    "fedora": "sudo dnf install gcc-c++",
    "rhel": "sudo dnf install gcc-c++",
    "suse": "sudo zypper install gcc-c++",
    "arch": "sudo pacman -S gcc",
    "alpine": "sudo apk add g++ musl-dev linux-headers",
    "darwin": "xcode-select --install",
}


class Compiler(Struct, frozen=True):
    """A C++ compiler: `family` is gcc, clang or other; version as numbers."""

    path: str
    family: str
    version: tuple[int, ...]

    @property
    def text(self) -> str:
        """gcc 12.2.0, as a person says it."""
        return f"{self.family} {'.'.join(map(str, self.version))}"


class BuildChoice(Struct, frozen=True):
    """CMake definitions for one build, and why each was chosen."""

    name: str
    definitions: dict[str, str]
    reasons: tuple[str, ...]


def costs() -> dict[str, Any]:
    """assets/environments/llamacpp.toml."""
    return tomllib.loads((ASSETS / "environments" / "llamacpp.toml").read_text())


def find_compiler() -> Compiler | None:
    """The C++ compiler that CMake would take: $CXX, then c++, g++, clang++; None when there is none."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        family = "clang" if "clang" in said else "gcc" if "Free Software Foundation" in said else "other"
        # Distributions write their own version in brackets before the compiler's: the last one of the line counts.
        numbers = re.findall(r"(\d+)\.(\d+)\.(\d+)", said.splitlines()[0] if said else "")
        return Compiler(path, family, tuple(map(int, numbers[-1])) if numbers else ())
    return None


def missing_compiler() -> ResourceError:
    """The error for a machine without a compiler, with the command of its distribution."""
    release = Path("/etc/os-release")
    text = release.read_text(errors="replace") if release.exists() else ""
    families = " ".join(re.findall(r"^ID(?:_LIKE)?=\"?([^\"\n]+)", text, re.M)).split()
    families += ["darwin"] if sys.platform == "darwin" else []
    command = next(
        (COMPILER_PACKAGES[family] for family in families if family in COMPILER_PACKAGES), "your system's g++"
    )
    return ResourceError(
        "llama.cpp has to be compiled here, and there is no C++ compiler.",
        "None of $CXX, c++, g++ and clang++ was found.",
        f"Install one ({command}), or take a ready-made wheel: `edgewise setup llamacpp --build prebuilt`.",
    )


def choose_build(
    hardware: Hardware, compiler: Compiler, build: str, cuda_compiler: bool, shader_compiler: bool
) -> BuildChoice:
    """The definitions for `build` (auto, tuned or portable) on this CPU, GPU and compiler. Pure.

    gcc up to 12.3 miscompiles llama.cpp's AMX kernels (a crash on any prompt of more than one token), so AMX is left
    out there; AVX-512 and VNNI stay.
    """
    definitions = {"LLAVA_BUILD": "OFF"}
    reasons = []
    instruction_sets = hardware.cpu.instruction_sets.value or ()
    if build == "portable":
        definitions["GGML_NATIVE"] = "OFF"
        reasons.append("portable: runs on any CPU of this architecture with AVX2 (or NEON), slower than a tuned build")
    else:
        definitions["GGML_NATIVE"] = "ON"
        reasons.append(f"tuned for this CPU ({', '.join(instruction_sets) or 'instruction sets unknown'})")
        broken_amx = compiler.family == "gcc" and compiler.version < (13,)
        if broken_amx and any(name.startswith("amx") for name in instruction_sets):
            definitions["CMAKE_C_FLAGS"] = definitions["CMAKE_CXX_FLAGS"] = NO_AMX
            reasons.append(f"without AMX: {compiler.text} builds AMX kernels that crash")
    for gpu in hardware.accelerators:
        if gpu.kind != "gpu":
            continue
        name = gpu.name.value or gpu.vendor
        if gpu.vendor == "nvidia" and "GGML_CUDA" not in definitions:
            if cuda_compiler:
                definitions["GGML_CUDA"] = "ON"
                if capability := gpu.compute_capability.value:
                    definitions["CMAKE_CUDA_ARCHITECTURES"] = capability.replace(".", "") + "-real"
                reasons.append(f"with CUDA for {name}")
            else:
                reasons.append(f"without CUDA, although there is a {name}: nvcc (the CUDA toolkit) was not found")
        elif gpu.vendor == "apple":
            definitions["GGML_METAL"] = "ON"
            reasons.append(f"with Metal for {name}")
        elif "vulkan" in gpu.apis and gpu.vendor in ("amd", "intel", "qualcomm", "arm", "broadcom"):
            if shader_compiler:
                definitions["GGML_VULKAN"] = "ON"
                reasons.append(f"with Vulkan for {name}")
            else:
                reasons.append(f"without Vulkan, although there is a {name}: glslc was not found")
    return BuildChoice("portable" if build == "portable" else "tuned", definitions, tuple(reasons))


def prepare(environment: Environment, build: str, hardware: Hardware, report: Report) -> Prepared:
    """What the environment needs before its packages: a wheel built here, or the converter."""
    if build not in BUILDS:
        raise UsageError(f"There is no build {build!r}.", "", f"Choose one of {', '.join(BUILDS)}.")
    if environment.purpose == "convert":
        return _prepare_converter(environment, report)
    if build == "prebuilt":
        known = costs()
        report.note("A ready-made wheel is generic: `edgewise setup llamacpp` later builds one tuned for this CPU.")
        return Prepared(
            requirements=(known["source"]["requirement"],),
            index=known["prebuilt"]["index"],
            build={"build": "prebuilt", "requirement": known["source"]["requirement"]},
        )
    return _build_wheel(build, hardware, report)


def _offer_prebuilt(report: Report) -> None:
    known = costs()
    try:
        locate(known["source"]["requirement"], "wheel", known["prebuilt"]["index"])
    except ResourceError:
        return
    report.note(
        "A ready-made wheel can be had: cancel this and run `edgewise setup llamacpp --build prebuilt` to chat within "
        "a minute. The tuned build is faster and can be made later."
    )


def expected_build(build: str, hardware: Hardware) -> dict[str, Any]:
    """The build record that `prepare` would give today, without building; see Prepared.build."""
    known = costs()
    if build == "prebuilt":
        return {"build": "prebuilt", "requirement": known["source"]["requirement"]}
    compiler = find_compiler()
    if compiler is None:
        raise missing_compiler()
    choice = choose_build(
        hardware, compiler, build, shutil.which("nvcc") is not None, shutil.which("glslc") is not None
    )
    return {
        "build": choice.name,
        "requirement": known["source"]["requirement"],
        "compiler": compiler.text,
        "definitions": choice.definitions,
        "instruction_sets": list(hardware.cpu.instruction_sets.value or ()),
    }


def compile_cost(hardware: Hardware) -> tuple[float, str]:
    """Processor seconds of compiling llama.cpp for this hardware, and how they are known."""
    cuda = any(gpu.vendor == "nvidia" for gpu in hardware.accelerators) and shutil.which("nvcc") is not None
    known = costs()["cuda" if cuda else "run"]
    return float(known["compile_core_seconds"]), str(known["basis"])


def _build_wheel(build: str, hardware: Hardware, report: Report) -> Prepared:
    known = costs()
    record = expected_build(build, hardware)
    compiler = find_compiler()
    assert compiler is not None  # expected_build has looked
    choice = choose_build(
        hardware, compiler, build, shutil.which("nvcc") is not None, shutil.which("glslc") is not None
    )
    for reason in choice.reasons:
        report.note(reason, "warning" if reason.startswith("without CUDA") else "info")
    require_disk(room("cache"), known["run"]["build_disk_bytes"])
    key = hashlib.sha256(msgspec.json.encode(record, order="deterministic")).hexdigest()[:12]
    shelf = room("cache") / "wheels" / key
    if not (wheels := list(shelf.glob("*.whl"))):
        workshop = room("cache") / "build" / key
        source = _unpacked_source(workshop, report)
        jobs = _compiler_jobs(hardware)
        expected_s = compile_cost(hardware)[0] / jobs
        report.stage("Compiling llama.cpp", unit="steps", expected_s=expected_s)
        counter = re.compile(r"^\[(\d+)/(\d+)\]\s+(.*)")
        seen = {"total": 0.0}

        def on_line(line: str) -> None:
            if match := counter.match(line):
                total = float(match[2])
                if total != seen["total"]:
                    seen["total"] = total
                    report.stage("Compiling llama.cpp", total, "steps", expected_s)
                target = re.search(r"-c (\S+)$", match[3])
                report.progress(float(match[1]), detail=Path(target[1]).name if target else match[3][-60:])
            elif "warning:" not in line and not line.startswith((" ", "In file", "/")):
                report.log(line)

        variables = uv_environment()
        settings = [word for key, value in choice.definitions.items() for word in ("-C", f"cmake.define.{key}={value}")]
        if build == "auto":  # beside the work: an index that does not answer must not hold it up
            threading.Thread(target=_offer_prebuilt, args=(report,), daemon=True).start()
        partial = workshop / "wheel"
        shutil.rmtree(partial, ignore_errors=True)
        run_tool(
            "Compiling llama.cpp",
            [
                *(uv_binary(), "build", "--wheel", "-o", str(partial), str(source), *index_arguments(variables)),
                *("-C", f"build-dir={workshop / 'objects'}", *settings),
            ],
            on_line,
            {**variables, "UV_NO_PROGRESS": "1", "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs)},
        )
        shelf.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(shelf, ignore_errors=True)
        partial.rename(shelf)
        shutil.rmtree(workshop, ignore_errors=True)
        wheels = list(shelf.glob("*.whl"))
    return Prepared(wheels=tuple(map(str, wheels)), build=record)


def _prepare_converter(environment: Environment, report: Report) -> Prepared:
    known = costs()
    require_disk(room("environments"), known["convert"]["disk_bytes"])
    target = home_of(environment.name) / "converter"
    record = {"requirement": known["source"]["requirement"]}
    if target.is_dir():
        return Prepared(build=record)
    workshop = room("cache") / "build" / "converter"
    source = _unpacked_source(workshop, report)
    partial = workshop / "parts"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for part in CONVERTER_PARTS:
        (source / "vendor" / "llama.cpp" / part).rename(partial / part)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(target)
    shutil.rmtree(workshop, ignore_errors=True)
    return Prepared(build=record)


def source_path() -> Path:
    """Where the source archive is kept, whether or not it is there."""
    return room("cache") / "sources" / f"{costs()['source']['requirement'].replace('==', '-')}.tar.gz"


def source_archive(report: ByteProgress) -> Path:
    """The source archive in the cache, fetched and verified if it is not there. Raises InputError for another one."""
    known, archive = costs()["source"], source_path()
    if not archive.exists():
        report.stage("Looking up the source archive", expected_s=2)
        found = locate(known["requirement"], "sdist")
        if found.sha256 != known["sha256"]:
            raise InputError(
                "The package index offers another source archive than the one Edgewise knows.",
                f"Its sha256 is {found.sha256}, expected is {known['sha256']}.",
                "Check which package index is configured.",
            )
        archive.parent.mkdir(parents=True, exist_ok=True)
        report.stage("Fetching the source archive", float(found.size_bytes or known["size_bytes"]), "bytes")
        fetch(found, archive, report)
    return archive


def _unpacked_source(workshop: Path, report: Report) -> Path:
    """The source archive, fetched, verified and unpacked into `workshop`/source; done once."""
    source = workshop / "source"
    if source.is_dir():
        return source
    archive = source_archive(report)
    partial = workshop / "source.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tarfile.open(archive) as bundle:
        names = bundle.getmembers()
        report.stage("Unpacking the source archive", float(len(names)), "files")
        top = names[0].name.split("/")[0]
        for index, member in enumerate(names):
            bundle.extract(member, partial, filter="data")
            report.progress(index + 1)
    (partial / top).rename(source)
    shutil.rmtree(partial, ignore_errors=True)
    return source


def _compiler_jobs(hardware: Hardware) -> int:
    """Compilers at once: as many as there are cores, as long as memory holds them."""
    cores = int(hardware.cpu.usable_cores.value or hardware.cpu.logical_cores.value or os.cpu_count() or 1)
    memory = hardware.memory.usable_bytes.value
    by_memory = cores if memory is None else memory // BYTES_PER_COMPILER
    return max(1, min(cores, by_memory))
