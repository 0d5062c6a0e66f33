"""The paragraph says what the figures say, at low, middle, high and uncertain values, and no more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from audits import copying, hiding, random_images, recolouring
from unpaired.audit.disturb import HEADLINE, SNAP
from unpaired.audit.findings import Found, figures_of, reconstruction_db, table_of, too_few
from unpaired.audit.hidden import Share, hidden_in
from unpaired.audit.measure import Images, measure
from unpaired.audit.sensitivity import response
from unpaired.audit.spectrum import spectrum_of
from unpaired.audit.summary import percent, summary, verdict
from unpaired.models.translator import Translator


def found(translators: tuple[Translator, Translator], images: Images) -> Found:
    forward, backward = translators
    measured = measure(forward, backward, images, seed=0)
    inputs = [images.batch([0])]
    return Found(
        direction="a2b",
        measured=measured,
        hidden=hidden_in(measured, seed=0),
        translated=spectrum_of(images, forward),
        real=spectrum_of(images),
        sensitivity=(response(forward, inputs, seed=0), response(backward, inputs, seed=0)),
        protocol={"seed": 0},
    )


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (0.02, 0.01, "next to nothing"),
        (-0.01, 0.002, "next to nothing"),
        (0.3, 0.05, "a part of it"),
        (0.9, 0.1, "most of it"),
        (1.4, None, "most of it"),
        (0.09, 0.02, "between 5.0 % and 13 %"),
        (0.5, 0.1, "between 30 % and 70 %"),
    ],
)
def test_two_standard_errors_decide(value: float, error: float | None, said: str) -> None:
    assert said in verdict(Share(value, error))


def test_a_network_that_hides_is_told() -> None:
    text = summary(found(hiding(1.5), random_images()))
    assert text.startswith("A to B, 6 images. In short: most of what comes back is hidden in detail that nobody sees.")
    assert "Brought back to A, a translation misses its input by 0.0 levels" in text
    assert "; the difference is what comes back." in text
    assert "most of it is hidden in detail that nobody sees" in text
    assert "takes half" in text
    assert "nan" not in text.lower()


def test_an_honest_one_is_told() -> None:
    text = summary(found(recolouring(), random_images(coarse=3)))
    assert text.startswith("A to B, 6 images. In short: next to nothing is hidden in detail that nobody sees. Brought")
    assert "next to nothing of it is hidden" in text
    assert "next to nothing of it rests on such detail" in text


def test_what_cannot_be_told_is_told_so() -> None:
    text = summary(found(copying(), random_images(1)))
    assert text.startswith("A to B, 1 image. Brought back")
    assert "the difference is" not in text
    assert "How much is hidden cannot be told: one image alone" in text


def test_more_than_all_is_explained() -> None:
    text = summary(found(hiding(0.5), random_images()))
    assert "misleads the way back" in text


@pytest.mark.parametrize(
    ("follows", "lost", "said"),
    [
        (0.4, 0.3, ": the reconstruction rests on fine texture"),
        (0.4, 0.02, "sways the way back, but it needs none"),
        (0.1, 0.02, ": some of it rests on fine texture"),
        (0.02, 0.01, ": next to nothing of it rests"),
    ],
)
def test_texture_that_an_ordinary_file_loses_is_told(follows: float, lost: float, said: str) -> None:
    one = found(recolouring(), random_images(coarse=3))
    values = np.array([follows, follows + 0.01, follows - 0.01, follows, follows, follows])
    exchange = dataclasses.replace(one.measured.exchanges[1], follows=values, copy=np.full(6, 0.01))
    measured = dataclasses.replace(one.measured, exchanges=[one.measured.exchanges[0], exchange])
    jpeg = next(each for each in one.hidden.lost if each.title == "JPEG of quality 75")
    hidden = dataclasses.replace(one.hidden, lost={**one.hidden.lost, jpeg: Share(lost, 0.01)})
    text = summary(dataclasses.replace(one, measured=measured, hidden=hidden))
    assert f"{percent(follows)} (standard error" in text
    assert said in text
    assert "confuse the way back" not in text
    assert ("read from fine texture" in text.partition(" Brought")[0]) == (follows > 0.2 and lost > 0.1)


@pytest.mark.parametrize(
    ("faint", "jpeg", "snapped", "said"),
    [
        (0.8, 0.0, None, "In short: most of what comes back is hidden"),
        (0.3, 0.0, None, "In short: some of what comes back is hidden"),
        (0.1, 0.0, None, "In short: whether something is hidden in detail that nobody sees is not clear."),
        (0.0, 0.5, None, "nobody sees, but an ordinary JPEG file of the translation spoils the way back."),
        (0.0, 0.5, 0.3, "nobody sees, but the classes of the label maps alone bring back 30 % less."),
        (0.0, 0.0, 0.0, "In short: next to nothing is hidden in detail that nobody sees."),
    ],
)
def test_the_paragraph_begins_with_what_all_tests_come_to(
    faint: float, jpeg: float, snapped: float | None, said: str
) -> None:
    one = found(recolouring(), random_images(coarse=3))
    coded = next(each for each in one.hidden.lost if each.title == "JPEG of quality 75")
    lost = {**one.hidden.lost, HEADLINE: Share(faint, 0.01), coded: Share(jpeg, 0.01)}
    if snapped is not None:
        lost[SNAP] = Share(snapped, 0.01)
    text = summary(dataclasses.replace(one, hidden=dataclasses.replace(one.hidden, lost=lost)))
    assert said in text.partition(" Brought")[0]
    assert ("snapped to the palette, so that only the classes are left" in text) == (snapped is not None)


def test_a_file_that_takes_more_than_the_detail_carried_is_told() -> None:
    one = found(recolouring(), random_images(coarse=3))
    jpeg = next(each for each in one.hidden.lost if each.title == "JPEG of quality 75")
    hidden = dataclasses.replace(one.hidden, lost={**one.hidden.lost, jpeg: Share(0.5, 0.02)})
    assert "may also confuse the way back" in summary(dataclasses.replace(one, hidden=hidden))


def test_few_images_are_told() -> None:
    assert "6 images are few" in str(too_few(found(hiding(), random_images())))
    assert too_few(found(hiding(), random_images(10, size=16, coarse=16))) is None
    assert too_few(found(copying(), random_images(1))) is None, "another warning says more"


def test_percent() -> None:
    assert [percent(value) for value in (0.004, 0.12, 1.0, -0.0001, -0.02)] == [
        "0.4 %",
        "12 %",
        "100 %",
        "0.0 %",
        "-2.0 %",
    ]


def test_figures_carry_their_protocol_and_never_lack_a_word() -> None:
    for one in (found(hiding(), random_images()), found(copying(), random_images(1))):
        figures = {figure.name: figure for figure in figures_of(one)}
        assert {"hidden_share", "half_lost_at", "high_frequency_ratio", "sensitivity_worst"} <= set(figures)
        for figure in figures.values():
            assert figure.group == "audit"
            assert figure.protocol["seed"] == 0
            assert figure.value is not None or figure.note
    assert figures["hidden_share"].value is None
    assert figures["sensitivity_random"].value == pytest.approx(1, rel=1e-3)
    assert figures["sensitivity_random"].protocol["images_probed"] == 1
    assert figures["high_frequency_ratio"].value == pytest.approx(1)


def test_the_headline_is_noise_of_two_levels() -> None:
    one = found(hiding(), random_images())
    figure = figures_of(one)[0]
    assert (figure.name, figure.protocol["disturbance"]) == ("hidden_share", "noise of 2 levels")
    row = next(row for row in table_of(one).rows if row[0] == "noise of 2 levels")
    assert (row[6], row[7]) == (figure.value, figure.error)


def test_no_protocol_holds_what_was_found() -> None:
    """Else the audits of two models would not compare."""
    one, other = ({f.name: f for f in figures_of(found(each, random_images()))} for each in (hiding(), copying()))
    assert one.keys() == other.keys()
    assert [name for name in one if one[name].protocol != other[name].protocol] == []
    assert "in the inputs themselves that detail carries 0." in str(one["carried_by_jpeg_detail"].note)


def test_the_table_ends_with_what_nothing_survives() -> None:
    one = found(copying(), random_images())
    rows = table_of(one).rows
    assert rows[0][0] == "none"
    assert rows[0][4] is None, "an exact reconstruction has no PSNR"
    assert rows[-1][2] == pytest.approx(one.measured.chance.mean())  # type: ignore[union-attr]
    disturbed = one.measured.outcomes[-1]
    assert reconstruction_db(disturbed) == pytest.approx(float((20 * np.log10(255 / disturbed.squared**0.5)).mean()))
