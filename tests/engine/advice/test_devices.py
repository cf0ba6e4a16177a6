"""The table of devices: each of them gives advice, and what is detected under their names reads as fast."""

import json

import pytest

from engine.advice import FRAMEWORKS, forecast, judge, load_catalogue, load_tree, recommend
from engine.advice.devices import find_device, load_devices, memory_of, profiles, require_device, stated_bandwidth
from engine.advice.learning import Observation
from engine.advice.room import measure_room
from engine.bundles.target import target_of
from engine.errors import UsageError
from engine.hardware import load_profile, save_profile
from engine.hardware.facts import Hardware
from engine.models import packaged_card

from .machines import GIB, LLAMA_8B, LLAMA_70B, MACHINES, SMOLLM2, gpu, llama, machine

TREE, CATALOGUE = load_tree(), load_catalogue()
DEVICES = CATALOGUE.devices
PROFILES = profiles(DEVICES)

PLATFORMS = {
    "raspberry-pi-5-8gb": "embedded_arm",
    "jetson-orin-nano-super": "embedded_arm",
    "apple-m2-pro-16gb": "apple",
    "n100-ddr4-16gb": "intel_cpu",
    "core-ultra-7-155h-lpddr5x-32gb": "intel_gpu",
    "arc-a770": "intel_gpu",
    "ryzen-ai-9-hx-370-lpddr5x-32gb": "amd",
    "rx-7900-xtx": "amd",
    "steam-deck-oled": "amd",
    "rtx-4090": "nvidia",
    "h100-sxm": "nvidia",
    "dgx-spark": "nvidia",
}


LLAMA_2_7B = llama("llama-2-7b", 32, 4096, 11008, 32, 32, 32000, context_length=4096)
QWEN3_4B = llama("qwen3-4b", 36, 2560, 9728, 32, 8, 151936, tied=True, head_width=128)
TINYLLAMA = llama("tinyllama-1.1b", 22, 2048, 5632, 32, 4, 32000, context_length=2048)
PUBLISHED = [
    # https://justine.lol/matmul/, llama.cpp and llamafile in March 2024
    ("raspberry-pi-4-8gb", TINYLLAMA, "Q8_0", 3),
    ("raspberry-pi-5-8gb", TINYLLAMA, "Q8_0", 9),
    ("raspberry-pi-5-8gb", TINYLLAMA, "F16", 5),
    # https://github.com/ggml-org/llama.cpp/discussions/4167
    ("apple-m1-8gb", LLAMA_2_7B, "Q4_0", 14.15),
    ("apple-m1-pro-16gb", LLAMA_2_7B, "Q4_0", 36.41),
    ("apple-m2-24gb", LLAMA_2_7B, "Q4_0", 21.91),
    ("apple-m2-max-32gb", LLAMA_2_7B, "Q4_0", 65.95),
    ("apple-m2-ultra-64gb", LLAMA_2_7B, "Q4_0", 88.64),
    ("apple-m3-max-16-core-64gb", LLAMA_2_7B, "Q4_0", 66.31),
    ("apple-m4-max-16-core-64gb", LLAMA_2_7B, "Q4_0", 83.06),
    # https://github.com/ggml-org/llama.cpp/discussions/15013
    ("rtx-3060", LLAMA_2_7B, "Q4_0", 75.58),
    ("rtx-4070-ti-super", LLAMA_2_7B, "Q4_0", 132.26),
    ("rtx-5070", LLAMA_2_7B, "Q4_0", 127.54),
    ("rtx-5070-ti", LLAMA_2_7B, "Q4_0", 176.85),
    ("rtx-5080", LLAMA_2_7B, "Q4_0", 181.99),
    ("rtx-5090", LLAMA_2_7B, "Q4_0", 290.02),
    ("rtx-4090", LLAMA_2_7B, "Q4_0", 186.21),
    ("rtx-3090", LLAMA_2_7B, "Q4_0", 158.16),
    ("a100-80gb-pcie", LLAMA_2_7B, "Q4_0", 190.88),
    ("h100-sxm", LLAMA_2_7B, "Q4_0", 267.81),
    # https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/BENCHMARKS.md
    ("apple-m4-max-16-core-64gb", QWEN3_4B, "mlx-4bit", 134.5),
    ("apple-m4-max-16-core-64gb", QWEN3_4B, "mlx-8bit", 86.9),
    ("apple-m4-max-16-core-64gb", QWEN3_4B, "mlx-bf16", 52.5),
    # https://github.com/ml-explore/mlx-lm/pull/1569
    ("apple-m3-pro-18gb", QWEN3_4B, "mlx-4bit", 44.62),
    # https://github.com/AlexsJones/llmfit/pull/1031
    ("apple-m2-pro-16gb", LLAMA_8B, "mlx-4bit", 36.2),
    ("apple-m2-pro-16gb", LLAMA_8B, "Q4_K_M", 33.0),
    ("apple-m2-pro-16gb", LLAMA_8B, "Q8_0", 22.0),
    # https://github.com/ml-explore/mlx-examples/issues/1029
    ("apple-m3-max-16-core-64gb", LLAMA_70B, "mlx-4bit", 9.351),
]


