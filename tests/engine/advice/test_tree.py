"""The tree's file: every branch of the course's tree, and every way to break it."""

import itertools
import re

import pytest

from engine.advice import FRAMEWORKS, load_catalogue, load_tree, recommend, settle_answers
from engine.advice.datafile import ASSETS
from engine.advice.recommendation import walk
from engine.errors import InputError, UsageError
from engine.hardware.facts import Hardware

from .machines import MACHINES

TREE = load_tree()
CATALOGUE = load_catalogue()


def leaf_of(**answers: str):
    return TREE.leaves[walk(TREE, settle_answers(TREE, Hardware(), answers))[1]]


class TestTheCoursesTree:
    def test_apple_leads_to_mlx(self):
        assert leaf_of(platform="apple").framework == "mlx"

    @pytest.mark.parametrize("platform", ["intel_cpu", "intel_gpu"])
    def test_intel_leads_to_openvino(self, platform):
        assert leaf_of(platform=platform).framework == "openvino"

    def test_enterprise_leads_to_olive(self):
        assert leaf_of(platform="cross_platform", setting="enterprise").framework == "olive"

    def test_cross_platform_text_leads_to_llamacpp(self):
        leaf = leaf_of(platform="cross_platform", setting="prototype", workload="text")
        assert leaf.framework == "llamacpp"

    def test_cross_platform_multimodal_compares_openvino_and_olive(self):
        leaf = leaf_of(platform="cross_platform", setting="prototype", workload="multimodal")
        assert {leaf.framework, leaf.secondary} == {"openvino", "olive"}

    def test_amd_goes_the_cross_platform_way(self):
        assert leaf_of(platform="amd") == leaf_of(platform="cross_platform")


@pytest.mark.parametrize(
    ("platform", "primary", "second"),
    [
        ("intel_cpu", "openvino", "olive"),
        ("intel_gpu", "openvino", "olive"),
        ("nvidia", "olive", "openvino"),
        ("apple", "mlx", "llamacpp"),
        ("arm_mobile", "llamacpp", "openvino"),
        ("edge_tpu", "openvino", "olive"),
        ("embedded_arm", "llamacpp", "openvino"),
    ],
)
def test_each_row_of_the_platform_matrix(platform, primary, second):
    leaf = leaf_of(platform=platform)
    row = CATALOGUE.platforms[platform]
    assert (leaf.framework, leaf.secondary) == (row.primary, row.second) == (primary, second)


def test_every_question_and_answer_named_in_the_rules_exists():
    for rule in CATALOGUE.rules:
        for name, wanted in itertools.chain(rule.when.items(), rule.unless.items()):
            if name in TREE.questions:
                options = {option.id for option in TREE.questions[name].options}
                assert options >= set([wanted] if isinstance(wanted, str) else wanted)
            else:
                assert name in ("os", "architecture", "cpu_vendor", "accelerator", "api", "board")
    for answer in CATALOGUE.weights.answers:
        name, option = answer.split("=")
        assert option in {known.id for known in TREE.questions[name].options}
    assert {option.id for option in TREE.questions["platform"].options} == set(CATALOGUE.platforms)
    assert {option.id for option in TREE.questions["setting"].options} == set(CATALOGUE.orders)
    for choices in CATALOGUE.choice.values():
        assert set(choices) == {option.id for option in TREE.questions["priority"].options}
    assert set(CATALOGUE.choice) == set(FRAMEWORKS)


