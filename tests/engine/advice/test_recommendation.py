"""Ranking, precision and routes on machines of several kinds, by example."""

import pytest
from msgspec import structs

from engine.advice import load_catalogue, load_tree, recommend
from engine.errors import UsageError
from engine.hardware.facts import Hardware

from .machines import (
    GIB,
    LLAMA_8B,
    LLAMA_70B,
    MACHINES,
    MIXTURE,
    REQUANTIZED,
    SILENT,
    SMOLLM2,
    TINY,
    machine,
)

TREE = load_tree()
CATALOGUE = load_catalogue()


def advise(hardware: Hardware, card=None, context_length=None, framework="llamacpp", **answers: str):
    return recommend(TREE, CATALOGUE, hardware, answers, card, context_length, framework)


def entry(said, framework):
    return next(entry for entry in said.ranking if entry.framework == framework)


def forecast_of(said, precision):
    return next(row for row in said.precisions if row.precision == precision)


class TestRanking:
    @pytest.mark.parametrize(
        ("name", "framework", "secondary"),
        [
            ("amd server", "llamacpp", "olive"),
            ("amd desktop", "llamacpp", "olive"),
            ("intel laptop", "openvino", "olive"),
            ("intel arc", "openvino", "olive"),
            ("apple", "mlx", "llamacpp"),
            ("nvidia", "olive", "openvino"),
            ("pi 5", "llamacpp", "openvino"),
            ("jetson", "llamacpp", "openvino"),
            ("coral", "openvino", "olive"),
        ],
    )
    def test_each_machine_gets_its_framework(self, name, framework, secondary):
        said = advise(MACHINES[name])
        assert (said.framework, said.secondary) == (framework, secondary)
        assert said.ranking[0].framework == framework
        assert said.ranking[1].framework == secondary
        assert TREE.leaves[said.leaf].framework == framework

    def test_only_llamacpp_runs_on_a_32_bit_board(self):
        said = advise(MACHINES["pi 32-bit"])
        assert [entry.framework for entry in said.ranking if entry.runs] == ["llamacpp"]
        assert said.secondary == ""
        assert any("The second choice, OpenVINO, cannot run" in warning for warning in said.warnings)

    def test_an_intel_mac_cannot_run_what_the_tree_says(self):
        said = advise(MACHINES["intel mac"])
        assert TREE.leaves[said.leaf].framework == "openvino"
        assert said.framework == "llamacpp"
        assert not entry(said, "openvino").runs
        assert any("The tree says OpenVINO, but it cannot run on the target" in warning for warning in said.warnings)
        assert said.reasons == said.ranking[0].reasons_for

    def test_mlx_off_apple(self):
        linux, windows = entry(advise(MACHINES["amd server"]), "mlx"), entry(advise(MACHINES["nvidia windows"]), "mlx")
        assert linux.runs
        assert any("very slowly" in reason for reason in linux.reasons_against)
        assert not windows.runs

    def test_an_edge_tpu_is_not_promised(self):
        said = advise(MACHINES["coral"])
        assert any("no plugin for Google's Edge TPU" in reason for reason in entry(said, "openvino").reasons_against)

    def test_jetson_has_no_cuda_for_olive(self):
        olive = entry(advise(MACHINES["jetson"]), "olive")
        assert olive.runs
        assert any("not published for Jetson" in reason for reason in olive.reasons_against)
        assert not any("CUDA execution provider" in reason for reason in olive.reasons_for)

    def test_the_users_framework_brings_its_precisions_and_changes_no_advice(self):
        said = advise(MACHINES["intel laptop"], SMOLLM2)
        assert (said.framework, said.chosen) == ("openvino", "llamacpp")
        assert said.precision == "Q4_K_M"
        assert {CATALOGUE.precisions[row.precision].framework for row in said.precisions} == {"llamacpp"}

    def test_the_recommended_framework_brings_its_own_precisions(self):
        said = advise(MACHINES["intel laptop"], SMOLLM2, framework="")
        assert said.chosen == "openvino"
        assert said.precision == "openvino-int4"

    def test_another_machine_is_judged_by_its_platform(self):
        said = advise(MACHINES["amd server"], target="another", platform="apple")
        assert said.framework == "mlx"
        assert any("made for" in reason for reason in said.ranking[0].reasons_for)
        assert any("put aside" in warning for warning in said.warnings)

    def test_another_phone_runs_llamacpp_only(self):
        said = advise(MACHINES["apple"], target="another", platform="arm_mobile")
        assert [entry.framework for entry in said.ranking if entry.runs] == ["llamacpp"]

    def test_enterprise_raises_olive(self):
        prototype = entry(advise(MACHINES["amd server"]), "olive").score
        assert entry(advise(MACHINES["amd server"], setting="enterprise"), "olive").score > prototype

    def test_claims_are_shown_as_claims(self):
        assert all(entry.claims.startswith("claimed: ") for entry in advise(MACHINES["amd server"]).ranking)


