"""Runs that tokenize into one folder at a time: each slide is made by one of them, and all in the same way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..core import CONTRACT_ATTRIBUTES, Claims, encoder_key
from .jobs import SlideJob, file_version

_Version = tuple[tuple[int, int], ...]
logger = logging.getLogger(__name__)


class TokenClaims:
    """What this run makes of the folders that it shares, until :meth:`close`.

    Args:
        versions: of each slide's token file before it was looked at (:func:`file_version`); their folders are there.
        kind: what token files of this run record.
        take_over: looks at a file that another process has made meanwhile, and skips its slide where it is good.

    Raises:
        BundleError: another process makes tokens of another kind there; both are named.
    """

    def __init__(
        self, versions: Mapping[SlideJob, _Version], kind: Mapping[str, Any], take_over: Callable[[SlideJob], None]
    ) -> None:
        self._before, self._take_over = versions, take_over
        self._left, self._told = list[SlideJob](), set[SlideJob]()
        self._claims: dict[Path, Claims] = {}
        try:
            for folder in {job.file.parent for job in versions}:
                self._claims[folder] = Claims(folder, "folder of tokens", "tokens_dir", _comparable(kind))
        except BaseException:
            self.close()
            raise

    def is_free(self, job: SlideJob) -> bool:
        """Whether to make the slide's file; it is this run's from now on."""
        claims = self._claims[job.file.parent]
        if not claims.take(job.slide_id):
            if job not in self._told:  # it is asked for again until it is there
                logger.info("slide %s is being made by another process, and left to it", job.slide_id)
            self._told.add(job)
            self._left.append(job)
            return False
        job.give_back = partial(claims.give_back, job.slide_id)
        if file_version(job.file) != self._before[job]:
            self._take_over(job)
        return job.status == "waiting"

    def wait(self) -> bool:
        """Until a slide that was left to another process is free; False where there is none."""
        left, self._left = [job for job in self._left if job.status == "waiting"], []
        if left:
            logger.info("waiting for %d slides that other processes make", len(left))
            self._claims[left[0].file.parent].take(left[0].slide_id, waits=True)
        return bool(left)

    def close(self) -> None:
        """Give everything back."""
        for claims in self._claims.values():
            claims.close()
        self._claims.clear()


def _comparable(kind: Mapping[str, Any]) -> dict[str, Any]:
    """What tells two kinds of tokens apart, by equality."""
    told = {name: value for name, value in kind.items() if name not in CONTRACT_ATTRIBUTES[1:]}
    return told | ({"encoder": encoder_key(told["encoder"])} if "encoder" in told else {})
