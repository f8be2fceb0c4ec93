"""The Dockerfile, and the rehearsal of its steps."""

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_assets_tests.support.chart import DEPLOY

ROOT = DEPLOY.parent
sys.path.insert(0, str(DEPLOY))

from rehearse import read_steps  # noqa: E402

STEPS = list(read_steps((DEPLOY / "Dockerfile").read_text("utf-8")))


def copied() -> list[str]:
    """Sources of the context that are copied."""
    steps = [step.options() for step in STEPS if step.name == "COPY"]
    return [source for options, rest in steps if "from" not in options for source in rest.split()[:-1]]


def is_ignored(path: str) -> bool:
    """As Docker reads .dockerignore: the last pattern that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            names = [path, *Path(path).parts] if "**/" in line else [path, Path(path).parts[0]]
            if any(fnmatch.fnmatch(name, pattern) for name in names):
                ignored = not line.startswith("!")
    return ignored


def test_what_is_copied_is_there_and_nothing_else_is_sent():
    assert copied()
    for source in copied():
        assert (ROOT / source).exists()
        assert not is_ignored(source)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    sent = {Path(path).parts[0] for path in tracked.splitlines() if not is_ignored(path)}
    assert sent <= set(copied())
    assert all(map(is_ignored, ["deploy/secrets/database_password", ".git/config", ".env", ".venv/bin/python"]))


def test_versions_are_pinned_and_the_user_has_no_rights():
    installs = [step.text for step in STEPS if step.name == "RUN" and "pip install" in step.text]
    assert all("constraints.txt" in text or "--no-index" in text for text in installs)
    users = [step.text for step in STEPS if step.name == "USER"]
    assert users == ["10001"]
    after = STEPS[[step.name for step in STEPS].index("USER") :]
    assert not [step for step in after if step.name == "RUN" and ("pip" in step.text or "apt" in step.text)]
    assert [step.name for step in STEPS].count("FROM") == 2


def test_lines_are_joined_and_comments_left_out():
    text = "# one\nARG A=1\nRUN a \\\n    # within\n    && b\ncopy --from=build --chown=1 /x /y z/\n"
    steps = list(read_steps(text))
    assert [(step.name, step.text) for step in steps[:2]] == [("ARG", "A=1"), ("RUN", "a && b")]
    assert steps[2].options() == ({"from": "build", "chown": "1"}, "/x /y z/")


needs_mounts = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="a rehearsal takes root's rights on Linux",
)

SMALL = """
ARG WHO=someone
FROM python:3 AS build
ARG WHO
WORKDIR /build
COPY LICENSE ./
ENV NOTE=/build/note PATH=/opt/own:$PATH
RUN printf '%s %s %s' "$WHO" "$NOTE" "${PATH%%:*}" > "$NOTE" && test -s LICENSE

FROM python:3
RUN useradd --uid 10001 --create-home embedding && install -d -o embedding /data
COPY --from=build /build/note /notes/
RUN --mount=type=bind,from=build,source=/build,target=/bound cp /bound/LICENSE /data/
USER 10001
RUN echo more > /data/more && ! touch /notes/mine 2> /dev/null
CMD ["sh", "-c", "id -u; cat /notes/note; ls /data /bound; env | cut -d= -f1 | sort"]
"""


@needs_mounts
def test_a_rehearsal_runs_each_step_as_the_image_would(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text(SMALL)
    command = [sys.executable, DEPLOY / "rehearse.py", "--file", tmp_path / "Dockerfile", "--arg", "WHO=me"]
    environment = {**os.environ, "EMBEDDING_DATABASE_URL": "postgresql://secret"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "mount" in done.stderr and done.returncode:
        pytest.skip("mounts are not permitted here")
    lines = done.stdout.splitlines()
    assert "10001" in lines, done.stderr
    assert "me /build/note /opt/own" in done.stdout
    assert "LICENSE" in lines
    assert "more" in lines
    assert "EMBEDDING_DATABASE_URL" not in lines
    assert not Path("/notes").exists()


@needs_mounts
def test_a_step_that_fails_ends_it(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text('FROM python:3\nRUN false\nRUN echo not reached > /dev/stdout\nCMD ["true"]\n')
    command = [sys.executable, DEPLOY / "rehearse.py", "--file", tmp_path / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "not reached" not in done.stdout
