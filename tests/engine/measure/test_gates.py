"""Gates as a file, the figures they ask for, and the verdicts."""

import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.advice.datafile import ASSETS
from engine.errors import InputError
from engine.measure.evidence import Evidence
from engine.measure.figures import FIGURES, Figure, figure
from engine.measure.gates import Decision, Gate, decide, judge, load_gates
from engine.measure.records import Latency, Mean, Stress, sample
from engine.measure.security import Check, Security
from engine.measure.units import in_unit

from . import samples

SECURE = Security((Check("unchanged", "Files as published", True, "All are."),))
GATES = load_gates()
GOOD = Evidence(samples.candidate(), samples.baseline(), SECURE)


def verdicts(decision: Decision) -> dict[str, str]:
    return {each.gate.name: each.verdict for each in decision.judgements}


def changed(**changes: object) -> Evidence:
    """The good evidence with other figures of the candidate."""
    return msgspec.structs.replace(GOOD, candidate=samples.candidate(**changes))


class TestTheDefaults:
    def test_they_are_the_course_chapters(self):
        assert {gate.name: gate.bounds for gate in GATES} == {
            "quality": "≥ 95 %",
            "speed": "≥ 2×",
            "memory": "≥ 50 %",
            "latency": "≤ 2×",
            "stress": "none failed",
            "security": "none failed",
        }
        assert all(gate.required and gate.why for gate in GATES)

    def test_the_file_tells_of_every_figure(self):
        text = (ASSETS / "gates.toml").read_text(encoding="utf-8")
        assert {name: kind.unit for name, kind in FIGURES.items()} == dict(
            re.findall(r"^#   (\w+) +(share|times|nats|tokens/s|s|bytes|failures)\b", text, re.MULTILINE)
        )

    def test_a_good_result_passes(self):
        decision = decide(GATES, GOOD)
        assert verdicts(decision) == dict.fromkeys(verdicts(decision), "pass")
        assert decision.verdict == "pass"
        assert decision.reason == "All 6 required gates pass."

    @pytest.mark.parametrize(
        ("gate", "evidence"),
        [
            ("quality", changed(quality=samples.quality(kept=0.91))),
            ("speed", changed(benchmark=samples.benchmark(decode=71.0))),
            ("memory", changed(benchmark=samples.benchmark(peak_mib=300))),
            ("latency", changed(benchmark=samples.benchmark(latency=Latency(0.01, 0.031, 0.05, 400)))),
            ("stress", changed(stress=Stress({"a": True, "b": False}, {}, 20, 60.0, 0))),
            ("security", Evidence(samples.candidate(), samples.baseline(), Security((Check("a", "A", False, ""),)))),
        ],
    )
    def test_each_failure_fails_its_gate_and_the_whole(self, gate, evidence):
        decision = decide(GATES, evidence)
        assert [name for name, verdict in verdicts(decision).items() if verdict != "pass"] == [gate]
        assert decision.verdict == "fail"
        assert decision.reason == f"Failed: {next(each.title for each in GATES if each.name == gate)}."

    @pytest.mark.parametrize(
        ("evidence", "gates", "why"),
        [
            (changed(quality=None), ["quality"], "Its quality was not measured."),
            (changed(quality=samples.quality(kept=0.951)), ["quality"], "too wide an interval to tell"),
            (changed(benchmark=samples.benchmark(decode=95.0)), ["speed"], "too wide an interval to tell"),
            (changed(benchmark=None), ["speed", "memory", "latency"], "Its speed and memory were not measured."),
            (changed(benchmark=samples.benchmark(points=())), ["speed", "memory", "latency"], "were not measured"),
            (changed(benchmark=samples.benchmark(conditions=samples.BUSY)), ["speed", "memory", "latency"], "1.4 of 2"),
            (
                changed(benchmark=samples.benchmark(threads=1)),
                ["speed", "memory"],
                "another number of threads: 2 and not 1",
            ),
            (
                changed(benchmark=samples.benchmark(device="GPU")),
                ["speed", "memory"],
                "another device: CPU and not GPU",
            ),
            (changed(benchmark=samples.benchmark(machine="A Pi")), ["speed", "memory"], "another machine"),
            (changed(benchmark=samples.benchmark(latency=None)), ["latency"], "was not measured"),
            (changed(benchmark=samples.benchmark(latency=Latency(0.01, 0.01, 0.01, 40))), ["latency"], "Only 40"),
            (changed(stress=None), ["stress"], "It was not put under stress."),
            (Evidence(samples.candidate(), None, SECURE), ["speed", "memory"], "The baseline's speed and memory were"),
            (
                Evidence(samples.candidate(), samples.baseline(framework="openvino"), SECURE),
                ["speed", "memory"],
                "ran with openvino and not with llamacpp",
            ),
            (
                Evidence(samples.candidate(), samples.baseline(quality=samples.quality(text_sha256="x")), SECURE),
                ["quality"],
                "another text",
            ),
            (
                Evidence(samples.candidate(), samples.baseline(quality=samples.quality(reference="GGUF")), SECURE),
                ["quality"],
                "against GGUF and not llama.cpp F16",
            ),
            (Evidence(samples.candidate(), samples.baseline()), ["security"], "Its files were not checked."),
            (
                Evidence(samples.candidate(), samples.baseline(), Security((Check("a", "A", None, ""),))),
                ["security"],
                "1 checks, 1 of them could not be made",
            ),
        ],
    )
    def test_what_is_missing_disturbed_or_noisy_is_not_proven(self, evidence, gates, why):
        decision = decide(GATES, evidence)
        unproven = [each for each in decision.judgements if each.verdict != "pass"]
        assert [each.gate.name for each in unproven] == gates
        assert {each.verdict for each in unproven} == {"not proven"}
        assert all(why in each.reason for each in unproven)
        assert decision.verdict == "not proven"

    def test_a_failure_outweighs_what_is_not_proven(self):
        decision = decide(GATES, changed(stress=None, quality=samples.quality(kept=0.5)))
        assert decision.verdict == "fail"
        assert decision.reason == "Failed: Quality."

    def test_what_is_not_required_decides_nothing(self):
        gates = tuple(msgspec.structs.replace(gate, required=gate.name != "stress") for gate in GATES)
        decision = decide(gates, changed(stress=None))
        assert verdicts(decision)["stress"] == "not proven"
        assert decision.verdict == "pass"
        assert decision.reason == "All 5 required gates pass."


