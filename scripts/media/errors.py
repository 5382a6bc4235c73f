"""The two errors of media: a file that cannot be used, and an engine that cannot work here."""

from __future__ import annotations


class AudioError(ValueError):
    """An audio file that cannot be used; the message says which, what was found and what was wanted."""


class EngineError(RuntimeError):
    """An engine cannot work on this machine, whatever the file; the message names the remedy."""
