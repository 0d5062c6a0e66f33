"""What a person reads in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from unpaired.evaluation.figures import DirectionResult, Evaluation, Figure, Table
from unpaired.evaluation.table import number, render


def shown(found: DirectionResult) -> str:
    evaluation = Evaluation(
        created="", command="", versions={}, model=None, data={}, directions={"a2b": found, "b2a": found}
    )
    stream = io.StringIO()
    Console(width=80, file=stream).print(render(evaluation))
    return stream.getvalue()


SHARED = {"seed": 0, "reference": "test images of B"}


def test_a_row_a_figure_with_its_bounds_and_the_protocol_once() -> None:
    figures = (
        Figure(
            name="swd",
            title="Distance of sets (features of a long name)",
            value=46.58,
            error=1.25,
            better="lower",
            group="distribution",
            protocol=SHARED,
        ),
        Figure(name="swd_64", title="Level", value=1, better="lower", group="distribution", protocol=SHARED),
        Figure(
            name="psnr",
            title="PSNR",
            value=None,
            unit="dB",
            better="higher",
            group="paired",
            protocol={**SHARED, "values": "in [-1, 1]"},
            note="all images are identical",
        ),
    )
    text = shown(
        DirectionResult(
            heading="A to B",
            figures=figures,
            bounds={"untranslated": figures[:1], "real_halves": figures[:1]},
            tables=(Table(title="Classes", columns=("class", "IoU"), rows=(("sky", 0.5), ("void", None))),),
            warnings=("few images",),
        )
    )
    assert "untranslated" in text
    assert "Level" not in text
    assert "PSNR: all images are identical." in text
    assert "warning: few images." in text
    assert "sky" in text
    assert "Do translations look like images of the target?\n" in text  # a narrow table does not wrap its title
    assert "– dB" not in text
    assert text.count("reference: test images of B") == 1
    assert text.count("values: in [-1, 1]") == 1
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("46.58 ± 1.25") == 2 * 3  # of both directions, and nothing is cut off


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.14411, 0.0046, "0.1441 ± 0.0046"),
        (338.81, 143.04, "338.8 ± 143.0"),
        (0.5, 0.0001, "0.50000 ± 0.00010"),
        (0.0442, 0.000437, "0.04420 ± 0.00044"),
        (0.5, 1e-12, "0.500000 ± 0.000000"),
        (2e-5, 3e-6, "2.00e-05 ± 3.00e-06"),
        (1.0, 0.0, "1.000 ± 0.000"),
    ],
)
def test_errors_have_the_decimals_of_their_figures(value: float, error: float, expected: str) -> None:
    figure = Figure(name="l1", title="L1", value=value, error=error, group="paired")
    assert expected in shown(DirectionResult(heading="A", figures=(figure,), bounds={}))


def test_numbers_have_the_digits_that_are_worth_reading() -> None:
    found = [number(value) for value in (None, 0.0, 1e-7, 0.0071234, 0.12345, 46.5812, 338.81, 1185.7)]
    assert found == ["–", "0.000", "1.00e-07", "0.00712", "0.123", "46.58", "338.8", "1185.7"]


LENS = {
    **SHARED,
    "features": "VGG-16 relu4_2 (a_file_with_a_long_name.safetensors)",
    "features_fingerprint": "39b540c86367" + "0" * 52,
    "features_input": "size as it is",
}


def through_a_lens(name: str, title: str, value: float, error: float) -> Figure:
    return Figure(
        name=name,
        title=f"{title} ({LENS['features']})",
        value=value,
        error=error,
        better="lower",
        group="distribution",
        protocol={**LENS, "method": f"method of {name}"},
    )


def test_bounds_of_long_names_are_not_cut_off() -> None:
    figures = (
        through_a_lens("frechet", "Fréchet distance", 1185.71, 560.81),
        through_a_lens("kernel", "Kernel distance", 643.52, 605.44),
    )
    halves = (
        through_a_lens("frechet", "Fréchet distance", 86.864, 48.125),
        through_a_lens("kernel", "Kernel distance", 6.4183, 17.125),
    )
    text = shown(DirectionResult(heading="A", figures=figures, bounds={"untranslated": figures, "real_halves": halves}))
    assert max(map(len, text.splitlines())) <= 80
    for line in ("untranslated input 1185.7 ± 560.8", "real against real 86.86 ± 48.12", "real against real 6.418 ±"):
        assert line in " ".join(text.split())
    assert "…" not in text


def test_every_fact_is_printed_once() -> None:
    figures = (
        through_a_lens("frechet", "Fréchet distance", 1.0, 0.1),
        through_a_lens("kernel", "Kernel distance", 1.0, 0.1),
        Figure(name="swd", title="SWD", value=1.0, group="distribution", protocol={**SHARED, "method": "patches"}),
    )
    text = " ".join(shown(DirectionResult(heading="A", figures=figures, bounds={}, reference_reused=True)).split())
    protocol = text[text.index("Protocol") :]
    assert protocol.count("39b540c86367") == 1
    assert "frechet, kernel: features: VGG-16" in protocol
    assert "frechet: method: method of frechet" in protocol
    assert "swd: method: patches" in protocol
    assert "kept from an earlier evaluation" in text
    assert "earlier" not in protocol  # it says how long it took, and nothing of the figures