class TestFigures:
    @pytest.mark.parametrize("name", FIGURES)
    def test_every_figure_has_a_value_inside_its_interval_and_a_basis(self, name):
        found = figure(name, GOOD)
        assert found.problem == ""
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        assert found.basis

    @pytest.mark.parametrize("name", FIGURES)
    def test_every_figure_says_what_is_missing(self, name):
        bare = samples.candidate(benchmark=None, quality=None, stress=None)
        found = figure(name, Evidence(bare))
        assert found.value is None
        assert found.problem.endswith(".")

    def test_they_say_what_they_should(self):
        def value(name: str) -> float:
            found = figure(name, GOOD).value
            assert found is not None
            return found

        assert value("quality_kept") == pytest.approx(0.978)
        assert value("perplexity_ratio") == pytest.approx(1 / 0.978)
        assert value("decode_speed_up") == pytest.approx(118 / 47)
        assert value("memory_saving") == pytest.approx(1 - 212 / 455)
        assert value("size_saving") == pytest.approx(1 - 105 / 271)
        assert value("latency_spread") == pytest.approx(1.21 / 0.97)
        assert value("decode_tokens_per_s") == pytest.approx(118)
        assert value("peak_bytes") == 212 * samples.MIB

    def test_the_interval_of_a_speed_up_is_the_widest_that_both_allow(self):
        own, other = samples.spread(100.0, noise=0.1), samples.spread(50.0, noise=0.2)
        points = [
            msgspec.structs.replace(samples.point(512, 600, 1), decode_tokens_per_s=each) for each in (own, other)
        ]
        evidence = Evidence(
            samples.candidate(benchmark=samples.benchmark(points=(points[0],))),
            samples.baseline(benchmark=samples.benchmark(points=(points[1],))),
        )
        found = figure("decode_speed_up", evidence)
        assert found.low == pytest.approx(own.low / other.high)
        assert found.high == pytest.approx(own.high / other.low)

    def test_a_speed_measured_once_proves_nothing(self):
        once = msgspec.structs.replace(samples.point(512, 600, 1), decode_tokens_per_s=sample([1000.0]))
        judgement = judge(
            next(gate for gate in GATES if gate.name == "speed"),
            changed(benchmark=samples.benchmark(points=(once,))),
        )
        assert judgement.verdict == "not proven"
        assert "measured too seldom" in judgement.reason

    def test_prompts_of_another_length_are_not_compared(self):
        short = samples.benchmark(points=(samples.point(32, 600, 118),))
        long = samples.benchmark(points=(samples.point(512, 280, 47),))
        evidence = Evidence(samples.candidate(benchmark=short), samples.baseline(benchmark=long))
        problem = "The baseline was measured with prompts of other lengths."
        assert figure("decode_speed_up", evidence).problem == problem

    @pytest.mark.parametrize(
        "ratio", [Mean(math.nan, 0.1, 50), Mean(0.0, math.nan, 50), Mean(0.0, 0.0, 1), Mean(-900.0, math.nan, 50)]
    )
    def test_no_number_is_no_pass(self, ratio):
        evidence = changed(quality=samples.quality(log_ratio=ratio))
        assert verdicts(decide(GATES, evidence))["quality"] == "not proven"

    def test_a_perplexity_beyond_all_numbers_fails(self):
        evidence = changed(quality=samples.quality(log_ratio=Mean(900.0, 1.0, 50)))
        assert verdicts(decide(GATES, evidence))["quality"] == "fail"
        assert figure("perplexity_ratio", evidence).problem == "What was measured gives no finite number."

    def test_a_result_better_than_its_source_keeps_all_and_no_more(self):
        found = figure("quality_kept", changed(quality=samples.quality(kept=1.02)))
        assert (found.value, found.high) == (1.0, 1.0)

    @pytest.mark.parametrize(
        ("value", "unit", "words"),
        [
            (0.95, "share", "95 %"),
            (0.9784, "share", "97.8 %"),
            (2.0, "times", "2×"),
            (2.513, "times", "2.51×"),
            (0.0412, "nats", "0.0412 nats"),
            (0.00041, "nats", "0.00041 nats"),
            (118.24, "tokens/s", "118 tokens/s"),
            (0.0082, "s", "8.2 ms"),
            (1.813, "s", "1.81 s"),
            (74.0, "s", "1 min 14 s"),
            (212 << 20, "bytes", "212 MiB"),
            (1.0, "failures", "1 failed"),
            (-0.1, "share", "-10 %"),
            (None, "share", "unknown"),
        ],
    )
    def test_values_are_written_for_people(self, value, unit, words):
        assert in_unit(value, unit) == words


