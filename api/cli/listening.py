"""The listening socket, and how a part knows who started it. Small: the supervisor keeps what it imports for as long as it lives."""

from __future__ import annotations

import ipaddress
import os
import socket

LISTENER_VARIABLE = "PIXELOG_LISTENER_FD"
"""Environment variable that names the listening socket inherited from `pixelog up`."""

PARENT_VARIABLE = "PIXELOG_PARENT_FD"
"""Environment variable that names the pipe inherited from `pixelog up`."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError with the address in its text."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{host}:{port}: {os.strerror(error.errno or 0)}") from error
    return listener


def is_open(listener: socket.socket) -> bool:
    """Whether others than this machine can reach it."""
    address = ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback
