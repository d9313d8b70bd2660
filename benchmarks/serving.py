"""`classics serve` under more load than it can bear, minutes long: errors, answers, time, memory.

    python benchmarks/serving.py ARTEFACT [--minutes 10] [--times 1.5] [-- OPTIONS]

OPTIONS are those of `classics serve`.

The server is a process of its own. First its capacity is measured: as many requests at a time as
make several full batches, each sent when another one is answered or sent away. Then requests come
at `--times` that rate, at random moments, whether earlier ones are answered or not. Each carries
one JPEG; every answer that is accepted is compared with what the same picture was called before the
load. It prints a table in Markdown, and ends with 1 if anything but 200 and 429 came back, an
answer was wrong, memory grew by more than a tenth from the second tenth of the time to the last, or
the 99th percentile of the second half of the time was twice that of the first.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import cv2
import numpy as np
import psutil

PICTURES = 64
SIDE = 320  # pixels of the JPEGs
CONNECTIONS = 400
AT_A_TIME = 64  # while the capacity is measured: some batches, so that none waits to be filled
GROWTH, SLOWING = 1.1, 2.0  # of memory and of the 99th percentile, at most

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def show(line: str) -> None:
    """A line of the table."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def pictures() -> list[bytes]:
    """JPEGs that all differ: smooth random colours with some noise, as photographs have."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(PICTURES):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        found.append(cv2.imencode(".jpg", noisy)[1].tobytes())
    return found


class Client:
    """HTTP in as few steps as will do, as the load must not cost more than the server."""

    def __init__(self, address: str, path: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        self.host, self.port, self.path = parts.hostname, parts.port, path
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(CONNECTIONS)

    def request(self, picture: bytes) -> bytes:
        """All bytes of a request."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        )
        return head.encode() + picture

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        async with self._places:
            reader, writer = await self._connection()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b"connection: close" in head:
                writer.close()
            else:
                self._idle.append((reader, writer))
            return int(head[9:12]), body

    async def _connection(self) -> Connection:
        """One that was kept, if the server has not closed it meanwhile, else a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
        return await asyncio.open_connection(self.host, self.port)

    def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()


@dataclass
class Result:
    """What came back."""

    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)  # of the accepted, in their order
    late: float = 0.0  # the most that a request left later than planned


def answer(body: bytes) -> list[float]:
    """The probabilities of an answer, in the order of the classes' names."""
    (found,) = json.loads(body)["predictions"]
    return [each["probability"] for each in sorted(found["top"], key=lambda each: each["class"])]


async def capacity(client: Client, requests: list[bytes], seconds: float) -> float:
    """Answers a second, while each comes as soon as another one is answered."""
    count, end = 0, time.perf_counter() + seconds

    async def one(turn: int) -> None:
        nonlocal count
        while time.perf_counter() < end:
            status, _ = await client.ask(requests[turn % len(requests)])
            if status == 429:
                await asyncio.sleep(0.05)
                continue
            assert status == 200, status
            count += 1
            turn += 1

    since = time.perf_counter()
    await asyncio.gather(*(one(turn) for turn in range(AT_A_TIME)))
    return count / (time.perf_counter() - since)


async def load(
    client: Client, requests: list[bytes], known: list[list[float]], rate: float, seconds: float
) -> Result:
    """Requests at random moments, at a rate on average, whether they are answered or not."""
    result, rng = Result(), random.Random(0)
    tasks: set[asyncio.Task[None]] = set()

    async def one(index: int, planned: float) -> None:
        try:
            status, body = await client.ask(requests[index])
            if status == 200:
                result.seconds.append(time.perf_counter() - planned)
                result.wrong += not np.allclose(answer(body), known[index], atol=1e-4)
        except Exception as error:  # whatever it is, the request came to nothing
            result.codes[type(error).__name__] += 1
        else:
            result.codes[str(status)] += 1

    planned = time.perf_counter()
    end = planned + seconds
    while planned < end:
        planned += rng.expovariate(rate)
        wait = planned - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        result.late = max(result.late, -wait)
        task = asyncio.create_task(one(rng.randrange(len(requests)), planned))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return result


