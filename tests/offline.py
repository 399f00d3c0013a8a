"""Who asks for the network is found out: commands do not. Sockets between one machine's processes are no network."""

import socket
import sys

_ASKED = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
_NETWORK = {socket.AF_INET, socket.AF_INET6}


class NetworkError(BaseException):
    """A command asked for the network; no ``except Exception`` hides it."""


def watch(on_network):
    """From here on call ``on_network`` (of a text) when this process, or one that it forks, asks for the network."""

    def hear(event, arguments):
        if event in _ASKED and getattr(arguments[0], "family", socket.AF_INET) in _NETWORK:
            on_network(f"the network was asked for: {event} {arguments[1:]}")

    sys.addaudithook(hear)


def refuse(asked):
    """What a command is told."""
    raise NetworkError(asked)


def is_in_a_workflow():
    """Whether one of this process's threads runs a command through MONAI's workflow."""
    for frame in sys._current_frames().values():
        while frame is not None:
            if frame.f_code.co_filename.endswith("bundle/workflows.py"):
                return True
            frame = frame.f_back
    return False
