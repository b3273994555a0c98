"""Several processes train as one, and end together whatever befalls one of them."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from experiments.common.errors import UserError
from experiments.parallel import cluster
from experiments.training.run_folder import RunFolder
from helpers.processes import TINY, Program, together
from helpers.programs import ROOT

EPOCHS = 6
FLAGS = (*TINY, f"--epochs={EPOCHS}")


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    code, _, errors = Program("train", *flags).end()
    assert code == 0, errors
    return run


def rows(run):
    metrics = run / "metrics.jsonl"
    if not metrics.exists():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def assert_alike(run, alone):
    """Losses to the rounding of float32 sums in another order, through 12 steps."""
    ours, theirs = ([row["loss"] for row in rows(path)] for path in (run, alone))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=2e-6) and len(ours) == EPOCHS
    assert (run / "certificates.jsonl").exists()


def test_two_processes_train_as_one_and_one_goes_on(pictures, tmp_path, alone):
    """SIGTERM to one of them stops both, saved; one process alone ends the run."""
    run = tmp_path / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS, "--save_steps=1")
    with together(2, *flags) as programs:
        programs[0].until(lambda: rows(run))
        programs[1].process.send_signal(signal.SIGTERM)
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [0, 0]
    assert [errors for _, _, errors in ends] == ["", ""]
    assert f"--resume={run}" in ends[0][1] and "2 x cpu" in ends[0][1]
    assert ends[0][1].startswith(f"{run}: ")  # and nothing of libraries before
    assert ends[1][1] == ""
    assert 0 < len(rows(run)) < EPOCHS
    code, _, errors = Program("train", f"--resume={run}").end()
    assert code == 0, errors
    assert_alike(run, alone)


@pytest.mark.long
@pytest.mark.parametrize(("count", "wide"), [(2, 1), (4, 1), (4, 2)])
def test_processes_that_are_killed_and_resumed(pictures, tmp_path, alone, count, wide):
    run = tmp_path / "run"
    settings = ("--save_steps=1", f"--model_parallel={wide}")
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS, *settings)
    with together(count, *flags) as programs:
        programs[0].until(lambda: rows(run), 300)
        programs[-1].kill()
        ends = [program.end() for program in programs[:-1]]
    assert [code for code, _, _ in ends] == [2] * (count - 1)
    assert ends[0][2].startswith(f"error: process {count - 1} on ")
    assert ends[0][2].count("\n") == 1 and "was lost" in ends[0][2]
    assert all(errors == "" for _, _, errors in ends[1:])
    with together(count, f"--resume={run}", *settings) as programs:
        ends = [program.end(300) for program in programs]
    assert [code for code, _, _ in ends] == [0] * count, ends
    assert_alike(run, alone)


@pytest.mark.long
def test_a_computing_child_that_is_killed(pictures, tmp_path):
    flags = (f"--data=folder:{pictures}", f"--run={tmp_path / 'run'}", *FLAGS)
    with together(2, *flags, "--epochs=10000") as programs:
        programs[0].until(lambda: rows(tmp_path / "run"))
        (child,) = children(programs[1])
        os.kill(int(child), signal.SIGKILL)
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "was lost (signal 9): go on with --resume" in ends[0][2]
    assert ends[0][2].count("\n") == 1 and ends[1][2] == ""


@pytest.mark.long
@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("elsewhere", "is not a folder that all hosts see: process 1 does not see"),
        ("full", "a checkpoint could not be written to "),
    ],
)
def test_a_disk_that_fails_one_of_them(pictures, tmp_path, trouble, line):
    """Neither waits for the other, which will not come."""
    # relative: the same flags, and another folder where one works elsewhere
    run = os.path.relpath(tmp_path / "run", ROOT)
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    (tmp_path / "far" / "away").mkdir(parents=True)
    settings = {"TROUBLE": trouble, "HERE": str(tmp_path / "far" / "away")}
    with together(
        2, *flags, name="troubled_train", package="tests.helpers", **settings
    ) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2], ends
    assert line in ends[0][2] and ends[0][2].count("\n") == 1
    assert ends[0][2].startswith("error: process 1 on ") and ends[1][2] == ""


@pytest.mark.long
def test_sigterm_before_the_first_step(pictures, tmp_path):
    """The run is saved as it began, however far its processes have come."""
    run = tmp_path / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    with together(2, *flags) as programs:
        programs[0].until(lambda: children(programs[0]) and children(programs[1]))
        for program in programs:
            program.process.send_signal(signal.SIGTERM)
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert f"--resume={run}" in ends[0][1] and [e[2] for e in ends] == ["", ""]
    assert RunFolder.open(run).checkpoints().steps("last") == [0]


def children(program):
    listed = ["pgrep", "-P", str(program.process.pid)]
    return subprocess.run(listed, capture_output=True, text=True).stdout.split()


def test_other_flags(pictures, tmp_path):
    flags = (f"--data=folder:{pictures}", f"--run={tmp_path / 'run'}", *FLAGS)
    seeds = lambda index: [f"--seed={index}"]  # noqa: E731
    with together(2, *flags, each=seeds) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "process 1" in ends[0][2] and ends[0][2].count("\n") == 1
    assert "--seed=1 instead of --seed=0" in ends[0][2] and ends[1][2] == ""
    assert not (tmp_path / "run").exists()


def test_a_mistake_that_all_make_is_one_line(pictures):
    flags = (f"--data=folder:{pictures}", *TINY, "--batch_size=9")
    with together(2, *flags) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    assert ends[0][2].startswith("error: --batch_size=9 cannot be shared out over 2")
    assert ends[0][2].count("\n") == 1 and ends[1][2] == ""


@pytest.mark.long
def test_a_checkpoint_of_another_network_is_one_line(alone, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(alone, run)
    settings = json.loads((run / "config.json").read_text())
    settings["model"]["width"] = 4
    (run / "config.json").write_text(json.dumps(settings))
    with together(2, f"--resume={run}") as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "of another network: its parameters" in ends[0][2]
    assert ends[0][2].count("\n") == 1 and ends[1][2] == ""


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (0, "of 2 processes, 1 did not come within 1 s"),
        (1, "no process 0 at localhost"),
    ],
)
def test_a_process_that_never_comes(index, line):
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    code, _, errors = Program(
        "train",
        f"--coordinator=localhost:{port}",
        "--num_processes=2",
        f"--process_id={index}",
        "--wait_seconds=1",
    ).end()
    assert code == 2 and line in errors and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"coordinator": "localhost:1"}, "give all of"),
        ({"num_processes": 2}, "give all of"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "less than"),
        ({"coordinator": "slurm"}, "the environment has no SLURM_NTASKS"),
        ({"coordinator": "gke", "process_id": 1}, "leave them out"),
    ],
)
def test_flags_that_do_not_go_together(given, line, monkeypatch):
    values = {"coordinator": None, "num_processes": None, "process_id": None} | given
    monkeypatch.setattr(cluster, "FLAGS", type("Flags", (), values))
    with pytest.raises(UserError, match=line):
        cluster.member({})


@contextlib.contextmanager
def metadata(attributes):
    """The address of a server as Compute Engine's machines have one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/computeMetadata/v1/instance/attributes/")
            asked_well = self.headers["Metadata-Flavor"] == "Google"
            found = attributes.get(name) if asked_well else None
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


