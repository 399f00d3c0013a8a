"""Files whose names alone matter to a test."""


def touch(folder, *names):
    """Empty files below a folder, which is returned; folders are made as they are needed."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder
