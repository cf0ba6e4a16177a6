import pytest

from engine.errors import InputError
from engine.models.hub.names import Reference, check_file_name, is_reference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/name", Reference("org/name")),
        (" org/Name-1.5_b ", Reference("org/Name-1.5_b")),
        ("org/name@main", Reference("org/name")),
        ("org/name@v1.0", Reference("org/name", "v1.0")),
        ("org/name@refs/pr/3", Reference("org/name", "refs/pr/3")),
        ("org/name:Q4_K_M", Reference("org/name", file="Q4_K_M")),
        ("org/name@abc:a/b.gguf", Reference("org/name", "abc", "a/b.gguf")),
        ("https://huggingface.co/org/name", Reference("org/name")),
        ("https://huggingface.co/org/name/", Reference("org/name")),
        ("https://huggingface.co/org/name/tree/main", Reference("org/name")),
        ("https://huggingface.co/org/name/tree/refs/pr/3", Reference("org/name", "refs/pr/3")),
        ("https://huggingface.co/org/name/blob/v1/a%20b.gguf?x=1", Reference("org/name", "v1", "a b.gguf")),
        ("https://huggingface.co/org/name/resolve/refs/pr/3/x.gguf", Reference("org/name", "refs/pr/3", "x.gguf")),
        ("hf.co/org/name", Reference("org/name")),
    ],
)
def test_what_people_call_a_model(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert is_reference(text)


def test_the_address_of_a_mirror_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert parse_reference("https://mirror.example/org/name") == Reference("org/name")


@pytest.mark.parametrize("reference", [Reference("a/b"), Reference("a/b", "v1"), Reference("a/b", "v1", "x.gguf")])
def test_a_reference_is_written_as_it_is_read(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a/b/c",
        "../name",
        "org/..",
        "org/na..me",
        "org/na--me",
        "org/name.git",
        "org/-name",
        "org/name-",
        "org/na me",
        "org/na\x00me",
        "org/\x1b[2Jname",
        "örg/name",
        "org/" + "n" * 97,
        "org/name@",
        "org/name:",
        "org/name@../x",
        "org/name@a//b",
        "org/name@a b",
        "org/name:../x.gguf",
        "org/name:/etc/passwd",
        "org/name:a\\b.gguf",
        "org/name:" + "x" * 300,
        "https://example.com/org/name",
        "ftp://huggingface.co/org/name",
        "https://huggingface.co/org/name/settings",
        "https://huggingface.co/datasets/org/name",
        "https://huggingface.co/org/name/blob/main/..%2F..%2Fx",
    ],
)
def test_names_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(text)
    assert caught.value.why
    assert "organisation/name" in caught.value.remedy or "sound ones" in caught.value.remedy
    assert "\x1b" not in str(caught.value)
    assert not is_reference(text)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x", "leaves"),
        ("/x", "leaves"),
        ("a/../b", "leaves"),
        ("a//b", "leaves"),
        ("./a", "leaves"),
        ("a\\b", "leaves"),
        ("C:x", "leaves"),
        ("", "leaves"),
        ("a\nb", "terminal"),
        ("a\x1b[31m", "terminal"),
        ("a\u202eb", "terminal"),
        ("x" * 256, "longer"),
        ("ä" * 128, "longer"),
    ],
)
def test_file_names_that_are_not_taken(name: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        check_file_name(name)
    assert why in caught.value.why


def test_plain_file_names_are_taken() -> None:
    for name in ("model.safetensors", "Q4_K_M/model-00001-of-00002.gguf", "ä b.gguf"):
        assert check_file_name(name) == name