bounds = st.floats(-10, 10)


class TestVerdicts:
    @given(st.floats(0.5, 3), st.floats(0, 0.4), bounds, bounds)
    def test_a_stricter_bound_never_turns_a_verdict_for_the_better(self, median, noise, one, other):
        order = {"fail": 0, "not proven": 1, "pass": 2}
        quick = samples.benchmark(points=(samples.point(512, 600, median, noise),))
        slow = samples.benchmark(points=(samples.point(512, 600, 1.0, 0.05),))
        evidence = Evidence(samples.candidate(benchmark=quick), samples.baseline(benchmark=slow))

        def least(bound: float) -> int:
            return order[judge(Gate("t", "decode_speed_up", True, "w", at_least=bound), evidence).verdict]

        def most(bound: float) -> int:
            return order[judge(Gate("t", "decode_speed_up", True, "w", at_most=bound), evidence).verdict]

        low, high = sorted((one, other))
        assert least(low) >= least(high)
        assert most(low) <= most(high)

    @given(st.floats(0.02, 1.2), st.floats(0, 0.2), st.floats(0, 0.2))
    def test_more_noise_never_proves_more(self, kept, error, more):
        def verdict(error: float) -> str:
            evidence = changed(quality=samples.quality(kept=kept, error=error))
            return judge(Gate("t", "perplexity_ratio", True, "w", at_most=1.05), evidence).verdict

        if verdict(error) == "not proven":
            assert verdict(error + more) == "not proven"
        assert {verdict(error), verdict(error + more)} != {"pass", "fail"}

    @given(bounds, bounds)
    def test_both_bounds_together_are_as_strict_as_each(self, one, other):
        low, high = sorted((one, other))
        both = judge(Gate("t", "decode_speed_up", True, "w", low, high), GOOD).verdict
        each = {
            judge(Gate("t", "decode_speed_up", True, "w", at_least=low), GOOD).verdict,
            judge(Gate("t", "decode_speed_up", True, "w", at_most=high), GOOD).verdict,
        }
        assert both == ("fail" if "fail" in each else "not proven" if "not proven" in each else "pass")

    def test_a_decision_goes_to_json_and_back(self):
        decision = decide(GATES, GOOD)
        assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


