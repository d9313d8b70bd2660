"""From a folder to an engine: which one runs it, and what has to be converted for that."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from filelock import FileLock

from keras_classics import __version__
from keras_classics.classifier.card import CARD, MODEL, check_artefact
from keras_classics.data.fit import CentralCrop
from keras_classics.engines.engine import (
    ENGINES,
    Engine,
    EngineName,
    Hint,
)
from keras_classics.engines.onnxruntime_engine import OnnxRuntimeEngine
from keras_classics.engines.openvino_engine import OpenVinoEngine
from keras_classics.errors import ArtefactError, ClassicsError, OutputError, nearest
from keras_classics.exporting import runtimes
from keras_classics.exporting.export import EXPORTS, export
from keras_classics.exporting.exported import (
    EXPORT,
    PRECISIONS,
    Export,
    ExportError,
    Precision,
    TargetName,
    read_export,
    sha256,
)
from keras_classics.exporting.targets import TARGETS
from keras_classics.weights.download import cache_folder

CHOICES: tuple[str, ...] = ("auto", *ENGINES)

TARGET_OF: Mapping[EngineName, TargetName] = {
    cast(EngineName, target.engine): name for name, target in TARGETS.items() if target.engine
}
"""The format that an engine runs; the faster engine stands first."""

WORTH_CONVERTING = 1000
"""Images from which on `auto` makes a conversion, which takes as long as some hundred of them."""

Tell = Callable[[str], None]
Ready = tuple[Path, Export]


@dataclass(frozen=True)
class Deployment:
    """A model, and how it is to be run.

    Attributes:
        path: the folder of an artefact or of an export; None with weights.
        weights: the name of published ones.
        engine: "auto": the fastest that is installed and proven equal to Keras.
        precision: to compute in; None for that of an export, else f32. Nothing less exact is ever
            taken unasked.
        hint: what the engine is tuned for.
        threads: processors for the engine; None for all.
        before_keras: called before Keras is imported, if it is, such as to choose its backend.
    """

    path: str | os.PathLike[str] | None = None
    weights: str | None = None
    engine: str = "auto"
    precision: str | None = None
    hint: str = "throughput"
    threads: int | None = None
    before_keras: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """Refuse what no model can be run by.

        Raises:
            ClassicsError: If engine, precision or hint is unknown, or the model not named once.
        """
        for what, value, known in (
            ("engine", self.engine, CHOICES),
            ("precision", self.precision or "f32", PRECISIONS),
            ("hint", self.hint, get_args(Hint)),
        ):
            if value not in known:
                raise ClassicsError(
                    f"{what} {value!r}: not one of {', '.join(known)}{nearest(value, known)}"
                )
        if (self.path is None) == (self.weights is None):
            raise ClassicsError("a folder or published weights are needed, and not both.")
        if self.threads is not None and self.threads < 1:
            raise ClassicsError(f"threads={self.threads}: at least 1 is needed.")

    @property
    def source(self) -> str:
        """The model, as it was named."""
        return str(self.weights) if self.path is None else os.fspath(self.path)

    def fingerprint(self) -> str:
        """SHA-256 of what identifies the model, in hexadecimal; it is not opened for that.

        Raises:
            ClassicsError: If there is no such model.
        """
        return hashlib.sha256("\0".join(self._origin().values()).encode()).hexdigest()

    def open(self, *, images: int | None = None, tell: Tell | None = None) -> Engine:
        """The engine, ready to be asked.

        Args:
            images: How many are to come, by which "auto" decides what is worth while; None for
                more than a few.
            tell: Told what takes long.

        Raises:
            ClassicsError: If there is no such model, it is torn or stale, or cannot be run so.
        """
        origin = self._origin()
        if self._is_export:
            return self._of_export()
        if self.engine == "auto":
            return self._fastest(origin, images, tell)
        if self.engine == "keras":
            return self._keras()
        name = cast(EngineName, self.engine)
        runtimes.check_installed(name)
        found = self._exported(name, origin) or self._converted(name, origin, tell)
        return self._run(*found, name)

    @property
    def _is_export(self) -> bool:
        return self.path is not None and (Path(self.path) / EXPORT).is_file()

    def _origin(self) -> dict[str, str]:
        """What identifies the model, in the terms of `Export.source`."""
        if self.path is None:
            return {"weights": self.source}
        folder = Path(self.path)
        if self._is_export:
            return {EXPORT: sha256(folder / EXPORT)}
        if not folder.exists():
            raise ArtefactError(f"{folder}: no such artefact or export.")
        check_artefact(folder)
        return _state(folder)

    def _of_export(self) -> Engine:
        """The engine of the folder of an export."""
        folder = Path(self.source)
        found = read_export(folder)
        name = cast(EngineName | None, TARGETS[found.target].engine)
        if name is None:
            raise ClassicsError(
                f"{folder}: no engine here runs {found.target}; export to openvino or onnx."
            )
        if self.engine not in ("auto", name):
            raise ClassicsError(f"{folder}: is run by {name}, not by {self.engine}.")
        parent = folder.resolve().parent
        artefact = parent.parent
        if parent.name == EXPORTS and (artefact / MODEL).is_file() and (artefact / CARD).is_file():
            _check_fresh(folder, found, _state(artefact))
        self._check_runnable(folder, found)
        return self._run(folder, found, name)

    def _fastest(self, origin: Mapping[str, str], images: int | None, tell: Tell | None) -> Engine:
        """The fastest engine that is proven equal to Keras, or as precise as was asked."""
        reasons = []
        for name in TARGET_OF:
            try:
                runtimes.check_installed(name)
                found = self._exported(name, origin)
                few = images is not None and images < WORTH_CONVERTING
                if found is None and few and self._is_made_here(name):
                    reasons.append(f"too few images to convert it for {name}")
                    continue
                engine = self._run(*(found or self._converted(name, origin, tell)), name)
            except (ClassicsError, MemoryError, RuntimeError) as error:
                said = str(error) or f"too little memory to convert it for {name}"
                reasons.append(" ".join(said.split()).rstrip("."))
                continue
            return engine
        if self._precision != "f32":
            raise ClassicsError(
                f"{self.source}: nothing runs it in {self._precision} ({'; '.join(reasons)})"
            )
        engine = self._keras()
        engine.why = "; ".join(reasons)
        return engine

    def _keras(self) -> Engine:
        if self._precision != "f32":
            raise ClassicsError(
                f"precision {self._precision}: the engine keras computes in f32; take another."
            )
        if self.before_keras:
            self.before_keras()
        # Here, as the other engines do without Keras.
        from keras_classics.classifier.artefact import load  # noqa: PLC0415
        from keras_classics.classifier.published import published  # noqa: PLC0415
        from keras_classics.engines.keras_engine import KerasEngine  # noqa: PLC0415

        return KerasEngine(published(self.source) if self.path is None else load(self.path))

    @property
    def _precision(self) -> Precision:
        return cast(Precision, self.precision or "f32")

    def _exported(self, name: EngineName, origin: Mapping[str, str]) -> Ready | None:
        """An export of the model that is there already, and is what is wanted."""
        for folder in self._places(name, origin):
            if not (folder / EXPORT).is_file():
                continue
            in_cache = folder.is_relative_to(_cache())
            try:
                found = read_export(folder)
                _check_fresh(folder, found, origin)
            except ExportError:
                if not in_cache:
                    raise
                continue  # it is made anew
            if _fits(found):
                return folder, found
        return None

    def _places(self, name: EngineName, origin: Mapping[str, str]) -> Iterator[Path]:
        """Where an export may be, those of the user first."""
        precisions = [self._precision]
        if (name, self._precision) == ("openvino", "bf16"):
            precisions.append("f32")  # the same file, run otherwise
        for precision in precisions:
            if self.path is not None:
                # As `exporting.default_place` has it.
                stem = f"{TARGET_OF[name]}-{precision}"
                yield Path(self.path) / EXPORTS / f"{stem}-fitted"
                yield Path(self.path) / EXPORTS / stem
            if precision == "f32":
                yield self._cached(name, origin)

    def _cached(self, name: EngineName, origin: Mapping[str, str]) -> Path:
        """Where the conversion of the model is kept."""
        known = (*origin.values(), TARGET_OF[name], __version__, *runtimes.versions(name).values())
        return _cache() / hashlib.sha256("\0".join(known).encode()).hexdigest()[:32]

    def _is_made_here(self, name: EngineName) -> bool:
        """Whether `_converted` makes what is wanted; the rest needs the pictures of the run."""
        return self._precision == "f32" or (self._precision, name) == ("bf16", "openvino")

    def _converted(self, name: EngineName, origin: Mapping[str, str], tell: Tell | None) -> Ready:
        """A conversion of the model, made in the cache; equal to Keras, or there is none."""
        target = TARGET_OF[name]
        if not self._is_made_here(name):
            where = self.source if self.path is not None else f"--weights {self.weights}"
            raise ClassicsError(
                f"{self.source}: has no export to {target} in {self._precision}; make one with "
                f"`classics export {where} --to {target} --precision {self._precision}`."
            )
        place = self._cached(name, origin)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{place}.lock"):
                found = self._exported(name, origin)  # by another process meanwhile
                if found is None:
                    if place.exists():
                        shutil.rmtree(place)
                    if tell:
                        tell(f"converting to {target}, once")
                    export(
                        None if self.path is None else self.source,
                        weights=self.weights,
                        to=target,
                        input="fitted",
                        out=place,
                    )
                    found = place, read_export(place)
        except OSError as error:
            raise OutputError(
                f"{place}: cannot be written ({error.strerror or error}); "
                "KERAS_CLASSICS_HOME may name another folder for what is kept."
            ) from None
        return found

    def _run(self, folder: Path, found: Export, name: EngineName) -> Engine:
        """Open an export, whose hashes are verified."""
        engine: Engine
        if name == "openvino":
            engine = OpenVinoEngine(
                folder,
                found,
                precision=cast(Precision, self.precision or found.precision),
                hint=cast(Hint, self.hint),
                threads=self.threads,
            )
        else:
            engine = OnnxRuntimeEngine(folder, found, threads=self.threads)
        engine.why = _proof(found, engine.precision)
        return engine

    def _check_runnable(self, folder: Path, found: Export) -> None:
        """Refuse an export that takes or computes something else."""
        if not _fits(found):
            raise ClassicsError(
                f"{folder}: takes {found.input} input, which no engine here gives it; export with "
                "--fitted."
            )
        wanted = self.precision or found.precision
        both = (found.target, found.precision, wanted) == ("openvino", "f32", "bf16")
        if wanted != found.precision and not both:
            raise ClassicsError(f"{folder}: is in {found.precision}, not in {wanted}.")


def open_engine(
    path: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    engine: str = "auto",
    precision: str | None = None,
    hint: str = "throughput",
    threads: int | None = None,
    images: int | None = None,
    tell: Tell | None = None,
) -> Engine:
    """What runs a model: an artefact, an export, or published weights.

    Args:
        path: The folder of an artefact or of an export.
        weights: The name of published weights, in its place.
        engine: "keras", "openvino", "onnxruntime", or "auto" for the fastest that is installed and
            proven equal to Keras: an export in f32 that was compared on real pictures. It is made,
            once, where enough images are to come.
        precision: To compute in: "f32", "bf16", "int8"; None for that of an export, else f32.
        hint: "throughput" or "latency".
        threads: Processors for the engine; None for all.
        images: How many are to come; None for more than a few.
        tell: Told what takes long.

    Raises:
        ClassicsError: If there is no such model, it is torn or stale, or cannot be run so.
    """
    wanted = Deployment(path, weights, engine, precision, hint, threads)
    return wanted.open(images=images, tell=tell)


def _cache() -> Path:
    return cache_folder() / "engines"


def _state(artefact: Path) -> dict[str, str]:
    return {name: sha256(artefact / name) for name in (MODEL, CARD)}


def _check_fresh(folder: Path, found: Export, origin: Mapping[str, str]) -> None:
    if dict(found.source) != dict(origin):
        raise ExportError(f"{folder}: was made of another model than is there now; export again.")


def _proof(found: Export, precision: Precision) -> str:
    """What an export was compared with, in words; of another precision there is nothing to say."""
    agreement = found.agreement
    if precision != found.precision:
        return f"its {found.precision} was compared with Keras, its {precision} was not"
    pictures = f"{agreement.pictures} pictures"
    if precision == "f32":
        return f"within {agreement.largest_difference:.0e} of Keras on {pictures}"
    accepted = ", which was accepted" if agreement.accepted else ""
    return f"calls {agreement.top1_agreement:.2%} of {pictures} as Keras does{accepted}"


def _fits(found: Export) -> bool:
    """Whether an export takes what engines are given: pictures of the network's size."""
    if found.input == "image":
        # These would be resized and cut once more.
        return not isinstance(found.card.preprocessing.fit, CentralCrop)
    return found.input == "fitted"