TPU = {
    "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\nWORKER_ID: '1'\n",
    "worker-network-endpoints": "unknown:unknown:10.0.0.5,unknown:unknown:10.0.0.6",
    "agent-worker-number": "1",
}


def from_environment(monkeypatch, name, environment):
    values = {"coordinator": name, "num_processes": None, "process_id": None}
    monkeypatch.setattr(cluster, "FLAGS", type("Flags", (), values))
    return cluster.member(environment)


def test_a_machine_of_a_tpu_slice(monkeypatch):
    """The attributes' forms are those that `jax.distributed.initialize` reads."""
    with metadata(TPU) as server:
        found = from_environment(monkeypatch, "tpu", {"GCE_METADATA_IP": server})
    assert found == cluster.Member("10.0.0.5", 61000, 2, 1)
    with metadata(TPU | {"worker-network-endpoints": "w-0,w-1,w-2"}) as server:
        found = from_environment(monkeypatch, "tpu", {"GCE_METADATA_IP": server})
    assert found == cluster.Member("w-0", 61000, 3, 1)


def test_addresses_with_ports_on_gke():
    addresses = {"TPU_PROCESS_ADDRESSES": "a.svc:8471,b.svc:8471", "TPU_WORKER_ID": "1"}
    assert cluster.gke(addresses) == cluster.Member("a.svc", 61000, 2, 1)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"tpu-env": "MEGASCALE_NUM_SLICES: '2'"}, "several slices: give HOST:PORT"),
        ({"agent-worker-number": None}, "metadata server: HTTP Error 404"),
    ],
)
def test_tpus_that_are_not_one_slice(change, line, monkeypatch):
    with metadata(TPU | change) as server, pytest.raises(UserError, match=line):
        from_environment(monkeypatch, "tpu", {"GCE_METADATA_IP": server})


def test_no_tpu_machine(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as found:
        nobody = {"GCE_METADATA_IP": f"127.0.0.1:{found.getsockname()[1]}"}
    with pytest.raises(UserError, match="metadata server: .*refused.* give HOST:PORT"):
        from_environment(monkeypatch, "tpu", nobody)
    slices = {"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}
    with pytest.raises(UserError, match="several slices"):
        from_environment(monkeypatch, "gke", slices)


def test_names_of_slurm_nodes():
    for nodes, first in [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[003-012,15]", "n003"),
        ("gpu-a[7,9]", "gpu-a7"),
    ]:
        assert cluster._first_node(nodes) == first
