"""What an artifact's files may be and say, and whether the sandbox of chat templates holds."""

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.library import Artifact, find_artifact
from engine.measure.security import Security, TemplateProbe, _is_pickle, check_security
from tests.engine.models.writers import gguf

from . import samples


def passed(artifact: Artifact, template: TemplateProbe | None = samples.TEMPLATE) -> dict[str, bool | None]:
    return {check.name: check.passed for check in check_security(artifact, template).checks}


def details(security: Security, name: str) -> str:
    return next(check.details for check in security.checks if check.name == name)


def torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
    return buffer.getvalue()


def elf() -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(60)


FOLDER = {
    "openvino_model.xml": b"<?xml version='1.0'?><net/>",
    "openvino_model.bin": struct.pack("<400f", *(random.Random(1).uniform(-1, 1) for _ in range(400))),
    "config.json": json.dumps({"model_type": "llama", "time_step_limit": [0.0, float("inf")]}).encode(),
    "tokenizer.json": json.dumps({"model": {"vocab": {"auto_map": 7, "trust_remote_code": 8}}}).encode(),
    "merges.txt": b"#version: 0.2\nt h\n",
    "chat_template.jinja": b"{{ messages[0].content }}",
}


class TestWhatIsThere:
    def test_a_result_as_it_was_published_passes(self):
        assert set(passed(samples.published(files=FOLDER, framework="openvino")).values()) == {True}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("pytorch_model.bin", torch_zip()),
            ("pytorch_model.bin", pickle.dumps({"layer": [1.0] * 50}, protocol=2)),
            ("pytorch_model.bin", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + bytes(500)),
            ("data.bin", pickle.dumps(os.getcwd, protocol=0)),
            ("data.bin", pickle.dumps(os.getcwd, protocol=5)),
            ("data.bin", b"cposix\nsystem\n(S'true'\ntR."),
            ("model.pt", b"anything"),
            ("model.CKPT", b"anything"),
            ("modeling_llama.py", b"print('hello')"),
            ("kernel.so", elf()),
            ("kernel", elf()),
            ("weights.bin", elf()),
            ("weights.bin", b"MZ" + bytes(62) + b"PE\0\0"),
            ("run", b"#!/bin/sh\ntrue\n"),
            ("more.bin", b"\x1f\x8b\x08\0"),
            ("more", bytes(257) + b"ustar\0"),
        ],
    )
    def test_programs_pickles_and_archives_are_found_by_name_and_content(self, name, content):
        security = check_security(samples.published(files={**FOLDER, name: content}), samples.TEMPLATE)
        assert [check.name for check in security.failed] == ["no_programs"]
        assert name in details(security, "no_programs")

    @given(st.binary(max_size=300))
    def test_the_first_bytes_of_a_model_file_are_no_pickle(self, tail):
        assert not _is_pickle(b"GGUF\x03\0\0\0" + tail)
        assert not _is_pickle(struct.pack("<Q", len(tail) + 640) + b'{"__metadata__"' + tail)

    def test_weights_are_hardly_ever_taken_for_a_pickle(self):
        rng = random.Random(7)
        assert not any(_is_pickle(rng.randbytes(400)) for _ in range(5000))
        # Even those that begin with the mark of a pickle.
        assert sum(_is_pickle(b"\x80\x02" + rng.randbytes(400)) for _ in range(2000)) < 200

    @pytest.mark.parametrize(
        ("path", "config"),
        [
            ("config.json", {"auto_map": {"AutoModel": "modeling.Model"}}),
            ("tokenizer_config.json", {"auto_map": ["tokenization.Tokenizer", None]}),
            ("deep/config.json", {"text_config": [{"auto_map": "repo--modeling.Model"}]}),
            ("config.json", {"trust_remote_code": True}),
            ("genai_config.json", {"model": {"decoder": {"session_options": {"custom_ops_library": "ops.bin"}}}}),
        ],
    )
    def test_a_configuration_that_asks_for_code_fails(self, path, config):
        security = check_security(samples.published(files={path: json.dumps(config).encode()}), samples.TEMPLATE)
        assert [check.name for check in security.failed] == ["no_remote_code"]
        assert path in details(security, "no_remote_code")

    @pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
    def test_a_configuration_that_cannot_be_read_fails(self, content):
        security = check_security(samples.published(files={"config.json": content}), samples.TEMPLATE)
        assert "cannot be read" in details(security, "no_remote_code")


