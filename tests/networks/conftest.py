"""No test of this folder reaches the network: whatever tries fails."""

import socket

import pytest


def _refuse(*given, **named):
    raise AssertionError(f"something reached for the network: {given} {named}")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Neither names nor addresses lead anywhere; sockets within the machine (AF_UNIX) do."""
    connect = socket.socket.connect

    def connect_within(own, address):
        return connect(own, address) if own.family == socket.AF_UNIX else _refuse(address)

    monkeypatch.setattr(socket.socket, "connect", connect_within)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_within)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, _refuse)
