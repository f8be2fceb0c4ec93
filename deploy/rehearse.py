"""Run the steps of the Dockerfile without Docker, and a command in what they have made.

Each stage begins with this machine's files below it, and writes to memory: nothing of it stays. Each step runs as in a
container: in the stage's root, as the stage's user, with the stage's environment alone (and this machine's settings of
pip). It shows that the steps work, not that the base image has what this machine has. Linux, as root:

    python deploy/rehearse.py --arg MODEL= -- embedding-assets --help
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).parents[1]
DOCKERFILE = Path(__file__).with_name("Dockerfile")

PYTHON = Path(sys.base_prefix).resolve() / "bin"
PATH = f"{PYTHON}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OF_THIS_MACHINE = re.compile(r"PIP_(CERT|CONFIG_FILE|(EXTRA_)?INDEX_URL|FIND_LINKS|TRUSTED_HOST)|(?i:https?|no)_proxy")
_INSIDE = "REHEARSAL_HAS_MOUNTS_OF_ITS_OWN"


@dataclass(frozen=True)
class Step:
    """One instruction, its lines joined."""

    name: str
    text: str

    def options(self) -> tuple[dict[str, str], str]:
        """``--name=value`` before the rest, and the rest."""
        rest, found = self.text, {}
        while match := re.match(r"--([\w-]+)=(\S+)\s+", rest):
            found[match[1]] = match[2]
            rest = rest[match.end() :]
        return found, rest


def read_steps(dockerfile: str) -> Iterator[Step]:
    """The instructions in their order."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for text in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = text.partition(" ")
        yield Step(name.upper(), rest.strip())


@dataclass
class Stage:
    """A stage under way: its root, and what later steps inherit from earlier ones."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"

    def inside(self, path: str) -> Path:
        return self.root / os.path.join(self.folder, path).lstrip("/")  # noqa: PTH118 (an absolute path stays one)

    def call(self, command: list[str]) -> int:
        """Run a command in it; returns its exit status."""
        ours = {name: value for name, value in os.environ.items() if _OF_THIS_MACHINE.fullmatch(name)}
        home = {} if self.user == "0" else {"HOME": home_of(self)}
        environment = {**ours, **self.environment, **home, **self.arguments}
        changing = ["chroot", f"--userspec={self.user}:{self.user}", self.root, "env", f"--chdir={self.folder}"]
        return subprocess.run([*changing, *command], env=environment, check=False).returncode


def home_of(stage: Stage) -> str:
    """The home of the stage's user, as its own list of users has it."""
    users = (line.split(":") for line in stage.inside("/etc/passwd").read_text("utf-8").splitlines())
    return next((user[5] for user in users if user[2] == stage.user), "/")


def rehearse(steps: Iterable[Step], arguments: dict[str, str], work: Path) -> Stage:
    """Carry out all steps; returns the last stage."""
    defaults: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in steps:
        if step.name == "FROM":
            # With FROM … AS name the name, else what no other step names.
            stage = stages[step.text.split()[-1]] = Stage(make_root(work / f"stage{len(stages)}"))
        elif step.name == "ARG":
            name, _, default = step.text.partition("=")
            scope = defaults if stage is None else stage.arguments
            scope[name] = arguments.get(name, default.strip('"') or defaults.get(name, ""))
        elif stage is None:
            raise SystemExit(f"{step.name} before FROM")
        else:
            print(f"== {step.name} {step.text}", flush=True)
            carry_out(step, stage, stages)
    if stage is None:
        raise SystemExit("no stage")
    return stage


def make_root(folder: Path) -> Path:
    """This machine's files, what is written to them in memory."""
    upper, inner, root = (folder / name for name in ("upper", "work", "root"))
    for path in (upper, inner, root):
        path.mkdir(parents=True)
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={inner}", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")
    # Python may lie in a home, which the stage's user cannot enter.
    for path in (PYTHON, *PYTHON.parents):
        inside = root / str(path).lstrip("/")
        inside.chmod(inside.stat().st_mode | 0o111)
    return root


def carry_out(step: Step, stage: Stage, stages: dict[str, Stage]) -> None:
    options, rest = step.options()
    match step.name:
        case "ENV":
            expand(stage, rest)
        case "WORKDIR":
            stage.folder = rest
            stage.inside("").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = rest
        case "COPY":
            *sources, target = rest.split()
            origin = stages[options["from"]].root if "from" in options else CONTEXT
            for source in sources:
                copy(origin / source.lstrip("/"), stage.inside(target), into=target.endswith("/"))
        case "RUN":
            run(stage, rest, stages, options.get("mount"))
        case "EXPOSE" | "CMD":
            pass
        case other:
            raise SystemExit(f"{other} cannot be rehearsed")


def expand(stage: Stage, text: str) -> None:
    for pair in shlex.split(text):
        name, _, value = pair.partition("=")
        stage.environment[name] = re.sub(r"\$\{?(\w+)\}?", lambda m: stage.environment.get(m[1], ""), value)


def copy(source: Path, target: Path, *, into: bool) -> None:
    target = target / source.name if into and source.is_file() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def run(stage: Stage, command: str, stages: dict[str, Stage], bind: str | None) -> None:
    bound = dict(part.split("=") for part in bind.split(",")) if bind else {}
    if bound:
        target = stage.inside(bound["target"])
        target.mkdir(parents=True)
        mount("--bind", stages[bound["from"]].inside(bound["source"]), target)
    status = stage.call(["/bin/sh", "-c", command])
    if bound:
        subprocess.run(["umount", target], check=True)
        target.rmdir()
    if status:
        raise SystemExit(f"exit status {status}")


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="as --build-arg of Docker")
    parser.add_argument("--file", type=Path, default=DOCKERFILE, help="the Dockerfile")
    parser.add_argument("command", nargs="*", help="what to run at the end; default: the image's own command")
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        # Mounts of its own, which go with it.
        command = ["unshare", "--mount", "--fork", "--kill-child", sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(command, env={**os.environ, _INSIDE: "1"}, check=False).returncode)
    work = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    try:
        mount("-t", "tmpfs", "tmpfs", work)
        steps = list(read_steps(options.file.read_text("utf-8")))
        stage = rehearse(steps, dict(pair.split("=", 1) for pair in options.arg), work)
        *_, last = (step.text for step in steps if step.name == "CMD")
        status = stage.call(options.command or json.loads(last))
    finally:
        subprocess.run(["umount", "--lazy", "--recursive", work], check=False)
        work.rmdir()
    raise SystemExit(status)


if __name__ == "__main__":
    main()