# Each: what is replaced in the shipped file by what; the line must be the one of `where`; `message` is said.
BROKEN = {
    "unknown question": (
        'question = "workload"',
        'question = "mood"',
        'question = "mood"',
        "node workload: unknown question “mood”",
    ),
    "dangling branch": (
        'text = "text"',
        'text = "nowhere"',
        'text = "nowhere"',
        "node workload: the branch “text” leads to “nowhere”",
    ),
    "missing option": (
        'prototype = "workload"\n',
        "",
        "[nodes.setting.branches]",
        "node setting: no branch for the option “prototype”",
    ),
    "unknown option": (
        'text = "text"',
        'text = "text"\npoems = "text"',
        'poems = "text"',
        "node workload: unknown option of “workload” “poems”",
    ),
    "circle": (
        'multimodal = "multimodal"',
        'multimodal = "setting"',
        "[nodes.workload.branches]",
        "node workload: the branches go round in a circle: setting → workload → setting",
    ),
    "unreachable node": (
        'prototype = "workload"',
        'prototype = "text"',
        "[nodes.workload]",
        "node workload: no path leads here",
    ),
    "unreachable leaf": (
        'multimodal = "multimodal"',
        'multimodal = "text"',
        "[leaves.multimodal]",
        "leaf multimodal: no path leads here",
    ),
    "leaf without framework": (
        'framework = "mlx"\n',
        "",
        "[leaves.apple]",
        "leaf apple: Object missing required field `framework`",
    ),
    "unknown framework": (
        'framework = "mlx"',
        'framework = "mlc"',
        'framework = "mlc"',
        "leaf apple: unknown framework “mlc”",
    ),
    "second choice the same": (
        'secondary = "llamacpp"',
        'secondary = "mlx"',
        'secondary = "mlx"',
        "leaf apple: the second choice is the framework itself",
    ),
    "wrong type": (
        'reason = "No framework owns this platform, so what it is for decides."',
        "reason = 5",
        "reason = 5",
        "node setting: Expected `str`, got `int`",
    ),
    "misspelled key": ('secondary = "llamacpp"', 'secondry = "llamacpp"', None, "leaf apple"),
    "unknown default": (
        'default = "text"',
        'default = "poems"',
        'default = "poems"',
        "question workload: unknown option “poems”",
    ),
    "unknown detector": (
        'detect = "platform"',
        'detect = "aura"',
        'detect = "aura"',
        "question platform: unknown detector “aura”",
    ),
    "branch on an amount": (
        'question = "setting"',
        'question = "memory_budget"',
        'question = "memory_budget"',
        "takes amounts",
    ),
    "unknown root": ('root = "target"', 'root = "top"', 'root = "top"', "the root “top” is not a node"),
    "unknown section": ('root = "target"', 'root = "target"\ncolour = 1', "colour = 1", "unknown section “colour”"),
    "syntax": ("[nodes.setting]\n", "[nodes.setting\n", "[nodes.setting", "not valid TOML"),
    "same node twice": ("[nodes.workload]\n", "[nodes.setting]\n", None, "not valid TOML"),
    "leaf and node of one name": (
        "[leaves.text]",
        "[leaves.workload]",
        "[nodes.workload]",
        "node workload: a leaf has the same name",
    ),
    "no reasons": ('reasons = ["MLX is Apple', 'reasons = []\nsource2 = ["MLX is Apple', None, "leaf apple"),
}


