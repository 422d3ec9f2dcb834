from __future__ import annotations

from intact import cli_shared, progress


def test_without_a_terminal_a_line_of_progress_comes_now_and_then(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(cli_shared.time, "monotonic", lambda: now)
    with cli_shared.showing_progress():
        for done in range(1, 6):
            now += 20.0
            progress.report("training", done * 1000, 5000)
    assert capsys.readouterr().err.splitlines() == [
        "intact: training: 2,000 of 5,000",
        "intact: training: 4,000 of 5,000",
    ]


def test_short_work_leaves_no_line_in_a_log(capsys):
    with cli_shared.showing_progress():
        progress.report("training", 5, 5)
    assert capsys.readouterr().err == ""
