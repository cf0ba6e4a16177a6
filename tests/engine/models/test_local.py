import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.local import read_card, weight_files
from engine.models.roles import find_role

from .writers import TINY_CONFIG, TINY_METADATA, TINY_TENSORS, gguf, model_folder, safetensors


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_card(path)
    return caught.value


def roles(card: ModelCard) -> dict[str, int]:
    return {group.role: group.parameters for group in card.weights}


TINY_ROLES = {
    "embedding": 96,
    "vector": 32,
    "attention_v": 512,
    "attention_other": 1024,
    "ffn_down": 2048,
    "ffn_other": 2048,
}


def test_a_gguf_card_says_what_the_header_says(tmp_path: Path) -> None:
    path = write(tmp_path / "Tiny-1B-Q4_K_M.gguf", gguf())
    card = read_card(path)
    assert card.name == "Tiny-1B"
    assert (card.format, card.architecture, card.origin) == ("gguf", "llama", "local")
    assert (card.layers, card.width, card.heads, card.kv_heads, card.head_width) == (1, 32, 4, 2, 8)
    assert (card.context_length, card.vocabulary, card.experts, card.licence) == (128, 3, None, "mit")
    assert card.chat_template
    assert card.quantized
    assert card.size_bytes == path.stat().st_size
    assert card.parameters == sum(TINY_ROLES.values())
    assert roles(card) == TINY_ROLES
    assert card.kv_cache_bytes(128) == 2 * 1 * 2 * 8 * 128 * 2


def test_a_folder_card_says_what_config_and_headers_say(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "Tiny-1B")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- license: x\n---\n# Tiny\n")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    card = read_card(folder)
    assert (card.name, card.format, card.architecture) == ("Tiny-1B", "safetensors", "llama")
    assert (card.layers, card.width, card.heads, card.kv_heads, card.head_width) == (1, 32, 4, 2, 8)
    assert (card.context_length, card.vocabulary, card.licence) == (128, 3, "apache-2.0")
    assert card.chat_template
    assert not card.quantized
    assert roles(card) == TINY_ROLES
    assert card.weight_types == {"BF16": 5, "F32": 1}


def test_the_file_is_named_after_its_folder_or_header_when_its_name_says_nothing(tmp_path: Path) -> None:
    named = write(tmp_path / "a" / "model.gguf", gguf(TINY_METADATA | {"general.name": "Some\x1b[1m Name"}))
    assert read_card(named).name == "Some�[1m Name"
    assert read_card(write(tmp_path / "Folder" / "ggml-model-f16.gguf", gguf())).name == "Folder"
    assert read_card(write(tmp_path / "x.IQ4_XS.gguf", gguf())).name == "x"
    assert read_card(write(tmp_path / "phi-4-bf16.gguf", gguf())).name == "phi-4"


def test_values_for_each_layer_are_bounded_by_the_largest(tmp_path: Path) -> None:
    metadata = TINY_METADATA | {"llama.attention.head_count": [4, 8, 0], "llama.context_length": 0}
    card = read_card(write(tmp_path / "x.gguf", gguf(metadata)))
    assert card.heads == 8
    assert card.context_length is None


@pytest.mark.parametrize("value", ["", "   ", 7])
def test_an_empty_template_is_none(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "x.gguf", gguf(TINY_METADATA | {"tokenizer.chat_template": value}))
    assert not read_card(path).chat_template


@pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
def test_gguf_files_that_are_no_models_are_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "x.gguf", gguf(TINY_METADATA | {"general.type": kind}))
    assert "no language model" in refusal(path).what


def test_a_gguf_file_without_tensors_or_architecture_is_refused(tmp_path: Path) -> None:
    assert "no language model" in refusal(write(tmp_path / "x.gguf", gguf(tensors=[]))).what
    assert "no language model" in refusal(write(tmp_path / "x.gguf", gguf({"a": 1}))).what


def split(folder: Path, parts: int = 3) -> Path:
    for part in range(parts):
        metadata = (TINY_METADATA if part == 0 else {}) | {"split.count": parts, "split.no": part}
        write(
            folder / f"Tiny-F32-{part + 1:05}-of-{parts:05}.gguf", gguf(metadata, TINY_TENSORS[part * 2 : part * 2 + 2])
        )
    return folder / f"Tiny-F32-00001-of-{parts:05}.gguf"


def test_a_split_gguf_is_one_model_whichever_part_is_named(tmp_path: Path) -> None:
    first = split(tmp_path)
    card = read_card(first)
    assert card.name == "Tiny"
    assert card.tensors == len(TINY_TENSORS)
    assert card.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert read_card(first.with_name("Tiny-F32-00002-of-00003.gguf")) == card
    assert read_card(tmp_path) == card
    assert len(weight_files(first)) == 3


def test_a_split_gguf_lists_its_missing_parts(tmp_path: Path) -> None:
    first = split(tmp_path)
    first.with_name("Tiny-F32-00002-of-00003.gguf").unlink()
    assert "Tiny-F32-00002-of-00003.gguf" in refusal(first).why