def append(artifact: Artifact) -> None:
    with (artifact.path / "model-q4_k_m.gguf").open("ab") as file:
        file.write(b"x")


def flip(artifact: Artifact) -> None:
    path = artifact.path / "model-q4_k_m.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def add(artifact: Artifact) -> None:
    (artifact.path / "notes.txt").write_text("hello")


def link_out(artifact: Artifact) -> None:
    (artifact.path / "more.txt").symlink_to("/etc/hostname")


def link_nowhere(artifact: Artifact) -> None:
    (artifact.path / "more.txt").symlink_to("missing")


def link_folder(artifact: Artifact) -> None:
    (artifact.path / "more").symlink_to("/etc")


def replace_by_link(artifact: Artifact) -> None:
    path = artifact.path / "model-q4_k_m.gguf"
    twin = artifact.path.parent / "elsewhere.gguf"
    path.rename(twin)
    path.symlink_to(twin)


class TestWhatBecameOfIt:
    @pytest.mark.parametrize(
        ("change", "failed"),
        [
            (append, {"unchanged"}),
            (flip, {"unchanged"}),
            (add, {"complete"}),
            (link_out, {"plain_files", "unchanged", "complete"}),
            (link_nowhere, {"plain_files", "unchanged", "complete"}),
            (link_folder, {"plain_files", "unchanged", "complete"}),
            (replace_by_link, {"plain_files", "unchanged"}),
        ],
    )
    def test_every_change_is_noticed(self, change: Callable[[Artifact], None], failed: set[str]):
        artifact = samples.published()
        change(artifact)
        assert {check.name for check in check_security(artifact, samples.TEMPLATE).failed} == failed

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
    def test_a_pipe_is_not_waited_for(self):
        artifact = samples.published()
        os.mkfifo(artifact.path / "config.json")
        assert passed(artifact)["plain_files"] is False

    def test_what_edgewise_did_not_publish_is_judged_alone_and_not_proven(self, tmp_path: Path):
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf())
        (path.parent / "run.py").write_text("print()")
        found = passed(find_artifact(str(path)))
        assert found["no_programs"] is True
        assert (found["unchanged"], found["complete"]) == (None, None)

    def test_names_cannot_command_the_terminal(self):
        artifact = samples.published()
        (artifact.path / "a\x1b[31m.py").write_text("print()")
        assert "\x1b" not in "".join(check.details for check in check_security(artifact).checks)


class TestTheTemplate:
    @pytest.mark.parametrize(
        ("probe", "word"),
        [
            (None, None),
            (TemplateProbe(True), True),
            (TemplateProbe(False, details="SecurityError: access to \x1b"), False),
            (TemplateProbe(True, ("the classes of Python",)), False),
        ],
    )
    def test_a_workers_word_is_taken(self, probe, word):
        artifact = samples.published()
        assert passed(artifact, probe)["template"] is word
        assert "\x1b" not in details(check_security(artifact, probe), "template")

    def test_the_sandbox_refuses_every_attempt_and_renders_the_harmless(self):
        pytest.importorskip("jinja2")
        from engine.frameworks.sandbox import ESCAPES, probe_template
        from engine.frameworks.tokens import ChatTemplate

        assert probe_template(ChatTemplate("{{ messages[0].content }}", {})) == TemplateProbe(True)
        assert probe_template(ChatTemplate(None, {})).rendered
        for attempt in ESCAPES.values():
            probe = probe_template(ChatTemplate(attempt, {}))
            assert (probe.rendered, probe.escapes) == (False, ())
            assert probe.details
