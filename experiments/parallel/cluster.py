"""Which of several processes this one is, by flags or by the environment."""

from __future__ import annotations

import dataclasses
import os
import re
import urllib.request
from collections.abc import Mapping
from typing import Any

from absl import flags

from ..common.errors import UserError

FLAGS = flags.FLAGS
_PORT = 61_000  # of jobs that do not name one
_METADATA = "metadata.google.internal"


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the processes of a run.

    Attributes:
      host: address of process 0.
      port: where it waits for the others.
      count: how many processes there are.
      index: which one this is.
      local_devices: which of the host's devices are this process's; None: all.
    """

    host: str
    port: int
    count: int
    index: int
    local_devices: tuple[int, ...] | None = None


def define_flags() -> None:
    """Defines the flags that say which process of how many this is."""
    flags.DEFINE_string(
        "coordinator",
        None,
        "for several processes: HOST:PORT of process 0; slurm, gke or tpu: all three "
        "of these flags from the Slurm job, from a pod on Google Kubernetes Engine, "
        "from the metadata of a Cloud TPU machine",
    )
    flags.DEFINE_integer("num_processes", None, "how many processes there are", 1)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0", 0)
    flags.DEFINE_integer(
        "wait_seconds", 300, "how long processes wait for each other at the start", 1
    )


def member(environment: Mapping[str, str] = os.environ) -> Member | None:
    """The process that the flags describe; None: it is the only one.

    Raises:
      UserError: if the flags do not go together, or the environment lacks something.
    """
    where, count, index = FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id
    if where in _ENVIRONMENTS:
        if count is not None or index is not None:
            raise UserError(
                f"--coordinator={where} finds --num_processes and --process_id out: "
                "leave them out"
            )
        return _from_environment(where, environment)
    if where is None and count is None and index is None:
        return None
    if where is None or count is None or index is None:
        raise UserError("give all of --coordinator, --num_processes and --process_id")
    host, _, port = where.rpartition(":")
    if not host or ":" in host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={where}: give HOST:PORT (a name or IPv4), slurm, gke or tpu"
        )
    if not index < count:
        raise UserError(
            f"--process_id={index} must be less than --num_processes={count}"
        )
    return Member(host, int(port), count, index)


def _from_environment(name: str, environment: Mapping[str, str]) -> Member:
    try:
        return _ENVIRONMENTS[name](environment)
    except KeyError as error:
        raise UserError(
            f"--coordinator={name}: the environment has no {error.args[0]}"
        ) from None
    except ValueError as error:
        raise UserError(f"--coordinator={name}: the environment: {error}") from None
    except OSError as error:
        raise UserError(
            f"--coordinator={name}: the machine's metadata server: {error}; on other "
            "machines than Cloud TPU's give HOST:PORT"
        ) from None


def slurm(environment: Mapping[str, str]) -> Member:
    """A task of a Slurm step: `srun python -m experiments.train --coordinator=slurm`.

    Several tasks on a node have a device each, in their order.

    Example:
      >>> slurm({"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_NTASKS": "4",
      ...        "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "7",
      ...        "SLURM_STEP_NUM_NODES": "2"})
      Member(host='gpu03', port=61007, count=4, index=3, local_devices=(1,))
    """
    count = int(environment["SLURM_NTASKS"])
    nodes = int(environment["SLURM_STEP_NUM_NODES"])
    local = (int(environment["SLURM_LOCALID"]),) if count > nodes else None
    return Member(
        _first_node(environment["SLURM_STEP_NODELIST"]),
        _PORT + int(environment["SLURM_JOB_ID"]) % 4000,
        count,
        int(environment["SLURM_PROCID"]),
        local,
    )


def _first_node(nodes: str) -> str:
    """The first of nodes written as a, b or a[03-07,09]."""
    found = re.match(r"([^,\[\]]+)(?:\[([^\],-]+))?", nodes)
    if found is None:
        raise ValueError(f"SLURM_STEP_NODELIST={nodes}")
    return found[1] + (found[2] or "")


def gke(environment: Mapping[str, str]) -> Member:
    """A worker of a TPU slice on Google Kubernetes Engine.

    Example:
      >>> gke({"TPU_WORKER_HOSTNAMES": "a-0.svc,a-1.svc", "TPU_WORKER_ID": "1"})
      Member(host='a-0.svc', port=61000, count=2, index=1, local_devices=None)
    """
    _one_slice(environment)
    found = environment.get("TPU_PROCESS_ADDRESSES")
    names = (found or environment["TPU_WORKER_HOSTNAMES"]).split(",")
    first = names[0].split(":")[0]
    return Member(first, _PORT, len(names), int(environment["TPU_WORKER_ID"]))


def tpu(environment: Mapping[str, str]) -> Member:
    """A machine of a Cloud TPU slice, by the attributes that Compute Engine serves.

    `worker-network-endpoints` lists all machines, as names or as NAME:NUMBER:ADDRESS,
    in the order of `agent-worker-number`, which is this machine's.
    """
    server = environment.get("GCE_METADATA_IP", _METADATA)
    described = [line.partition(":") for line in _attribute(server, "tpu-env", "\n")]
    _one_slice({name.strip(): value.strip(" '") for name, _, value in described})
    machines = _attribute(server, "worker-network-endpoints", ",")
    (number,) = _attribute(server, "agent-worker-number")
    return Member(machines[0].split(":")[-1], _PORT, len(machines), int(number))


def _attribute(server: str, name: str, separator: str | None = None) -> list[str]:
    """The parts of an attribute of this machine."""
    request = urllib.request.Request(
        f"http://{server}/computeMetadata/v1/instance/attributes/{name}",
        headers={"Metadata-Flavor": "Google"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=10) as answer:
        return answer.read().decode().strip().split(separator)


def _one_slice(described: Mapping[str, str]) -> None:
    """Refuses several slices, whose machines are numbered from 0 in each."""
    if int(described.get("MEGASCALE_NUM_SLICES") or 1) > 1:
        raise ValueError("several slices: give HOST:PORT and numbers over all of them")


_ENVIRONMENTS: dict[str, Any] = {"slurm": slurm, "gke": gke, "tpu": tpu}
