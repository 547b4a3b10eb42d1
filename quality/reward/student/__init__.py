"""The student that runs on everything: a linear model over hashed text and signals."""

from quality.reward.student.model import StudentError
from quality.reward.student.scoring import SHIPPED, Student, load_student

__all__ = ["SHIPPED", "Student", "StudentError", "load_student"]
