"""What the hardware answers by itself."""

import pytest
from msgspec import structs

from engine.advice import detect_answers, load_tree
from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware

from .machines import MACHINES, PLATFORM_SEEN, gpu, machine

TREE = load_tree()


@pytest.mark.parametrize("name", MACHINES)
def test_platform_of_each_machine(name):
    answers = detect_answers(TREE, MACHINES[name])
    assert (answers["platform"].value if answers else None) == PLATFORM_SEEN[name]
    assert all(answer.origin == "detected" and answer.basis for answer in answers.values())


def test_priority_and_the_like_are_never_detected():
    assert set(detect_answers(TREE, MACHINES["nvidia"])) == {"platform"}


def test_a_gpu_without_its_driver_is_mentioned():
    basis = detect_answers(TREE, MACHINES["nvidia without driver"])["platform"].basis
    assert "no usable CUDA driver" in basis


def test_linux_on_apple_silicon_has_no_metal():
    assert detect_answers(TREE, machine("linux", "aarch64", "apple"))["platform"].value == "cross_platform"


def test_an_integrated_intel_gpu_without_an_api_leaves_the_processor():
    quiet = Accelerator("gpu", "intel", integrated=Fact(True))
    assert detect_answers(TREE, machine(vendor="intel", accelerators=(quiet,)))["platform"].value == "intel_cpu"


def test_a_snapdragon_laptop_is_no_board():
    laptop = machine("windows", "aarch64", "qualcomm", board="Snapdragon X Elite")
    assert detect_answers(TREE, laptop)["platform"].value == "cross_platform"


def test_only_the_architecture_known():
    assert detect_answers(TREE, Hardware(cpu=Cpu(architecture=Fact("armv7l"))))["platform"].value == "embedded_arm"
    assert detect_answers(TREE, Hardware(cpu=Cpu(architecture=Fact("x86_64")))) == {}


def test_hostile_names_are_made_printable():
    named = machine(vendor="amd", accelerators=(gpu("nvidia", "cuda", name="\x1b[31mRTX\n"),))
    assert "\x1b" not in detect_answers(TREE, named)["platform"].basis


def test_a_tree_without_the_option_is_not_answered():
    question = TREE.questions["platform"]
    fewer = structs.replace(question, options=tuple(option for option in question.options if option.id != "nvidia"))
    tree = structs.replace(TREE, questions=TREE.questions | {"platform": fewer})
    assert detect_answers(tree, MACHINES["nvidia"]) == {}
