"""An S3 server (moto's) in a process of its own on this machine, for benchmarks and tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = {"access_key": "test", "secret_key": "secret"}
REGION = "us-east-1"
_START_SECONDS = 30.0


class ServerFailed(RuntimeError):
    """The server did not start."""


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server at ``endpoint``."""

    name: str
    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        """What ``dataflow.store.Store`` takes."""
        return {"endpoint_url": self.endpoint, "region": REGION, **KEYS}

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables of the AWS tools."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEYS["access_key"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's client of the server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["access_key"],
            aws_secret_access_key=KEYS["secret_key"],
            region_name=REGION,
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """Copy the files under a folder; returns the URI that they are under."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                client.upload_file(str(path), self.name, key)
        return f"s3://{self.name}/{prefix}"


@contextmanager
def loopback_bucket(name: str = "corpora") -> Iterator[Bucket]:
    """A server with an empty bucket; it and what it holds are gone when the block ends.

    A process of its own, so that it does not wait for the one that is measured.

    Raises
    ------
    ServerFailed
        If it does not answer in half a minute.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        bucket = Bucket(name, f"http://127.0.0.1:{port}")
        bucket.client().create_bucket(Bucket=name)
        yield bucket
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(
                f"moto.server ended with status {process.returncode}; install the package's dev "
                "dependencies (moto[server])"
            )
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ServerFailed(f"moto.server: found no answer at port {port} in {_START_SECONDS:.0f} s")
