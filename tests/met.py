"""Processes of one torchrun, played by threads that share a store."""

import threading

from torch.distributed import HashStore

from bundle.core import Meeting


def together(n_processes, act):
    """What ``act``, of a :class:`Meeting`, gives (or raises) in each of so many threads at once."""
    store, given = HashStore(), [None] * n_processes

    def be(rank):
        try:
            given[rank] = act(Meeting(store, rank, n_processes))
        except Exception as error:
            given[rank] = error

    threads = [threading.Thread(target=be, args=(rank,), daemon=True) for rank in range(n_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), given
    return given
