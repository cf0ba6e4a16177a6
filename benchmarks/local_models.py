"""How long it takes to list the models on this machine with a verdict on each: cold, and with the cards kept.

python benchmarks/local_models.py [MODELS] [VOCABULARY]. The models are synthetic (their weights are holes), spread over
a Hugging Face cache, LM Studio, Ollama, llama.cpp's cache and a folder. A cold list estimates the cards that it has no
time to read, and the next ones make them exact. Status 1 if any of these takes over 0.5 s.
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.engine.models.writers import gguf, model_folder, safetensors  # noqa: E402

BUDGET_S = 0.5
RUNS = 5
LAYERS = 28


def main(models: int, vocabulary: int) -> int:
    """Make the models, list them in this process and by the command, and print the times."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make(home, models, vocabulary)
        os.environ.update(places(home))
        (home / "data").mkdir()
        print(f"{models} models, {vocabulary} tokens each")  # noqa: T201
        cold, refining, kept = times(judged, models, home)
        command = times(listed, models, home)
    print(f"list and verdicts, cold            {cold * 1000:6.0f} ms  budget {BUDGET_S * 1000:.0f} ms")  # noqa: T201
    print(f"list and verdicts, made exact      {refining * 1000:6.0f} ms  the slowest of them")  # noqa: T201
    print(f"list and verdicts, cards kept      {kept * 1000:6.0f} ms")  # noqa: T201
    for name, elapsed in zip(("cold", "made exact", "cards kept"), command, strict=True):
        print(f"edgewise models list, {name:<12} {elapsed * 1000:6.0f} ms")  # noqa: T201
    return int(max(cold, refining, kept) > BUDGET_S)


def times(work: Callable[[], int], models: int, home: Path) -> tuple[float, float, float]:
    """Seconds that `work` takes with no cards kept, while estimated ones are made exact (at most), and after that."""
    cache = home / "data" / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cold = timed(work, models)
    refining = [0.0]
    while b'"estimated":true' in (cache / "cards.json").read_bytes():
        refining.append(timed(work, models))
    return cold, max(refining), statistics.median(timed(work, models) for _ in range(RUNS))


def judged() -> int:
    """List the models and judge each in this process; returns how many there are."""
    from engine.advice import judge, load_catalogue, load_tree
    from engine.hardware import probe
    from engine.models import list_models

    verdict = judge(load_tree(), load_catalogue(), probe(), {})
    return len([verdict(card) for card in list_models()])


def listed() -> int:
    """The same by the command, start-up included."""
    command = [str(Path(sys.executable).with_name("edgewise")), "models", "list", "--json"]
    return len(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def timed(work: Callable[[], int], models: int) -> float:
    """Seconds that `work` takes to find the models, and the packaged one."""
    started = time.perf_counter()
    found = work()
    elapsed = time.perf_counter() - started
    if found != models + 1:
        raise SystemExit(f"{found} models were found.")
    return elapsed


def places(home: Path) -> dict[str, str]:
    """The variables that point at the stores in `home`."""
    return {
        "HOME": str(home),
        "EDGEWISE_DATA": str(home / "data"),
        "EDGEWISE_MODELS": str(home / "models"),
        "HF_HUB_CACHE": str(home / "hub"),
        "OLLAMA_MODELS": str(home / "ollama"),
        "LLAMA_CACHE": str(home / "llama.cpp"),
    }


def make(home: Path, models: int, vocabulary: int) -> None:
    """Put the models into the stores, a fifth of them into each."""
    content = _gguf(vocabulary)
    for number in range(models):
        match number % 5:
            case 0:
                _hub_snapshot(home / "hub", number)
            case 1:
                _write(home / ".lmstudio" / "models" / "maker" / f"m{number}" / f"m{number}-Q4_0.gguf", content)
            case 2:
                _ollama(home / "ollama", f"m{number}", content)
            case 3:
                _write(home / "llama.cpp" / f"maker_m{number}_m{number}-Q4_0.gguf", content)
            case _:
                _write(home / "models" / f"m{number}.gguf", content)


def _gguf(vocabulary: int) -> bytes:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.context_length": 8192,
        "tokenizer.ggml.tokens": [f"token{number}" for number in range(vocabulary)],
        "tokenizer.ggml.token_type": [1] * vocabulary,
        "tokenizer.ggml.merges": [f"to ken{number}" for number in range(vocabulary)],
    }
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = [(f"blk.{layer}.{part}.weight", "Q4_0", (32, 2)) for layer in range(LAYERS) for part in parts]
    return gguf(metadata, [("token_embd.weight", "Q8_0", (32, 2)), *tensors])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _ollama(store: Path, name: str, content: bytes) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    _write(store / "blobs" / f"sha256-{digest}", content)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()
    _write(store / "manifests" / "registry.ollama.ai" / "library" / name / "latest", manifest)


def _hub_snapshot(cache: Path, number: int) -> None:
    repository = cache / f"models--maker--m{number}"
    blobs, commit = repository / "blobs", f"{number:040x}"
    tensors = {f"model.layers.{layer}.self_attn.{part}_proj.weight": ("BF16", (32, 32), 2048)
               for layer in range(LAYERS) for part in "qkvo"}  # fmt: skip
    model_folder(blobs, weights=safetensors(tensors))
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    _write(repository / "refs" / "main", commit.encode())


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [200, 32_000][len(numbers) :])))
