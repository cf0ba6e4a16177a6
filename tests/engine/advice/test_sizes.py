"""Predicted sizes against real files: llama.cpp's quantizations of SmolLM2-135M and of Llama-3.1-8B."""

from typing import ClassVar

import pytest
from msgspec import structs

from engine.advice import load_catalogue
from engine.advice.catalogue import Precision
from engine.advice.sizes import forecast_size

from .machines import LLAMA_8B, ODD_ROWS, SMOLLM2

CATALOGUE = load_catalogue()


def size_bytes(precision: str, card=SMOLLM2) -> int:
    return forecast_size(CATALOGUE, CATALOGUE.precisions[precision], card).size_bytes


class TestAgainstRealFiles:
    # Files that llama.cpp wrote, with the number of tensors it said had fallen back.
    SMOLLM2: ClassVar = {
        "Q2_K": (88_201_792, 180),
        "Q3_K_S": (88_201_792, 180),
        "Q3_K_M": (93_510_208, 180),
        "Q3_K_L": (97_532_992, 180),
        "Q4_0": (91_726_912, 1),
        "Q4_K_S": (102_039_616, 180),
        "Q4_K_M": (105_454_144, 180),
        "Q5_0": (104_997_952, 1),
        "Q5_K_S": (109_974_592, 180),
        "Q5_K_M": (112_103_488, 180),
        "Q6_K": (138_382_912, 180),
        "Q8_0": (144_811_072, 0),
        "F16": (270_885_952, 0),
        "BF16": (270_885_952, 0),
    }
    # GiB, from the Llama-3.1-8B table in llama.cpp's quantize README: rows of 4096, so nothing falls back.
    LLAMA_8B: ClassVar = {
        "Q2_K": 2.95,
        "Q3_K_S": 3.41,
        "Q3_K_M": 3.74,
        "Q3_K_L": 4.02,
        "Q4_K_S": 4.36,
        "Q4_K_M": 4.58,
        "Q5_K_S": 5.21,
        "Q5_K_M": 5.33,
        "Q6_K": 6.14,
        "Q8_0": 7.95,
        "F16": 14.96,
    }

    @pytest.mark.parametrize("precision", SMOLLM2)
    def test_small_model_with_fallbacks_is_exact(self, precision):
        forecast = forecast_size(CATALOGUE, CATALOGUE.precisions[precision], SMOLLM2)
        assert (forecast.size_bytes, forecast.fallback_tensors) == self.SMOLLM2[precision]

    @pytest.mark.parametrize("precision", LLAMA_8B)
    def test_large_model_within_half_a_percent(self, precision):
        assert size_bytes(precision, LLAMA_8B) / 2**30 == pytest.approx(self.LLAMA_8B[precision], rel=0.005)
        assert forecast_size(CATALOGUE, CATALOGUE.precisions[precision], LLAMA_8B).fallback_tensors == 0


def test_a_quantized_source_gives_the_same_sizes():
    """What counts is the shape of the tensors, not the type they have now."""
    weights = tuple(
        group if group.role == "vector" else structs.replace(group, type="Q4_1", size_bytes=group.parameters * 5 // 8)
        for group in SMOLLM2.weights
    )
    source = structs.replace(
        SMOLLM2, weights=weights, size_bytes=sum(group.size_bytes for group in weights) + 1_785_664, quantized=True
    )
    assert size_bytes("Q4_K_M", source) == size_bytes("Q4_K_M")


def test_rows_of_no_block_size_become_f16():
    forecast = forecast_size(CATALOGUE, CATALOGUE.precisions["Q4_K_M"], ODD_ROWS)
    assert {part.type for part in forecast.parts} == {"F32", "F16"}


def test_the_output_share_of_attention_is_recognised_by_its_rows():
    """Where the heads together are wider than the model, the output matrix is a group of its own."""
    wide = structs.replace(LLAMA_8B, head_width=256)
    groups = [group for group in wide.weights if group.role != "attention_other"]
    other = next(group for group in wide.weights if group.role == "attention_other")
    half = other.parameters // 2
    groups += [
        structs.replace(other, tensors=64, parameters=half),
        structs.replace(other, tensors=32, parameters=half, row_width=8192),
    ]
    parts = forecast_size(CATALOGUE, CATALOGUE.precisions["Q3_K_M"], structs.replace(wide, weights=tuple(groups))).parts
    by_type = {}
    for part in parts:
        if part.role == "attention_other":
            by_type[part.type] = by_type.get(part.type, 0) + part.parameters
    assert by_type == {"Q3_K": half, "Q4_K": half}


def test_hugging_face_weights_get_an_estimated_header():
    folder = structs.replace(SMOLLM2, format="safetensors", size_bytes=269_000_000)
    assert size_bytes("F16", folder) == pytest.approx(size_bytes("F16"), rel=0.002)


def test_untied_precisions_store_the_embeddings_twice():
    once = Precision("olive", "x", "low", "", base="olive-u4", output="olive-u8", embedding="olive-u4")
    twice = structs.replace(once, untied=True)
    difference = (
        forecast_size(CATALOGUE, twice, SMOLLM2).size_bytes - forecast_size(CATALOGUE, once, SMOLLM2).size_bytes
    )
    assert difference == 576 * 49152 * 37 // 32


def test_rows_that_a_group_does_not_divide_take_a_smaller_group():
    def kinds(card):
        return {part.type for part in forecast_size(CATALOGUE, CATALOGUE.precisions["openvino-int4"], card).parts}

    narrow = structs.replace(ODD_ROWS, weights=tuple(structs.replace(one, row_width=96) for one in ODD_ROWS.weights))
    assert {"openvino-u4-32", "openvino-u8"} <= kinds(narrow)
    assert "openvino-u4-row" in kinds(ODD_ROWS)
