"""Differential fuzzing: mutants that cover new neurons and change the class."""

from gazeshift.attacks.dlfuzz.attack import DLFuzz

__all__ = ["DLFuzz"]
