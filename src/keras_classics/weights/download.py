"""Published files: found in a package or a cache, or downloaded once for all processes.

What has arrived of a file is kept beside its place, so that a download goes on where the last one
ended. Nothing stands at the place itself before its digest is right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import platformdirs
from filelock import FileLock

from keras_classics.errors import WeightsError
from keras_classics.extras import install_package

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # in a row that bring the file no further
BACK_OFF = 0.5  # seconds before the next attempt, doubled with each in a row
LONGEST_WAIT = 60.0  # seconds that a server may ask for

_DIGEST = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{8,64}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Identified:
    """A file that its digest identifies wherever it lies, or its size where it has no digest."""

    digest: str
    size: int | None

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest) and (self.digest or self.size is None):
            raise ValueError(
                f"digest={self.digest!r}: md5:<32 hex> or sha256:<8 to 64 hex>, or none and a size."
            )
        if self.file_name in ("", ".", ".."):
            raise ValueError(f"{self.place!r}: must end with the name of a file.")

    @property
    def place(self) -> str:
        """Where it is published."""
        raise NotImplementedError

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.place.rpartition("/")[2]

    @property
    def identity(self) -> str:
        """What identifies it, for messages."""
        return self.digest or f"{self.size:,} bytes"

    def matches(self, path: Path) -> bool:
        """Whether a file is there, can be read and has this digest."""
        try:
            if not self.digest:
                return path.is_file() and path.stat().st_size == self.size
            return self.digest_of(path).startswith(self.digest)
        except OSError:
            return False

    def digest_of(self, path: Path) -> str:
        """The digest of any file, whole, by this one's algorithm."""
        algorithm = self.digest.partition(":")[0] or "sha256"
        with path.open("rb") as stream:
            hashed = hashlib.file_digest(stream, algorithm)
        return f"{algorithm}:{hashed.hexdigest()}"


@dataclass(frozen=True)
class RemoteFile(_Identified):
    """A published file that is downloaded.

    Args:
        url: Its address.
        digest: What identifies it wherever it lies: `md5:` and 32 digits, or `sha256:` and 64, or
            their beginning, 8 at least. Empty where none is published: then the size identifies it.
        size: Its bytes, where known.
    """

    url: str
    digest: str
    size: int | None = None

    @property
    def place(self) -> str:
        """The path of the address."""
        return urlsplit(self.url).path


@dataclass(frozen=True)
class PackagedFile(_Identified):
    """A published file that a package of pip brings; the package is not imported.

    Args:
        package: Its name for pip.
        path: Of the file, beginning with the name of the package's module.
        digest: As a `RemoteFile` has it, as is the size.
        size: Its bytes, where known.
    """

    package: str
    path: str
    digest: str
    size: int | None = None

    @property
    def place(self) -> str:
        """The path within the package."""
        return self.path

    def installed(self) -> Path | None:
        """Where the file should be; None where the package is not installed."""
        module, _, rest = self.path.partition("/")
        spec = importlib.util.find_spec(module)
        folders = spec.submodule_search_locations if spec else None
        return Path(next(iter(folders)), rest) if folders else None

    def unusable(self) -> WeightsError:
        """Why it is not to be had from the package, and what to do."""
        found = self.installed()
        if found is None:
            return WeightsError(
                f"{self.package}, which holds these weights, is not installed: "
                f"{install_package(self.package)}."
            )
        is_there = found.is_file()
        why = f"not as published, {self.digest} is expected" if is_there else "missing"
        advice = install_package(self.package, again=True)
        return WeightsError(f"{found}: {why}; install its package again: {advice}.")


PublishedFile = RemoteFile | PackagedFile


def cache_folder() -> Path:
    """The folder of this package's caches: $KERAS_CLASSICS_HOME, else the system's place."""
    default = platformdirs.user_cache_dir("keras-classics", appauthor=False)
    return _folder("KERAS_CLASSICS_HOME", default)


