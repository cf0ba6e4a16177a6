import pytest

from engine.errors import InputError
from engine.models.cards import precision_of
from engine.models.hub.names import Reference
from engine.models.hub.repository import Repository, RepositoryFile
from engine.models.hub.selection import needed_files

OID = "0" * 40


def repository(*names: str) -> Repository:
    files = tuple(RepositoryFile(name, 100, git_oid=OID) for name in names)
    return Repository("org/name", OID, True, files, {}, {}, {}, {})


def needed(*names: str, file: str = "") -> list[str]:
    return [found.name for found in needed_files(repository(*names), Reference("org/name", file=file))]


def refused(*names: str, file: str = "") -> InputError:
    with pytest.raises(InputError) as caught:
        needed(*names, file=file)
    assert caught.value.remedy
    return caught.value


BESIDE = ["LICENSE", "README.md", "config.json", "tokenizer.json", "tokenizer_config.json"]


def test_one_format_is_taken_and_nothing_twice() -> None:
    others = [
        "pytorch_model.bin", "consolidated.safetensors", "consolidated.00.pth", "original/params.json",
        "original/model.safetensors", "onnx/model.onnx", "openvino/openvino_model.bin", "model.gguf", "tf_model.h5",
        "adapter_model.safetensors", "training_args.bin", "images/x.png", ".gitattributes", "modeling_x.py",
    ]  # fmt: skip
    assert needed("model.safetensors", *BESIDE, *others) == [*BESIDE, "model.safetensors"]


def test_every_file_of_a_tokenizer_and_what_states_conditions_is_taken() -> None:
    names = [
        "USE_POLICY.md", "added_tokens.json", "chat_template.jinja", "config.json", "generation_config.json",
        "license.txt", "merges.txt", "special_tokens_map.json", "tokenizer.model", "vocab.json", "model.safetensors",
    ]  # fmt: skip
    assert needed(*reversed(names)) == names


def test_all_shards_and_the_index_are_taken() -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "model.safetensors.index.json"
    assert needed("config.json", *shards, index, "consolidated.safetensors") == ["config.json", index, *shards]


def test_missing_shards_are_refused() -> None:
    error = refused("config.json", "model-00001-of-00003.safetensors")
    assert "2 of 3" in error.what
    assert "model-00002-of-00003.safetensors" in error.why


@pytest.mark.parametrize("file", ["Q4_K_M", "q4_k_m", "m-Q4_K_M.gguf", "m-Q4_K_M"])
def test_one_gguf_is_taken_by_its_file_or_its_precision(file: str) -> None:
    names = ["README.md", "config.json", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0.gguf", "mmproj-m-Q8_0.gguf"]
    assert needed(*names, file=file) == ["README.md", "m-Q4_K_M.gguf"]


def test_a_split_gguf_is_taken_whole() -> None:
    parts = [f"Q8_0/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert needed(*parts, "Q4_0/m-Q4_0.gguf", file="Q8_0") == parts
    assert needed(*parts, "Q4_0/m-Q4_0.gguf", file=parts[1]) == parts
    assert "1 of 2" in refused(parts[0], file="Q8_0").what


def test_a_single_gguf_needs_no_name_and_several_do() -> None:
    assert needed("README.md", "m-Q8_0.gguf") == ["README.md", "m-Q8_0.gguf"]
    error = refused("m-Q4_0.gguf", "m-Q8_0.gguf")
    assert "m-Q4_0.gguf (100 B), m-Q8_0.gguf (100 B)" in error.why
    assert "org/name:Q4_0" in error.remedy
    assert "Q5_K_M" in refused("m-Q4_0.gguf", "m-Q8_0.gguf", file="Q5_K_M").what


def test_pickles_alone_are_refused_with_a_way_out() -> None:
    error = refused("config.json", "pytorch_model.bin")
    assert "pickle" in error.what
    assert "any program" in error.why
    assert "safetensors/convert" in error.remedy


def test_what_holds_no_model_is_refused() -> None:
    assert "no language model" in refused("README.md").what
    assert "adapter" in refused("adapter_config.json", "adapter_model.safetensors").what
    assert "cannot be used" in refused("model.safetensors").what


@pytest.mark.parametrize("name", ["LICENSE\x1b[2J", "LICENSE" + "x" * 300, "LICENSE\\..\\x"])
def test_bad_file_names_among_those_needed_are_refused(name: str) -> None:
    assert "file name" in refused("config.json", "model.safetensors", name).what


def test_bad_file_names_among_the_others_do_not_matter() -> None:
    assert needed("config.json", "model.safetensors", "../x.bin") == ["config.json", "model.safetensors"]


def test_names_that_differ_in_case_alone_are_refused() -> None:
    error = refused("config.json", "model.safetensors", "README.md", "readme.MD")
    assert "README.md and readme.MD" in error.why


@pytest.mark.parametrize(
    ("name", "precision"),
    [("m-Q4_K_M.gguf", "Q4_K_M"), ("m.IQ4_XS-00001-of-00002.gguf", "IQ4_XS"), ("m-bf16.gguf", "BF16"), ("m.gguf", "")],
)
def test_precisions_are_in_the_names(name: str, precision: str) -> None:
    assert precision_of(name) == precision
