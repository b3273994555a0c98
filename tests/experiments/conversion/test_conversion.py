"""Checkpoints become runs that the other programs take, and files again."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from experiments.common.errors import UserError
from experiments.conversion.conversion import Request, convert
from experiments.conversion.weight_files import read_weights, write_weights
from experiments.training.checkpoints import Checkpoints
from experiments.training.run_folder import RunFolder
from helpers.programs import program, refused
from helpers.registry import drawn
from lipjax import LipConvNet
from lipjax.convert import from_torch, published_names, to_torch
from lipjax.ops import chebyshev, taylor

MODEL = LipConvNet(
    image_shape=(4, 4, 3),
    num_classes=2,
    stages=2,
    width=2,
    activation="householder2",
    pooling="projection",
    head="curvature",
    hidden=4,
    mean=(0.25, 0.5, 0.75),
    std=(0.5, 0.5, 0.5),
)
NAMES = published_names(MODEL)


@pytest.fixture(scope="module")
def state():
    return to_torch(MODEL, drawn(MODEL, jnp.zeros((1, 4, 4, 3))))


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=[".npz", ".safetensors", ".pth"])
def checkpoint(request, state, tmp_path):
    """A file of each kind; that of PyTorch as the published code writes it."""
    path = tmp_path / f"model{request.param}"
    if request.param == ".npz":
        np.savez(path, **state)
    elif request.param == ".safetensors":
        safetensors.numpy.save_file(state, path)
    else:
        torch = request.getfixturevalue("torch")
        torch.save(tensors(torch, state), path)
    return path


@pytest.fixture(scope="module")
def converted(state, pictures, tmp_path_factory):
    """A run made of an .npz file, and the request that made it."""
    folder = tmp_path_factory.mktemp("converted")
    np.savez(folder / "model.npz", **state)
    request = Request(
        checkpoint=str(folder / "model.npz"),
        run=str(folder / "run"),
        data=f"folder:{pictures}",
        **NAMES,
    )
    convert(request)
    return request


def tensors(torch, state, prefix=""):
    return {prefix + name: torch.from_numpy(a.copy()) for name, a in state.items()}


def assert_same(found, due):
    assert set(found) == set(due)
    for name, array in due.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_in_and_out_again(checkpoint, state, pictures, tmp_path, capsys):
    run, to = tmp_path / "new" / "run", tmp_path / f"back{checkpoint.suffix}"
    data = f"folder:{pictures}"
    convert(Request(checkpoint=str(checkpoint), run=str(run), data=data, **NAMES))
    printed = capsys.readouterr().out
    assert f"experiments.certify --run={run}" in printed
    assert f"--init_from={run} --preset=lipconvnet_crc --data={data}" in printed
    assert "LipConvNet-2" in printed and "chebyshev" not in printed
    model, variables = from_torch(state, **NAMES)
    folder = RunFolder.open(run)
    assert folder.model == model
    assert (folder.config.depth, folder.config.width, folder.config.hidden) == (2, 2, 4)
    assert folder.config.polynomial == "taylor:5" and folder.config.data == data
    start = folder.checkpoints().restore("last")
    assert start.epoch == int(start.state.step) == int(start.metrics.images) == 0
    chex.assert_trees_all_equal(start.state.variables, variables)
    convert(Request(from_run=str(run), to=str(to)))
    printed = capsys.readouterr().out
    assert "--activation=hh2 --pooling=lip1 --head=crc_full" in printed
    assert_same(read_weights(to), state)
    assert not list(tmp_path.rglob("*.part"))


def test_pytorch_reads_what_is_written(torch, state, tmp_path):
    write_weights(tmp_path / "model.pth", state)
    loaded = torch.load(tmp_path / "model.pth", weights_only=True)
    assert_same({name: tensor.numpy() for name, tensor in loaded.items()}, state)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_states(torch, state, tmp_path, wrapper, prefix):
    wrapped = tensors(torch, state, prefix)
    torch.save({wrapper: wrapped} if wrapper else wrapped, tmp_path / "model.pth")
    assert_same(read_weights(tmp_path / "model.pth"), state)


def test_bfloat16_of_pytorch_is_read_exactly(torch, tmp_path):
    numbers = torch.tensor([0.1, -3.0]).bfloat16()
    torch.save({"a": torch.nn.Parameter(numbers)}, tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    assert_same(found, {"a": numbers.float().numpy()})


def test_a_pickle_that_runs_code_is_refused(torch, tmp_path):
    torch.save({"a": RunFolder}, tmp_path / "model.pth")
    with pytest.raises(UserError, match="more than weights.*state_dict"):
        read_weights(tmp_path / "model.pth")


def test_without_pytorch_other_files_still_work(state, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.pth").write_bytes(b"any")
    with pytest.raises(UserError, match="pip install torch"):
        read_weights(tmp_path / "model.pth")
    with pytest.raises(UserError, match="pip install torch"):
        write_weights(tmp_path / "new.pth", state)
    write_weights(tmp_path / "model.npz", state)
    assert_same(read_weights(tmp_path / "model.npz"), state)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50)])
def test_files_of_another_kind(request, tmp_path, suffix, content):
    if suffix == ".pth":
        request.getfixturevalue("torch")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or"):
        read_weights(path)


def test_entries_that_are_no_weights(tmp_path):
    np.savez(tmp_path / "text.npz", name=np.array("maxmin"))
    with pytest.raises(UserError, match="'name' is no array"):
        read_weights(tmp_path / "text.npz")
    np.savez(tmp_path / "nan.npz", weight=np.array([1.0, np.nan]))
    with pytest.raises(UserError, match="'weight'.*not finite"):
        read_weights(tmp_path / "nan.npz")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="damaged, or no .npz"):
        read_weights(tmp_path / "array.npz")


@pytest.mark.parametrize(
    "entry, value, line",
    [("scale", -1.0, "std positive"), ("block1.0.ortho.bias", 1e300, "too large")],
)
def test_values_that_no_network_has(converted, state, tmp_path, entry, value, line):
    bad = state | {entry: np.full(state[entry].shape, value)}
    np.savez(tmp_path / "model.npz", **bad)
    changed = dict(checkpoint=str(tmp_path / "model.npz"), run=str(tmp_path / "run"))
    with pytest.raises(UserError, match=line):
        convert(dataclasses.replace(converted, **changed))
    assert not (tmp_path / "run").exists()


def test_a_pickle_in_npz_is_refused(tmp_path):
    np.savez(tmp_path / "model.npz", weight=np.array([RunFolder], object))
    with pytest.raises(UserError, match="damaged, or no .npz"):
        read_weights(tmp_path / "model.npz")


def test_our_names_do_as_well(converted, tmp_path):
    ours = {kind: getattr(MODEL, kind) for kind in NAMES}
    run = str(tmp_path / "run")
    convert(dataclasses.replace(converted, run=run, **ours))
    assert (
        RunFolder.open(tmp_path / "run").model
        == RunFolder.open(Path(converted.run)).model
    )


def test_float64_is_rounded_and_said(converted, state, tmp_path, capsys):
    double = {name: array.astype(np.float64) for name, array in state.items()}
    np.savez(tmp_path / "double.npz", **double)
    to = tmp_path / "single.npz"
    source = str(tmp_path / "double.npz")
    convert(Request(checkpoint=source, to=str(to), **NAMES))
    assert "rounded to float32" in capsys.readouterr().out
    assert_same(read_weights(to), state)


def test_the_same_weights_with_other_polynomials(converted, tmp_path):
    run = tmp_path / "run"
    settings = dict(eval_polynomial="chebyshev:8:2.2", gradient="low_rank")
    convert(Request(from_run=converted.run, run=str(run), **settings))
    before, after = RunFolder.open(Path(converted.run)), RunFolder.open(run)
    assert after.model.exp.coefficients == taylor(5)
    assert after.model.exp.eval_coefficients == chebyshev(8, 2.2)
    assert after.config == dataclasses.replace(before.config, **settings)
    chex.assert_trees_all_equal(
        after.checkpoints().restore("last"), before.checkpoints().restore("last")
    )


MISTAKES = [
    (dict(checkpoint="nothing.npz"), FileNotFoundError, "nothing.npz"),
    (dict(checkpoint="model.onnx"), UserError, "must end with one of .pth"),
    (dict(activation="hh1"), UserError, "--activation=hh1.*init_layer.act.theta'"),
    (dict(head="lln"), UserError, "--head=lln.*logits_layer"),
    (dict(pooling="max"), UserError, "--pooling=max.*no use here.*theta"),
    (dict(activation="relu"), UserError, "choose one of maxmin, hh1, hh2, house"),
    (dict(head=None), UserError, r"--head=ortho\|lln\|crc_full"),
    (dict(from_run="runs/a"), UserError, "--checkpoint=FILE or --from_run=DIR"),
    (dict(checkpoint=None), UserError, "--checkpoint=FILE or --from_run=DIR"),
    (dict(checkpoint=None, from_run="a"), UserError, "leave out --activation"),
    (dict(to="model.npz"), UserError, "--run=DIR, or a file, --to=FILE"),
    (dict(weights="best"), UserError, "--weights"),
    (dict(run=None, to="model.npz"), UserError, "leave out --data"),
    (dict(run=None, to="model.onnx", data=None), UserError, "must end with"),
    (dict(data="digits"), UserError, "4x4x3 images of 2 classes, but digits has 8x8"),
    (dict(data="cifar10"), UserError, "--data=cifar10: the network is for 4x4x3"),
    (
        dict(data=None),
        UserError,
        "pass the data set of 4x4x3 .* --data=",
    ),
    (dict(data="nonsense"), UserError, "unknown data set"),
    (dict(polynomial="taylor"), UserError, "--polynomial=taylor"),
    (dict(eval_polynomial="pade:3"), UserError, "--eval_polynomial=pade:3"),
]


@pytest.mark.parametrize("change, error, line", MISTAKES)
def test_mistakes(converted, tmp_path, change, error, line):
    request = dataclasses.replace(converted, run=str(tmp_path / "run"))
    with pytest.raises(error, match=line):
        convert(dataclasses.replace(request, **change))
    assert not list(tmp_path.iterdir())


def test_a_missing_entry_is_named(converted, state, tmp_path):
    rest = {n: a for n, a in state.items() if n != "block2.0.ortho._u3"}
    np.savez(tmp_path / "model.npz", **rest)
    changed = dict(checkpoint=str(tmp_path / "model.npz"), run=str(tmp_path / "run"))
    with pytest.raises(UserError, match="no entry 'block2.0.ortho._u3'"):
        convert(dataclasses.replace(converted, **changed))


def test_nothing_is_written_over(converted, tmp_path):
    with pytest.raises(UserError, match="run exists: choose another --run"):
        convert(converted)
    file = tmp_path / "model.npz"
    file.write_bytes(b"mine")
    with pytest.raises(UserError, match="model.npz exists"):
        convert(Request(from_run=converted.run, to=str(file)))
    assert file.read_bytes() == b"mine"


def test_a_run_that_cannot_be_saved_leaves_nothing(converted, tmp_path, monkeypatch):
    def full(*_):
        raise UserError("No space left")

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(UserError, match="No space left"):
        convert(dataclasses.replace(converted, run=str(tmp_path / "run")))
    assert not list(tmp_path.iterdir())


def test_the_program_in_one_line_of_error(tmp_path):
    missing = tmp_path / "missing.pth"
    names = [f"--{kind}={name}" for kind, name in NAMES.items()]
    line = refused("convert", f"--checkpoint={missing}", f"--run={tmp_path}/r", *names)
    assert str(missing) in line


@pytest.mark.long
def test_a_converted_run_is_certified_and_trained_on(pictures, tmp_path):
    """With its own mean and std, which are not those of the data."""
    source, run, data = tmp_path / "source", tmp_path / "run", f"folder:{pictures}"
    model = MODEL.clone(head="normalized")  # soon certified
    state = to_torch(model, drawn(model, jnp.zeros((1, 4, 4, 3))))
    write_weights(tmp_path / "model.npz", state)
    request = Request(checkpoint=f"{tmp_path}/model.npz", run=str(source), data=data)
    convert(dataclasses.replace(request, **published_names(model)))
    certified = program("certify", f"--run={source}")
    assert certified.returncode == 0, certified.stderr
    assert (source / "certificates.jsonl").read_text().count("\n") == 10
    flags = [f"--data={data}", "--epochs=1", "--batch_size=8"]
    trained = program("train", f"--init_from={source}", f"--run={run}", *flags)
    assert trained.returncode == 0, trained.stderr
    model = json.loads((run / "config.json").read_text())["model"]
    assert model["mean"] == [0.25, 0.5, 0.75] and model["std"] == [0.5] * 3
    assert RunFolder.open(run).model.exp.coefficients == chebyshev(4, 2.0)
    # killed before its first step, it would go on from the source's weights
    last = run / "checkpoints" / "last"
    shutil.rmtree(last / str(RunFolder.open(run).checkpoints().steps("last")[-1]))
    first = RunFolder.open(run).checkpoints().restore("last").state
    assert int(first.step) == 0
    before = RunFolder.open(source).checkpoints().restore("last").state
    chex.assert_trees_all_equal(first.variables, before.variables)
    with np.load(run / "model.npz") as record:
        assert record["mean"].tolist() == [0.25, 0.5, 0.75]
    wider = [f"--init_from={source}", "--width=4", f"--data={data}"]
    assert "leave out --width" in refused("train", *wider)
    other = refused("train", f"--init_from={source}")
    assert "4x4x3 images of 2 classes, but digits has 8x8x1" in other