def gate_text(**changes: object) -> str:
    fields = {
        "title": '"Speed"',
        "figure": '"decode_speed_up"',
        "at_least": "1.5",
        "required": "true",
        "why": '"Quick."',
    } | changes
    return "[gates.mine]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)


class TestFilesOfOnesOwn:
    def test_they_replace_the_defaults(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(gate_text(at_most=9), encoding="utf-8")
        assert load_gates(path) == (Gate("Speed", "decode_speed_up", True, "Quick.", 1.5, 9.0, "mine"),)

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("", 1, "the file needs tables [gates.…]"),
            ("gates = 3", 1, "the file needs tables [gates.…]"),
            ("[gates.a\n", 1, "not valid TOML"),
            (gate_text() + "\n[limits]\n", 8, "unknown section “limits”"),
            (gate_text(figure='"beauty"'), 3, "gate mine: unknown figure “beauty”; there are quality_kept"),
            (gate_text(at_least=None), 1, "gate mine: it needs a bound"),
            (gate_text(at_least='"much"'), 4, "gate mine: Expected `float | null`, got `str`"),
            (gate_text(at_least="nan"), 4, "gate mine: at_least is nan and not a number"),
            (gate_text(at_most="1.0"), 4, "gate mine: at_least is more than at_most"),
            (gate_text(figure='"quality_kept"', at_least="95"), 4, "at_least is 95, and a share is at most 1: 0.95 is"),
            (gate_text(at_leest="1"), 7, "gate mine: Object contains unknown field `at_leest`"),
            (gate_text(name='"other"'), 7, "gate mine: unknown field “name”"),
            (gate_text(why=None), 1, "gate mine: Object missing required field `why`"),
            (gate_text(why='" "'), 6, "gate mine: its why is empty"),
            (gate_text(required="false"), 1, "no gate is required"),
        ],
    )
    def test_mistakes_are_told_with_file_line_and_gate(self, tmp_path, text, line, message):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_gates(path)
        assert caught.value.what.startswith(f"{path}, line {line}: ")
        assert message in caught.value.what
        assert caught.value.remedy == "Correct the file."

    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match="Cannot read"):
            load_gates(tmp_path / "none.toml")


def test_a_figure_without_an_interval_is_known_as_counted():
    assert figure("peak_bytes", GOOD).exact
    assert not figure("decode_tokens_per_s", GOOD).exact
    assert not Figure("x", "X", "s", 1.0).exact
