"""Students by name. The embedded ones share one module with the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from featx.backbones.embedded import FeatxSmall, NetworkShape
from featx.errors import ParameterError, choose
from pipelines.distill.families import SlimResNet, mobilenet
from pipelines.distill.plain import PlainSmall
from pipelines.distill.teacher import fold_mobilenet_v2

__all__ = ["STUDENTS", "Student", "build_student"]


@dataclass(frozen=True)
class Student:
    """How to make one.

    Parameters
    ----------
    build : callable
        ``build(n_features)`` makes it with random weights.
    keep : tuple of int or None
        Blocks of mobilenet_v2 that it shares; None where it shares none.
    """

    build: Callable[[int], nn.Module]
    keep: tuple[int, ...] | None = None


def _pruned(*dropped: int) -> Student:
    keep = tuple(i for i in range(len(NetworkShape().blocks)) if i not in dropped)
    blocks = tuple(NetworkShape().blocks[i] for i in keep)
    return Student(lambda n: FeatxSmall(NetworkShape(blocks=blocks, n_features=n)), keep)


STUDENTS: dict[str, Student] = {
    "featx_small": _pruned(),
    "featx_small_pruned": _pruned(5, 9, 12),
    "plain_small": Student(PlainSmall),
    "plain_wide": Student(lambda n: PlainSmall(n, wider=4 / 3)),
    "resnet_slim": Student(SlimResNet),
    "mobilenet_half": Student(lambda n: mobilenet(n, width=0.5)),
    "mobilenet_whole": Student(lambda n: mobilenet(n, width=1.0)),
}


def build_student(name: str, n_features: int, *, teacher: nn.Module | None = None) -> nn.Module:
    """Make a student, from random weights or from a mobilenet_v2 teacher's.

    Parameters
    ----------
    name : str
        A key of `STUDENTS`.
    n_features : int
        Length of the teacher's vector, which is the student's too.
    teacher : Module or None, default None
        A torchvision mobilenet_v2 to start from; None starts from torch's random weights.

    Raises
    ------
    ParameterError
        If there is no such student, or it cannot start from a teacher.
    """
    student = STUDENTS[choose("--student", name, STUDENTS)]
    if teacher is None:
        return student.build(n_features)
    if student.keep is None or type(teacher).__name__ != "MobileNetV2":
        raise ParameterError(
            f"--init-from-teacher: {name!r} cannot start from a {type(teacher).__name__}, "
            "expected a student of the featx_small family and the teacher mobilenet_v2"
        )
    return fold_mobilenet_v2(teacher, student.keep)
