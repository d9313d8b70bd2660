"""Processes of the command line that do not import everything anew: forks of one that has.

A process of `classics` spends seconds on importing Keras and its backend. Here that is done once
for each worker of the tests, by the fork server of the standard library, which computes nothing
itself. From `keras_classics.cli.main` on a fork does the same as any process; how the command
starts, and what it imports when, is tested with processes of its own.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import reduction
from pathlib import Path

PRELOADED = [
    "keras_classics.classifier.artefact",
    "keras_classics.engines.bulk",
    "keras_classics.evaluation.assessment",
    "keras_classics.explorer.application",
    "keras_classics.training.run",
    "keras_classics.web.server",
]


@functools.cache
def _server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _become(arguments, env, folder, limits, ends):
    """In the fork: be the command."""
    from keras_classics.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for number, end in enumerate(ends, 1):
        os.dup2(end.detach(), number)
        stream = io.TextIOWrapper(
            os.fdopen(number, "wb", closefd=False),
            encoding=env.get("PYTHONIOENCODING", "utf-8"),
            line_buffering=number == 2,
            write_through="PYTHONUNBUFFERED" in env,
        )
        setattr(sys, {1: "stdout", 2: "stderr"}[number], stream)
    if limits is not None:
        import resource

        resource.setrlimit(*limits)
    sys.argv = ["classics", *arguments]
    main()


class Classics:
    """A process of the command, with what a `subprocess.Popen` of it has.

    Attributes:
        stdout, stderr: text to be read, where none was given.
        returncode: None until its end is known.
    """

    def __init__(self, *arguments, env=None, stdout=None, stderr=None, limits=None):
        """Begin.

        Args:
            arguments: Of the command, of any type.
            env: All of its environment; by default that of the tests.
            stdout, stderr: Files, in the place of pipes.
            limits: As `resource.setrlimit` takes them.
        """
        given = [stdout, stderr]
        pipes = [os.pipe() if file is None else (None, file.fileno()) for file in given]
        self.stdout, self.stderr = (
            None if read is None else os.fdopen(read, encoding="utf-8") for read, _ in pipes
        )
        self.returncode = None
        ends = [_End(write) for _, write in pipes]
        what = ([str(each) for each in arguments], env or dict(os.environ), Path.cwd(), limits)
        self._process = _server().Process(target=_become, args=(*what, ends), daemon=True)
        self._process.start()
        for read, write in pipes:
            if read is not None:
                os.close(write)
        self.pid = self._process.pid

    def poll(self):
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("classics", timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """What it wrote until its end."""
        with ThreadPoolExecutor(2) as pool:
            texts = [
                pool.submit(file.read) if file else None for file in (self.stdout, self.stderr)
            ]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        for file in filter(None, (self.stdout, self.stderr)):
            file.close()
        return tuple(text.result() if text else None for text in texts)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


class _End:
    """A file that goes with the process, given when that is started."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _Received, (reduction.DupFd(self.number),)


class _Received:
    def __init__(self, duplicate):
        self.detach = duplicate.detach


def run(*arguments, timeout=120, **options):
    """Run the command to its end, as `subprocess.run` does."""
    process = Classics(*arguments, **options)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
