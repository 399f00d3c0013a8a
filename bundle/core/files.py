"""Small files that are either the old ones or the new ones, nothing between."""

import os
from pathlib import Path
from typing import IO


def write_text(path: str | Path, text: str) -> None:
    """Write under a temporary name and rename: where it fails (a full disk) the file of before stays as it was.

    Raises:
        OSError: it cannot be written; the temporary file is gone then.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, contents: bytes, *, flush: bool = False) -> None:
    """As :func:`write_text`, for what is no text; ``flush``: it survives a power cut, too."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with part.open("wb") as file:
            file.write(contents)
            if flush:
                flush_file(file)
        os.replace(part, path)
        if flush:
            flush_folder(path.parent)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def is_alive(pid: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def flush_file(file: IO[bytes]) -> None:
    """Make what was written to it survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make a new name in it survive a power cut, where the system lets folders be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
