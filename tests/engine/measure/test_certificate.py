"""The certificate as a record and as a page, whatever was measured and whoever wrote the names."""

import hashlib
import itertools
import json
import math
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import __version__
from engine.errors import ResourceError
from engine.library import Artifact, FileRecord, Manifest
from engine.measure.certificate import Certificate, certify, sign
from engine.measure.evidence import Evidence
from engine.measure.gates import load_gates
from engine.measure.monitoring import watches
from engine.measure.records import Answered, Stress
from engine.measure.report import render, write_certificate
from engine.measure.report.plots import Bar, Point, Series, bars, front, gauge, lines
from engine.measure.security import check_security

from . import samples

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e'\"&$name"
GATES = load_gates()
BARE = samples.candidate(benchmark=None, quality=None, stress=None)


def certified(artifact: Artifact | None = None, evidence: Evidence | None = None) -> Certificate:
    artifact = artifact or samples.published()
    security = check_security(artifact, samples.TEMPLATE)
    evidence = evidence or Evidence(samples.candidate(), samples.baseline(), security)
    return certify(artifact, evidence, GATES, elapsed_s=812.0, made_at=samples.MEASURED_AT)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, its text, and whether it is balanced."""

    VOID = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def everything_hostile() -> Certificate:
    """A certificate in which every name, note and answer tries to break out."""

    def poisoned(value: Any) -> Any:
        if isinstance(value, str):
            return HOSTILE
        if isinstance(value, list):
            return [poisoned(each) for each in value]
        if isinstance(value, dict):
            return {
                key: each if key in KEPT and isinstance(each, str) else poisoned(each) for key, each in value.items()
            }
        return value

    whole = certified(evidence=Evidence(samples.candidate(), samples.baseline(), check_security(samples.published())))
    return msgspec.convert(poisoned(msgspec.to_builtins(whole)), Certificate)


KEPT = {"verdict", "unit", "alert", "name", "figure"}
"""Words of our own, from a closed set, and what `figure` looks up; `name` of the manifest is poisoned apart."""


class TestTheRecord:
    def test_it_holds_what_was_measured_judged_and_made(self):
        artifact = samples.published()
        made = certified(artifact)
        assert made.decision.verdict == "pass"
        assert made.manifest.id == artifact.manifest.id
        assert made.manifest.measurements == {}
        assert made.framework == "llama.cpp"
        assert made.claims is not None
        assert made.claims.speed_up == "2–3x"
        assert made.edgewise == __version__
        assert {"quality_kept", "kl_divergence", "load_s"} <= {figure.name for figure in made.figures}

    def test_it_goes_to_json_and_back(self):
        made = certified()
        assert msgspec.json.decode(msgspec.json.encode(made), type=Certificate) == made

    def test_the_signature_is_what_sha256sum_gives(self):
        artifact = samples.published(files={"b.bin": b"1", "a/c.bin": b"2", "a.bin": b"3"})
        lines = "".join(
            f"{hashlib.sha256((artifact.path / name).read_bytes()).hexdigest()}  {name}\n"
            for name in ("a.bin", "a/c.bin", "b.bin")
        )
        assert sign(artifact.manifest) == hashlib.sha256(lines.encode()).hexdigest()

    def test_the_signature_changes_with_any_file_and_needs_checksums(self):
        one = Manifest("m", "llamacpp", "Q4_0", files=(FileRecord("a", 1, "aa"), FileRecord("b", 1, "bb")))
        other = msgspec.structs.replace(one, files=(FileRecord("a", 1, "aa"), FileRecord("b", 1, "bc")))
        renamed = msgspec.structs.replace(one, files=(FileRecord("a", 1, "aa"), FileRecord("c", 1, "bb")))
        turned = msgspec.structs.replace(one, files=one.files[::-1])
        assert len({sign(one), sign(other), sign(renamed)}) == 3
        assert sign(turned) == sign(one)
        assert sign(msgspec.structs.replace(one, files=(FileRecord("a", 1),))) == ""

    def test_it_is_written_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        made = certified()
        page, record = write_certificate(made, tmp_path / "out")
        assert msgspec.json.decode(record.read_bytes(), type=Certificate) == made
        assert page.read_text(encoding="utf-8") == render(made)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["certificate.html", "certificate.json"]
        before = record.read_bytes()
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(ResourceError, match="cannot be written"):
            write_certificate(made, tmp_path / "out")
        assert record.read_bytes() == before
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["certificate.html", "certificate.json"]

    def test_a_file_in_the_way_is_told(self, tmp_path: Path):
        (tmp_path / "out").write_text("")
        with pytest.raises(ResourceError, match="cannot be written"):
            write_certificate(certified(), tmp_path / "out")


class TestThePage:
    def test_it_says_everything(self):
        artifact = samples.published()
        made = certified(artifact)
        text = Page(render(made)).text
        for said in (
            "SmolLM2-135M-Instruct",
            "Q4_K_M",
            "✓ Pass",
            "It keeps 97.8 % of its source’s quality, answers at 2.51× the speed of the baseline",
            "97 to 98.6 %",
            "≥ 95 %",
            "perplexity of the source over the result's on 4,096 tokens of wikitext-2 excerpt",
            "118 tokens/s",
            "212 MiB",
            "singing to the evening moon",
            "Resident memory grew by 1.2 MiB",
            "Every file has the sha256 that the manifest gives.",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "apache-2.0",
            "20261001-120000-smollm2",
            "Intel Xeon Platinum 8480+, 2 cores, 7.8 GiB",
            "llama-cpp-python 0.3.16",
            "2–3x",
            "over 15.4 ms",
            made.signature,
            artifact.manifest.files[0].sha256,
            f"Edgewise {__version__}",
            "2026-09-21 14:13 UTC",
            "13 min 32 s",
        ):
            assert said in text, said

    @pytest.mark.parametrize(
        "evidence",
        [
            Evidence(samples.candidate()),
            Evidence(BARE),
            Evidence(BARE, samples.baseline()),
            Evidence(samples.candidate(), BARE),
            Evidence(samples.candidate(benchmark=samples.benchmark(points=(), latency=None)), samples.baseline()),
            Evidence(samples.candidate(benchmark=samples.benchmark(conditions=samples.BUSY)), samples.baseline()),
            Evidence(samples.candidate(quality=samples.quality(kept=math.inf, error=math.nan))),
            Evidence(samples.candidate(quality=samples.quality(answers=(Answered("?", "x" * 5000),)))),
        ],
    )
    def test_what_is_missing_or_disturbed_is_said_and_nothing_breaks(self, evidence):
        made = certified(evidence=evidence)
        text = Page(render(made)).text
        assert "? Not proven" in text
        for judgement in made.decision.judgements:
            if judgement.figure.problem:
                assert judgement.figure.problem in text
        assert not re.search(r"\b(nan|inf|None)\b", text)

    @pytest.mark.parametrize("made", [certified, everything_hostile])
    def test_it_needs_nothing_and_runs_nothing(self, made):
        page = render(made())
        for tag, attributes in Page(page).elements:
            assert tag not in (
                "script",
                "img",
                "link",
                "iframe",
                "object",
                "embed",
                "a",
                "form",
                "base",
                "image",
                "use",
            )
            assert not any(name.startswith("on") or name in ("src", "href", "srcset", "style") for name in attributes)
        assert "default-src 'none'" in page
        style = page[page.index("<style>") : page.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert "//" not in style

    def test_hostile_words_stay_words(self):
        made = everything_hostile()
        manifest = msgspec.structs.replace(made.manifest, name=HOSTILE)
        page = render(msgspec.structs.replace(made, manifest=manifest))
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "alert(1)</script>" not in page
        assert Page(page).text.count("</td><script>alert(1)</script>") > 50

    def test_it_can_be_read_aloud(self):
        page = Page(render(certified()))
        tags = [tag for tag, _ in page.elements]
        assert dict(page.elements[0][1]) == {"lang": "en"}
        assert tags.count("h1") == 1
        drawn = [attributes for tag, attributes in page.elements if tag == "svg"]
        assert len(drawn) >= 8
        assert all(each["role"] == "img" and each["aria-label"] for each in drawn)
        assert all(after == "title" for tag, after in itertools.pairwise(tags) if tag == "svg")
        assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
        assert tags.count("caption") == tags.count("table")

    def test_it_is_for_light_dark_and_paper(self):
        page = render(certified())
        assert "@media (prefers-color-scheme: dark)" in page
        assert "@media print" in page

    def test_colour_is_never_the_only_sign(self):
        """A verdict has a sign and a word, and the two series of a plot differ in shape and line."""
        page = render(certified())
        marks = re.findall(r'<span class="verdict [\w-]+"><i aria-hidden="true">(.)</i> ([\w ]+)</span>', page)
        assert set(marks) == {("✓", "Pass")}
        assert re.search(r'<circle [^>]*class="mark main"', page)
        assert re.search(r'<rect [^>]*class="mark"', page)
        assert re.search(r"svg \.line \{[^}]*stroke-dasharray", page)


numbers = st.floats(-1e12, 1e12, allow_nan=False)
positive = st.floats(0, 1e9, allow_nan=False)


class TestThePlots:
    @given(st.lists(st.tuples(st.text(max_size=30), positive), max_size=5))
    def test_bars_are_drawn_whatever_their_length(self, given_bars):
        plot = str(bars("t", [Bar(label, value, f"{value}") for label, value in given_bars]))
        Page(plot)
        assert plot.count("<rect") == len(given_bars)

    @given(st.lists(st.tuples(st.floats(1, 1e6), positive), min_size=1, max_size=6))
    def test_lines_stay_inside_their_frame(self, points):
        plot = str(lines("t", "x", "y", [Series("s", [(x, y, None, None) for x, y in points])]))
        Page(plot)
        for x, y in re.findall(r'<circle cx="(\S+)" cy="(\S+)"', plot):
            assert 0 <= float(x) <= 420
            assert 0 <= float(y) <= 240

    @given(st.lists(st.tuples(positive, numbers, positive), min_size=1, max_size=8))
    def test_the_front_is_made_of_those_that_none_beats(self, found):
        points = [Point(f"p{at}", *each, "w") for at, each in enumerate(found)]
        told = re.search(r"Beaten by none: (.*)\.</desc>", str(front("t", "x", "y", points)))
        assert told
        best = set(told[1].split(", "))
        for one in points:
            beaten = any(
                other.x >= one.x and other.y >= one.y and other.weight <= one.weight
                and (other.x, other.y, other.weight) != (one.x, one.y, one.weight)
                for other in points
            )  # fmt: skip
            assert beaten != (one.label in best)

    @given(st.tuples(numbers, numbers, numbers).map(sorted), numbers)
    def test_a_gauge_shows_its_dot_inside_its_interval(self, found, bound):
        plot = str(gauge("t", (found[0], found[1], found[2]), bound, None))
        Page(plot)
        span = re.search(r'<line x1="(\S+)" x2="(\S+)"[^>]*class="span main"', plot)
        dot = re.search(r'<circle cx="(\S+)"', plot)
        assert span
        assert dot
        assert 0 <= float(span[1]) <= float(dot[1]) <= float(span[2]) <= 150

    def test_nothing_gives_no_plot(self):
        assert lines("t", "x", "y", []) == ""
        assert front("t", "x", "y", []) == ""


class TestMonitoring:
    def test_limits_follow_from_what_was_measured(self):
        found = {watch.title.split(":")[0]: watch for watch in watches(samples.candidate())}
        assert {name: watch.alert for name, watch in found.items()} == {
            "p95 latency between tokens": "above",
            "Decode speed": "below",
            "Resident memory": "above",
            "Error rate": "above",
            "Drift of the answers": "below",
        }
        assert found["p95 latency between tokens"].limit == pytest.approx(1.5 * 1.21 / 118)
        assert found["Decode speed"].limit == pytest.approx(0.8 * 118)
        assert found["Resident memory"].limit == pytest.approx(1.1 * 212 * samples.MIB + 1_258_291)
        assert found["Error rate"].limit == pytest.approx(3 / 200)
        for watch in found.values():
            assert watch.measured is not None
            assert (watch.measured < watch.limit) == (watch.alert == "above")

    def test_a_noisy_speed_alerts_only_below_its_noise(self):
        noisy = samples.benchmark(points=(samples.point(512, 600, 100.0, noise=0.9),))
        speed = next(watch for watch in watches(samples.candidate(benchmark=noisy)) if watch.title == "Decode speed")
        assert speed.limit < 80

    def test_a_stress_run_that_failed_says_nothing_of_the_rate(self):
        failed = samples.candidate(stress=Stress({"a": False}, {}, 200, 1.0, 0))
        rate = next(watch for watch in watches(failed) if watch.title == "Error rate")
        assert (rate.measured, rate.limit) == (None, 0.01)


def test_the_shell_can_check_the_signature():
    artifact = samples.published(files={"a.bin": b"1", "b/c.bin": b"2"})
    command = "find . -type f ! -name manifest.json -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    try:
        shown = subprocess.run(["bash", "-c", command], cwd=artifact.path, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs bash, GNU find and sha256sum")
    assert shown.stdout.split()[0] == sign(artifact.manifest)
    assert json.loads((artifact.path / "manifest.json").read_bytes())["id"] == artifact.manifest.id
