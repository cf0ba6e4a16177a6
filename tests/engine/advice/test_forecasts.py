"""Forecasts of memory and speed against what was measured."""

import pytest
from msgspec import structs

from engine.advice import forecast, load_catalogue
from engine.advice.memory import forecast_memory
from engine.advice.room import Needed, measure_room
from engine.advice.sizes import forecast_size
from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware, Memory

from .machines import GIB, LLAMA_8B, LLAMA_70B, MACHINES, SILENT, SMOLLM2, gpu, machine

CATALOGUE = load_catalogue()
UNKNOWN = Hardware()


def speeds(hardware: Hardware, card=SMOLLM2) -> dict[str, float | None]:
    rows = forecast(CATALOGUE, "llamacpp", hardware, card, 2048)
    return {row.precision: row.decode_tokens_per_s.value for row in rows}


def memory(precision: str, context: int, card=SMOLLM2, hardware=UNKNOWN, used: int | None = None):
    entry = CATALOGUE.precisions[precision]
    size = forecast_size(CATALOGUE, entry, card)
    return forecast_memory(CATALOGUE, entry.framework, size, card, context, hardware, used)


def processor(*instruction_sets: str, os: str = "linux") -> Hardware:
    return Hardware(os=Fact(os), cpu=Cpu(instruction_sets=Fact(instruction_sets)))


