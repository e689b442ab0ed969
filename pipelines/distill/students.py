"""Students by name; they share one module with the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from featx.backbones.embedded import LITE0, THIN_LITE0, InvertedResiduals, NetworkShape
from featx.errors import ParameterError, choose
from pipelines.distill.prune import prune
from pipelines.distill.teacher import fold_lite0, fold_mobilenet_v2

__all__ = ["STUDENTS", "Student", "build_student", "start_student"]


@dataclass(frozen=True)
class Student:
    """How to make one.

    Parameters
    ----------
    shape : NetworkShape
        Widths and strides.
    start : callable
        ``start(teacher)`` makes the network that computes what a teacher computes.
    teacher : str
        Name of the class of that teacher.
    """

    shape: NetworkShape
    start: Callable[[nn.Module], InvertedResiduals]
    teacher: str


STUDENTS: dict[str, Student] = {
    "featx_base": Student(THIN_LITE0, fold_lite0, "EfficientNet"),
    "featx_small": Student(NetworkShape(), fold_mobilenet_v2, "MobileNetV2"),
    "lite0": Student(LITE0, fold_lite0, "EfficientNet"),
}


def build_student(name: str, n_features: int) -> InvertedResiduals:
    """Make a student with random weights.

    Parameters
    ----------
    name : str
        A key of `STUDENTS`.
    n_features : int
        Length of the first teacher's vector, which is the student's too.

    Raises
    ------
    ParameterError
        If there is no such student.
    """
    student = STUDENTS[choose("--student", name, STUDENTS)]
    network = InvertedResiduals(replace(student.shape, n_features=n_features))
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(cast("nn.Parameter", part.bias))
    return network


def start_student(
    name: str, teacher: nn.Module, views: Callable[[], torch.Tensor], progress: bool | None = None
) -> InvertedResiduals:
    """Make a student that computes what a teacher computes, or about that where it is thinner.

    Parameters
    ----------
    name : str
        A key of `STUDENTS`.
    teacher : Module
        mobilenet_v2 for featx_small, tf_efficientnet_lite0 for the others.
    views : callable
        Gives normalised images, (n, 3, H, W), to fit a thinner student on.

    Raises
    ------
    ParameterError
        If there is no such student, or it cannot start from this teacher.
    """
    student = STUDENTS[choose("--student", name, STUDENTS)]
    if type(teacher).__name__ != student.teacher:
        raise ParameterError(
            f"--init-from-teacher: {name!r} cannot start from a {type(teacher).__name__}, "
            "expected featx_small with the teacher mobilenet_v2, or featx_base or lite0 with "
            "timm/tf_efficientnet_lite0"
        )
    whole = student.start(teacher)
    if whole.shape == student.shape:
        return whole
    return prune(whole, student.shape, views(), progress=progress)
