"""The paragraph says what the figures say, at low, middle, high and uncertain values, and no more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from audits import copying, hiding, random_images, recolouring
from unpaired.audit.disturb import DEFAULT_JPEG, HEADLINE, SNAP
from unpaired.audit.findings import Findings, Share, few_images, figures_of, reconstruction_psnr, shares_of, table_of
from unpaired.audit.measure import Images, measure, response, spectrum_of
from unpaired.audit.summary import percent, summary, verdict
from unpaired.models.translator import Translator
from unpaired.report.results import Value


def found(translators: tuple[Translator, Translator], images: Images) -> Findings:
    forward, backward = translators
    measured = measure(forward, backward, images, seed=0)
    inputs = [images.batch([0])]
    return Findings(
        names=("A", "B"),
        reconstructions=measured,
        shares=shares_of(measured, seed=0),
        translated=spectrum_of(images, forward),
        real=spectrum_of(images),
        sensitivity=(response(forward, inputs, seed=0), response(backward, inputs, seed=0)),
        protocol={"seed": 0},
    )


def with_shares(
    one: Findings, *, faint: Share | None = None, jpeg: float = 0.0, snapped: float | None = None
) -> Findings:
    lost = {**one.shares.lost, DEFAULT_JPEG: Share(jpeg, 0.01)}
    lost |= {} if faint is None else {HEADLINE: faint}
    lost |= {} if snapped is None else {SNAP: Share(snapped, 0.01)}
    return dataclasses.replace(one, shares=dataclasses.replace(one.shares, lost=lost))


@pytest.fixture(scope="module")
def honest() -> Findings:
    return found(recolouring(), random_images(coarse=3))


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (0.02, 0.01, "Next to nothing"),
        (-0.01, 0.002, "Next to nothing"),
        (0.3, 0.05, "Part of"),
        (0.9, 0.1, "Most of"),
        (1.4, None, "Most of"),
        (0.09, 0.02, "between 5.0 % and 13 %"),
        (0.2, 0.2, "between 0.0 % and 60 %"),
    ],
)
def test_two_standard_errors_decide(honest: Findings, value: float, error: float | None, said: str) -> None:
    assert said in verdict(with_shares(honest, faint=Share(value, error)))


def test_a_network_that_hides() -> None:
    one = found(hiding(1.5), random_images())
    assert verdict(one).startswith("Most of the reconstruction relies on hidden detail")
    text = summary(one)
    assert text.startswith("A to B, 6 images. Translated back to A, a translation differs from its input by 0.0 levels")
    assert "; the difference is what comes back." in text
    assert "levels destroys half" in text
    assert "nan" not in text.lower()


def test_one_that_hides_nothing(honest: Findings) -> None:
    assert verdict(honest).startswith("Next to nothing is hidden in invisible detail: invisible noise destroys")
    assert "next to nothing of it relies on such detail" in summary(honest)


def test_a_single_image_has_no_shares() -> None:
    one = found(copying(), random_images(1))
    assert "one image alone" in verdict(one)
    text = summary(one)
    assert text.startswith("A to B, 1 image. Translated back")
    assert "the difference is" not in text


def test_more_than_all_is_explained() -> None:
    assert "misleads the way back" in summary(found(hiding(0.5), random_images()))


@pytest.mark.parametrize(
    ("follows", "lost", "said"),
    [
        (0.4, 0.3, ": the reconstruction relies on fine texture"),
        (0.4, 0.02, "but the visible picture alone is nearly enough"),
        (0.1, 0.02, ": some of it relies on fine texture"),
        (0.02, 0.01, ": next to nothing of it relies"),
    ],
)
def test_texture_that_a_jpeg_file_loses(honest: Findings, follows: float, lost: float, said: str) -> None:
    values = np.array([follows, follows + 0.01, follows - 0.01, follows, follows, follows])
    exchange = dataclasses.replace(honest.reconstructions.exchanges[1], follows=values, copy=np.full(6, 0.01))
    measured = dataclasses.replace(honest.reconstructions, exchanges=[honest.reconstructions.exchanges[0], exchange])
    one = with_shares(dataclasses.replace(honest, reconstructions=measured), jpeg=lost)
    text = summary(one)
    assert f"{percent(follows)} (standard error" in text
    assert said in text
    assert "mislead the way back" not in text
    assert ("also reads fine texture" in verdict(one)) == (follows > 0.2 and lost > 0.1)


@pytest.mark.parametrize(
    ("jpeg", "snapped", "said"),
    [
        (0.5, None, ", but an ordinary JPEG file of the translation misleads the way back."),
        (0.5, 0.3, ", but reconstructions from the classes of the label maps alone lose 30 %."),
        (0.0, 0.0, ": invisible noise destroys nothing"),
    ],
)
def test_the_verdict_names_other_losses(honest: Findings, jpeg: float, snapped: float | None, said: str) -> None:
    one = with_shares(honest, faint=Share(0.0, 0.01), jpeg=jpeg, snapped=snapped)
    assert f"Next to nothing is hidden in invisible detail{said}" in verdict(one)
    assert ("Snapping label maps" in summary(one)) == (snapped is not None)


def test_a_file_that_takes_more_than_the_detail_carried(honest: Findings) -> None:
    assert "may also mislead the way back" in summary(with_shares(honest, jpeg=0.5))


def test_few_images_are_reported() -> None:
    assert "measured on 6 images" in str(few_images(found(hiding(), random_images())))
    assert few_images(found(hiding(), random_images(10, size=16, coarse=16))) is None
    assert few_images(found(copying(), random_images(1))) is None, "another warning says more"


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
    assert row[5] == Value(value=100 * figure.value, error=100 * figure.error, unit="%")  # type: ignore[operator]


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
    assert rows[0][3] == Value(value=None, unit="dB"), "an exact reconstruction has no PSNR"
    assert rows[-1][2].value == pytest.approx(one.reconstructions.chance.mean())  # type: ignore[union-attr]
    disturbed = one.reconstructions.effects[-1]
    assert reconstruction_psnr(disturbed) == pytest.approx(float((20 * np.log10(255 / disturbed.squared**0.5)).mean()))
