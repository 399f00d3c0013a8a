"""The published way to serve regions: float32, one by one, over a socket from another process of this machine."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import socketserver
import struct
import weakref
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bundle.storage import TokenDataset

from .reference_way import random_crop

_REQUEST = struct.Struct("<q")
_PIECE = 1 << 16


class RegionServer:
    """Another process that holds all regions of a store as float32; it ends when this object does.

    It stands for Redis, which the published implementation uses: threads send a region's bytes from an array, taken
    64 kB at a time as the client of Redis takes them. What comes back is copied once, as unpickling would copy it, but
    there is no pickle around it.

    Args:
        store: a folder of token files.
    """

    def __init__(self, store: Path) -> None:
        regions = TokenDataset(store, cache="none")
        self.shape = regions.region_patches, regions.region_patches, regions.token_dim
        self._clients: dict[int, socket.socket] = {}  # one a process: forked workers must not share a connection
        server = _Server(("127.0.0.1", 0), _Handler)  # listens from here on: clients wait until it serves
        self._address = server.socket.getsockname()
        self._process = multiprocessing.get_context("fork").Process(target=_serve, args=(server, regions), daemon=True)
        self._process.start()
        server.socket.close()
        weakref.finalize(self, _end, self._process, os.getpid())

    def fetch(self, region: int) -> NDArray[np.float32]:
        """One region [P, P, D], in memory of its own."""
        client = self._clients.get(os.getpid())
        if client is None:
            client = self._clients[os.getpid()] = socket.create_connection(self._address)
        found = _receive(client, region, int(np.prod(self.shape)) * 4)
        return np.frombuffer(found, np.float32).reshape(self.shape).copy()


class FetchedCrops(Dataset[list[Tensor]]):
    """Item -> ten crops of a region (2 of 14 x 14 tokens, 8 of 6 x 6), cut and flipped where the item is fetched.

    Args:
        server: where regions come from.
    """

    def __init__(self, server: RegionServer) -> None:
        self.server = server

    def __getitem__(self, region: int) -> list[Tensor]:
        grid = torch.from_numpy(self.server.fetch(region)).permute(2, 0, 1)
        return [random_crop(grid, size) for size in (14,) * 2 + (6,) * 8]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64
    regions: NDArray[np.float32]


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        while len(request := self.request.recv(_REQUEST.size, socket.MSG_WAITALL)) == _REQUEST.size:
            self.request.sendall(self.server.regions[_REQUEST.unpack(request)[0]].data.cast("B"))


def _serve(server: _Server, regions: TokenDataset) -> None:
    held = np.empty((len(regions), regions.region_patches, regions.region_patches, regions.token_dim), np.float32)
    for start in range(0, len(held), 64):
        part = np.arange(start, min(start + 64, len(held)))
        held[part] = regions.read(part).numpy()
    server.regions = held
    server.serve_forever()


def _receive(client: socket.socket, region: int, n_bytes: int) -> bytes:
    """What the server sends, in pieces as the client of Redis takes them."""
    client.sendall(_REQUEST.pack(region))
    pieces = io.BytesIO()
    while (left := n_bytes - pieces.tell()) > 0:
        piece = client.recv(min(left, _PIECE))
        if not piece:
            raise OSError(f"the region server ended before region {region} had come")
        pieces.write(piece)
    pieces.seek(0)
    return pieces.read()


def _end(process: BaseProcess, pid: int) -> None:
    if os.getpid() == pid:  # forked workers have copies of this object
        process.terminate()
        process.join()
