"""Images against the values that a model was trained on: what is refused, told and carried through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unpaired.core.errors import UserError
from unpaired.data.decode import decode
from unpaired.data.encode import write_image
from unpaired.data.formats import Meaning
from unpaired.data.reading import PICTURES
from unpaired.data.values import Domain, Image
from unpaired.models.files import translate_files
from unpaired.models.fit import GOOD_FIT, judge
from unpaired.models.translator import Translator

MakeTranslator = Callable[..., Translator]
PICTURE = Domain(channels=1)
DEEP = Domain(channels=1, dtype="uint16")
HU = Domain(channels=1, dtype="int16", range=(-1024, 3071), unit="HU")
SHARE = Domain(channels=1, dtype="float32", range=(0, 100))


def image(low: float, high: float, dtype: str) -> Image:
    return np.linspace(low, high, 64).astype(dtype).reshape(8, 8, 1)


@pytest.mark.parametrize(
    ("source", "values", "said", "found"),
    [
        (PICTURE, image(0, 255, "uint8"), Meaning(), "good"),
        (PICTURE, image(0, 65535, "uint16"), Meaning(), "good"),
        (PICTURE, image(0, 4095, "uint16"), Meaning(), "narrow"),
        (PICTURE, image(0, 4095, "uint16"), Meaning(range=(0, 4095)), "12|values from 0 to 4095"),
        (PICTURE, image(-1000, 2000, "int16"), Meaning(), "one grey"),
        (DEEP, image(0, 4095, "uint16"), Meaning(range=(0, 4095)), "good"),
        (DEEP, image(0, 255, "uint8"), Meaning(), "good"),
        (HU, image(0, 255, "uint8"), Meaning(), "8-bit image"),
        (HU, image(0, 255, "uint8"), Meaning(unit="HU"), "good"),
        (HU, image(0, 3000, "int16"), Meaning(unit="K"), "in K"),
        (HU, image(-1000, 2000, "int16"), Meaning(unit="HU"), "good"),
        (HU, image(0, 1, "float32"), Meaning(), "narrow"),
        (HU, image(-2000, 2000, "int16"), Meaning(), "outside"),
        (SHARE, image(0, 100, "uint8"), Meaning(), "good"),
        (SHARE, image(0, 200, "uint8"), Meaning(), "outside"),
    ],
)
def test_the_rule(source: Domain, values: Image, said: Meaning, found: str) -> None:
    if found not in ("good", "narrow", "outside"):
        with pytest.raises(UserError, match=found):
            judge(values, None, source, lambda: said)
        return
    fit = judge(values, None, source, lambda: said)
    assert (fit.outside > 0, fit.is_narrow) == (found == "outside", found == "narrow")


def test_values_outside_are_told_or_refused(make_identity: MakeTranslator, tmp_path: Path) -> None:
    inside, outside = image(-1000, 2000, "int16"), image(-1000, 2000, "int16")
    outside[0, :4] = -2000
    (tmp_path / "in").mkdir()
    write_image(inside, tmp_path / "in" / "a.tif")
    write_image(outside, tmp_path / "in" / "b.tif")
    report = translate_files(make_identity(HU, HU), tmp_path / "in", tmp_path / "out")
    assert (report.written, report.clipped) == (2, 1)
    assert "1 image of 2 has values outside" in report.notices[0]
    assert "-1024 to 3071 HU" in report.notices[0]
    assert "6.25 %" in report.notices[0]
    written = decode(tmp_path / "out" / "b.tif")
    assert set(written[0, :4, 0].tolist()) == {-1024}
    np.testing.assert_allclose(written[1:].astype(int), outside[1:].astype(int), atol=1)
    refused = translate_files(make_identity(HU, HU), tmp_path / "in", tmp_path / "r", out_of_range="refuse")
    assert [bad.path.name for bad in refused.failed] == ["b.tif"]
    with pytest.raises(UserError, match="clip, refuse"):
        translate_files(make_identity(HU, HU), tmp_path / "in", tmp_path / "x", out_of_range="keep")  # type: ignore[arg-type]


def test_gaps_come_back(make_identity: MakeTranslator, tmp_path: Path) -> None:
    kelvin = Domain(channels=1, dtype="float32", range=(250, 350), unit="K")
    values = image(260, 340, "float32")
    values[2:4, 3] = np.nan
    write_image(values, tmp_path / "a.tif")
    translator = make_identity(kelvin, kelvin)
    translate_files(translator, tmp_path / "a.tif", tmp_path / "out")
    back, valid = PICTURES.read_valid(tmp_path / "out" / "a.tif")
    assert valid is not None
    np.testing.assert_array_equal(valid, ~np.isnan(values[:, :, 0]))
    np.testing.assert_allclose(back, values, atol=1e-4)
    translate_files(translator, tmp_path / "a.tif", tmp_path / "eight", bit_depth=8)
    assert set(decode(tmp_path / "eight" / "a.png")[2:4, 3, 0].tolist()) == {0}  # the low end
    np.testing.assert_allclose(translator(values), values, atol=1e-4)
    assert translator.translate_images([values])[0].image.dtype == np.float32
    with pytest.raises(UserError, match="not finite"):
        translator(np.full((8, 8), np.nan, np.float32))


def test_a_part_without_any_value_fits() -> None:
    values = np.full((8, 8, 1), np.nan, np.float32)
    assert judge(values, np.zeros((8, 8), bool), HU) == GOOD_FIT
