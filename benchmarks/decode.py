"""Decode tokens/s through the worker against the framework's own loop, on the same artifact: paired, alternating.

`python benchmarks/decode.py ARTIFACT … [--rounds N] [--tokens N]`. Both are fresh processes in the same environment,
greedy, with the library's own settings, and count from the first token to the last. `chat_speed.py` has the screen.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
from pathlib import Path

from engine import frameworks, library
from engine.work.client import WorkerClient
from engine.work.processes import environment_python, worker_variables

QUESTION = "Tell a long story about a river, a bridge and the people who live beside them."
HEAD = """
import json, sys, time
path, question, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
times = []
"""
TAIL = "\nprint(json.dumps((len(times) - 1) / (times[-1] - times[0])))"
OWN = {
    "llamacpp": """
import llama_cpp
model = llama_cpp.Llama(path, n_ctx=2048, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)
messages = [{"role": "user", "content": question}]
for piece in model.create_chat_completion(messages, max_tokens=count, temperature=0.0, stream=True):
    if piece["choices"][0]["delta"].get("content"):
        times.append(time.perf_counter())
""",
    "openvino": """
import openvino_genai as genai
model = genai.LLMPipeline(path, "CPU")
history = genai.ChatHistory()
history.append({"role": "user", "content": question})
class Clock(genai.StreamerBase):
    def write(self, token):
        times.extend([time.perf_counter()] * (len(token) if isinstance(token, list) else 1))
        return genai.StreamingStatus.RUNNING
    def end(self):
        pass
config = genai.GenerationConfig()
config.max_new_tokens = count
model.generate(history, config, Clock())
""",
    "olive": """
import onnxruntime_genai as og
model = og.Model(path)
tokenizer = og.Tokenizer(model)
messages = json.dumps([{"role": "user", "content": question}])
prompt = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(prompt) + count, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(prompt)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    stream.decode(generator.get_next_tokens()[0])
    times.append(time.perf_counter())
""",
    "mlx": """
import mlx.core as mx, mlx_lm
model, tokenizer = mlx_lm.load(path)
if mx.default_device() == mx.Device(mx.cpu):
    model.set_dtype(mx.float32)
messages = [{"role": "user", "content": question}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
for _ in mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=count):
    times.append(time.perf_counter())
""",
}


def own_loop(artifact: library.Artifact, tokens: int, threads: int) -> float:
    """Tokens per second of the framework's own loop."""
    name = artifact.manifest.framework
    script = HEAD + OWN[name].replace("THREADS", str(threads)) + TAIL
    done = subprocess.run(
        [str(environment_python(f"{name}-run")), "-P", "-c", script, str(artifact.model_path), QUESTION, str(tokens)],
        env=worker_variables({"HF_HUB_OFFLINE": "1"}),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


async def worker(artifact: library.Artifact, tokens: int, folder: Path) -> tuple[float, int]:
    """Tokens per second of the same through a worker, and the threads it uses."""
    name = artifact.manifest.framework
    client = await WorkerClient.start(f"{name}-run", folder / "log", frameworks.working_module(name))
    try:
        load = {"path": str(artifact.model_path), "options": {"context_length": 2048}}
        loaded = await client.request("load", load)
        asked = {
            "messages": [{"role": "user", "content": QUESTION}],
            "options": {"max_tokens": tokens, "temperature": 0.0},
        }
        done = await client.request("generate", asked)
    finally:
        await client.close()
    return (done["completion_tokens"] - 1) / done["decode_s"], loaded["threads"]


def main() -> None:
    """Alternate, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    for reference in options.artifact:
        artifact = library.find_artifact(reference)
        pairs = []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                ours, threads = asyncio.run(worker(artifact, options.tokens, Path(folder)))
                pairs.append((ours, own_loop(artifact, options.tokens, threads)))
        ratio = statistics.median(ours / own for ours, own in pairs)
        ours, own = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{reference}: worker {ours:.1f}, own loop {own:.1f} tokens/s, ratio {ratio:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
