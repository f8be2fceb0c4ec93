"""A server on a loopback port that forwards to PostgreSQL and, on request, fails as networks and servers do."""

from __future__ import annotations

import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Moment = Literal["before", "during", "after"]


# https://www.postgresql.org/docs/current/protocol-message-formats.html, AuthenticationCleartextPassword
_ASK_FOR_PASSWORD = b"R" + struct.pack("!ii", 8, 3)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def proxy(
    url: str,
    *,
    cuts: Sequence[tuple[bytes, bytes, Moment]] = (),
    refusals: Sequence[tuple[str, str | None]] = (),
    after_password: bool = False,
) -> Iterator[str]:
    """The URL of a proxy.

    Args:
        url: of a server that listens on a Unix socket.
        cuts: in order; each ends the connection on which a client sends the second bytes after it has sent the first:
            before the second reach the server, right after, or after the server has answered.
        refusals: in order, one a connection: SQLSTATE and message that it is turned away with; None: it is cut off.
        after_password: they come when the client has sent its password.
    """
    path = f"{conninfo_to_dict(url)['host']}/.s.PGSQL.5432"
    cuts_left, refusals_left = list(cuts), list(refusals)

    class Handler(socketserver.BaseRequestHandler):
        sent = b""

        def handle(self) -> None:
            if refusals_left:
                self.request.recv(4096)
                if after_password:
                    self.request.sendall(_ASK_FOR_PASSWORD)
                    self.request.recv(4096)
                code, message = refusals_left.pop(0)
                if message is not None:
                    self.request.sendall(_error(code, message))
                return
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                while self._forward(server):
                    pass

        def _forward(self, server: socket.socket) -> bool:
            readable, _, _ = select.select([self.request, server], [], [])
            if server in readable:
                self.request.sendall(data := server.recv(65536))
                return bool(data)
            data = self.request.recv(65536)
            if cuts_left and cuts_left[0][0] in self.sent and cuts_left[0][1] in data:
                _, _, moment = cuts_left.pop(0)
                if moment != "before":
                    server.sendall(data)
                if moment == "after":
                    server.recv(1)
                return False
            self.sent += data
            server.sendall(data)
            return bool(data)

    with _Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        host, port = listener.server_address
        try:
            yield make_conninfo(url, host=str(host), port=port, sslmode="disable", gssencmode="disable")
        finally:
            listener.shutdown()
            thread.join()


def _error(sqlstate: str, message: str) -> bytes:
    # https://www.postgresql.org/docs/current/protocol-message-formats.html, ErrorResponse
    fields = b"".join(f"{kind}{text}\0".encode() for kind, text in (("S", "FATAL"), ("C", sqlstate), ("M", message)))
    return b"E" + struct.pack("!i", 4 + len(fields) + 1) + fields + b"\0"