class TestMemory:
    def test_grows_with_the_context(self):
        small, longer = memory("Q4_K_M", 1024, LLAMA_8B), memory("Q4_K_M", 2048, LLAMA_8B)
        scores = 1.4 * 4 * 512 * 33 * 1024
        assert longer.certain_bytes - small.certain_bytes == pytest.approx(LLAMA_8B.kv_cache_bytes(1024) + scores)
        assert "key/value cache" in longer.estimate.basis
        assert longer.estimate.low < longer.estimate.value < longer.estimate.high
        assert not longer.estimate.measured

    def test_the_cache_is_as_wide_as_the_framework_keeps_it(self):
        sixteen, floats = memory("openvino-int4", 4096).cache_bytes, memory("olive-int4", 4096).cache_bytes
        assert (sixteen, floats) == (SMOLLM2.kv_cache_bytes(4096), 2 * SMOLLM2.kv_cache_bytes(4096))

    def test_what_grows_with_use_and_what_is_there_from_the_start(self):
        assert memory("Q4_0", 4096, used=100).cache_bytes == memory("Q4_0", 4096).cache_bytes
        assert memory("openvino-int4", 4096, used=100).cache_bytes == SMOLLM2.kv_cache_bytes(100)
        assert memory("mlx-4bit", 4096, used=100).cache_bytes == 2 * SMOLLM2.kv_cache_bytes(256)

    def test_weights_are_copied_where_the_processor_has_a_faster_layout(self):
        plain = memory("Q4_0", 2048, LLAMA_8B, processor("avx"))
        copied = memory("Q4_0", 2048, LLAMA_8B, processor("avx", "avx2"))
        assert 1.8 < copied.weights_bytes / plain.weights_bytes < 2
        assert memory("Q4_0", 2048, LLAMA_8B).weights_bytes > copied.weights_bytes, "an unknown processor may copy all"
        sixth = [memory("Q6_K", 2048, LLAMA_8B, processor(name)).weights_bytes for name in ("avx", "avx2")]
        assert sixth[0] == sixth[1]

    def test_a_gpu_computes_with_weights_as_they_are_stored(self):
        def held(precision: str, size: int | None) -> float:
            cards = (gpu("nvidia", "cuda", memory=size),) if size else ()
            return memory(precision, 2048, LLAMA_8B, machine(accelerators=cards)).weights_bytes

        copied = held("Q4_K_M", None)
        assert held("Q4_K_M", 24 * GIB) < 0.7 * copied
        assert held("Q4_K_M", 2 * GIB) == copied, "where it does not fit, the processor computes"

    def test_pages_beside_a_copy_are_not_needed(self):
        plain = memory("Q4_0", 2048, LLAMA_8B, processor("avx"))
        copied = memory("Q4_0", 2048, LLAMA_8B, processor("avx", "avx2"))
        assert copied.needed().total_bytes == pytest.approx(plain.needed().total_bytes, rel=1e-6)
        assert "the system may take back" in copied.estimate.basis
        assert memory("mlx-4bit", 2048).needed().total_bytes == memory("mlx-4bit", 2048).certain_bytes

    def test_sixteen_bits_are_widened_where_the_processor_does_not_compute_with_them(self):
        folder = structs.replace(LLAMA_8B, format="safetensors")
        with_them = memory("openvino-fp16", 2048, folder, processor("avx512", "avx512_bf16")).weights_bytes
        without = memory("openvino-fp16", 2048, folder, processor("avx2")).weights_bytes
        assert without / with_them == pytest.approx(1.5, rel=0.05)

    def test_openvino_packs_what_a_gguf_has(self):
        weights = tuple(structs.replace(one, type="Q8_0") for one in LLAMA_8B.weights)
        kept = structs.replace(LLAMA_8B, weights=weights, quantized=True)
        found = memory("openvino-gguf", 2048, kept, processor("avx2")).weights_bytes
        embeddings = next(one.size_bytes for one in weights if one.role == "embedding")
        assert found == 2 * (kept.size_bytes - embeddings) + embeddings

    def test_mlx_widens_on_a_processor_and_not_on_apples_gpu(self):
        apple, other = memory("mlx-bf16", 2048, hardware=processor("neon", os="darwin")), memory("mlx-bf16", 2048)
        assert other.weights_bytes == pytest.approx(2 * apple.weights_bytes)
        assert other.cache_bytes == 2 * apple.cache_bytes

    def test_a_sliding_window_saves_nothing(self):
        """llama.cpp keeps the whole context for windowed layers, too, as it is loaded here."""
        windowed = memory("Q4_K_M", 8192, structs.replace(LLAMA_8B, sliding_window=1024))
        assert windowed.certain_bytes == memory("Q4_K_M", 8192, LLAMA_8B).certain_bytes
        assert "sliding window" in windowed.estimate.basis

    def test_without_dimensions_it_is_unknown_and_bounded(self):
        found = memory("Q4_K_M", 2048, SILENT)
        assert (found.estimate.value, found.estimate.low) == (None, None)
        assert "at least" in found.estimate.basis

    def test_where_the_limit_comes_from(self):
        def room(**facts):
            return measure_room(CATALOGUE, "llamacpp", Hardware(memory=Memory(**facts)), None)

        assert room(usable_bytes=Fact(5), available_bytes=Fact(7)).limit_bytes == 5
        assert room(available_bytes=Fact(7), total_bytes=Fact(100)).limit_bytes == 7
        assert room(total_bytes=Fact(100)).limit_bytes == 75
        unknown = room()
        assert unknown.limit_bytes is None
        assert unknown.fits(Needed(1e15, 1e15))
        assert unknown.largest_bytes is None

    def test_a_gpu_counts_only_with_a_usable_api(self):
        idle = machine(vendor="amd", usable=GIB, accelerators=(gpu("nvidia", memory=24 * GIB),))
        assert measure_room(CATALOGUE, "llamacpp", idle, None).gpu is None
        assert measure_room(CATALOGUE, "llamacpp", MACHINES["nvidia"], None).gpu_limit_bytes == 24 * GIB
        assert measure_room(CATALOGUE, "openvino", MACHINES["nvidia"], None).gpu is None

    def test_where_only_a_gpus_memory_is_known_it_decides(self):
        room = measure_room(CATALOGUE, "llamacpp", Hardware(accelerators=MACHINES["nvidia"].accelerators), None)
        assert (room.limit_bytes, room.largest_bytes) == (None, 24 * GIB)
        assert room.fits(Needed(23 * GIB, 23 * GIB))
        assert not room.fits(Needed(25 * GIB, 25 * GIB))

    def test_a_gpu_of_which_only_the_total_is_known_counts_in_part(self):
        card = Accelerator("gpu", "nvidia", memory_total_bytes=Fact(8 * GIB), apis=("cuda",))
        room = measure_room(CATALOGUE, "llamacpp", machine(accelerators=(card,)), None)
        assert room.gpu_limit_bytes == 6 * GIB