@pytest.mark.parametrize(("name", "card", "precision", "tokens_per_s"), PUBLISHED)
def test_speeds_lie_around_those_that_were_published(name, card, precision, tokens_per_s):
    rows = forecast(CATALOGUE, CATALOGUE.precisions[precision].framework, PROFILES[name], card, 2048)
    speed = next(row for row in rows if row.precision == precision).decode_tokens_per_s
    assert speed.low < tokens_per_s < speed.high


@pytest.mark.parametrize(
    ("name", "tokens_per_s"),
    [  # https://github.com/ggml-org/llama.cpp/discussions/15013, prompts of 512 tokens
        ("rtx-5090", 14073),
        ("rtx-4090", 11993),
        ("h100-sxm", 9918),
        ("rtx-5080", 8297),
        ("rtx-5070-ti", 6952),
        ("rtx-4070-ti-super", 6925),
        ("rtx-5070", 5185),
        ("rtx-3090", 5175),
        ("a100-80gb-pcie", 4850),
    ],
)
def test_speeds_of_prompts_lie_around_those_that_were_published(name, tokens_per_s):
    rows = forecast(CATALOGUE, "llamacpp", PROFILES[name], LLAMA_2_7B, 2048)
    speed = next(row for row in rows if row.precision == "Q4_0").prompt_tokens_per_s
    assert speed.low < tokens_per_s < speed.high


def test_a_long_conversation_on_a_card_is_as_slow_as_was_published():
    # https://github.com/ggml-org/llama.cpp/pull/17505
    rows = forecast(CATALOGUE, "llamacpp", PROFILES["rtx-4090"], LLAMA_8B, 32768)
    speed = next(row for row in rows if row.precision == "Q4_0").full_tokens_per_s
    assert speed.low < 102.76 < speed.high


@pytest.mark.parametrize("name", PROFILES)
def test_each_gives_advice_from_its_makers_figures(name, tmp_path):
    said = recommend(TREE, CATALOGUE, MACHINES["apple"], {"target": name}, SMOLLM2, framework="llamacpp")
    device = PROFILES[name]
    memory, bandwidth = memory_of(device)
    assert said.path[0].answer_title == device.name
    assert said.answers["target"].value == name
    assert bandwidth.source in said.answers["target"].basis
    assert said.answers["platform"].origin == "detected"
    assert said.answers["platform"].value == PLATFORMS.get(name, said.answers["platform"].value)
    assert said.fits
    for row in said.precisions:
        speed = row.decode_tokens_per_s
        assert speed.value
        assert speed.low < speed.value < speed.high
        assert f"{bandwidth.value / 1e9:g} GB/s, as its maker states it: https://" in speed.basis
        assert bandwidth.source in speed.basis
        assert not speed.measured
    assert measure_room(CATALOGUE, "llamacpp", device, None).largest_bytes == int(0.75 * memory.value)
    for framework in FRAMEWORKS:
        rows = forecast(CATALOGUE, framework, device, SMOLLM2, 2048)
        assert all(row.memory_bytes.value and row.size_bytes.basis for row in rows)
    assert target_of(device, "3.12").os == device.os.value
    save_profile(device, tmp_path / "device.json")
    assert load_profile(tmp_path / "device.json") == device


@pytest.mark.parametrize(
    ("detected", "bandwidth"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", 17.1),
        ("Raspberry Pi 4 Model B Rev 1.5", 8),
        ("NVIDIA Jetson Orin Nano Developer Kit", 68),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 102),
        ("NVIDIA Jetson AGX Orin Developer Kit", 204.8),
        ("Apple M2", 100),
        ("Apple M2 Pro", 200),
        ("Apple M4 Max", 410),
        ("Intel(R) Core(TM) Ultra 7 258V", 136.5),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256),
        ("Valve Jupiter", 88),
        ("NVIDIA GeForce RTX 4090", 1008),
        ("AD102 [GeForce RTX 4090]", 1008),
        ("NVIDIA GeForce RTX 4070", 504),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 672),
        ("GA106 [GeForce RTX 3060 Lite Hash Rate]", 360),
        ("Tesla T4", 320),
        ("NVIDIA L4", 300),
        ("NVIDIA A10G", 600),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100 80GB PCIe", 1935),
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H100 PCIe", 2000),
        ("NVIDIA H100 NVL", 3900),
        ("NVIDIA H200", 4800),
        ("AMD Radeon RX 7900 XTX", 960),
        ("Intel(R) Arc(TM) A770 Graphics", 560),
        ("DG2 [Arc A770]", 560),
    ],
)
def test_what_is_detected_is_known_by_its_name(detected, bandwidth):
    found = stated_bandwidth(DEVICES, detected)
    assert found.value == bandwidth * 1e9
    assert "https://" in found.source