def cached(file: PublishedFile) -> Path | None:
    """Where the file lies already, its digest verified: in its package, or any of the caches."""
    torch_home = _folder("TORCH_HOME", _folder("XDG_CACHE_HOME", "~/.cache") / "torch")
    packaged = file.installed() if isinstance(file, PackagedFile) else None
    candidates = (
        *((packaged,) if packaged else ()),
        _place(file),
        _folder("KERAS_HOME", "~/.keras") / "models" / file.file_name,
        torch_home / "hub" / "checkpoints" / file.file_name,
    )
    return next(filter(file.matches, candidates), None)


def fetch(file: PublishedFile, *, progress: Progress | None = None) -> Path:
    """The file from its package or a cache, else downloaded, verified and put into the cache.

    Processes that want the same file at once wait for the first. An interrupted download keeps what
    has arrived.

    Args:
        file: What to fetch; https only, but for this machine itself.
        progress: Called when bytes arrive; they are fewer again where a server begins again.

    Raises:
        WeightsError: If it is not to be had: one line with the reason, the address, the digest,
            and the path at which a copy put there by hand is found; or the package to install.
    """
    if found := cached(file):
        return found
    if isinstance(file, PackagedFile):
        raise file.unusable()
    place = _place(file)
    with _client(file) as client:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{place}.lock"):  # the system's lock, which ends with its process
                return cached(file) or _Download(client, file, place, progress, file.size).run()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _failure(file, str(error)) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            remedy = "KERAS_CLASSICS_HOME may name another folder"
            raise _failure(file, f"cannot write in the cache ({reason}; {remedy})") from error