class Memory:
    """Resident memory of a process and its children, once a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.megabytes: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.megabytes.append(sum(each.memory_info().rss for each in family) / 1024**2)
            except psutil.NoSuchProcess:
                continue

    def end(self) -> list[float]:
        """What was seen."""
        self._ended.set()
        self._thread.join()
        return self.megabytes


async def measure(address: str, pid: int, options: argparse.Namespace) -> bool:
    """Measure, print, and say whether all went well."""
    client = Client(address, "/classify?top=1000")
    requests = [client.request(picture) for picture in pictures()]
    known = [answer((await client.ask(request))[1]) for request in requests]
    rounded = {tuple(np.round(each, 3)) for each in known}
    await capacity(client, requests, 3.0)  # warm
    able = await capacity(client, requests, options.capacity_seconds)
    rate = options.times * able
    show(
        f"capacity {able:.0f} pictures/s; {len(rounded)} of {len(known)} answers differ in the "
        f"third decimal; load {rate:.0f} pictures/s for {options.minutes:g} minutes"
    )
    memory = Memory(pid)
    result = await load(client, requests, known, rate, options.minutes * 60)
    is_steady = table(result, memory.end(), able, options)
    client.close()
    return set(result.codes) <= {"200", "429"} and not result.wrong and is_steady


def table(result: Result, megabytes: list[float], able: float, options: argparse.Namespace) -> bool:
    """The table in Markdown; whether neither memory nor waiting grew."""
    accepted = result.codes["200"]
    percentiles = statistics.quantiles(result.seconds, n=100)
    tenth = max(1, len(megabytes) // 10)
    halves = result.seconds[: accepted // 2], result.seconds[accepted // 2 :]
    p99s = [statistics.quantiles(half, n=100)[98] for half in halves]
    others = {k: n for k, n in result.codes.items() if k not in ("200", "429")}
    mean_of = statistics.mean
    warm = megabytes[tenth : 2 * tenth] or megabytes  # what grows in the first seconds stays
    memory = mean_of(warm), mean_of(megabytes[-tenth:]), max(megabytes)
    rows = (
        ("load", f"{options.times:g} times capacity ({able:.0f} pictures/s)"),
        ("minutes", f"{options.minutes:g}"),
        ("requests", f"{sum(result.codes.values()):,}"),
        ("accepted (200)", f"{accepted:,} ({accepted / options.minutes / 60:.0f} a second)"),
        ("sent away (429)", f"{result.codes['429']:,}"),
        ("anything else", ", ".join(f"{n} x {k}" for k, n in others.items()) or "0"),
        ("wrong answers", f"{result.wrong:,}"),
        ("p50, p95, p99 of the accepted, ms",
         ", ".join(f"{1000 * percentiles[i]:.0f}" for i in (49, 94, 98))),
        ("p99 of first and second half, ms", ", ".join(f"{1000 * p:.0f}" for p in p99s)),
        ("memory of the server, MB: second tenth of the time, last, most",
         ", ".join(f"{each:.0f}" for each in memory)),
        ("a request left late by at most, ms", f"{1000 * result.late:.0f}"),
    )  # fmt: skip
    show("")
    show("| | |\n|---|---:|")
    for name, value in rows:
        show(f"| {name} | {value} |")
    return memory[1] <= GROWTH * memory[0] and p99s[1] <= SLOWING * p99s[0]


def main() -> int:
    """Start the server, measure, and end it."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artefact")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=1.5)
    parser.add_argument("--capacity-seconds", type=float, default=15.0)
    parser.add_argument("--log", default="serving.log", help="Where the server's log goes.")
    options = parser.parse_args(arguments[:cut])
    command = [sys.executable, "-m", "keras_classics.cli", "serve", options.artefact, "--port", "0"]
    with open(options.log, "w", encoding="utf-8") as log:  # noqa: PTH123 - as it was named
        process = subprocess.Popen(
            [*command, *arguments[cut + 1 :]], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("http"):
                raise SystemExit(f"the server did not start; see {options.log}")
            show(line.strip())
            well = asyncio.run(measure(line.split()[0], process.pid, options))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    show(f"\nthe server ended with {code}")
    return 0 if well and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