def test_a_folder_of_several_gguf_files_asks_which(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write(tmp_path / name, gguf())
    assert "a.gguf, b.gguf" in refusal(tmp_path).why


def test_pickle_weights_are_refused_with_a_way_out(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", weights=None)
    write(folder / "pytorch_model.bin", b"\x80\x04")
    error = refusal(folder)
    assert "pickle" in error.what
    assert "safetensors" in error.remedy
    write(folder / "model.safetensors", safetensors({"a": ("F32", (1,), 4)}))
    assert read_card(folder).tensors == 1


def test_folders_that_are_no_models_are_refused(tmp_path: Path) -> None:
    assert "not a model folder" in refusal(model_folder(tmp_path / "a", config=None)).what
    assert "no weights" in refusal(model_folder(tmp_path / "b", weights=None)).what
    adapter = model_folder(tmp_path / "c", config=None, weights=None)
    (adapter / "adapter_config.json").write_text("{}")
    assert "adapter" in refusal(adapter).what
    assert "part of a model" in refusal(model_folder(tmp_path / "d") / "model.safetensors").what


@pytest.mark.parametrize("config", ["", "{", "[]", "[" * 100_000, '{"a": 1, "a": 2}', "\x00", '{"hidden_size": 3}'])
def test_a_broken_config_is_refused(tmp_path: Path, config: str) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "config.json").write_text(config)
    error = refusal(folder)
    assert "config.json" in error.what
    assert error.remedy


def test_a_huge_config_is_refused_unread(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    assert "too large" in refusal(folder).what


@pytest.mark.parametrize("value", [-1, 0, 1.5, "32", None, True, [1], 10**30])
def test_impossible_dimensions_are_unknown(tmp_path: Path, value: Any) -> None:
    card = read_card(model_folder(tmp_path / "m", TINY_CONFIG | {"num_hidden_layers": value}))
    assert card.layers is None
    assert card.kv_cache_bytes(10) is None


def test_the_text_part_of_a_nested_config_counts(tmp_path: Path) -> None:
    nested = {"model_type": "gemma3", "hidden_size": 7, "text_config": TINY_CONFIG | {"head_dim": 16}}
    card = read_card(model_folder(tmp_path / "m", nested))
    assert (card.architecture, card.width, card.head_width) == ("gemma3", 32, 16)


def test_a_quantized_folder_says_so(tmp_path: Path) -> None:
    config = TINY_CONFIG | {"quantization_config": {"quant_method": "gptq"}}
    assert read_card(model_folder(tmp_path / "m", config)).quantized
    eight_bit = safetensors({"model.layers.0.mlp.up_proj.weight": ("F8_E4M3", (4, 4), 16)})
    assert read_card(model_folder(tmp_path / "n", weights=eight_bit)).quantized


def test_templates_are_found_in_the_tokenizer_configuration(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    assert not read_card(folder).chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    assert read_card(folder).chat_template
    (folder / "tokenizer_config.json").write_text("{")
    assert "tokenizer_config.json" in refusal(folder).what


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("# license: mit\n", None),
        ("---\nlicense: \x1b[2Jmit\n---\n", "�[2Jmit"),
        ("", None),
    ],
)
def test_the_licence_comes_from_the_front_matter(tmp_path: Path, readme: str, licence: str | None) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "README.md").write_text(readme)
    assert read_card(folder).licence == licence


def test_a_cached_snapshot_is_named_after_its_repository(tmp_path: Path) -> None:
    snapshots = tmp_path / "models--org--Some-Model" / "snapshots"
    card = read_card(model_folder(snapshots / "0123abcd"))
    assert (card.name, card.repository, card.revision) == ("Some-Model", "org/Some-Model", "")
    card = read_card(model_folder(snapshots / ("0f" * 20)))
    assert (card.repository, card.revision) == ("org/Some-Model", "0f" * 20)