class _RetryableError(Exception):
    """An attempt failed in a way in which the next one may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds, as the server asks


@dataclass
class _Download:
    """A file on its way: beside its place lie the bytes so far and the validator they came with."""

    client: httpx.Client
    file: RemoteFile
    place: Path
    progress: Progress | None
    total: int | None  # bytes in all, where known

    def __post_init__(self) -> None:
        self.partial = self.place.with_name(f"{self.place.name}.partial")
        self.validator = self.place.with_name(f"{self.place.name}.validator")

    def run(self) -> Path:
        for _ in range(2):
            # A process may have been killed between the last byte and the renaming.
            joined = not self.file.matches(self.partial) and self._transfer()
            if self.file.matches(self.partial):
                with self.partial.open("rb+") as stream:
                    os.fsync(stream.fileno())
                self.partial.replace(self.place)
                self._discard()
                return self.place
            arrived = f"{self._size():,} bytes with {self.file.digest_of(self.partial)}"
            self._discard()
            if not joined:
                break  # what came in one piece will come so again
        what = "hash" if self.file.digest else "size"
        raise _failure(self.file, f"wrong {what}: {arrived} arrived, not {self.file.identity}")

    def _transfer(self) -> bool:
        """Ask until all is there; whether it is joined from several responses."""
        failures, furthest = 0, self._size()
        while True:
            try:
                return self._request()
            except (httpx.TransportError, _RetryableError) as error:
                # Against the furthest ever: a server that always begins again brings nothing new.
                failures = 0 if self._size() > furthest else failures + 1
                furthest = max(furthest, self._size())
                if failures >= ATTEMPTS:
                    raise _failure(self.file, self._reason(error)) from error
                asked = getattr(error, "wait", 0.0)
            time.sleep(max(asked, BACK_OFF * 2 ** max(failures - 1, 0)))

    def _request(self) -> bool:
        """Ask once for what is missing; whether the response continues what was there."""
        headers = {"Accept-Encoding": "identity"}  # so that ranges count the file's own bytes
        validator, start = self._known_validator(), 0
        if validator and (start := self._size()):
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        with self.client.stream("GET", self.file.url, headers=headers) as response:
            start = self._first_byte(response, start)
            if start == 0:
                self._begin(response.headers)
            length = response.headers.get("Content-Range" if start else "Content-Length", "")
            length = length.rpartition("/")[2]
            self.total = int(length) if length.isdecimal() else self.file.size
            with self.partial.open("ab") as stream:
                for chunk in response.iter_raw():
                    stream.write(chunk)
                    if self.progress:
                        self.progress(stream.tell(), self.total)
        if self.total is not None and self._size() < self.total:
            raise _RetryableError("the response ended early")
        return start > 0

    def _first_byte(self, response: httpx.Response, start: int) -> int:
        """Where in the file the response begins: as asked for, or at 0; all else is refused."""
        code = response.status_code
        if code == 200:
            return 0
        if code == 429 or code >= 500:
            wait = _seconds(response.headers.get("Retry-After", ""))
            if wait > LONGEST_WAIT:
                raise _failure(self.file, f"HTTP {code}, and the server asks to wait {wait:.0f} s")
            raise _RetryableError(f"HTTP {code}", wait)
        if not start or code not in (206, 416):
            raise _failure(self.file, f"HTTP {code} {response.reason_phrase}")
        span = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if code == 206 and span and int(span[1]) == start:
            return start
        self._discard()
        raise _RetryableError(f"HTTP {code} without the bytes from {start:,} on")

    def _reason(self, error: Exception) -> str:
        """Why the last attempt failed, and how far the file had come."""
        reason = str(error)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            reason = f"no connection, is this machine offline? ({error})"
        elif isinstance(error, httpx.TimeoutException):
            reason = f"nothing came for {READ_TIMEOUT:g} s"
        whole = "" if self.total is None else f" of {self.total:,}"
        arrived = f"; truncated after {self._size():,}{whole} bytes" if self._size() else ""
        return reason + arrived

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _begin(self, headers: httpx.Headers) -> None:
        """Make room for a whole file; a weak ETag says nothing of its bytes."""
        self.partial.write_bytes(b"")
        etag = headers.get("ETag", "W/")
        value = headers.get("Last-Modified", "") if etag.startswith("W/") else etag
        self.validator.write_text(value, encoding="utf-8")

    def _known_validator(self) -> str | None:
        """What If-Range can name; None, too, where a crash left the file torn."""
        text = self.validator.read_bytes().decode("latin-1") if self.validator.exists() else ""
        return text if text.isascii() and text.isprintable() else None

    def _discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


def _seconds(retry_after: str) -> float:
    """The seconds that a server asks to wait, by a number or a date."""
    if re.fullmatch(r"[0-9]+", retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _client(file: RemoteFile) -> httpx.Client:
    def refuse_insecure(request: httpx.Request) -> None:  # called at every redirect, too
        scheme, host = request.url.scheme, request.url.host
        if scheme != "https" and not (scheme == "http" and host in _LOOPBACK):
            raise _failure(file, f"{request.url} is not https")

    try:
        return httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=True,
            event_hooks={"request": [refuse_insecure]},
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        # Here httpx reads the environment's proxies and certificates.
        raise _failure(file, f"a variable for proxy or certificates is wrong: {error}") from error


def _failure(file: RemoteFile, reason: str) -> WeightsError:
    place = _place(file)
    other = " (what lies there now is another file)" if os.access(place, os.F_OK) else ""
    return WeightsError(
        f"cannot download {file.url}: {' '.join(reason.split())}; with a copy of it "
        f"({file.identity}) at {place}{other} no download is needed."
    )


def _place(file: PublishedFile) -> Path:
    """Its path in the cache; published files of one name, like Keras' ResNet50s, do not clash."""
    beginning = file.digest.partition(":")[2][:8] or "no-hash"
    return cache_folder() / "weights" / beginning / file.file_name


def _folder(variable: str, default: str | Path) -> Path:
    # Path.expanduser raises where no home is known.
    return Path(os.path.expanduser(os.environ.get(variable) or default))  # noqa: PTH111
