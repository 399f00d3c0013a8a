"""Work that one process does for all, and whose failure all of them learn of."""

from collections.abc import Callable

import ignite.distributed as idist

from ..core import BundleError


def on_first_rank(action: Callable[[], object]) -> None:
    """Run ``action`` on rank 0 while the others wait; if it fails there, every rank fails.

    Otherwise the others would wait for rank 0 until somebody ends them.

    Raises:
        BundleError: what rank 0 raised, on the other ranks too.
    """
    problem: Exception | None = None
    if idist.get_rank() == 0:
        try:
            action()
        except Exception as error:
            problem = error
    if idist.get_world_size() > 1:
        told = idist.all_gather("" if problem is None else str(problem) or type(problem).__name__)[0]
        if told and problem is None:
            raise BundleError(f"process 0 failed, so process {idist.get_rank()} stops: {told}")
    if problem is not None:
        raise problem
