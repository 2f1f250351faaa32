#!/usr/bin/env python3
"""A remote shell for hosts that are namespaces, in the place of ssh: remote_shell.py [-x] HOST COMMAND….

`remote_shell.py --serve` is the other end: it runs each command that arrives and sends its output back until it ends.
"""
import json
import socket
import socketserver
import subprocess
import sys

PORT = 2222


class Command(socketserver.StreamRequestHandler):
    def handle(self):
        line = json.loads(self.rfile.readline())
        subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=self.request, stderr=self.request, check=False)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def call(host: str, command: list[str]) -> None:
    # Like ssh: the words are joined, and the other side's shell reads them.
    with socket.create_connection((host, PORT), timeout=20) as connection:
        connection.settimeout(None)
        connection.sendall(json.dumps(" ".join(command)).encode() + b"\n")
        while data := connection.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "-x"]
    if words == ["--serve"]:
        Server(("", PORT), Command).serve_forever()
    else:
        call(words[0], words[1:])
