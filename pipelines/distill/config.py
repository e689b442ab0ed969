"""Settings of a distillation run, one frozen dataclass; a checkpoint refuses others."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from featx.errors import ParameterError
from featx.fingerprint import json_digest

__all__ = ["DistillConfig"]


@dataclass(frozen=True)
class DistillConfig:
    """What changes the resulting weights.

    Parameters
    ----------
    teachers : tuple of str, default ("mobilenet_v2",)
        Backbones of featx. The student's vector is to be the first one's; those of the others
        are to be a linear function of it.
    student : str, default "featx_small"
        A key of `pipelines.distill.students.STUDENTS`.
    init_from_teacher : bool, default False
        Start from the first teacher's weights, where `student` can.
    n_views : int, default 3
        Views of each photograph whose teacher features are computed once. Cost of that pass and
        its file grow with it.
    n_mosaics : int, default 0
        How many of the views are four photographs side by side, which show small photographs at
        twice the side without blur; the others are crops.
    teacher_px : tuple of int, default (160,)
        Side of each teacher's input.
    student_px : tuple of int, default (96, 112, 128, 144, 160, 176)
        Sides of the student's input; each batch draws one.
    min_scale : float, default 0.25
        Smallest share of a photograph's area that a crop shows.
    colour : float, default 0.3
        Largest relative change of brightness, contrast and saturation, for the student alone.
    epochs : int, default 10
        Passes over all views; sets the learning rate's course.
    batch_size : int, default 64
        Views a step.
    learning_rate : float, default 5e-4
        Peak of a one-cycle cosine with 5 % warm-up.
    weight_decay : float, default 0.01
        AdamW's.
    relational_weight : float, default 1.0
        Weight of the term that matches similarities within a batch.
    seed : int, default 0
        Seeds crops, order, colour and random weights.

    Raises
    ------
    ParameterError
        If a number lies outside its range.
    """

    teachers: tuple[str, ...] = ("mobilenet_v2",)
    student: str = "featx_small"
    init_from_teacher: bool = False
    n_views: int = 3
    n_mosaics: int = 0
    teacher_px: tuple[int, ...] = (160,)
    student_px: tuple[int, ...] = (96, 112, 128, 144, 160, 176)
    min_scale: float = 0.25
    colour: float = 0.3
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    relational_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("n_views", 1), ("epochs", 0), ("batch_size", 2)):
            if getattr(self, name) < low:
                raise ParameterError(
                    f"{name}: got {getattr(self, name)!r}, expected at least {low}; raise it"
                )
        for name in ("student_px", "teacher_px"):
            sides = getattr(self, name)
            if not sides or min(sides) < 32:
                raise ParameterError(f"{name}: got {sides!r}, expected sides of at least 32 px")
        if not self.teachers or len(self.teacher_px) != len(self.teachers):
            raise ParameterError(
                f"teacher_px: got {len(self.teacher_px)} for {len(self.teachers)} teachers, "
                "expected a side for each"
            )
        if not 0 <= self.n_mosaics <= self.n_views:
            raise ParameterError(
                f"n_mosaics: got {self.n_mosaics}, expected from 0 to n_views, {self.n_views}"
            )
        if not 0 < self.min_scale <= 1:
            raise ParameterError(
                f"min_scale: got {self.min_scale!r}, expected a share of the area in (0, 1]"
            )

    def digest(self, *names: str) -> str:
        """Hash the named fields, or all of them; 64 hex digits."""
        chosen: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if not names or f.name in names
        }
        return json_digest({k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()})