class TestPrecision:
    @pytest.mark.parametrize(
        ("priority", "precision"), [("ease", "Q4_K_M"), ("quality", "Q8_0"), ("speed", "Q4_0"), ("memory", "Q3_K_M")]
    )
    def test_priority_chooses_where_all_fit(self, priority, precision):
        said = advise(MACHINES["amd server"], LLAMA_8B, priority=priority)
        assert said.precision == precision
        assert [row.precision for row in said.precisions if row.recommended] == [precision]
        assert said.context_length == 4096

    def test_quality_takes_the_best_that_fits(self):
        said = advise(machine(vendor="amd", usable=8 * GIB), LLAMA_8B, priority="quality")
        assert said.precision == "Q6_K"
        assert not forecast_of(said, "Q8_0").fits

    def test_the_memory_budget_counts(self):
        said = advise(MACHINES["amd server"], LLAMA_8B, memory_budget="8 GiB", priority="quality")
        assert said.precision == "Q6_K"

    def test_a_budget_never_counts_for_more_than_there_is(self):
        assert not advise(machine(vendor="amd", usable=GIB), LLAMA_8B, memory_budget="64 GiB").fits

    def test_the_context_is_shortened_before_the_quality_is(self):
        said = advise(machine(vendor="amd", usable=round(4.6 * GIB)), LLAMA_8B)
        assert said.fits
        assert 512 <= said.context_length < 4096
        assert forecast_of(said, said.precision).fits
        assert any("shortened" in warning for warning in said.warnings)

    def test_a_given_context_is_kept(self):
        said = advise(machine(vendor="amd", usable=round(4.6 * GIB)), LLAMA_8B, context_length=32768)
        assert said.context_length == 32768
        assert not said.fits
        assert said.smaller_routes[0].title == "A shorter context"

    def test_the_model_s_own_context_is_the_limit(self):
        assert advise(MACHINES["amd server"], TINY).context_length == 128
        assert any("made for 128 tokens" in warning for warning in advise(MACHINES["amd server"], TINY, 256).warnings)

    def test_a_context_of_nothing_is_refused(self):
        with pytest.raises(UsageError):
            advise(MACHINES["amd server"], TINY, 0)

    def test_poor_quality_only_where_nothing_else_fits(self):
        said = advise(machine(vendor="amd", usable=round(3.6 * GIB)), LLAMA_8B)
        assert said.precision in ("Q2_K", "Q3_K_S")
        assert said.fits
        assert any("its quality is" in warning for warning in said.warnings)
        assert "A smaller model" in [route.title for route in said.smaller_routes]

    def test_nothing_fits(self):
        said = advise(MACHINES["pi 5"], LLAMA_70B)
        assert (said.fits, said.precision) == (False, None)
        assert not any(row.fits or row.recommended for row in said.precisions)
        assert [route.title for route in said.smaller_routes] == ["A smaller model", "Another machine"]
        assert any(warning.startswith("Nothing fits") for warning in said.warnings)

    def test_a_budget_too_small_offers_a_larger_one(self):
        said = advise(MACHINES["amd server"], LLAMA_8B, memory_budget="2GiB")
        route = next(route for route in said.smaller_routes if route.title == "A larger budget")
        assert advise(MACHINES["amd server"], LLAMA_8B, **route.answers).fits

    def test_a_quantized_source_gains_nothing_from_more_bits(self):
        said = advise(MACHINES["amd server"], REQUANTIZED, priority="quality")
        assert forecast_of(said, said.precision).bits_per_weight.value <= 1.02 * REQUANTIZED.bits_per_weight
        assert any("already quantized" in warning for warning in said.warnings)

    def test_more_bits_than_the_source_are_never_unsaid(self):
        minute = structs.replace(REQUANTIZED, size_bytes=REQUANTIZED.size_bytes // 4)
        said = advise(MACHINES["amd server"], minute)
        assert said.precision is not None
        assert any("gains nothing" in warning for warning in said.warnings)

    def test_fallbacks_are_said(self):
        assert any("180 of 272 tensors" in warning for warning in advise(MACHINES["amd server"], SMOLLM2).warnings)

    def test_unknown_memory_is_said(self):
        said = advise(MACHINES["memory unknown"], LLAMA_8B)
        assert said.fits
        assert any("could not be checked" in warning for warning in said.warnings)

    def test_unknown_cache_is_said(self):
        said = advise(MACHINES["amd server"], SILENT)
        assert forecast_of(said, said.precision).memory_bytes.value is None
        assert any("not certain" in warning for warning in said.warnings)

    def test_without_a_model_there_is_no_precision(self):
        said = advise(MACHINES["amd server"])
        assert (said.precision, said.precisions, said.context_length, said.fits) == (None, (), 0, True)

    def test_a_gpu_with_room_counts(self):
        small_ram = structs.replace(MACHINES["nvidia"], memory=machine(usable=2 * GIB).memory)
        assert advise(small_ram, LLAMA_8B).fits
        assert not advise(machine(vendor="amd", usable=2 * GIB), LLAMA_8B).fits
        assert not advise(small_ram, LLAMA_8B, memory_budget="2GiB").fits

    def test_mixtures_have_no_speed(self):
        said = advise(machine(vendor="amd", usable=64 * GIB, bandwidth=50e9), MIXTURE)
        assert all(row.decode_tokens_per_s.value is None for row in said.precisions)
        assert "mixture of experts" in said.precisions[0].decode_tokens_per_s.basis
