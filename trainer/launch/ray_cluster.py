"""Ranks over a Ray cluster. Only this file of the room knows Ray.

Ray places the ranks: a placement group of one GPU each, or of one CPU each where the cluster has no
GPUs, and an actor in each that starts the rank's process with torchrun's variables. Ray Train does
the same placing, but 2.60 runs the training function in a thread of its actor, where Python cannot
handle signals; ends workers without asking them to save when the caller is interrupted; starts
torch's process group itself; and shows what workers print line by line behind a prefix, which a
live line does not survive. It also needs pandas.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.launch.agent import Agent, News, Start
from trainer.launch.child import WORKER
from trainer.launch.ending import Ending
from trainer.launch.environment import Place
from trainer.launch.errors import LaunchFailed
from trainer.launch.supervise import supervise
from trainer.launch.verdict import conclude

ROOT = Path(__file__).resolve().parents[2]
NEWS_SECONDS = 10.0
"""How long an agent holds a question for news: an answer a rank and ten seconds, at least."""
TOLD_SECONDS = 5.0
"""How long a place in the cluster is waited for before that is said."""
SPARED = {"RAY_kill_child_processes_on_worker_exit": "false"}
"""Ray would kill a rank along with its agent, before it can save, when the caller is gone."""
CARRIED = ("NCCL_", "GLOO_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "TERM", "NO_COLOR")
"""Beginnings of the caller's variables that ranks get too, whatever their machine's are."""


def run_on_ray(
    address: str,
    count: int,
    arguments: Sequence[str],
    out: str,
    *,
    quiet: bool,
    command: Sequence[str] = WORKER,
) -> int:
    """Run ``python -m trainer`` with ``arguments`` on ``count`` ranks; their exit code.

    The machines of the cluster share this one's current folder, this code and Python with its
    packages; everything else that is in their environment is theirs. What rank 0 writes is shown
    here.

    Args:
        address: as ``ray.init`` takes it: ``auto`` for the cluster of this machine, ``host:port``,
            or ``local`` for one that lasts as long as the run.
        count: ranks.
        arguments: behind ``python -m trainer``.
        out: the run's folder.
        quiet: do not tell what is waited for.
        command: what Python runs instead of a rank; for tests.

    Raises:
        LaunchFailed: there is no such cluster, it is too small, its machines do not share folders,
            or a rank failed.
    """
    ray = _join(address, count)
    try:
        group = RayGroup(ray, address, count, quiet=quiet)
        try:
            group.check_shared(out)
            group.start(arguments, command)
            course = supervise(group)
        finally:
            group.close()
    except ray.exceptions.RayError as error:
        raise LaunchFailed(
            f"--ray {address}: the cluster was lost: {error}; ranks that live on save and end"
        ) from error
    finally:
        ray.shutdown()
    return conclude(course, group.names)


def _join(address: str, count: int) -> Any:
    """Ray, joined to the cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _check_answers(address)
    import ray

    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": path, **SPARED}},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if address == "local":
        options |= {"num_cpus": max(count, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LaunchFailed(
            f"--ray {address}: found no Ray cluster to join: {error}; start one by `ray start "
            "--head`, of this version of Ray and Python, or use --processes alone for this machine"
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Raises LaunchFailed where nobody listens at ``host:port``: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), TOLD_SECONDS).close()
    except OSError as error:
        raise LaunchFailed(
            f"--ray {address}: found nobody there ({error}), expected the head of a Ray cluster; "
            "`ray start --head` prints its address"
        ) from error


class RayGroup:
    """The ranks, as ``supervise`` sees them. Ranks of one machine are neighbours."""

    def __init__(self, ray: Any, address: str, count: int, *, quiet: bool) -> None:
        self._ray = ray
        self.names: tuple[str, ...] = ()
        self._agents: list[Any] = []
        self._nodes: list[str] = []
        self._addresses: list[str] = []
        self._devices: list[list[str]] = []
        self._waiting: dict[Any, int] = {}
        self._on_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._bundle = {"CPU": 1, **({"GPU": 1} if self._on_gpus else {})}
        self._check_size(address, count)
        self._group = ray.util.placement_group([self._bundle] * count, strategy="PACK")
        try:
            self._await_places(address, count, quiet=quiet)
            self._place(count)
        except BaseException:
            self.close()
            raise

    def _check_size(self, address: str, count: int) -> None:
        kind = "GPU" if self._on_gpus else "CPU"
        found = self._ray.cluster_resources().get(kind, 0)
        if found < count:
            raise LaunchFailed(
                f"--processes {count}: found a Ray cluster of {found:.0f} {kind}s at {address}, "
                f"expected one {kind} a rank; start fewer ranks, or add machines by `ray start "
                "--address`"
            )

    def _await_places(self, address: str, count: int, *, quiet: bool) -> None:
        if self._group.wait(TOLD_SECONDS):
            return
        if not quiet:
            kind = "GPUs" if self._on_gpus else "CPUs"
            free = self._ray.available_resources().get(kind[:-1], 0)
            sys.stderr.write(
                f"waiting for {count} {kind} of the Ray cluster at {address}; {free:.0f} are free\n"
            )
        while not self._group.wait(TOLD_SECONDS):
            pass

    def _place(self, count: int) -> None:
        """An agent in each place, in the order of ranks: this machine's first, then by machine."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        remote = self._ray.remote(
            num_cpus=1, num_gpus=int(self._on_gpus), max_restarts=0, max_concurrency=4
        )(_RayAgent)
        agents = [
            remote.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    self._group, placement_group_bundle_index=index
                )
            ).remote()
            for index in range(count)
        ]
        self._agents = agents
        places = self._get([agent.where.remote() for agent in agents])
        here = self._ray.get_runtime_context().get_node_id()
        order = sorted(range(count), key=lambda i: (places[i][0] != here, places[i][0], i))
        self._agents = [agents[i] for i in order]
        self._nodes = [places[i][0] for i in order]
        self._addresses = [places[i][1] for i in order]
        self._devices = [places[i][2] for i in order]
        self.names = tuple(f"rank {r} of {count} on {places[i][3]}" for r, i in enumerate(order))

    def check_shared(self, out: str) -> None:
        """Raises LaunchFailed where rank 0's machine makes a file that another one does not see."""
        others = {node: rank for rank, node in enumerate(self._nodes) if node != self._nodes[0]}
        if not others:
            return
        try:
            file = self._get([self._agents[0].mark.remote(out, str(Path.cwd()))])[0]
        except OSError as error:
            raise LaunchFailed(
                f"{out}: rank 0 cannot make files there: {error}; name another --out"
            ) from error
        try:
            seen = self._get([self._agents[rank].sees.remote(file) for rank in others.values()])
        finally:
            self._get([self._agents[0].unmark.remote(file)])
        blind = [
            self.names[rank] for rank, saw in zip(others.values(), seen, strict=True) if not saw
        ]
        if blind:
            raise LaunchFailed(
                f"{out}: found that a file that {self.names[0]} made in {Path(file).parent} is not "
                f"seen by {', '.join(blind)}; expected a folder that all machines share; name an "
                "--out on a shared file system"
            )

    def start(self, arguments: Sequence[str], command: Sequence[str]) -> None:
        """Start every rank's process."""
        first = self._addresses[0]
        port = self._get([self._agents[0].listen.remote(first)])[0]
        size = os.get_terminal_size(sys.stderr.fileno()) if sys.stderr.isatty() else None
        carried = _carried(os.environ)
        seen: Counter[str] = Counter()
        total = Counter(self._nodes)
        begun = []
        for rank, (agent, node) in enumerate(zip(self._agents, self._nodes, strict=True)):
            devices = [
                device
                for other, found in zip(self._nodes, self._devices, strict=True)
                if other == node
                for device in found
            ]
            asked = Start(
                arguments,
                Place(rank, len(self._agents), seen[node], total[node]),
                first,
                port,
                str(Path.cwd()),
                carried,
                screen=None if size is None else (size.columns, size.lines),
                # Ray shows each rank its own GPU only; LOCAL_RANK counts those of all ranks here.
                devices=",".join(devices) if self._on_gpus else None,
                command=command,
            )
            begun.append(agent.start.remote(asked))
            seen[node] += 1
        try:
            self._get(begun)
        except OSError as error:
            raise LaunchFailed(
                f"a rank could not be started: {error}; start from a folder that all machines share"
            ) from error
        self._waiting = {
            agent.news.remote(NEWS_SECONDS): rank for rank, agent in enumerate(self._agents)
        }

    def wait(self, seconds: float) -> dict[int, Ending]:
        """See ``supervise.Group``; shows what rank 0 wrote."""
        left = list(self._waiting)
        ready, _ = self._ray.wait(left, num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(left, num_returns=len(left), timeout=0)
        endings: dict[int, Ending] = {}
        for reference in {*ready, *more}:
            rank = self._waiting.pop(reference)
            try:
                news: News = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                endings[rank] = Ending("lost", 1, f"its machine or its Ray worker ended: {error}")
                continue
            _show(news)
            if news.ending is None:
                self._waiting[self._agents[rank].news.remote(NEWS_SECONDS)] = rank
            else:
                endings[rank] = news.ending
        return endings

    def signal(self, number: int) -> None:
        """See ``supervise.Group``."""
        self._tell([agent.signal.remote(number) for agent in self._agents])

    def kill(self) -> None:
        """See ``supervise.Group``."""
        self._tell([agent.kill.remote() for agent in self._agents])

    def close(self) -> None:
        """Give the places back."""
        for agent in self._agents:
            self._ray.kill(agent)
        self._ray.util.remove_placement_group(self._group)

    def _get(self, references: list[Any]) -> list[Any]:
        """Answers of agents, whose errors are raised as what they are."""
        try:
            found: list[Any] = self._ray.get(references)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayActorError as error:
            raise LaunchFailed(
                f"a rank's Ray worker ended before its rank began: {error}; the machines of the "
                "cluster need this code and its packages where they are here"
            ) from error
        return found

    def _tell(self, references: list[Any]) -> None:
        """Wait until agents have done what they were told; one that is lost is told by ``wait``."""
        self._ray.wait(references, num_returns=len(references), timeout=TOLD_SECONDS)


class _RayAgent(Agent):
    """An agent that knows where Ray put it."""

    def where(self) -> tuple[str, str, list[str], str]:
        """The machine's id and address in the cluster, this place's GPUs, the machine's name."""
        import ray

        context = ray.get_runtime_context()
        devices = context.get_accelerator_ids().get("GPU", [])
        return context.get_node_id(), ray.util.get_node_ip_address(), devices, self.host()


def _carried(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(CARRIED)}


def _show(news: News) -> None:
    for data, stream in ((news.out, sys.stdout), (news.err, sys.stderr)):
        if data:
            stream.buffer.write(data)
            stream.flush()
