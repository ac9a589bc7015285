"""Every error meshctl raises on purpose, in one tree::

    MeshctlError                          exit 1
      InvalidInput                        exit 2   the user's file, flag or value
        UnknownTarget                     exit 2   no embedded folder or cluster was named
        TemplateError                     exit 2   a template does not parse, loops or renders a lie
      Conflict                            exit 13  somebody else wrote first
      Unreachable                         exit 14  Envoy, the controller or an API does not answer
      Forbidden                           exit 15  no permission
      Refused                             exit 16  not possible in the present state
      IllegalTransition                   exit 1   our own mistake: a move the table does not know
      StoreError                          exit 1   the state file cannot be read or written
      WorkloadError                       exit 1   a process will not start or does not stay
      JudgeError                          exit 1   the judge cannot work with what it was given

A message says what was attempted, on which object, what was found and what to do next.
"""

from __future__ import annotations


class MeshctlError(Exception):
    """Root of the tree.  ``hint`` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  {self.hint}" if self.hint else message


class InvalidInput(MeshctlError):
    """The user's file, flag or value is wrong; nothing was changed."""

    exit_code = 2


class UnknownTarget(InvalidInput):
    """Neither an embedded folder nor a cluster was named."""


class TemplateError(InvalidInput):
    """A template does not parse, does not end, or renders something that was not decided."""


class Conflict(MeshctlError):
    """The stored object changed between reading and writing; read again and decide anew."""

    exit_code = 13


class Unreachable(MeshctlError):
    """Envoy, the controller or an API does not answer."""

    exit_code = 14


class Forbidden(MeshctlError):
    """The other side refused us for lack of permission."""

    exit_code = 15


class Refused(MeshctlError):
    """What was asked is not possible in the present state."""

    exit_code = 16


class IllegalTransition(MeshctlError):
    """A move that the transition table does not know: a defect of meshctl itself."""


class StoreError(MeshctlError):
    """The state file cannot be read or written."""


class WorkloadError(MeshctlError):
    """A process will not start or does not stay."""


class JudgeError(MeshctlError):
    """The judge cannot work with the state or the blocks it was given: no verdict, which promotes nothing."""
