"""The expected time: told once, without the slow first steps."""

from __future__ import annotations

from unpaired.training.progress import Pace, expectation


def test_the_first_steps_do_not_count() -> None:
    pace = Pace(total_images=1000)
    found = []
    seconds = 0.0
    for step in range(1, 40):
        seconds += 100.0 if step <= 3 else 2.0  # compiling, then two seconds for each step of four images
        found.append(pace.observe(4 * step, seconds))
    told = [value for value in found if value is not None]
    assert len(told) == 1
    place = found.index(told[0]) + 1
    assert place >= 10
    assert told[0] == (1000 - 4 * place) / 4 * 2.0


def test_a_short_training_says_nothing_and_one_of_weeks_names_a_smaller_one() -> None:
    assert expectation(30) is None
    text, is_warning = expectation(3 * 3600) or ("", True)
    assert not is_warning
    assert "3:00 h" in text
    text, is_warning = expectation(50 * 86_400) or ("", False)
    assert is_warning
    assert "7 weeks" in text
    assert "--config small-64" in text
