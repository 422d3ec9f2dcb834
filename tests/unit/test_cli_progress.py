from __future__ import annotations

from intact import cli_shared, progress


def test_without_a_terminal_a_line_tells_of_the_beginning_and_of_every_half_minute(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(cli_shared.time, "monotonic", lambda: now)
    with cli_shared.showing_progress():
        for done in range(1, 6):
            now += 20.0
            progress.report("training", done * 1000, 5000)
    assert capsys.readouterr().err.splitlines() == [
        "training: 1,000 of 5,000",
        "training: 3,000 of 5,000",
        "training: 5,000 of 5,000",
    ]


def test_each_kind_of_work_has_one_line_at_its_beginning(capsys):
    with cli_shared.showing_progress():
        for what in ("reading", "training", "reading", "training"):
            progress.report(what, 1, 2)
    assert capsys.readouterr().err == "reading: 1 of 2\ntraining: 1 of 2\n"