def test_what_lies_beside_a_gguf_counts_where_a_repository_is_kept_as_published(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--Some-GGUF" / "snapshots" / ("0f" * 20)
    metadata = {key: value for key, value in TINY_METADATA.items() if key != "general.license"}
    for folder in (snapshot, tmp_path / "elsewhere"):
        path = write(folder / "Q4" / "Some-Q4_0.gguf", gguf(metadata))
        (folder / "README.md").write_text("---\nlicense: mit\nlanguage: fr\n---\n")
        (path.parent / "README.md").write_text("---\nlicense: gpl\n---\n")
        (folder / "LICENSE").write_text("…")
    card = read_card(snapshot / "Q4" / "Some-Q4_0.gguf")
    assert (card.licence, card.languages, card.conditions) == ("mit", ("fr",), ("LICENSE",))
    assert (card.repository, card.revision) == ("org/Some-GGUF", "0f" * 20)
    assert read_card(tmp_path / "elsewhere" / "Q4" / "Some-Q4_0.gguf").licence is None


@pytest.mark.parametrize(
    ("front", "languages", "conditions"),
    [
        ("language:\n- en\n- 'de'\n- en\nlicense_link: LICENSE", ("en", "de"), ("LICENSE", "USE_POLICY.md")),
        ('language: [en, "no"]\nlicense_link: https://x.y/z', ("en", "no"), ("https://x.y/z", "USE_POLICY.md")),
        ("language: en", ("en",), ("USE_POLICY.md",)),
        ("language:\n  - en\n  - \x1b[2J\ntags:\n- a: b\n- c", ("en", "�[2J"), ("USE_POLICY.md",)),
        ("- en\n language: de\nlanguage:", (), ("USE_POLICY.md",)),
    ],
)
def test_languages_and_conditions(
    tmp_path: Path, front: str, languages: tuple[str, ...], conditions: tuple[str, ...]
) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    (folder / "USE_POLICY.md").write_text("Be kind.")
    card = read_card(folder)
    assert (card.languages, card.conditions) == (languages, conditions)


@pytest.mark.parametrize(
    ("more", "window"),
    [
        ({"sliding_window": 4096}, 4096),
        ({"sliding_window": 4096, "use_sliding_window": False}, None),
        ({"sliding_window": None}, None),
        ({"text_config": {"sliding_window": 512}}, 512),
    ],
)
def test_sliding_windows(tmp_path: Path, more: dict[str, Any], window: int | None) -> None:
    assert read_card(model_folder(tmp_path / "m", TINY_CONFIG | more)).sliding_window == window


def test_tied_embeddings_are_seen_in_the_weights(tmp_path: Path) -> None:
    assert read_card(model_folder(tmp_path / "a")).tied_embeddings is True
    apart = safetensors({"model.embed_tokens.weight": ("F32", (2, 2), 16), "lm_head.weight": ("F32", (2, 2), 16)})
    assert read_card(model_folder(tmp_path / "b", weights=apart)).tied_embeddings is False
    neither = safetensors({"x.weight": ("F32", (2, 2), 16)})
    assert read_card(model_folder(tmp_path / "c", weights=neither)).tied_embeddings is None


def test_the_parameters_of_experts_that_sit_out_are_not_active(tmp_path: Path) -> None:
    experts = {f"model.layers.0.mlp.experts.{one}.up_proj.weight": ("F32", (2, 2), 16) for one in range(4)}
    weights = safetensors(experts | {"model.layers.0.mlp.shared_experts.up_proj.weight": ("F32", (2, 2), 16)})
    config = TINY_CONFIG | {"num_local_experts": 4, "num_experts_per_tok": 1}
    card = read_card(model_folder(tmp_path / "m", config, weights))
    assert (card.parameters, card.active_parameters) == (20, 8)
    assert read_card(model_folder(tmp_path / "n")).active_parameters is None
    metadata = TINY_METADATA | {"llama.expert_count": 8, "llama.expert_used_count": 2}
    tensors = [*TINY_TENSORS, ("blk.0.ffn_down_exps.weight", "Q4_0", (32, 32, 8))]
    card = read_card(write(tmp_path / "x.gguf", gguf(metadata, tensors)))
    assert card.active_parameters == card.parameters - 32 * 32 * 6


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("token_embd.weight", "embedding"),
        ("output.weight", "output"),
        ("blk.11.attn_v.weight", "attention_v"),
        ("blk.11.attn_q.weight", "attention_other"),
        ("blk.11.attn_qkv.weight", "attention_other"),
        ("blk.11.attn_output.weight", "attention_other"),
        ("blk.11.ffn_down.weight", "ffn_down"),
        ("blk.11.ffn_down_exps.weight", "ffn_down"),
        ("blk.11.ffn_gate.weight", "ffn_other"),
        ("blk.11.ffn_gate_inp.weight", "other"),
        ("blk.11.ssm_in.weight", "other"),
        ("model.embed_tokens.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("lm_head.weight", "output"),
        ("model.layers.0.self_attn.v_proj.weight", "attention_v"),
        ("model.layers.0.self_attn.o_proj.weight", "attention_other"),
        ("model.layers.0.self_attn.qkv_proj.weight", "attention_other"),
        ("transformer.h.0.attn.c_proj.weight", "attention_other"),
        ("transformer.h.0.mlp.c_proj.weight", "ffn_down"),
        ("transformer.h.0.mlp.c_fc.weight", "ffn_other"),
        ("model.layers.0.mlp.down_proj.weight", "ffn_down"),
        ("model.layers.0.mlp.gate_up_proj.weight", "ffn_other"),
        ("model.layers.0.block_sparse_moe.experts.3.w2.weight", "ffn_down"),
        ("model.layers.0.block_sparse_moe.gate.weight", "other"),
        ("model.layers.0.mlp.experts.7.gate_proj.weight", "ffn_other"),
    ],
)
def test_roles_follow_the_names(name: str, role: str) -> None:
    assert find_role(name, 2) == role
    assert find_role(name, 1) == "vector"
