"""What can be told of the Dockerfile without an engine that builds it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from dockerfile_parse import DockerfileParser

from keras_classics.cli.app import app

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL",
    "USER", "WORKDIR",
}  # fmt: skip


@pytest.fixture(scope="module")
def parsed():
    # The parser opens its file for writing too, unless it is given one in memory.
    import io

    return DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes()))


@pytest.fixture(scope="module")
def steps(parsed):
    """Instructions and values, comments left out."""
    return [
        (step["instruction"], step["value"])
        for step in parsed.structure
        if step["instruction"] != "COMMENT"
    ]


@pytest.fixture(scope="module")
def last(steps):
    """Those of the last stage, which is what runs."""
    begins = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    return steps[begins:]


def of(steps, name):
    return [value for instruction, value in steps if instruction == name]


def test_only_instructions_that_there_are(steps):
    assert {name for name, _ in steps} <= KNOWN
    assert steps[0][0] in ("ARG", "FROM")


def test_pinned_and_slim_bases(steps):
    bases = of(steps, "FROM")
    assert len(bases) == 2
    for base in bases:
        image = base.split()[0]
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image), image
    (version,) = {re.search(r"3\.(\d+)", base).group(1) for base in bases}
    least = re.search(r">=3\.(\d+)", PROJECT["requires-python"]).group(1)
    assert int(version) >= int(least)
    assert bases[0].endswith(" AS build")


def test_it_does_not_run_as_root(last):
    (user,) = of(last, "USER")
    assert user.isdecimal()  # so that `runAsNonRoot` can tell
    assert int(user) > 0
    assert f"--uid {user} " in " ".join(of(last, "RUN"))
    names = [name for name, _ in last]
    assert names.index("USER") > names.index("RUN")
    assert "RUN" not in names[names.index("USER") :]


def test_nothing_of_the_build_is_left(last):
    assert of(last, "COPY") == ["--from=build /opt/classics /opt/classics"]


def test_it_holds_no_secrets(steps):
    for name, value in steps:
        if name in ("ENV", "ARG"):
            assert not re.search(r"(?i)key|token|secret|password|credential", value), value
    assert not any(name == "ADD" for name, _ in steps)
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text)
    assert not re.search(r"curl|wget|sudo|chmod 777|apt-get", text)


def test_what_is_copied_is_there_and_not_ignored(steps):
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines  # nothing unless it is named
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for value in of(steps, "COPY"):
        if not value.startswith("--from"):
            copied |= set(value.split()[:-1])
    for name in copied:
        assert (ROOT / name.removeprefix("./")).exists(), name
    assert {name.removeprefix("./").rstrip("/") for name in copied} == kept
    wheel = {PROJECT["readme"], *PROJECT["license-files"]}
    assert wheel <= kept


def test_the_extras_that_it_installs(steps):
    (value,) = of(steps, "ARG")
    name, _, extras = value.partition("=")
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert "serve" in extras.split(",")
    assert f"[${{{name}}}]" in " ".join(of(steps, "RUN"))
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for other in re.findall(rf"--build-arg {name}=([\w,]+)", text):
        assert set(other.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_command_can_be_parsed(last):
    (entry,), (arguments,) = of(last, "ENTRYPOINT"), of(last, "CMD")
    program, name, *options = json.loads(entry)  # lists, so that signals reach the program
    assert program in PROJECT["scripts"]
    command = typer.main.get_command(app).commands[name]
    parsed = command.make_context(name, [*options, *json.loads(arguments)]).params
    assert parsed["host"] == "0.0.0.0"
    assert parsed["open_to_others"] is False
    assert of(last, "EXPOSE") == [str(parsed["port"])]
    assert of(last, "STOPSIGNAL") == ["SIGTERM"]


def test_the_health_check(last, serving, tmp_path):
    """It says what readiness says."""
    from serving.fakes import running

    (value,) = of(last, "HEALTHCHECK")
    options, _, command = value.partition("CMD ")
    assert {option.split("=")[0] for option in shlex.split(options)} == {
        "--interval", "--timeout", "--start-period", "--retries"
    }  # fmt: skip
    program, *arguments = json.loads(command)
    assert program == "python"
    (port,) = of(last, "EXPOSE")
    with running(serving) as server:
        here = [each.replace(f":{port}/", f":{server.port}/") for each in arguments]
        assert here != arguments
        for draining, code in ((False, 0), (True, 1)):
            server.server.desk.draining = draining
            done = subprocess.run(
                [sys.executable, *here], capture_output=True, check=False, cwd=tmp_path
            )
            assert done.returncode == code
