"""Frozen nouns for the screens: one machine, one model, one recommendation, one plan, a few jobs."""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from engine import frameworks
from engine.advice.catalogue import Catalogue, Weights, load_catalogue
from engine.advice.records import (
    Answer,
    Cost,
    Estimate,
    PathStep,
    Plan,
    PrecisionForecast,
    Ranked,
    Recommendation,
    Step,
)
from engine.advice.tree import Leaf, Node, Option, Question, Tree
from engine.advice.verdicts import Verdict
from engine.errors import ResourceError
from engine.hardware.facts import Cpu, Disk, Fact, Hardware, Memory
from engine.library import Artifact, FileRecord, Manifest
from engine.models import Found, Reference, Repository
from engine.models.card import ModelCard, WeightGroup
from engine.space.items import Item
from engine.work.journal import JobView, StepView
from engine.work.protocol import Note
from tui.hub_looks import Look, ModelChoice

MIB, GIB = 1 << 20, 1 << 30
NOON = 1_767_268_800.0
"""1 January 2026, 12:00 UTC."""

MACHINE = Hardware(
    name="bench",
    os=Fact("linux", "/etc/os-release"),
    os_version=Fact("Debian GNU/Linux 12", "/etc/os-release"),
    cpu=Cpu(
        architecture=Fact("x86_64", "uname"),
        vendor=Fact("intel", "/proc/cpuinfo"),
        model=Fact("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "/proc/cpuinfo"),
        microarchitecture=Fact("sapphirerapids", "archspec"),
        instruction_sets=Fact(
            ("avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"), "/proc/cpuinfo"
        ),
        physical_cores=Fact(4, "/sys/devices/system/cpu"),
        logical_cores=Fact(8, "/sys/devices/system/cpu"),
        usable_cores=Fact(2.0, "/sys/fs/cgroup/cpu.max"),
    ),
    memory=Memory(
        total_bytes=Fact(24 * GIB, "/proc/meminfo"),
        limit_bytes=Fact(8 * GIB, "/sys/fs/cgroup/memory.max"),
        usable_bytes=Fact(int(7.4 * GIB), "/sys/fs/cgroup/memory.stat"),
    ),
    container=Fact("docker", "/.dockerenv"),
    virtualization=Fact("kvm", "/sys/class/dmi"),
    disk=Disk("/home/ada/.local/share/edgewise", Fact(256 * GIB, "statvfs"), Fact(118 * GIB, "statvfs")),
)

CARD = ModelCard(
    name="SmolLM2-135M-Instruct",
    path="/data/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    format="gguf",
    architecture="llama",
    parameters=134_515_008,
    size_bytes=98_362_432,
    tensors=272,
    weights=(
        WeightGroup("vector", "F32", 576, 61, 35_136, 140_544),
        WeightGroup("ffn_other", "Q4_1", 576, 210, 106_168_320, 66_355_200),
        WeightGroup("embedding", "Q8_0", 576, 1, 28_311_552, 30_081_024),
    ),
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_width=64,
    context_length=8192,
    vocabulary=49152,
    licence="apache-2.0",
    chat_template=True,
    quantized=True,
    origin="packaged",
)

FOLDER = ModelCard(
    name="Qwen2.5-0.5B-Instruct",
    path="/home/ada/models/Qwen2.5-0.5B-Instruct",
    format="safetensors",
    architecture="qwen2",
    parameters=494_032_768,
    size_bytes=988_097_824,
    tensors=290,
    weights=(WeightGroup("ffn_other", "BF16", 896, 290, 494_032_768, 988_065_536),),
    layers=24,
    width=896,
    heads=14,
    kv_heads=2,
    head_width=64,
    context_length=32768,
    vocabulary=151936,
    chat_template=True,
    origin="local",
)

CURATED = replace(
    FOLDER,
    name="Qwen2.5-1.5B-Instruct",
    path="",
    architecture="qwen2",
    parameters=1_543_714_304,
    size_bytes=3_087_428_608,
    licence="apache-2.0",
    conditions=("https://huggingface.co/Qwen/Qwen2.5-1.5B-Instruct",),
    languages=("en", "zh"),
    estimated=True,
    origin="curated",
    repository="Qwen/Qwen2.5-1.5B-Instruct",
)


def judge(card: ModelCard) -> Verdict:
    """A machine with 2 GiB: quantized files fit as they are, larger models at Q4_K_M, very large ones not at all."""
    as_it_is, fits = bool(card.quantized and card.framework), card.size_bytes < 8 * GIB
    needed = Estimate((card.size_bytes if as_it_is else card.size_bytes / 3) + 180e6, "weights, cache and buffers")
    speed = Estimate(2e10 / card.size_bytes, "measured memory bandwidth, 21 GB/s")
    framework = card.framework if as_it_is else "llamacpp"
    return Verdict(fits, framework, "" if as_it_is or not fits else "Q4_K_M", 4096, needed, speed)


def _forecast(
    name: str, kind: str, bits: float, mib: float, speed: float | None, kld: float, words: str, fallback: int = 0
) -> PrecisionForecast:
    return PrecisionForecast(
        precision=name,
        title=name,
        precision_class=kind,
        bits_per_weight=Estimate(bits, "bits per block of the format"),
        size_bytes=Estimate(mib * MIB, "each tensor's elements times the bits of its type"),
        memory_bytes=Estimate((mib + 180) * MIB, "size, key/value cache of 4096 tokens at 16 bits, and buffers"),
        decode_tokens_per_s=Estimate(speed, "measured memory bandwidth, 21 GB/s, over the bytes read per token"),
        full_tokens_per_s=Estimate(speed and 0.6 * speed, "attention to 4096 tokens added"),
        prompt_tokens_per_s=Estimate(speed and 3 * speed, "a prompt of 512 tokens, and 80 billion 8-bit operations"),
        quality=Estimate(kld, "KL divergence published for Llama-3-8B; a small model loses more"),
        quality_words=words,
        fits=name != "F16",
        fallback_tensors=fallback,
        recommended=name == "Q4_K_M",
    )


CATALOGUE = Catalogue(
    {}, {}, {}, {}, Weights(0, 0, 0, 0, 0, {}), (), {}, {}, {}, {}, {}, {}, load_catalogue().precisions, {}
)

FORECASTS = (
    _forecast("Q2_K", "ultra-low", 2.6, 84, 231, 0.445, "poor: only for the extreme case", 30),
    _forecast("Q3_K_M", "low", 3.4, 89, 215, 0.102, "noticeably worse", 30),
    _forecast("Q4_0", "low", 4.5, 87, 219, 0.08, "good"),
    _forecast("Q4_K_M", "low", 4.8, 100, 190, 0.031, "very good: the usual balance", 30),
    _forecast("Q5_K_M", "medium", 5.5, 106, 178, 0.0108, "close to the source", 30),
    _forecast("Q6_K", "medium", 6.6, 132, 149, 0.0055, "hardly distinguishable", 30),
    _forecast("Q8_0", "medium", 8.5, 138, 141, 0.0014, "near the original"),
    _forecast("F16", "reference", 16, 258, None, 0.0, "the reference"),
)

TREE = Tree(
    root="platform",
    questions={
        "platform": Question(
            "Where will the model run?",
            "Each framework is at home on some hardware.",
            (
                Option("any", "Several kinds of machine"),
                Option("intel", "Intel processors"),
                Option("apple", "Apple silicon"),
            ),
            "any",
            "platform",
        ),
        "purpose": Question(
            "What is it for?",
            "A company's pipeline and an afternoon's trial ask for different tools.",
            (Option("prototype", "A prototype"), Option("enterprise", "Enterprise production")),
            "prototype",
        ),
        "priority": Question(
            "What matters most?",
            "It chooses the precision, and weighs in the ranking.",
            (Option("ease", "Ease"), Option("speed", "Speed"), Option("quality", "Quality")),
            "ease",
        ),
        "memory_budget": Question(
            "How much memory may it take?",
            "A precision is recommended only if it stays below.",
            (Option("auto", "What is free"), Option("2GiB", "2 GiB")),
            "auto",
            amount=True,
        ),
    },
    nodes={
        "platform": Node(
            "platform",
            {"any": "purpose", "intel": "intel", "apple": "apple"},
            "Some platforms have a framework of their own.",
        ),
        "purpose": Node(
            "purpose", {"prototype": "simple", "enterprise": "company"}, "No framework owns this platform."
        ),
    },
    leaves={
        "simple": Leaf("llamacpp", "openvino", ("llama.cpp needs the fewest steps.",)),
        "company": Leaf("olive", "openvino", ("Olive finds its passes by itself.",)),
        "intel": Leaf("openvino", "olive", ("OpenVINO is made for Intel.",)),
        "apple": Leaf("mlx", "llamacpp", ("MLX is made by Apple.",)),
    },
)

RANKING = (
    Ranked("llamacpp", "llama.cpp", 8.5, True, ("Runs on every processor", "Simple to use"), (), "2–3x faster"),
    Ranked("openvino", "OpenVINO", 7.0, True, ("Made for Intel processors",), ("More steps",), "2–5x faster"),
    Ranked(
        "olive", "Microsoft Olive", 6.0, True, ("Finds its passes by itself",), ("Large environment",), "2–6x faster"
    ),
    Ranked("mlx", "Apple MLX", 0.0, False, (), ("Needs Apple silicon",), "2–4x faster"),
)


def recommend(answers: Mapping[str, str], card: ModelCard | None = None) -> Recommendation:
    """The sample tree, walked; the platform counts as detected."""
    settled = {
        key: Answer(answers[key], "user")
        if key in answers
        else Answer(question.default, "detected" if question.detect else "default", "an AMD processor, no GPU")
        for key, question in TREE.questions.items()
    }
    path, place = [], TREE.root
    while place in TREE.nodes:
        node = TREE.nodes[place]
        question, answer = TREE.questions[node.question], settled[node.question]
        onward = node.branches[answer.value]
        path.append(PathStep(place, question.title, answer, question.title_of(answer.value), onward, node.reason))
        place = onward
    leaf = TREE.leaves[place]
    return Recommendation(
        leaf=place,
        framework=leaf.framework,
        secondary=leaf.secondary,
        path=tuple(path),
        answers=settled,
        ranking=tuple(sorted(RANKING, key=lambda ranked: ranked.framework != leaf.framework)),
        reasons=leaf.reasons,
        precision="Q4_K_M" if card else None,
        precisions=FORECASTS if card else (),
        context_length=4096,
        chosen="llamacpp",
    )


def with_precisions_of(framework: str, found: Recommendation) -> Recommendation:
    """The same advice with another framework's own precisions, less those that a recipe decides."""
    names = [name for name in frameworks.get(framework).precisions() if not name.endswith("-recipe")]
    forecasts = [_forecast(name, "low", 4.5, 100, None, 0.03, "good") for name in names]
    return replace(found, chosen=framework, precision=forecasts[0].precision, precisions=tuple(forecasts))


ARTIFACT = Artifact(
    Manifest(
        name="SmolLM2-135M-Instruct",
        framework="llamacpp",
        precision="Q4_K_M",
        id="smollm2-135m-instruct-q4_k_m",
        created_at=NOON,
        size_bytes=100 * MIB,
        files=(FileRecord("smollm2-135m-instruct-q4_k_m.gguf", 100 * MIB, "1f0d" * 16),),
        source={"name": "SmolLM2-135M-Instruct", "requantized": True},
        recipe={"framework": "llamacpp", "precision": "Q4_K_M"},
        versions={"llama-cpp-python": "0.3.16", "edgewise": "0.1.0"},
        hardware="Intel(R) Xeon(R) Platinum 8481C, linux",
        device={"requested": "auto", "actual": "CPU"},
        checks={"loads": True, "answers": True, "template_agrees": True, "answer": "Paris."},
    ),
    Path("/data/library/smollm2-135m-instruct-q4_k_m"),
)
OTHER = Artifact(
    Manifest(
        name="Qwen2.5-0.5B-Instruct",
        framework="llamacpp",
        precision="Q8_0",
        id="qwen2.5-0.5b-instruct-q8_0",
        created_at=NOON - 86_400,
        size_bytes=507 * MIB,
    ),
    Path("/data/library/qwen2.5-0.5b-instruct-q8_0"),
)


ITEMS = (
    Item(
        "environment/olive-convert",
        "environment",
        Path("/home/ada/.local/share/edgewise/environments/olive-convert"),
        int(2.9 * GIB),
        "Microsoft Olive, to convert",
        ("Conversions with Microsoft Olive would first make it again.",),
        "`edgewise setup olive --purpose convert` makes it again.",
        Cost(Estimate(int(1.1 * GIB), "sizes told by the package index"), time_s=Estimate(190, "at 5 MB/s")),
        "environment",
    ),
    Item(
        "hub/Qwen/Qwen2.5-0.5B-Instruct@7ae557604",
        "hub",
        Path("/home/ada/.cache/huggingface/hub/models--Qwen--Qwen2.5-0.5B-Instruct/snapshots/7ae557604"),
        988 * MIB,
        "a model from the hub, in the cache shared with others",
        ("qwen2.5-0.5b-instruct-q8_0 cannot be made again without it; they keep working.",),
        "It is pulled again when it is needed.",
        Cost(download_bytes=Estimate(988 * MIB, "its size"), time_s=Estimate(207, "at 5 MB/s")),
        "hub",
    ),
    Item(
        "cache/sources",
        "cache",
        Path("/home/ada/.local/share/edgewise/cache/sources"),
        60 * MIB,
        "llama.cpp's sources, as downloaded",
        again="Made again when it is needed.",
        used_by="job 20260101-120000-a1b2 (Set up llama.cpp to run)",
    ),
    Item("yours/settings.json", "yours", Path("/home/ada/settings.json"), 205, "your settings", method=""),
)

FOUND = tuple(
    Found(
        f"{owner}/Qwen2.5-0.5B-Instruct{ending}",
        downloads=downloads,
        gated=gated,
        parameters=494_032_768,
        formats=(form,),
        licence="apache-2.0",
        languages=("en",),
        base_models=("Qwen/Qwen2.5-0.5B",),
        modified="2025-01-12",
    )
    for owner, ending, downloads, gated, form in (
        ("Qwen", "", 1_204_551, False, "safetensors"),
        ("quantizer", "-GGUF", 88_120, False, "gguf"),
        ("someone", "-Legal", 312, True, "safetensors"),
    )
)


def look(repository: str) -> Look:
    """What is seen of one of those found."""
    found = next(one for one in FOUND if one.id == repository)
    if found.gated:
        raise ResourceError(
            f"config.json of {repository} could not be read.",
            "Its publisher wants its conditions accepted first, and no token says who you are.",
            f"Accept the conditions on its page https://huggingface.co/{repository}, and log in with `hf auth login`, "
            "or set HF_TOKEN.",
        )
    told = Repository(
        repository, "7ae557604adf67be50417f59c2c2f167def9a775", True, (), {}, {}, {}, {}, downloads=found.downloads,
        tags=("base_model:Qwen/Qwen2.5-0.5B",),
    )  # fmt: skip
    card = replace(FOLDER, path="", licence="apache-2.0", repository=repository, revision=told.commit, origin="hub")
    if "GGUF" not in repository:
        return Look(told, Reference(repository), card, judge(card))
    card = replace(card, format="gguf", size_bytes=398 * MIB, quantized=True, estimated=True)
    sizes = (("Q4_K_M", 398), ("Q8_0", 531), ("F16", 994), ("F32", 9000))
    choices = tuple(
        ModelChoice(f"qwen2.5-0.5b-{name}.gguf", name, size * MIB, size < 8000, name == "Q4_K_M")
        for name, size in sizes
    )
    return Look(told, Reference(repository, "", choices[0].file), card, judge(card), choices)


def _cost(download: float | None = 0, disk: float = 0, memory: float = 0, time: float = 0) -> Cost:
    return Cost(
        Estimate(download, "size told by the package index"),
        Estimate(disk, "sizes of the files unpacked"),
        Estimate(memory, "measured on a machine of this kind"),
        Estimate(time, "assumes 10 MiB/s"),
    )


PLAN = Plan(
    title="SmolLM2-135M-Instruct to Q4_K_M with llama.cpp",
    framework="llamacpp",
    model="smollm2",
    precision="Q4_K_M",
    steps=(
        Step(
            "model",
            "fetch_model",
            "Fetch the packaged model",
            cost=_cost(93 * MIB, 94 * MIB, 40 * MIB, 9.3),
            present=True,
        ),
        Step(
            "environment",
            "environment",
            "Build llama.cpp for this processor",
            cost=_cost(None, 310 * MIB, 1.2 * GIB, 240),
        ),
        Step("quantize", "quantize", "Quantize to Q4_K_M", "llamacpp-run", cost=_cost(0, 100 * MIB, 260 * MIB, 4)),
        Step("prove", "prove", "Prove that it loads and answers", "llamacpp-run", cost=_cost(0, 0, 290 * MIB, 6)),
        Step("publish", "publish", "Publish in the library", cost=_cost(0, 0, 30 * MIB, 0.5)),
    ),
    warnings=("The source is quantized already (Q4_1): Q4_K_M can be no better than that.",),
)


def job(status: str, **changes: object) -> JobView:
    """A job of the plan in some state."""
    steps = [StepView(step.id, step.title) for step in PLAN.steps]
    steps[0] = StepView("model", PLAN.steps[0].title, "skipped")
    if status != "queued":
        steps[1] = StepView("environment", PLAN.steps[1].title, "done", NOON, 231.0)
        steps[2] = StepView(
            "quantize", PLAN.steps[2].title, "running" if status == "running" else status, NOON + 231, 2.1
        )
    if status == "done":
        steps[2:] = [StepView(s.id, s.title, "done", NOON + 231, 2.1) for s in PLAN.steps[2:]]
    given: dict[str, object] = {
        "id": "20260101-120000-a1b2",
        "title": PLAN.title,
        "plan": PLAN,
        "created_at": NOON,
        "status": status,
        "started_at": NOON + 1,
        "ended_at": None if status in ("queued", "running", "interrupted") else NOON + 242,
        "attempt": 1,
        "steps": tuple(steps),
        "peak_bytes": 262 * MIB,
        "log": tuple(
            f"[{n:4}/ 272] blk.{n // 9}.ffn_down.weight - [1536, 576], type = q4_1, q4_K" for n in range(90, 114)
        ),
    }
    if status == "running":
        given |= {
            "stage": "Quantizing tensors",
            "stage_done": 113.0,
            "stage_total": 272.0,
            "stage_unit": "tensors",
            "stage_elapsed_s": 2.0,
            "bytes_done": 41 * MIB,
            "bytes_total": 98 * MIB,
            "detail": "blk.12.ffn_down.weight",
            "rss_bytes": 240 * MIB,
            "notes": (
                Note("quantize", "30 tensors have rows that Q4_K does not divide; they become Q5_0.", "warning"),
            ),
        }
    if status == "done":
        given["result"] = {"artifact": "smollm2-135m-instruct-q4_k_m"}
    if status == "failed":
        given["error"] = {
            "kind": "ResourceError",
            "what": "The disk is full.",
            "why": "No space left on device while writing model.gguf.partial",
            "remedy": "Free 120 MiB, then resume the job.",
            "log": "/data/jobs/20260101-120000-a1b2/job.log",
        }
    return JobView(**{**given, **changes})  # type: ignore[arg-type]
