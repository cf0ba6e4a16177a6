"""Where a Linux machine's power comes from, and how hot it is."""

from engine.hardware.facts import Fact
from engine.hardware.files import Tree, whole_number

_SUPPLIES = "/sys/class/power_supply"
_ZONES = "/sys/class/thermal"
_CPU_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu-therm", "soc_thermal", "soc-thermal", "tcpu")
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")


def read_power_source(tree: Tree) -> Fact[str]:
    """ "ac" or "battery"; unknown where nothing is listed, as on desktop computers and boards."""
    discharging = None
    for name in tree.names(_SUPPLIES):
        folder = f"{_SUPPLIES}/{name}"
        kind = tree.read_text(f"{folder}/type")
        if kind in ("Mains", "USB") and tree.read_number(f"{folder}/online") == 1:
            return Fact("ac", f"{folder}/online")
        if kind == "Battery" and tree.read_text(f"{folder}/scope") != "Device":
            status = tree.read_text(f"{folder}/status")
            if status == "Discharging":
                discharging = f"{folder}/status"
            elif status in ("Charging", "Full", "Not charging"):
                return Fact("ac", f"{folder}/status")
    return Fact("battery" if discharging else None, discharging or _SUPPLIES)


def read_temperature(tree: Tree) -> Fact[float]:
    """The processor's temperature in °C: of its own sensor if one is named, else of the hottest zone."""
    zones = tree.numbered(_ZONES, "thermal_zone")
    kinds = {folder: (tree.read_text(f"{folder}/type") or "").lower() for _, folder in zones}
    own = [folder for folder, kind in kinds.items() if kind in _CPU_ZONES]
    sensors = tree.numbered("/sys/class/hwmon", "hwmon")
    hot = [folder for _, folder in sensors if tree.read_text(f"{folder}/name") in _CPU_SENSORS]
    for paths in (
        [f"{folder}/temp" for folder in own],
        [f"{folder}/temp1_input" for folder in hot],
        [f"{folder}/temp" for folder in kinds],
    ):
        readings = [(celsius, path) for path in paths if (celsius := _celsius(tree, path)) is not None]
        if readings:
            return Fact(*max(readings))
    return Fact(None, f"{_ZONES}/thermal_zone*/temp, /sys/class/hwmon")


def read_throttled(tree: Tree) -> Fact[bool]:
    """Whether heat slows the processor now. Counters since boot can only say that it never did."""
    firmware = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    for path in (firmware, firmware.replace("soc/soc:", "soc@107c000000/soc@107c000000:")):
        text = (tree.read_text(path) or "").removeprefix("0x")
        if 0 < len(text) <= 8 and all(digit in "0123456789abcdefABCDEF" for digit in text):
            return Fact(bool(int(text, 16) & 0b1110), path)  # clock capped, throttled, soft temperature limit
    coolers = []
    for _, folder in tree.numbered(_ZONES, "cooling_device"):
        kind = (tree.read_text(f"{folder}/type") or "").lower()
        state = tree.read_number(f"{folder}/cur_state")
        if state is not None and (kind == "processor" or kind.startswith(("cpufreq", "cpu-freq", "thermal-cpufreq"))):
            coolers.append(state)
    if coolers:
        return Fact(any(coolers), f"{_ZONES}/cooling_device*/cur_state")
    cpus = tree.numbered("/sys/devices/system/cpu", "cpu")
    counts = [tree.read_number(f"{folder}/thermal_throttle/package_throttle_count") for _, folder in cpus]
    told = [count for count in counts if count is not None]
    source = "/sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"
    if told and not any(told):
        return Fact(False, f"{source} (never since boot)")
    return Fact(None, f"{source} (counted since boot, nothing tells about now)" if told else source)


def _celsius(tree: Tree, path: str) -> float | None:
    text = tree.read_text(path) or ""
    number = whole_number(text.removeprefix("-"))
    if number is None:
        return None
    celsius = number / 1000 * (-1 if text.startswith("-") else 1)
    # Sensors that are switched off report 0 or -274 °C.
    return celsius if celsius != 0 and -60 <= celsius <= 150 else None
