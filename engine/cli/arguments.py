"""What may be written on the command line. Imports argparse and nothing else: this is the path of `edgewise --help`."""

import argparse
import os

PROGRESS_NOTE = """\
Without a command, Edgewise opens its screens.

Results go to stdout and progress to stderr; --json prints JSON. Exit status: 0 done, 1 failed with a stated error,
2 wrong usage, 130 interrupted. EDGEWISE_DATA names the folder where everything is kept, EDGEWISE_MODELS further
folders with models.
"""


class _Format(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, without importing shutil (and its archive modules) to find out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2, max_help_position=26)
        self._action_max_length = 16  # argparse forgets the indentation of the commands it lists


def _columns() -> int:
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(1).columns or 80
    except (OSError, ValueError):
        return 80


def build_parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser for `arguments`; of the commands, only the ones that occur there get their own arguments."""
    from engine import __version__

    parser = argparse.ArgumentParser(
        prog="edgewise",
        description="Shrink a language model for the machine you have, and talk with the result.",
        epilog=PROGRESS_NOTE,
        formatter_class=_Format,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edgewise {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog="edgewise")
    for name, (summary, declare) in COMMANDS.items():
        command = _add(commands, name, summary)
        if name in arguments:
            declare(command)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=_Format,
        allow_abbrev=False,
    )
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return command


_MACHINE = "a saved profile, or a device that `hardware --devices` lists"
_MODEL = "a path, a name that `models list` shows, or organisation/name on the hub"


def _json(command: argparse.ArgumentParser, text: str = "print one JSON document") -> None:
    command.add_argument("--json", action="store_true", help=text)


def _yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", "-y", action="store_true", help="do not ask")


def _force(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true", help="go ahead even where the plan is expected to fail")


def _actions(command: argparse.ArgumentParser) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    return command.add_subparsers(dest="action", metavar="ACTION", required=True, prog=command.prog)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _quickstart(command: argparse.ArgumentParser) -> None:
    command.add_argument("--precision", metavar="P", help="instead of the recommended one")
    command.add_argument("--prompt", metavar="TEXT", help="what the finished model is asked")
    command.add_argument("--framework", metavar="F", help="instead of the recommended one")
    _force(command)
    _json(command)


def _hardware(command: argparse.ArgumentParser) -> None:
    command.add_argument("--measure", action="store_true", help="measure memory bandwidth and throughput (2 s)")
    command.add_argument("--sysroot", metavar="DIR", help="read the Linux files from a copied tree")
    command.add_argument("--save", metavar="FILE", help="write a profile that `advise --target` reads")
    command.add_argument("--devices", action="store_true", help="list the devices that `--target` knows by name")
    _json(command)


def _advise(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", nargs="?", help=_MODEL)
    command.add_argument("--target", metavar="MACHINE", help=f"advise for another machine: {_MACHINE}")
    command.add_argument(
        "--answer", metavar="KEY=VALUE", action="append", default=[], help="answer a question (repeatable)"
    )
    command.add_argument("--context", metavar="N", type=_count, help="context length in tokens")
    _json(command)


def _setup(command: argparse.ArgumentParser) -> None:
    command.add_argument("framework", metavar="FRAMEWORK", help="llamacpp, openvino, olive or mlx")
    command.add_argument("--purpose", metavar="PURPOSE", help="run (the default), convert or another that it has")
    command.add_argument(
        "--build",
        choices=("auto", "tuned", "portable", "prebuilt"),
        default="auto",
        help="compiled for this machine, for any machine, or downloaded",
    )
    command.add_argument("--remove", action="store_true", help="delete the framework's environments instead")
    _force(command)
    _yes(command)
    _json(command)


def _doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quick", action="store_true", help="do not load a tiny model in each environment")
    _json(command)


def _models(command: argparse.ArgumentParser) -> None:
    actions = _actions(command)
    _json(_add(actions, "list", "the models on this machine, and whether each fits it"))
    folders = _add(actions, "folders", "the folders that models are looked for in")
    folders.add_argument("--add", metavar="DIR", action="append", default=[], help="look in this one, too (repeatable)")
    folders.add_argument(
        "--remove", metavar="DIR", action="append", default=[], help="no longer look in one that was added (repeatable)"
    )
    _json(folders)
    show = _add(actions, "show", "a model's card, read from its headers")
    show.add_argument("model", metavar="MODEL", help=_MODEL)
    _json(show)
    search = _add(actions, "search", "search the Hugging Face hub")
    search.add_argument("words", metavar="WORDS", nargs="+", help="a part of a model's name")
    search.add_argument("--limit", metavar="N", type=_count, default=20, help="at most so many (default: 20)")
    forms = ("safetensors", "gguf", "openvino", "onnx", "mlx")
    search.add_argument("--format", choices=forms, help="only repositories with such weights")
    _json(search)
    pull = _add(actions, "pull", "fetch a model from the hub, as a job")
    pull.add_argument("model", metavar="MODEL", help="organisation/name; where needed @REVISION, :PRECISION or :FOLDER")
    pull.add_argument("--detach", action="store_true", help="print the job's id and do not wait for it")
    _force(pull)
    _yes(pull)
    _json(pull)


def _convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help=_MODEL)
    command.add_argument("--framework", metavar="F", help="instead of the recommended one")
    command.add_argument("--precision", metavar="P", help="instead of the recommended one")
    command.add_argument("--name", metavar="NAME", help="what to call the artifact")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="an option of the conversion (repeatable)"
    )
    command.add_argument("--list-options", action="store_true", help="say which options there are, and do nothing")
    _force(command)
    command.add_argument("--detach", action="store_true", help="print the job's id and do not wait for it")
    _yes(command)
    _json(command)


def _jobs(command: argparse.ArgumentParser) -> None:
    actions = _actions(command)
    _json(_add(actions, "list", "all jobs, the newest first"))
    attach = _add(actions, "attach", "watch a job; Ctrl-C leaves it running")
    attach.add_argument("job", metavar="JOB", nargs="?", help="its id or the beginning of it (default: the newest)")
    _json(attach, "print the job's journal as JSON lines")
    attach.set_defaults(streams=True)
    for name, summary in (
        ("pause", "stop a job for now; `resume` goes on with it"),
        ("cancel", "stop a job"),
        ("resume", "continue a job that ended early"),
    ):
        action = _add(actions, name, summary)
        action.add_argument("job", metavar="JOB", help="its id or the beginning of it")
        if name == "resume":
            action.add_argument("--detach", action="store_true", help="do not wait for it")
        _json(action)
    remove = _add(actions, "remove", "forget jobs that have ended, and their scratch files")
    remove.add_argument("job", metavar="JOB", nargs="+", help="its id or the beginning of it")
    _yes(remove)
    _json(remove)


def _library(command: argparse.ArgumentParser) -> None:
    actions = _actions(command)
    _json(_add(actions, "list", "all artifacts"))
    show = _add(actions, "show", "an artifact and its recipe")
    show.add_argument("artifact", metavar="ARTIFACT", help="its id or the beginning of it")
    _json(show)
    verify = _add(actions, "verify", "check every file against the manifest")
    verify.add_argument("artifact", metavar="ARTIFACT", nargs="*", help="its id or the beginning of it (default: all)")
    _json(verify)
    remove = _add(actions, "remove", "delete artifacts")
    remove.add_argument("artifact", metavar="ARTIFACT", nargs="+", help="its id or the beginning of it")
    _yes(remove)
    _json(remove)


def _space(command: argparse.ArgumentParser) -> None:
    _json(command)
    actions = command.add_subparsers(dest="action", metavar="ACTION", prog=command.prog)
    remove = _add(actions, "remove", "remove some of it, after showing what that would break and what it would cost")
    remove.add_argument("item", metavar="ITEM", nargs="+", help="an item as `space` lists it, or a kind: cache, log, …")
    _yes(remove)
    _json(remove)
    move = _add(actions, "move", "move the data folder to another disk")
    move.add_argument("folder", metavar="FOLDER", help="its new place: an empty folder, or one that is not there yet")
    _yes(move)
    _json(move)


def _chat(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "artifact",
        metavar="ARTIFACT",
        help="its id or the beginning of it, or a ready-made model of any name or path",
    )
    command.add_argument("--prompt", metavar="TEXT", help="ask this, print the answer and leave")
    command.add_argument("--system", metavar="TEXT", help="the system prompt")
    command.add_argument("--temperature", metavar="T", type=float, help="0 always takes the likeliest token")
    command.add_argument("--top-p", metavar="P", type=float, help="keep the likeliest tokens up to this probability")
    command.add_argument("--top-k", metavar="N", type=int, help="keep this many of the likeliest tokens")
    command.add_argument("--max-tokens", metavar="N", type=_count, help="longest answer")
    command.add_argument("--context", metavar="N", type=_count, help="context length in tokens")
    command.add_argument("--threads", metavar="N", type=_count, help="threads (default: what suits the cores)")
    command.add_argument("--device", metavar="D", default="auto", help="auto, cpu, gpu or npu; never silently another")
    command.add_argument("--seed", metavar="N", type=int, help="make the sampling repeatable")
    _json(command, "print every event as a JSON line")
    command.set_defaults(streams=True)


def _bundle(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "edgewise bundle ARTIFACT... [--target MACHINE] [--output FILE]\n       edgewise bundle install FILE"
    )
    command.add_argument(
        "what", metavar="ARTIFACT", nargs="+", help="an artifact or a model; or `install` and a bundle"
    )
    command.add_argument("--target", metavar="MACHINE", help=f"{_MACHINE} (default: this machine)")
    command.add_argument("--output", metavar="FILE", help="the bundle's name")
    command.add_argument("--python", metavar="VERSION", help="the machine's Python, such as 3.12")
    command.add_argument("--glibc", metavar="VERSION", help="its C library, as `ldd --version` says it")
    command.add_argument(
        "--framework", metavar="F", action="append", default=[], help="pack this framework, too (repeatable)"
    )
    command.add_argument(
        "--purpose", metavar="P", action="append", default=[], help="run (the default) or convert (repeatable)"
    )
    _force(command)
    _yes(command)
    _json(command)


def _measuring(command: argparse.ArgumentParser) -> None:
    """What all commands that measure take."""
    command.add_argument(
        "--budget", metavar="S", type=_count, default=60, help="seconds of answers for each benchmark (default: 60)"
    )
    command.add_argument(
        "--lengths", metavar="N", type=_count, nargs="+", help="tokens of the prompts (default: 128 512 2048)"
    )
    command.add_argument("--context", metavar="N", type=_count, help="context length in tokens (default: 4096)")
    command.add_argument("--device", metavar="D", default="auto", help="auto, cpu, gpu or npu; never silently another")
    command.add_argument("--detach", action="store_true", help="print the job's id and do not wait for it")
    _force(command)
    _yes(command)
    _json(command)


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("artifact", metavar="ARTIFACT", nargs="+", help="its id or the beginning of it, or a GGUF")
    _measuring(command)


def _sweep(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help=_MODEL)
    command.add_argument(
        "--precision", metavar="P", action="append", default=[], help="a candidate (repeatable; default: what fits)"
    )
    command.add_argument(
        "--framework", metavar="F", action="append", default=[], help="all that a framework can do (repeatable)"
    )
    command.add_argument("--headline", action="store_true", help="the rows of the course's table, its claims beside")
    command.add_argument(
        "--weights", metavar="GOAL=N", nargs="+", default=[], help="what quality, speed and memory count (default: 1)"
    )
    command.add_argument("--text", metavar="FILE", default="ours", help="judge quality on this UTF-8 text")
    _measuring(command)


def _validate(command: argparse.ArgumentParser) -> None:
    command.add_argument("artifact", metavar="ARTIFACT", nargs="?", help="its id or the beginning of it, or a GGUF")
    command.add_argument("--gates", metavar="FILE", help="judge by these gates instead of Edgewise's own")
    command.add_argument("--show-gates", action="store_true", help="print Edgewise's own gates, to begin a file with")
    command.add_argument("--text", metavar="FILE", default="ours", help="judge quality on this UTF-8 text")
    command.add_argument("--output", metavar="FOLDER", help="put the certificate and its report there, too")
    _measuring(command)


COMMANDS = {
    "quickstart": ("the whole road on the packaged model: detect, decide, quantize, measure, answer", _quickstart),
    "hardware": ("what this machine is, and where each fact comes from", _hardware),
    "advise": ("which framework and precision suit this machine and model, and what it would cost", _advise),
    "setup": ("make or remove the environment that a framework runs in", _setup),
    "doctor": ("what is installed, what is broken, and the command that mends it", _doctor),
    "models": ("the models here and on the hub", _models),
    "convert": ("quantize a model into the library", _convert),
    "jobs": ("long work in the background: watch, pause, cancel, resume", _jobs),
    "library": ("the artifacts that were made: show, verify, remove", _library),
    "space": ("what takes space, what may go, and moving it all to another disk", _space),
    "chat": ("talk with an artifact, or with a ready-made model", _chat),
    "validate": ("measure an artifact beside its source, judge it by gates, and certify it", _validate),
    "sweep": ("make, measure and compare many candidates of one model, and choose", _sweep),
    "bench": ("measure how fast artifacts are on this machine, and what they take", _bench),
    "bundle": ("pack an artifact with all that a machine without a network needs, or install it there", _bundle),
}
