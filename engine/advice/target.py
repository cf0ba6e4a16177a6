"""The target as the rules see it: a handful of plain facts, from the hardware or assumed for the platform."""

from collections.abc import Mapping

from msgspec import Struct

from engine.advice.catalogue import Catalogue, Condition, Rule
from engine.advice.records import Answer
from engine.hardware.facts import Hardware

_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64"}


class Target(Struct, frozen=True):
    """Known facts by name (an unknown one has no values), and the answers."""

    facts: dict[str, tuple[str, ...]]
    assumed: bool = False
    """The facts are typical of the platform and were read from no machine."""

    def matches(self, rule: Rule) -> bool:
        """Whether everything in the rule's `when` holds here, and nothing in its `unless`."""
        return all(self._holds(name, wanted) for name, wanted in rule.when.items()) and not any(
            self._holds(name, wanted) for name, wanted in rule.unless.items()
        )

    def _holds(self, name: str, wanted: Condition) -> bool:
        values = self.facts.get(name, ())
        wanted = (wanted,) if isinstance(wanted, str) else wanted
        if name == "board":
            return any(part.lower() in value.lower() for part in wanted for value in values)
        return any(value in wanted for value in values)


def describe_target(catalogue: Catalogue, hardware: Hardware, answers: Mapping[str, Answer]) -> Target:
    """The facts of the machine at hand, or those to assume where the target is another one."""
    facts: dict[str, tuple[str, ...]] = {name: (answer.value,) for name, answer in answers.items()}
    target, platform = answers.get("target"), answers.get("platform")
    if target is not None and target.value == "another":
        entry = catalogue.platforms.get(platform.value) if platform else None
        assumes = entry.assumes if entry else {}
        facts.update({name: (value,) for name, value in assumes.items()})
        return Target(facts, assumed=True)
    cpu = hardware.cpu
    architecture = cpu.architecture.value
    found = {
        "os": hardware.os.value,
        "architecture": _ARCHITECTURES.get(architecture, architecture) if architecture else None,
        "cpu_vendor": cpu.vendor.value,
        "board": hardware.board.value,
    }
    facts.update({name: (value,) for name, value in found.items() if value})
    facts["accelerator"] = tuple({accelerator.vendor: None for accelerator in hardware.accelerators})
    facts["api"] = tuple({api: None for accelerator in hardware.accelerators for api in accelerator.apis})
    return Target(facts)