class TestBrokenFiles:
    @pytest.mark.parametrize("name", BROKEN)
    def test_error_names_file_line_and_node(self, tmp_path, name):
        old, new, where, message = BROKEN[name]
        text = (ASSETS / "tree.toml").read_text(encoding="utf-8")
        assert text.count(old) >= 1
        path = tmp_path / "tree.toml"
        head, tail = text.rsplit(old, 1) if "leads to" in message or "option of" in message else text.split(old, 1)
        path.write_text(head + new + tail, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_tree(path)
        what = caught.value.what
        assert message in what
        assert caught.value.remedy
        found = re.match(re.escape(str(path)) + r", line (\d+): ", what)
        assert found
        line = path.read_text(encoding="utf-8").splitlines()[int(found[1]) - 1]
        if where is not None:
            assert where in line

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match="Cannot read"):
            load_tree(tmp_path / "none.toml")

    def test_not_text(self, tmp_path):
        path = tmp_path / "tree.toml"
        path.write_bytes(b'root = "x"\n\xff\xfe')
        with pytest.raises(InputError, match="line 2: not valid UTF-8"):
            load_tree(path)

    def test_huge_file(self, tmp_path):
        path = tmp_path / "tree.toml"
        path.write_bytes(b"#" * (2 << 20))
        with pytest.raises(InputError, match="too large"):
            load_tree(path)

    @pytest.mark.parametrize("text", ["", "root = 3", "nodes = 1", "a = " + "[" * 5000, "\x1b[31m = 1", "[nodes.x]\n"])
    def test_nonsense(self, tmp_path, text):
        path = tmp_path / "tree.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_tree(path)
        assert "\x1b" not in str(caught.value)

    @pytest.mark.parametrize(
        ("file", "old", "new", "message"),
        [
            ("frameworks.toml", 'framework = "olive"\nwhen', 'framework = "tvm"\nwhen', "unknown framework “tvm”"),
            ("frameworks.toml", "enterprise = 1", "enterprise = 7", "7 dots"),
            ("frameworks.toml", "leaf = 12.0", 'leaf = "much"', "Expected `float`"),
            ("frameworks.toml", 'runs = false\nagainst = "OpenVINO is no longer', 'runs = false\nfor = "', "against"),
            ("precisions.toml", 'base = "Q4_K"', 'base = "Q4_Z"', "precision Q4_K_S: unknown type “Q4_Z”"),
            ("precisions.toml", 'layers = "more_bits"', 'layers = "some"', "unknown layers “some”"),
            ("precisions.toml", 'base = "openvino-u4"\n', "", "it needs a base type"),
            ("devices.toml", "[devices.t4]", "[devices.T4]", "device T4: a name has small letters"),
            (
                "devices.toml",
                'source = "https',
                'source = "http',
                "device raspberry-pi-4: the source must be an address",
            ),
            ("devices.toml", "memory_gib = [1, 2, 4, 8]", "memory_gib = []", "sizes of memory above zero"),
            (
                "devices.toml",
                "bandwidth_gb_s = 17.1",
                "bandwidth_gb_s = 0",
                "device raspberry-pi-5: the bandwidth must",
            ),
            ("devices.toml", "bandwidth_gb_s = 17.1", 'bandwidth_gb_s = "fast"', "Expected `float`, got `str`"),
            ("devices.toml", 'os = "darwin"', 'os = "macos"', "device apple-m1: unknown system “macos”"),
            ("devices.toml", '["neon"] }', '["mmx"] }', "unknown instruction set “mmx”"),
            ("devices.toml", 'apis = ["metal"]', 'apis = ["opengl"]', "unknown interface “opengl”"),
            ("devices.toml", '"Raspberry Pi 5",', '"Raspberry Pi 4",', "is also that of raspberry-pi-4"),
            ("devices.toml", 'title = "Jetson Nano"', 'titel = "Jetson Nano"', "device jetson-nano"),
            ("precisions.toml", '"Q8_0", "Q6_K", "Q5_K_M"', '"Q9_0"', "unknown precision of llamacpp “Q9_0”"),
        ],
    )
    def test_catalogue_errors_name_file_and_line(self, tmp_path, file, old, new, message):
        for name in ("frameworks.toml", "precisions.toml", "devices.toml"):
            text = (ASSETS / name).read_text(encoding="utf-8")
            if name == file:
                assert old in text
                text = text.replace(old, new, 1)
                if new.endswith('for = "'):
                    text = text.replace('published for Intel Macs."', 'x"', 2)
            (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            load_catalogue(tmp_path)
        assert re.match(re.escape(str(tmp_path / file)) + r", line \d+: ", caught.value.what)


class TestAnswers:
    def test_user_overrules_what_was_detected_and_is_told(self):
        said = recommend(TREE, CATALOGUE, MACHINES["intel laptop"], {"platform": "apple"}, None)
        assert said.answers["platform"].origin == "user"
        assert said.framework == "mlx"
        assert any("this machine looks like “Intel CPU”" in warning for warning in said.warnings)
        assert any("very slowly" in reason for reason in said.ranking[0].reasons_against)

    def test_detected_answers_say_from_what(self):
        settled = settle_answers(TREE, MACHINES["pi 5"], {})
        assert settled["platform"].origin == "detected"
        assert settled["platform"].basis == "board Raspberry Pi 5 Model B Rev 1.0 (/proc/device-tree/model)"
        assert settled["priority"].origin == "default"

    def test_another_machine_puts_the_hardware_aside(self):
        settled = settle_answers(TREE, MACHINES["apple"], {"target": "another"})
        assert settled["platform"].value == "cross_platform"

    @pytest.mark.parametrize("budget", ["auto", "2GiB", "3 GiB", "1.5GB", "800M", "123456789"])
    def test_amounts_are_answers(self, budget):
        assert settle_answers(TREE, Hardware(), {"memory_budget": budget})["memory_budget"].value == budget

    @pytest.mark.parametrize(
        "answers", [{"colour": "red"}, {"platform": "vax"}, {"memory_budget": "lots"}, {"memory_budget": "0 GiB"}]
    )
    def test_wrong_answers_are_refused_with_the_right_ones(self, answers):
        with pytest.raises(UsageError) as caught:
            settle_answers(TREE, Hardware(), answers)
        assert caught.value.remedy