def measured_machine(int8_ops_per_s=1e11):
    """One whose memory and whose arithmetic were measured."""
    found = machine(bandwidth=30e9)
    rates = {"int8_ops_per_s": Fact(int8_ops_per_s, "measured"), "float32_ops_per_s": Fact(5e10, "measured")}
    return structs.replace(found, throughput=structs.replace(found.throughput, **rates))


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
        assert "as its maker states it: https://images.nvidia.com/" in fast.basis
        low, high = CATALOGUE.decode["llamacpp"].gpu.stated
        assert (fast.low, fast.high) == pytest.approx((low * fast.value, high * fast.value), rel=0.01)
        assert 120 < fast.value < 180

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
        speed = rows[0].decode_tokens_per_s
        assert "measured memory bandwidth, 9.0 GB/s" in speed.basis
        error = CATALOGUE.decode["llamacpp"].error
        assert (speed.low, speed.high) == pytest.approx((speed.value / (1 + error), speed.value / (1 - error)))

    def test_a_thread_reads_no_more_however_much_the_memory_gives(self):
        fast = machine(bandwidth=400e9)
        narrow = structs.replace(fast, throughput=structs.replace(fast.throughput, threads=2))
        rows = forecast(CATALOGUE, "llamacpp", narrow, LLAMA_8B, 2048)
        assert "400.0 GB/s, of which its threads read 45 GB/s at most" in rows[0].decode_tokens_per_s.basis
        assert speeds(narrow, LLAMA_8B) == speeds(machine(bandwidth=45e9), LLAMA_8B)

    def test_a_long_conversation_is_slower_by_what_attention_takes(self):
        rows = {length: forecast(CATALOGUE, "llamacpp", measured_machine(), SMOLLM2, length) for length in (1024, 4096)}
        for short, long in zip(rows[1024], rows[4096], strict=True):
            early, some, full = (
                1 / (estimate.value or 0)
                for estimate in (short.decode_tokens_per_s, short.full_tokens_per_s, long.full_tokens_per_s)
            )
            assert full - early == pytest.approx(4 * (some - early), rel=0.05)
        row = forecast(CATALOGUE, "llamacpp", machine(bandwidth=30e9), SMOLLM2, 1024)[0]
        assert row.full_tokens_per_s.value is None
        assert row.full_tokens_per_s.basis.startswith("unknown: how")

    def test_on_a_card_a_long_conversation_is_slower_by_what_the_cache_takes(self):
        card, kept = MACHINES["nvidia"], LLAMA_8B.kv_cache_bytes(8192)
        rows = {tokens: forecast(CATALOGUE, "llamacpp", card, LLAMA_8B, tokens) for tokens in (4096, 8192)}
        early, some, full = (
            1 / next(getattr(row, when).value for row in rows[tokens] if row.precision == "Q4_K_M")
            for when, tokens in (
                ("decode_tokens_per_s", 8192),
                ("full_tokens_per_s", 4096),
                ("full_tokens_per_s", 8192),
            )
        )
        assert full - early == pytest.approx(2 * (some - early), rel=0.05)
        assert full - early == pytest.approx(kept / (0.75 * 1008e9), rel=0.05)

    def test_a_prompt_is_as_fast_as_the_processor_multiplies(self):
        slow, fast = (
            {row.precision: row.prompt_tokens_per_s for row in forecast(CATALOGUE, name, hardware, SMOLLM2, 2048)}
            for name, hardware in (("llamacpp", measured_machine(1e11)), ("llamacpp", measured_machine(2e11)))
        )
        for name, estimate in slow.items():
            assert estimate.value
            assert estimate.value < fast[name].value <= 2.01 * estimate.value
            assert "100 billion 8-bit operations" in estimate.basis
            assert estimate.low is None, "only seen on other processors"
        row = forecast(CATALOGUE, "llamacpp", machine(bandwidth=30e9), SMOLLM2, 1024)[0]
        assert row.prompt_tokens_per_s.value is None
        assert row.prompt_tokens_per_s.basis.startswith("unknown: how fast")
        row = forecast(CATALOGUE, "mlx", measured_machine(), SMOLLM2, 1024)[0]
        assert row.prompt_tokens_per_s.value is None
        assert "measure it" in row.prompt_tokens_per_s.basis

    def test_a_card_reads_prompts_as_fast_as_it_computes(self):
        def read(hardware, precision="Q4_K_M", model=LLAMA_8B):
            rows = forecast(CATALOGUE, "llamacpp", hardware, model, 2048)
            return next(row.prompt_tokens_per_s for row in rows if row.precision == precision)

        found = read(MACHINES["nvidia"])
        assert found.low < found.value < found.high
        assert "82.6 trillion 32-bit operations a second of NVIDIA" in found.basis
        assert "differs too much" in read(MACHINES["nvidia"], "BF16").basis
        assert "where a part lies on the GPU" in read(MACHINES["nvidia"], model=LLAMA_70B).basis
        unnamed = structs.replace(MACHINES["nvidia"].accelerators[0], name=Fact("NVIDIA Something"))
        assert (
            "NVIDIA Something multiplies is not known"
            in read(structs.replace(MACHINES["nvidia"], accelerators=(unnamed,))).basis
        )
        assert "such a GPU" in read(MACHINES["apple"]).basis

    def test_mlx_is_only_predicted_where_there_is_a_gpu_for_it(self):
        row = forecast(CATALOGUE, "mlx", measured_machine(), SMOLLM2, 1024)[0]
        assert row.decode_tokens_per_s.value is None
        assert "on a processor: measure it" in row.decode_tokens_per_s.basis
        found = {row.precision: row for row in forecast(CATALOGUE, "mlx", MACHINES["apple"], LLAMA_8B, 1024)}
        assert found["mlx-4bit"].decode_tokens_per_s.value > 1.5 * found["mlx-8bit"].decode_tokens_per_s.value
        assert "on such a GPU was not measured" in found["mlx-4bit"].full_tokens_per_s.basis

    def test_a_mixture_of_experts_reads_those_that_take_part(self):
        hardware = machine(bandwidth=30e9)
        experts = sum(group.parameters for group in LLAMA_8B.weights if group.role.startswith("ffn"))
        idle = experts * 3 // 4
        mixture = structs.replace(LLAMA_8B, experts=8, active_parameters=LLAMA_8B.parameters - idle)
        dense, sparse = speeds(hardware, LLAMA_8B), speeds(hardware, mixture)
        assert all(sparse[name] > 1.8 * dense[name] for name in dense)
        read = LLAMA_8B.parameters - idle - LLAMA_8B.vocabulary * LLAMA_8B.width
        assert sparse["F16"] == pytest.approx(30e9 * 0.9 / (2 * read), rel=0.05)
        rows = forecast(CATALOGUE, "llamacpp", hardware, mixture, 2048)
        assert "of the experts' weights 25%" in rows[0].decode_tokens_per_s.basis
        assert set(speeds(hardware, structs.replace(LLAMA_8B, experts=8)).values()) == {None}

    def test_what_does_not_fit_on_the_gpu_is_computed_by_the_processor(self):
        def speed(memory: int, bandwidth: float | None = 30e9):
            card = gpu("nvidia", "cuda", memory=memory, name="NVIDIA RTX 4090")
            hardware = machine(bandwidth=bandwidth, usable=64 * GIB, accelerators=(card,))
            rows = forecast(CATALOGUE, "llamacpp", hardware, LLAMA_8B, 4096)
            return next(row for row in rows if row.precision == "F16").decode_tokens_per_s

        none, half, all_of_it = speed(1), speed(9 * GIB), speed(24 * GIB)
        assert none.value < half.value < all_of_it.value
        assert half.value == pytest.approx(none.value * 2, rel=0.15), "the processor's half takes nearly all the time"
        assert "of 32 layers: memory bandwidth of NVIDIA RTX 4090" in half.basis
        assert "of 32 layers: measured memory bandwidth" in half.basis
        assert speed(9 * GIB, None).value is None

    def test_unknown_stays_unknown(self):
        assert set(speeds(MACHINES["amd server"]).values()) == {None}
        rows = forecast(CATALOGUE, "mlx", machine(vendor="intel", bandwidth=30e9), SMOLLM2, 2048)
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
