from intact import progress


def test_nothing_is_shown_unless_asked_for():
    assert list(progress.track([1, 2], "counting", 2)) == [1, 2]


def test_a_display_hears_of_every_step():
    heard = []
    with progress.showing(lambda *args: heard.append(args)):
        list(progress.track("ab", "reading", 2))
    progress.report("late", 1, 1)
    assert heard == [("reading", 1, 2), ("reading", 2, 2)]
