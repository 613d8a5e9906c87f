"""Compresses the weights of a Core ML package with coremltools: fewer bits, or fewer values.

Source: https://apple.github.io/coremltools/docs-guides/source/opt-overview.html
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError
from pipeline.notes import Notes
from pipeline.stage import AtLeast, Stage, Unkeyed
from stages.coreml import library as coreml_library
from stages.coreml import package as package_files
from stages.coreml.format import COREML
from stages.formats import graphs
from stages.formats import ignored as ignored_operations
from stages.formats.ignored import Ignored
from stages.portable import native_output
from stages.portable.vendor_errors import first_line

LOWERED, PRUNED = "quantization", "pruning"  # facts: how the bits of the weights were reduced, and their number
# The first systems with compressed weights; and with 4 bits, blocks, groups, and weights compressed in two ways.
FIRST, LATE = "iOS16", "iOS18"
# By the version of a package's specification, as coremltools numbers them.
GENERATIONS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}


class CompressionNotes(Notes):
    """Notes with the size of the package, in bytes, now and before."""

    bytes: int
    bytes_before: int


@dataclass(frozen=True)
class Scheme:
    """One way to compress.

    Args:
        function: A function of coremltools.optimize.coreml.
        config: The class of its settings there.
        settings: These settings, by coremltools' names.
        joint: Whether it also compresses weights that are already compressed in another way.
        late: Settings that only systems from LATE on have, such as dtype=int4.
        fact: LOWERED or PRUNED.
        says: The result for the weights, in a few words.
    """

    function: str
    config: str
    settings: Mapping[str, Any]
    joint: bool
    late: Sequence[str]
    fact: str
    says: str


@dataclass(frozen=True)
class Compression(Stage):
    """A stage that compresses a package.

    Args:
        weight_threshold: Weights with at most this many numbers are not compressed.
        joint_compression: Whether to compress weights that are already compressed in another way.
        ignored: Operations whose weights are not compressed.
        deployment_target: The package's, so that a setting that it does not support is refused before any work.
    """

    weight_threshold: Annotated[int, AtLeast(0, "a number of elements, 0 or more")]
    joint_compression: bool
    ignored: Ignored
    deployment_target: Annotated[str, coreml_library.Target(), Unkeyed()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"package": frozenset({COREML})}
    produces: ClassVar[Kind | str] = COREML
    requires: ClassVar[tuple[str, ...]] = coreml_library.REQUIRES
    isolable: ClassVar[bool] = True

    @property
    @abstractmethod
    def scheme(self) -> Scheme:
        """How it compresses."""

    @property
    def late(self) -> list[str]:
        """Settings that only systems from LATE on have, such as dtype=int4."""
        return []

    def problems(self) -> list[Problem]:
        """The problems of the settings; where there are none, those of the deployment target."""
        return super().problems() or _lacking(self.deployment_target, self.joint_compression, self.late)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return _compress(inputs["package"], self.scheme, self.ignored, folder)


def _lacking(target: str, joint: bool, late: Sequence[str]) -> list[Problem]:
    features = dict.fromkeys([*late, *(["joint_compression=true"] if joint else [])], LATE)
    return coreml_library.lacking(target, features or {"compressed weights": FIRST})


def _compress(source: Artifact, scheme: Scheme, ignored: Ignored, folder: Path) -> Artifact:
    """Compresses the weights of a package.

    Args:
        source: The package.
        scheme: How to compress.
        ignored: Operations whose weights are not compressed.
        folder: The folder for the result.

    Raises:
        ConfigError: When an ignored operation does not exist.
        StageError: For a package whose deployment target does not support the scheme, when coremltools fails, and when
            nothing was compressed or the result is not smaller.
    """
    before = package_files.spec_of(source.file)
    if wrong := _lacking(GENERATIONS[before.specificationVersion], scheme.joint, scheme.late):
        raise StageError(wrong)
    left_alone = ignored.within(graphs.read(source))
    model = _compressed_model(source.file, scheme, left_alone)
    spec = model.get_spec()
    if _compressing(spec) == _compressing(before):
        raise _nothing(scheme)
    settings = {**scheme.settings, "joint_compression": scheme.joint}
    description = {"settings": settings, "weights": scheme.says, "says": scheme.says}
    facts: dict[str, Any] = {scheme.fact: description, ignored_operations.FACT: asdict(ignored)}
    package_files.note(spec, facts)
    package = folder / COREML.file
    package_files.write(spec, Path(model.weights_dir), package)
    sizes = [package_files.size(where) for where in (source.file, package)]
    if sizes[1] >= sizes[0]:
        raise StageError(
            f"{scheme.says} makes this package larger: {sizes[1]} bytes, from {sizes[0]}",
            command="coarser groups, other settings, or operations in ignored",
        )
    aside = f"; {len(left_alone)} operation{'s' * (len(left_alone) > 1)} left alone" if left_alone else ""
    says = f"{scheme.says}; {sizes[1] / sizes[0]:.2f} of the size before{aside}"
    notes = CompressionNotes(says=says, bytes=sizes[1], bytes_before=sizes[0])
    return Artifact(COREML, folder, facts=facts, notes=notes)


def _compressed_model(package: Path, scheme: Scheme, left_alone: list[str]) -> Any:
    ct = coreml_library.load()
    with native_output.to_log(errors=True), _one_thread():
        from coremltools.optimize import coreml

        try:
            settings = getattr(coreml, scheme.config)(**scheme.settings)
            config = coreml.OptimizationConfig(global_config=settings, op_name_configs=dict.fromkeys(left_alone))
            model = ct.models.MLModel(str(package), skip_model_load=True)
            return getattr(coreml, scheme.function)(model, config, joint_compression=scheme.joint)
        except Exception as e:  # coremltools raises anything
            raise StageError(f"coremltools cannot do this: {type(e).__name__}: {first_line(e)}") from e


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits numpy to one thread: sums of many threads differ in the last bits between runs, and so would clusters."""
    try:
        import threadpoolctl
    except ImportError:  # it comes with scikit-learn; without that nothing is clustered
        yield
        return
    with threadpoolctl.threadpool_limits(1):
        yield


def _compressing(spec: Any) -> Counter[str]:
    """How many operations of each type decompress weights."""
    functions = spec.mlProgram.functions.values()
    blocks = [block for f in functions for block in f.block_specializations.values()]
    return Counter(op.type for block in blocks for op in block.operations if op.type.startswith("constexpr_"))


def _nothing(scheme: Scheme) -> StageError:
    return StageError(
        f"{scheme.says}: no weight of this package was compressed",
        allowed=f"weights of more than {scheme.settings['weight_threshold']} numbers, in two dimensions or more, that "
        "the settings divide and that are not compressed yet",
        command="a smaller weight_threshold, or other settings; the log has coremltools' reason for each weight. "
        "joint_compression=true also compresses weights that are already compressed in another way",
    )
