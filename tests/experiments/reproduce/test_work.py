"""The runs are made in turn; one that fails does not stop the others."""

import json

import pytest

from experiments.common import children
from experiments.common.errors import UserError
from experiments.configs import PRESETS, Config
from experiments.reproduce.cells import Cell, Table
from experiments.reproduce.runs import FAILED, FINISHED, STARTED, WAITING, Run
from experiments.reproduce.work import Work, plan
from helpers.reproduced import figures

CELLS = (
    Cell("a", {"width": 2}, seeds=2),
    Cell("b", {"width": 3}),
    Cell("c", {"width": 4}, start="b"),
)


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Runs that a stand-in makes: `ends` has the ends of those that do not finish."""

    class Made:
        ends, order, drawn, due, folders = {}, [], 0, False, {}

        def train(self, program, flags, log, due, held):
            name = log.stem
            self.order.append(name)
            self.folders[name] = end = self.ends.get(name, (0, False, ""))
            return children.Outcome(*end)

        def look(self, run, config):
            assert isinstance(config, Config)
            end = self.folders.get(run.path.name)
            if end == (0, False, ""):
                run.state, run.figures = FINISHED, figures(50.0)
            elif run.state != FAILED:
                run.state = STARTED if end else WAITING

        def after(self):
            self.drawn += 1

        def runs(self, seeds=None):
            return plan(Table("Title", CELLS), tmp_path, seeds)

        def work(self, due=lambda: False):
            return Work(PRESETS["digits"](), "digits", 7, due, 0, self.after)

    made = Made()
    made.ends, made.order, made.folders = {}, [], {}
    monkeypatch.setattr(children, "run_child", made.train)
    monkeypatch.setattr(Run, "look", lambda self, config: made.look(self, config))
    return made


def test_all_cells_with_one_seed_come_before_the_next_seed(made):
    assert [run.name for run in made.runs()] == [
        *("a, seed 0", "b, seed 0", "c, seed 0"),
        "a, seed 1",
    ]
    assert len(made.runs(3)) == 9


def test_a_failure_does_not_stop_the_others(made, capsys):
    made.ends = {"a-seed0": (2, False, "the loss is not finite")}
    runs = made.runs()
    made.work().look(runs, [])
    made.work().do(runs, runs)
    assert [run.state for run in runs] == [FAILED, FINISHED, FINISHED, FINISHED]
    assert runs[0].reason == "the loss is not finite" and made.drawn == 4
    assert "failed: the loss is not finite" in capsys.readouterr().out
    start = f"--init_from={runs[1].path}"
    assert start in runs[2].flags and "--certify_images=7" in runs[2].flags


def test_what_starts_from_a_failed_run_fails(made):
    made.ends = {"b-seed0": (-9, False, "killed by SIGKILL")}
    runs = made.runs()
    made.work().do(runs, runs)
    assert runs[2].state == FAILED and "starts from b, seed 0" in runs[2].reason


def test_a_run_that_is_told_to_stop_has_not_failed(made):
    made.ends = {"a-seed0": (0, True, ""), "b-seed0": (-15, True, "killed")}
    runs = made.runs()
    made.work(lambda: len(made.order) == 2).do(runs, runs)
    assert [run.state for run in runs] == [STARTED, STARTED, WAITING, WAITING]
    made.ends = {}
    made.work().do(runs, runs)
    assert all(run.state == FINISHED for run in runs)


def test_what_failed_before_is_tried_again_at_the_end(made):
    runs = made.runs()
    earlier = [{"cell": "a", "seed": 0, "state": FAILED, "reason": "a full disk"}]
    made.work().look(runs, earlier)
    assert (runs[0].state, runs[0].reason) == (FAILED, "a full disk")
    made.work().do(runs, runs)
    assert made.order[-1] == "a-seed0" and runs[0].state == FINISHED


def test_settings_that_do_not_fit_fail_in_one_line(made, tmp_path):
    bad = Run(Cell("bad", {"width": 0}), 0, tmp_path / "bad-seed0")
    good = made.runs()[0]
    made.work().do([bad, good], [bad, good])
    assert (bad.state, bad.reason) == (FAILED, "--width must be at least 1")
    assert good.state == FINISHED and made.order == ["a-seed0"]


def test_only_the_chosen_runs_are_made(made):
    runs = made.runs()
    made.work().do(runs[1:2], runs)
    assert made.order == ["b-seed0"]


def test_a_folder_of_other_settings_is_not_taken_for_the_run(tmp_path):
    run = Run(CELLS[0], 0, tmp_path / "a-seed0")
    run.look(PRESETS["digits"]())
    assert run.state == WAITING
    run.path.mkdir()
    (run.path / "config.json").write_text(json.dumps({"config": {}}))
    run.look(PRESETS["digits"]())
    assert run.state == FAILED and "damaged" in run.reason
    with pytest.raises(UserError):
        Config(width=0)