@pytest.mark.parametrize(
    "detected",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 3060 Ti", "NVIDIA L40",
        "AD107M [GeForce RTX 4060 Max-Q / Mobile]", "Apple M5 Ultra", "Apple M10", "AMD Radeon RX 7900 XT",
        "Intel(R) Arc(TM) A770M Graphics", "Raspberry Pi 3 Model B Plus", "", None,
    ],
)  # fmt: skip
def test_what_is_another_product_is_not_taken_for_it(detected):
    assert stated_bandwidth(DEVICES, detected).value is None


def test_there_are_enough_and_each_has_a_source():
    assert len(DEVICES) > 50
    for name, device in PROFILES.items():
        memory, bandwidth = memory_of(device)
        assert memory.value >= GIB, name
        assert memory.source.startswith("as its maker states it: https://")
        assert bandwidth.source.startswith("as its maker states it: https://")
        assert json.dumps(name).isascii()


@pytest.mark.parametrize(
    "name", ["raspberry-pi-5-8gb", "Raspberry-Pi-5-8GB", "raspberry pi 5 8gb", "Raspberry Pi 5, 8 GB"]
)
def test_a_name_is_found_however_it_is_written(name):
    assert find_device(DEVICES, name) == PROFILES["raspberry-pi-5-8gb"]


@pytest.mark.parametrize(
    ("name", "near"), [("raspberry-pi-5", "raspberry-pi-5-8gb"), ("RTX 4091", "rtx-4090"), ("\x1b[2J", "")]
)
def test_an_unknown_name_gets_the_nearest_ones(name, near):
    assert find_device(DEVICES, name) is None
    with pytest.raises(UsageError) as caught:
        require_device(load_devices(), name)
    assert near in caught.value.why
    assert "hardware --devices" in caught.value.remedy
    assert "\x1b" not in str(caught.value)


def test_what_does_not_fit_a_card_does_not_fit():
    said = recommend(TREE, CATALOGUE, Hardware(), {"target": "rtx-3060"}, LLAMA_70B, framework="llamacpp")
    assert not said.fits
    assert not any(row.fits for row in said.precisions)
    assert any("memory of the GPU; the machine's is unknown" in warning for warning in said.warnings)
    assert not any("could not be checked" in warning for warning in said.warnings)


def test_what_was_measured_here_says_nothing_of_a_device():
    card = packaged_card()
    source = {"origin": "packaged", "name": card.name}
    seen = Observation("a", "llamacpp", "Q8_0", source, 145_000_000, 5000.0, 400 << 20, 4096, card=card)
    here = MACHINES["intel laptop"]
    answers = {"target": "raspberry-pi-5-8gb"}
    told = recommend(TREE, CATALOGUE, here, answers, card, observations=[seen])
    assert told == recommend(TREE, CATALOGUE, MACHINES["apple"], answers, card)
    assert judge(TREE, CATALOGUE, here, answers, [seen])(card) == judge(TREE, CATALOGUE, Hardware(), answers)(card)


def test_other_answers_still_count():
    said = recommend(TREE, CATALOGUE, Hardware(), {"target": "rtx-4090", "memory_budget": "2GiB"}, SMOLLM2)
    assert said.answers["memory_budget"].value == "2GiB"
    assert any("maker's figures alone" in warning for warning in said.warnings)


def test_a_target_that_is_neither_option_nor_device_is_refused():
    with pytest.raises(UsageError, match="no answer to “target”") as caught:
        recommend(TREE, CATALOGUE, Hardware(), {"target": "raspberry-pi-9"}, None)
    assert "hardware --devices" in caught.value.remedy


def test_a_card_that_was_detected_counts_as_in_the_table():
    found = machine(accelerators=(gpu("nvidia", "cuda", memory=24 * GIB, name="NVIDIA GeForce RTX 4090"),))
    speeds = [
        [row.decode_tokens_per_s.value for row in forecast(CATALOGUE, "llamacpp", each, SMOLLM2, 2048)]
        for each in (found, PROFILES["rtx-4090"])
    ]
    assert speeds[0] == speeds[1]
