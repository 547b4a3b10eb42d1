"""An S3 server (moto's) in a process of its own on this machine, for benchmarks and tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT

KEYS = {"access_key": "test", "secret_key": "secret"}
REGION = "us-east-1"
HERE = "127.0.0.1"


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

    A process of its own, so that it does not wait for the one that is measured; it ends with that
    one, however that one ends.

    Raises
    ------
    ServerFailed
        If it ends before it listens.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.trainer.loopback"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        if not told:
            raise ServerFailed(
                f"the S3 server ended with status {process.wait()} before it listened; install the "
                "package's dev dependencies (moto[server])"
            )
        bucket = Bucket(name, f"http://{HERE}:{int(told)}")
        bucket.client().create_bucket(Bucket=name)
        yield bucket
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def serve() -> None:
    """Serve until standard input ends; the port, which the system picks, is a line of output."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=HERE, port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
