"""Machines and models built by hand, for the advice tests."""

from msgspec import structs

from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware, Memory, Throughput
from engine.models.card import ModelCard, WeightGroup

GIB = 2**30


def machine(
    os: str | None = "linux",
    architecture: str | None = "x86_64",
    vendor: str | None = None,
    usable: int | None = 16 * GIB,
    board: str | None = None,
    model: str | None = None,
    accelerators: tuple[Accelerator, ...] = (),
    bandwidth: float | None = None,
) -> Hardware:
    """A machine of which only the named facts are known."""
    return Hardware(
        os=Fact(os, "os-release"),
        cpu=Cpu(architecture=Fact(architecture, "uname"), vendor=Fact(vendor, "/proc/cpuinfo"), model=Fact(model)),
        memory=Memory(usable_bytes=Fact(usable, "meminfo")),
        accelerators=accelerators,
        board=Fact(board, "/proc/device-tree/model"),
        throughput=Throughput(memory_bytes_per_s=Fact(bandwidth, "measured"), threads=16) if bandwidth else None,
    )


def gpu(vendor: str, *apis: str, memory: int | None = None, name: str | None = None, kind: str = "gpu") -> Accelerator:
    """An accelerator; all of its memory is free."""
    return Accelerator(
        kind, vendor, Fact(name, "driver"), Fact(memory), Fact(memory), apis=apis, integrated=Fact(memory is None)
    )


MACHINES = {
    "unknown": Hardware(),
    "amd server": machine(vendor="amd"),
    "amd desktop": machine(
        vendor="amd", accelerators=(gpu("amd", "vulkan", memory=16 * GIB, name="Radeon RX 7900 XTX"),)
    ),
    "intel laptop": machine(vendor="intel", model="Intel(R) Core(TM) i7-1260P"),
    "intel arc": machine(vendor="intel", accelerators=(gpu("intel", "level_zero", memory=8 * GIB, name="Arc A770"),)),
    "intel npu": machine(vendor="intel", accelerators=(gpu("intel", name="Intel NPU", kind="npu"),)),
    "intel mac": machine("darwin", vendor="intel"),
    "apple": machine("darwin", "arm64", "apple", model="Apple M2 Pro", accelerators=(gpu("apple", "metal"),)),
    "nvidia": machine(vendor="amd", accelerators=(gpu("nvidia", "cuda", memory=24 * GIB, name="NVIDIA RTX 4090"),)),
    "nvidia without driver": machine(vendor="amd", accelerators=(gpu("nvidia"),)),
    "nvidia windows": machine(
        "windows", vendor="intel", accelerators=(gpu("nvidia", "cuda", memory=8 * GIB, name="NVIDIA GeForce RTX 4060"),)
    ),
    "pi 5": machine(architecture="aarch64", vendor="arm", usable=7 * GIB, board="Raspberry Pi 5 Model B Rev 1.0"),
    "pi 32-bit": machine(architecture="armv7l", usable=GIB, board="Raspberry Pi 3 Model B Plus"),
    "jetson": machine(
        architecture="aarch64",
        vendor="arm",
        usable=6 * GIB,
        board="NVIDIA Jetson Orin Nano Developer Kit",
        accelerators=(gpu("nvidia", "cuda"),),
    ),
    "coral": machine(architecture="aarch64", usable=GIB // 2, accelerators=(gpu("google", name="Coral", kind="npu"),)),
    "phone": machine("android", "aarch64", usable=4 * GIB),
    "arm server": machine(architecture="aarch64", vendor="arm"),
    "risc-v": machine(architecture="riscv64"),
    "tiny": machine(vendor="amd", usable=100 * 2**20),
    "memory unknown": machine(vendor="amd", usable=None),
}

PLATFORM_SEEN = {
    "unknown": None,
    "amd server": "cross_platform",
    "amd desktop": "amd",
    "intel laptop": "intel_cpu",
    "intel arc": "intel_gpu",
    "intel npu": "intel_gpu",
    "intel mac": "intel_cpu",
    "apple": "apple",
    "nvidia": "nvidia",
    "nvidia without driver": "cross_platform",
    "nvidia windows": "nvidia",
    "pi 5": "embedded_arm",
    "pi 32-bit": "embedded_arm",
    "jetson": "embedded_arm",
    "coral": "edge_tpu",
    "phone": "arm_mobile",
    "arm server": "cross_platform",
    "risc-v": "cross_platform",
    "tiny": "cross_platform",
    "memory unknown": "cross_platform",
}


def llama(
    name: str,
    layers: int,
    width: int,
    ffn: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    tied: bool = False,
    header_bytes: int = 0,
    context_length: int = 8192,
    head_width: int = 0,
) -> ModelCard:
    """A model of the Llama family in 16 bits, with its tensors grouped as a card groups them."""
    head_width = head_width or width // heads
    kv_width, query_width = kv_heads * head_width, heads * head_width

    def group(role: str, row_width: int, tensors: int, parameters: int) -> WeightGroup:
        kind, size = ("F32", 4) if role == "vector" else ("F16", 2)
        return WeightGroup(role, kind, row_width, tensors, parameters, size * parameters)

    weights = [
        group("embedding", width, 1, width * vocabulary),
        group("attention_v", width, layers, layers * width * kv_width),
        group("attention_other", width, 3 * layers, layers * (width * kv_width + 2 * width * query_width)),
        group("ffn_down", ffn, layers, layers * width * ffn),
        group("ffn_other", width, 2 * layers, 2 * layers * width * ffn),
        group("vector", width, 2 * layers + 1, (2 * layers + 1) * width),
    ]
    if not tied:
        weights.append(group("output", width, 1, width * vocabulary))
    return ModelCard(
        name=name,
        path=f"/models/{name}.gguf",
        format="gguf",
        architecture="llama",
        parameters=sum(weight.parameters for weight in weights),
        size_bytes=sum(weight.size_bytes for weight in weights) + header_bytes,
        tensors=sum(weight.tensors for weight in weights),
        weights=tuple(weights),
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        context_length=context_length,
        vocabulary=vocabulary,
    )


SMOLLM2 = llama("smollm2-135m", 30, 576, 1536, 9, 3, 49152, tied=True, header_bytes=1_785_664)
LLAMA_8B = llama("llama-3.1-8b", 32, 4096, 14336, 32, 8, 128256, context_length=131072)
LLAMA_70B = llama("llama-3.1-70b", 80, 8192, 28672, 64, 8, 128256, context_length=131072)
TINY = llama("tiny", 2, 64, 160, 2, 1, 320, context_length=128)
MIXTURE = structs.replace(LLAMA_8B, name="mixture", experts=8)
REQUANTIZED = structs.replace(
    LLAMA_8B,
    name="llama-3.1-8b-q4",
    quantized=True,
    size_bytes=LLAMA_8B.parameters * 45 // 80,
    weights=tuple(
        structs.replace(weight, type="Q4_0", size_bytes=weight.parameters * 45 // 80) for weight in LLAMA_8B.weights
    ),
)
SILENT = structs.replace(
    SMOLLM2, name="silent", layers=None, heads=None, kv_heads=None, head_width=None, vocabulary=None
)
ODD_ROWS = llama("odd", 2, 50, 90, 2, 1, 300)

CARDS = {card.name: card for card in (SMOLLM2, LLAMA_8B, LLAMA_70B, TINY, MIXTURE, REQUANTIZED, SILENT, ODD_ROWS)}
