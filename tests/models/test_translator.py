from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.data.decode import decode
from unpaired.data.labels import Labels, encoded
from unpaired.data.reading import Reading
from unpaired.data.values import Domain
from unpaired.models.engines import choice
from unpaired.models.files import translate_files
from unpaired.models.folder import CHECKPOINTS, DamagedError, read_card, read_tensors, write_model
from unpaired.models.padding import pad_to
from unpaired.models.translator import Translator
from unpaired.networks import ResnetConfig, UnetConfig, generator_from_description

MakeModel = Callable[..., Path]
MakeTranslator = Callable[..., Translator]

GREY, COLOUR = Domain(channels=1), Domain(channels=3)


def random_image(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)


# ----------------------------------------------------------------------------------------------------------- loading


def test_the_network_is_the_stored_one(make_model: MakeModel) -> None:
    folder = make_model()
    card = read_card(folder)
    image = torch.rand(2, 3, 16, 20) * 2 - 1
    for direction in ("a2b", "b2a"):
        network = generator_from_description(card.translators[direction].network).eval()
        network.load_state_dict(read_tensors(folder, card.translators[direction].weights))
        translator = Translator.load(folder, direction, device="cpu")
        with torch.no_grad():
            torch.testing.assert_close(translator(image), network(image), rtol=0, atol=0)


def test_the_direction_may_be_left_out(make_model: MakeModel) -> None:
    assert Translator.load(make_model("both"), device="cpu").direction == "a2b"
    only = Translator.load(make_model("only", directions=("b2a",), a=GREY), device="cpu")
    assert only.direction == "b2a"
    assert (only.source.channels, only.target.channels) == (3, 1)
    assert only.notices == []


def test_an_unknown_direction_names_what_there_is(make_model: MakeModel) -> None:
    with pytest.raises(UserError, match=r"direction = ab2.*a2b, b2a"):
        Translator.load(make_model(), "ab2")
    with pytest.raises(UserError, match=r'no direction "a2b"; it has b2a'):
        Translator.load(make_model("only", directions=("b2a",)), "a2b")


def test_a_run_is_loaded_from_its_newest_intact_checkpoint(make_model: MakeModel) -> None:
    make_model(f"run/{CHECKPOINTS}/000000100", directions=("a2b",))
    newest = make_model(f"run/{CHECKPOINTS}/000000200")
    run = newest.parents[1]
    assert Translator.load(run, "b2a", device="cpu").notices == []
    weights = newest / "a2b.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    translator = Translator.load(run, device="cpu")
    assert len(translator.notices) == 1
    assert "000000200 is damaged: a2b.safetensors" in translator.notices[0]


def test_weights_that_do_not_fit_the_description_are_refused(make_model: MakeModel) -> None:
    folder = make_model()
    tensors = read_tensors(folder, "a2b.safetensors")
    key = next(iter(tensors))
    for changed in (
        {**tensors, key: tensors[key][:1]},
        {**tensors, "more": tensors[key].clone()},
        {"less": tensors[key]},
    ):
        write_model(folder, read_card(folder), {"a2b.safetensors": changed})
        with pytest.raises(DamagedError, match=r"a2b\.safetensors does not fit the network"):
            Translator.load(folder, "a2b")


