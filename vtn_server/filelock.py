"""A lock that one process holds on a file, and that ends with the process however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vtn_server.store import StoreInUse, StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock"]


class FileLock:
    """The right to use a file, held from construction to :meth:`release`.

    The lock is on a file of its own beside the one it guards, because a database lets go of its own locks
    when anybody in the process closes the file. The operating system frees it when the holder dies, so
    nothing has to be cleaned up after a kill; the empty lock file stays.

    Args:
        guarded: The file to use; it need not exist.

    Raises:
        StoreInUse: if another holder has it, in this process or in another one.
        StoreUnavailable: if the folder is missing or may not be written to.
    """

    def __init__(self, guarded: Path) -> None:
        path = guarded.with_name(guarded.name + ".lock")
        try:
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as err:
            raise StoreUnavailable(f"{guarded}: {err}") from err
        try:
            if sys.platform == "win32":
                msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            self.release()
            raise StoreInUse(f"{guarded} is in use by another process") from err

    def release(self) -> None:
        """Let it go; nothing happens the second time."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
