"""Before the first request: which model answers, who may ask, and where the server listens.

All of it fails early.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
import socket
from dataclasses import replace
from pathlib import Path

from lasttoken.config.serving import ServeConfig
from lasttoken.deploy.export.output import default_folder
from lasttoken.deploy.serving.access import Access, hash_key
from lasttoken.errors import ConfigError
from lasttoken.model.location import is_exported, model_folder

# Guessing a key of so many characters over a network is hopeless.
SHORTEST_KEY = 16


def settle_model(config: ServeConfig) -> ServeConfig:
    """Return the settings with the folder that answers: of int8 that is the run's export.

    Raises:
        RunError: there is no model.
        ConfigError: int8 is asked for, and the run has no such export.
    """
    if is_exported(config.run):
        return config
    model_folder(config.run)
    if config.precision != "int8":
        return config
    folder = default_folder(config.run, "onnx-int8")
    if not is_exported(folder):
        raise ConfigError(
            f"--precision int8: no exported model in {folder}",
            expected="the run with its matrices in 8 bits, compared with the run",
            remedy=f"lasttoken export {shlex.quote(config.run)} --format onnx-int8",
        )
    return replace(config, run=str(folder))


def name_of_model(path: str) -> str:
    """Return the name of a folder, of an export in its usual place that of its run."""
    folder = Path(path).expanduser().resolve()
    return folder.parents[1].name if folder.parent.name == "exported" else folder.name


def open_access(host: str, key_file: str | None) -> Access:
    """Return who may ask a server that listens on `host`.

    With a key, other names of this machine are fine: a page that has tricked a browser into asking
    us does not have the key.

    Raises:
        ConfigError: others could reach it, and there is no key; or the key cannot be read, or is
            short.
    """
    if key_file is not None:
        return Access(hash_key(_read_key(key_file)), loopback_only=False)
    if not is_loopback(host):
        raise ConfigError(
            f"--host {host} without --api-key-file: other machines could reach the model",
            expected="a key for whoever is not on this machine, or --host 127.0.0.1",
            remedy="(umask 077; openssl rand -hex 32 > key.txt), then --api-key-file key.txt",
        )
    return Access(None, loopback_only=True)


def is_open_to_others(key_file: str) -> bool:
    """Return whether other users of this machine may read a key's file."""
    return os.name == "posix" and bool(Path(key_file).expanduser().stat().st_mode & 0o044)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: it could stand for any address
        return False


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, and does not listen yet.

    Raises:
        ConfigError: the address is unknown, not this machine's, or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # on Windows it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the address of a bound socket as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_key(path: str) -> str:
    try:
        key = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(
            f"--api-key-file {path}: {reason}",
            expected="a file that holds the key, and nothing else",
            remedy=f"(umask 077; openssl rand -hex 32 > {path})",
        ) from error
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"--api-key-file {path}: a key of {len(key)} characters",
            expected=f"one line of at least {SHORTEST_KEY} ASCII letters, digits or signs",
            remedy=f"(umask 077; openssl rand -hex 32 > {path})",
        )
    return key


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"--host {host} --port {port}: {error.strerror or error}",
        expected="an address of this machine, and a port that is free and may be used",
        remedy="another --port; 0 takes any that is free",
    )