def rewrite_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a model whose card says something else and whose checksums are right: what an attacker would do."""
    document = json.loads((folder / "model.json").read_text())
    weights = {name: read_tensors(folder, name) for name in ("a2b.safetensors", "b2a.safetensors")}
    card = read_card(folder)
    change(document)
    write_model(folder, card, weights, {"model.json": document})


def set_channels(document: dict[str, Any]) -> None:
    document["domains"]["a"]["channels"] = 5


def set_direction(document: dict[str, Any]) -> None:
    document["translators"]["a2c"] = document["translators"].pop("b2a")


def drop_domain(document: dict[str, Any]) -> None:
    del document["domains"]["b"]


def drop_directions(document: dict[str, Any]) -> None:
    document["translators"] = {}


def climb_out(document: dict[str, Any]) -> None:
    document["translators"]["a2b"]["weights"] = "../../weights.safetensors"


def make_huge(document: dict[str, Any]) -> None:
    document["translators"]["a2b"]["network"] |= {"width": 1024, "blocks": 100}


def make_unknown(document: dict[str, Any]) -> None:
    document["translators"]["a2b"]["network"]["family"] = "os.system"


@pytest.mark.parametrize(
    "change", [set_channels, set_direction, drop_domain, drop_directions, climb_out, make_huge, make_unknown]
)
def test_a_hostile_card_is_an_error_for_the_user(
    make_model: MakeModel, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = make_model()
    rewrite_card(folder, change)
    with pytest.raises(UserError):
        Translator.load(folder)


def test_loading_leaves_the_random_state_alone(make_model: MakeModel) -> None:
    folder = make_model()
    state = torch.get_rng_state()
    translator = Translator.load(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert not translator.network.training
    assert not any(weight.requires_grad or weight.is_meta for weight in translator.network.parameters())


def test_dropout_is_off(make_model: MakeModel) -> None:
    folder = make_model(config=ResnetConfig(width=4, blocks=2, dropout=True))
    translator = Translator.load(folder, device="cpu")
    image = random_image(16, 16, 3)
    np.testing.assert_array_equal(translator(image), translator(image))


def test_translating_needs_none_of_the_training_code(make_model: MakeModel) -> None:
    code = (
        "import sys, numpy, unpaired\n"
        "translator = unpaired.Translator.load(sys.argv[1], device='cpu')\n"
        "assert translator(numpy.zeros((9, 7, 3), numpy.uint8)).shape == (9, 7, 3)\n"
        "print(sorted(m for m in sys.modules if m.startswith(('unpaired.training', 'unpaired.methods'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, make_model()], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there(make_model: MakeModel, device: str) -> None:
    with pytest.raises(UserError, match=f"device = {device}: cannot be used"):
        Translator.load(make_model(), device=device)


def test_precision(make_model: MakeModel) -> None:
    folder = make_model()
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    exact = Translator.load(folder, device="cpu")(image)
    for precision in ("bf16", "fp16"):
        reduced = Translator.load(folder, device="cpu", precision=precision)(image)
        assert reduced.dtype == torch.float32
        assert not torch.equal(reduced, exact)
        assert (reduced - exact).abs().mean() < 0.05
    with pytest.raises(UserError, match=r'no precision "bf61".*Did you mean "bf16"'):
        Translator.load(folder, precision="bf61")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_agree(make_model: MakeModel, engine: Any) -> None:
    folder = make_model(config=UnetConfig(width=4, depth=2), directions=("a2b",), b=GREY)
    exact = Translator.load(folder, device="cpu")
    assert exact.describe_engine() == "PyTorch, fp32; equals float32"
    translator = Translator.load(folder, device="auto", engine=engine)
    for size in ((1, 3), (16, 20), (31, 9)):
        array = random_image(*size, 3)
        assert np.abs(translator(array).astype(int) - exact(array)).max() <= 1
    tensor = (torch.rand(2, 3, 9, 14) * 2 - 1).double()
    torch.testing.assert_close(translator(tensor), exact(tensor), rtol=0, atol=1e-4)
    assert translator(tensor).dtype == torch.float64
    assert translator(torch.zeros(0, 3, 8, 9)).shape == (0, 1, 8, 9)
    assert 0 < translator.exactness.largest < 1e-4
    assert f"fp32; differs from float32 by at most {translator.exactness.largest:.2g}" in translator.describe_engine()
    with pytest.raises(UserError, match="no pixels"):
        translator(torch.zeros(1, 3, 0, 8))


def test_auto_computes_in_float32_for_more_than_8_bits(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    monkeypatch.setattr(choice, "SUFFICIENT_PSNR", 0.0)
    eight, deep = make_model("eight"), make_model("deep", b=Domain(channels=3, dtype="uint16"))
    load = partial(Translator.load, device="cpu", precision="auto")
    assert load(eight).engine.precision == "bf16"
    assert load(eight, fine=True).engine.precision == "fp32"
    assert load(deep).engine.precision == "fp32"


# ------------------------------------------------------------------------------------------------------------- sizes

NETWORKS = {
    "resnet": ResnetConfig(width=2, blocks=1),
    "nearest": ResnetConfig(width=2, blocks=1, upsampling="nearest"),
    "unet": UnetConfig(depth=5, width=2),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), family=st.sampled_from(list(NETWORKS)))
def test_the_output_has_the_size_of_the_input(make_model: MakeModel, height: int, width: int, family: str) -> None:
    folder = make_model(family, config=NETWORKS[family], directions=("a2b",))
    translator = Translator.load(folder, device="cpu")
    array = random_image(height, width, 3)
    assert translator(array).shape == (height, width, 3)
    assert translator(PIL.Image.fromarray(array)).size == (width, height)
    tensor = translator(torch.zeros(2, 3, height, width))
    assert tensor.shape == (2, 3, height, width)
    assert tensor.isfinite().all()


def test_an_odd_size_is_padded_by_reflection_and_cropped(make_model: MakeModel) -> None:
    translator = Translator.load(make_model(), device="cpu")
    image = torch.rand(1, 3, 13, 3) * 2 - 1
    padded, _ = pad_to(image, 4, 8)
    assert padded.shape == (1, 3, 16, 8)
    torch.testing.assert_close(translator(image), translator(padded)[..., :13, :3], rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64"])
def test_an_array_keeps_its_type_and_its_values(make_identity: MakeTranslator, dtype: str) -> None:
    image = random_image(11, 6, 3, dtype=dtype)
    before = image.copy()
    result = make_identity()(image)
    assert result.dtype == image.dtype
    np.testing.assert_allclose(result, image, rtol=0, atol=1e-3 if dtype == "float16" else 1e-6)
    np.testing.assert_array_equal(image, before)


def test_the_dimensions_of_an_array(make_identity: MakeTranslator) -> None:
    grey = random_image(5, 6)
    np.testing.assert_array_equal(make_identity(GREY, GREY)(grey), grey)
    np.testing.assert_array_equal(make_identity(GREY, GREY)(grey[:, :, None]), grey[:, :, None])
    np.testing.assert_array_equal(make_identity()(grey), np.repeat(grey[:, :, None], 3, axis=2))
    assert make_identity(COLOUR, GREY)(grey).shape == (5, 6)
    assert make_identity(COLOUR, GREY)(random_image(5, 6, 3)).shape == (5, 6, 1)


def test_colour_becomes_grey_as_in_pillow(make_identity: MakeTranslator) -> None:
    colour = random_image(9, 8, 3)
    expected = np.asarray(PIL.Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(make_identity(GREY, GREY)(colour)[:, :, 0], expected)


def test_declared_ranges(make_identity: MakeTranslator) -> None:
    ct = Domain(channels=1, dtype="uint16", range=(0.0, 4000.0))
    mr = Domain(channels=1, dtype="int16", range=(-1000.0, 1000.0))
    image = np.array([[0, 2000, 4000, 60_000]], np.uint16)
    translator = make_identity(ct, mr)
    result = translator(image)
    assert result.dtype == np.int16  # uint16 could not hold the target's values
    np.testing.assert_array_equal(result, [[-1000, 0, 1000, 1000]])
    floats = translator(image.astype(np.float64))
    assert floats.dtype == np.float64
    np.testing.assert_allclose(floats, [[-1000, 0, 1000, 1000]], atol=1e-3)
    np.testing.assert_array_equal(translator(image.astype(np.int64)), result)
    # The target declares nothing: the input's type, from end to end.
    np.testing.assert_array_equal(make_identity(ct, GREY)(image), [[0, 32768, 65535, 65535]])


def test_types_without_a_range(make_identity: MakeTranslator) -> None:
    mask = np.array([[True, False]])
    result = make_identity(GREY, GREY)(mask)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, [[255, 0]])
    with pytest.raises(UserError, match="int32"):
        make_identity(GREY, GREY)(np.zeros((4, 4), np.int32))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 127.0), r"lie in \[0, 1\].*127"),
        (np.full((4, 4, 3), -0.5, np.float32), r"lie in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), "not finite"),
        (np.full((4, 4, 3), np.inf), "not finite"),
        (np.zeros((1, 3, 4, 4), np.uint8), "received 1 x 3 x 4 x 4"),
        (np.zeros(4, np.uint8), "H x W"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((4, 4, 3), np.complex64), "complex64"),
        (np.zeros((4, 4, 3), object), "object"),
        ("photo.jpg", "type str.*PIL image"),
        (None, "type NoneType"),
        (torch.zeros(3, 8, 8), r"\[N, 3, H, W\]; received \[3, 8, 8\]"),
        (torch.zeros(1, 1, 8, 8), "not converted"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating-point"),
        (torch.full((1, 3, 8, 8), 255.0), r"\[-1, 1\]; received an absolute value of 255"),
        (torch.full((1, 3, 8, 8), torch.nan), r"\[-1, 1\]"),
        (torch.zeros(1, 3, 0, 8), "no pixels"),
    ],
)
def test_what_would_be_misread_is_refused(make_identity: MakeTranslator, image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_identity()(image)
    with pytest.raises(UserError, match=message):
        make_identity()([image])


# --------------------------------------------------------------------------------------------------------------- PIL


MODES = {
    "1": ["L", "1"],
    "L": ["L"],
    "LA": ["LA"],
    "La": ["LA", "La"],
    "P": ["RGB", "P"],
    "PA": ["RGB", "P", "PA"],
    "RGB": ["RGB"],
    "RGBA": [],
    "RGBa": ["RGBa"],
    "RGBX": ["RGB", "RGBX"],
    "CMYK": ["RGB", "CMYK"],
    "YCbCr": ["RGB", "YCbCr"],
    "HSV": ["RGB", "HSV"],
    "LAB": ["RGB", "LAB"],
}
"""Modes of Pillow and the conversions that lead there from RGBA."""


@pytest.mark.parametrize("mode", list(MODES))
def test_pil_images_of_every_mode(make_identity: MakeTranslator, mode: str) -> None:
    image = PIL.Image.fromarray(random_image(9, 5, 4), "RGBA")
    for step in MODES[mode]:
        image = to_lab(image) if step == "LAB" else image.convert(step)
    assert image.mode == mode
    result = make_identity()(image)
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa")
    assert (result.mode, result.size) == ("RGBA" if transparent else "RGB", (5, 9))
    if not transparent and mode != "LAB":
        np.testing.assert_array_equal(np.asarray(result), np.asarray(image.convert("RGB")))
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(np.asarray(result)[:, :, 3], np.asarray(image)[:, :, -1])
    assert make_identity(GREY, GREY)(image).mode == "L"


def to_lab(image: PIL.Image.Image) -> PIL.Image.Image:
    profiles = PIL.ImageCms.createProfile("sRGB"), PIL.ImageCms.createProfile("LAB")
    converted = PIL.ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


def test_transparency_is_laid_over_white_for_the_network_and_kept(make_identity: MakeTranslator) -> None:
    image = PIL.Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    result = make_identity()(image)
    np.testing.assert_array_equal(np.asarray(result)[:, :, :3], 255)
    np.testing.assert_array_equal(np.asarray(result)[:, :, 3], 0)


def test_deep_pil_images(make_identity: MakeTranslator) -> None:
    sixteen = PIL.Image.fromarray(random_image(4, 7, dtype=np.uint16))
    assert sixteen.mode == "I;16"
    result = make_identity(GREY, GREY)(sixteen)
    assert result.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(result), np.asarray(sixteen))
    floats = PIL.Image.fromarray(random_image(4, 7, dtype=np.float32))
    result = make_identity(GREY, GREY)(floats)
    assert result.mode == "F"
    np.testing.assert_allclose(np.asarray(result), np.asarray(floats), atol=1e-6)
    assert make_identity(COLOUR, COLOUR)(sixteen).mode == "RGB"


def test_pil_images_and_declared_ranges(make_identity: MakeTranslator) -> None:
    ramp = PIL.Image.fromarray(np.array([[0, 255]], np.uint8))
    deep = Domain(channels=1, dtype="uint16", range=(0.0, 4095.0))
    np.testing.assert_array_equal(np.asarray(make_identity(GREY, deep)(ramp)), [[0, 4095]])
    signed = Domain(channels=1, dtype="int16", range=(-7.0, 7.0))
    np.testing.assert_array_equal(np.asarray(make_identity(GREY, signed)(ramp)), [[-7, 7]])
    # Colour is 8 bit in Pillow whatever the domain declares.
    colour = Domain(channels=3, dtype="float32", range=(-1.0, 1.0))
    np.testing.assert_array_equal(np.asarray(make_identity(GREY, colour)(ramp)), [[[0] * 3, [255] * 3]])


def test_a_pil_image_cannot_hold_five_channels(make_identity: MakeTranslator) -> None:
    with pytest.raises(UserError, match="5 channels, which a PIL image cannot hold"):
        make_identity(GREY, Domain(channels=5))(PIL.Image.new("L", (4, 4)))
    assert make_identity(GREY, Domain(channels=5))(np.zeros((4, 4), np.uint8)).shape == (4, 4, 5)


def test_a_photo_is_turned_upright(make_identity: MakeTranslator, tmp_path: Path) -> None:
    pixels = random_image(6, 10, 3)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with PIL.Image.open(tmp_path / "turned.png") as image:
        result = make_identity()(image)
    np.testing.assert_array_equal(np.asarray(result), np.rot90(pixels, -1))


def test_a_truncated_file_opened_by_pillow(make_identity: MakeTranslator, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    PIL.Image.fromarray(random_image(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with PIL.Image.open(path) as image, pytest.raises(UserError, match="cannot be decoded"):
        make_identity()(image)


# ----------------------------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_tensor_keeps_its_type(make_identity: MakeTranslator, dtype: torch.dtype) -> None:
    image = (torch.rand(2, 3, 9, 5) * 2 - 1).to(dtype)
    result = make_identity()(image)
    assert result.dtype == dtype
    torch.testing.assert_close(result, image, rtol=0, atol=1e-7)


def test_no_gradient_is_recorded_and_the_result_may_be_differentiated(make_model: MakeModel) -> None:
    translator = Translator.load(make_model(), device="cpu")
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    result = translator(image)
    assert not result.requires_grad
    scale = torch.ones(1, requires_grad=True)
    (result * scale).sum().backward()
    assert scale.grad is not None
    assert image.grad is None


def test_an_empty_batch(make_identity: MakeTranslator) -> None:
    assert make_identity()(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)


# ------------------------------------------------------------------------------------------------------------- lists


def test_a_list_equals_its_images_one_by_one(make_model: MakeModel) -> None:
    translator = Translator.load(make_model(), device="cpu")
    sizes = [(8, 8), (13, 16), (8, 7), (16, 13), (16, 16), (5, 8), (1, 1), (7, 7)] * 2
    arrays = [random_image(height, width, 3, seed=index) for index, (height, width) in enumerate(sizes)]
    mixed: list[Any] = [
        *arrays,
        PIL.Image.fromarray(arrays[0]),
        torch.zeros(2, 3, 9, 9),
        arrays[0].astype(np.uint16),
    ]
    results = translator(mixed)
    assert len(results) == len(mixed)
    for image, result in zip(mixed, results, strict=True):
        alone = translator(image)
        assert type(result) is type(alone)
        if isinstance(image, torch.Tensor):
            assert torch.equal(result, alone)
        else:
            difference = np.asarray(result).astype(int) - np.asarray(alone).astype(int)
            assert np.abs(difference).max() <= 1
    assert translator([]) == []


# ---------------------------------------------------------------------------------------------------------- one seam

PALETTE = ((200, 30, 10), (10, 200, 40), (0, 0, 250))


@pytest.mark.parametrize(
    "target",
    [
        Domain(channels=3),
        Domain(channels=3, dtype="uint16"),
        Domain(channels=1, dtype="float32"),
        Domain(channels=3, labels=Labels(kind="index", palette=PALETTE)),
        Domain(channels=3, labels=Labels(kind="colour", palette=PALETTE)),
        Domain(channels=3, labels=Labels(kind="index", palette=PALETTE, feed="one_hot")),
    ],
    ids=str,
)
def test_what_is_measured_is_what_is_written(make_model: MakeModel, tmp_path: Path, target: Domain) -> None:
    folder = make_model(b=target)
    translator = Translator.load(folder, "a2b", device="cpu")
    photos = tmp_path / "photos"
    photos.mkdir()
    sizes = [(16, 20), (16, 20), (9, 13), (18, 20)]
    for number, size in enumerate(sizes):
        PIL.Image.fromarray(random_image(*size, 3, seed=number)).save(photos / f"{number}.png")
    translate_files(translator, [photos], tmp_path / "out", format="tiff")
    read = Reading(labels=target.labels)
    measured = translator.translate_images([decode(photos / f"{number}.png") for number in range(len(sizes))])
    for number, translation in enumerate(measured):
        written = read.read(tmp_path / "out" / f"{number}.tiff")
        if target.labels is not None:
            written = encoded(np.asarray(written[:, :, 0], np.uint8), target.labels)
        np.testing.assert_array_equal(translation.image, written)
        assert translation.values.shape[:2] == sizes[number]


def test_a_reconstruction_is_not_rounded_in_between(make_model: MakeModel) -> None:
    folder = make_model()
    forward, backward = (Translator.load(folder, way, device="cpu") for way in ("AtoB", "BtoA"))
    image = random_image(16, 16, 3)
    x = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None] / 127.5 - 1
    chained = backward.translate_tensor(forward.translate_tensor(x))
    translation = forward.translate_images([image])[0]
    found = backward.translate_values([translation.values])[0]
    np.testing.assert_allclose(found.values, chained[0].permute(1, 2, 0), atol=1e-4)


def test_domains_have_names(make_model: MakeModel) -> None:
    named = make_model("named", a=Domain(channels=3, name="horse"), b=Domain(channels=3, name="zebra"))
    translator = Translator.load(named, "zebra2horse", device="cpu")
    assert (translator.direction, translator.heading) == ("b2a", "zebra to horse")
    assert "zebra to horse" in repr(translator)
    assert read_card(named).domains["a"].name == "horse"
