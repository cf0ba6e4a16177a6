"""Forecasts of memory and speed against what was measured."""

import pytest

from engine.advice import forecast, load_catalogue
from engine.advice.forecasting import forecast_memory, measure_room
from engine.hardware.facts import Accelerator, Fact, Hardware, Memory

from .machines import GIB, LLAMA_8B, MACHINES, SMOLLM2, gpu, machine

CATALOGUE = load_catalogue()


def speeds(hardware: Hardware, card=SMOLLM2) -> dict[str, float | None]:
    rows = forecast(CATALOGUE, "llamacpp", hardware, card, 2048)
    return {row.precision: row.decode_tokens_per_s.value for row in rows}


class TestMemory:
    # (file bytes, context, resident bytes seen with the context full), llama.cpp in a Python process of its own
    @pytest.mark.parametrize(("size", "context", "seen"), [(270_885_952, 2048, 436e6), (144_811_072, 8192, 619e6)])
    def test_near_what_was_seen(self, size, context, seen):
        estimate, _ = forecast_memory(CATALOGUE, "llamacpp", size, SMOLLM2, context)
        assert estimate.value == pytest.approx(seen, rel=0.1)
        assert "key/value cache" in estimate.basis
        assert not estimate.measured

    def test_grows_with_context_and_file(self):
        small, _ = forecast_memory(CATALOGUE, "llamacpp", 1e9, LLAMA_8B, 1024)
        longer, _ = forecast_memory(CATALOGUE, "llamacpp", 1e9, LLAMA_8B, 2048)
        assert longer.value - small.value == LLAMA_8B.kv_cache_bytes(1024) + 4 * 512 * 33 * 1024

    def test_where_the_limit_comes_from(self):
        def room(**facts):
            return measure_room(CATALOGUE, "llamacpp", Hardware(memory=Memory(**facts)), None)

        assert room(usable_bytes=Fact(5), available_bytes=Fact(7)).limit_bytes == 5
        assert room(available_bytes=Fact(7), total_bytes=Fact(100)).limit_bytes == 7
        assert room(total_bytes=Fact(100)).limit_bytes == 75
        unknown = room()
        assert unknown.limit_bytes is None
        assert unknown.fits(1e15)
        assert unknown.largest_bytes is None

    def test_a_gpu_counts_only_with_a_usable_api(self):
        idle = machine(vendor="amd", usable=GIB, accelerators=(gpu("nvidia", memory=24 * GIB),))
        assert measure_room(CATALOGUE, "llamacpp", idle, None).gpu is None
        assert measure_room(CATALOGUE, "llamacpp", MACHINES["nvidia"], None).gpu_limit_bytes == 24 * GIB
        assert measure_room(CATALOGUE, "openvino", MACHINES["nvidia"], None).gpu is None

    def test_a_gpu_of_which_only_the_total_is_known_counts_in_part(self):
        card = Accelerator("gpu", "nvidia", memory_total_bytes=Fact(8 * GIB), apis=("cuda",))
        room = measure_room(CATALOGUE, "llamacpp", machine(accelerators=(card,)), None)
        assert room.gpu_limit_bytes == 6 * GIB


class TestSpeed:
    # tokens/s seen for SmolLM2-135M on two cores of a server that reads 32 GB/s with both
    SEEN = (("F16", 83.6), ("Q8_0", 115.7), ("Q6_K", 120.2), ("Q5_K_M", 116.5), ("Q4_K_M", 133.7), ("Q4_0", 174.8))

    @pytest.mark.parametrize(("precision", "seen"), SEEN)
    def test_near_what_was_seen(self, precision, seen):
        assert speeds(machine(bandwidth=32e9))[precision] == pytest.approx(seen, rel=0.25)

    def test_smaller_is_faster_and_more_bandwidth_too(self):
        slow, fast = speeds(machine(bandwidth=10e9), LLAMA_8B), speeds(machine(bandwidth=20e9), LLAMA_8B)
        assert slow["F16"] < slow["Q8_0"] < slow["Q4_K_M"]
        assert all(fast[name] > slow[name] for name in slow)

    def test_the_gpu_is_counted_by_its_name(self):
        rows = forecast(CATALOGUE, "llamacpp", MACHINES["nvidia"], LLAMA_8B, 4096)
        fast = next(row for row in rows if row.precision == "Q4_K_M").decode_tokens_per_s
        assert "1008 GB/s" in fast.basis
        assert "stated by its maker" in fast.basis
        assert 80 < fast.value < 180

    def test_a_nameless_gpu_has_no_speed(self):
        hardware = machine(accelerators=(gpu("nvidia", "cuda", memory=24 * GIB),), bandwidth=10e9)
        assert set(speeds(hardware).values()) == {None}

    def test_the_longest_name_is_taken(self):
        pro, plain = (machine("darwin", "arm64", "apple", model=f"Apple M2{kind}") for kind in (" Pro", ""))
        rows = forecast(CATALOGUE, "llamacpp", pro, SMOLLM2, 2048)
        assert "200 GB/s" in rows[0].decode_tokens_per_s.basis
        rows = forecast(CATALOGUE, "llamacpp", plain, SMOLLM2, 2048)
        assert "100 GB/s" in rows[0].decode_tokens_per_s.basis

    def test_a_measurement_goes_before_a_table(self):
        pi = machine(architecture="aarch64", board="Raspberry Pi 5 Model B", bandwidth=9e9)
        rows = forecast(CATALOGUE, "llamacpp", pi, SMOLLM2, 2048)
        assert "measured here, 9.0 GB/s" in rows[0].decode_tokens_per_s.basis

    def test_unknown_stays_unknown(self):
        assert set(speeds(MACHINES["amd server"]).values()) == {None}
        rows = forecast(CATALOGUE, "openvino", machine(vendor="intel", bandwidth=30e9), SMOLLM2, 2048)
        assert all(row.decode_tokens_per_s.value is None and row.decode_tokens_per_s.basis for row in rows)


def test_quality_names_its_source():
    rows = {row.precision: row for row in forecast(CATALOGUE, "llamacpp", Hardware(), LLAMA_8B, 2048)}
    assert rows["Q4_K_M"].quality.value == 0.031
    assert "Llama-3-8B" in rows["Q4_K_M"].quality.basis
    assert "91.9 %" in rows["Q4_K_M"].quality.basis
    assert rows["F16"].quality.value is None
    assert list(rows) == [
        "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_K_S", "Q4_K_M",
        "Q5_0", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16",
    ]  # fmt: skip
