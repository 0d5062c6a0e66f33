"""Evaluations in Python: degenerate images, own features, caches, memory."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from evaluations import (
    SmallNetwork,
    SmallVectors,
    pictures,
    write_data,
    write_pictures,
    write_small_model,
    write_small_run,
)
from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.evaluation import Options, evaluate, settled, start, statistics
from unpaired.metrics.estimate import frechet_estimate
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.manifold import precision_recall
from unpaired.networks.inception import Inception
from unpaired.report.results import Direction, Evaluation

NETWORK = "evaluations:small_network"
VECTORS = "evaluations:small_vectors"


def compared(real: Path, fake: Path, **options: Any) -> Direction:
    return evaluate(Options(real=real, fake=fake, device="cpu", **options)).directions["folders"]


def signed(images: list[Any]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1 for image in images])


def test_own_features_are_measured_as_by_hand_and_never_called_fid(tmp_path: Path) -> None:
    one, two = pictures(24), pictures(20, seed=1)
    real, fake = write_pictures(tmp_path / "real", one), write_pictures(tmp_path / "fake", two)
    found = compared(real, fake, features=VECTORS)
    with torch.inference_mode():
        names = sorted(path.name for path in real.iterdir())
        order = [int(Path(name).stem) for name in names]
        a = SmallVectors()(signed([one[index] for index in order])).numpy()
        order = [int(path.stem) for path in sorted(fake.iterdir())]
        b = SmallVectors()(signed([two[index] for index in order])).numpy()
    frechet, kernel = frechet_estimate(a, b), kernel_distance(a, b)
    assert found.figure("frechet").value == pytest.approx(frechet.value, rel=1e-4)
    assert found.figure("frechet").error == pytest.approx(frechet.error, rel=1e-3)
    assert found.figure("kernel").value == pytest.approx(kernel.value, rel=1e-4)
    assert found.figure("kernel").error == pytest.approx(kernel.error, rel=1e-3)
    assert (found.figure("precision").value, found.figure("recall").value) == precision_recall(a, b)
    assert found.figure("frechet").protocol["features"] in found.figure("frechet").title
    assert not any("FID" in one.title or "KID" in one.title for one in found.figures)
    assert found.figure("frechet").protocol["features_fingerprint"]


def test_a_device_that_is_not_there_is_told_though_nothing_needs_it(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(4))
    with pytest.raises(UserError, match=r"device.*gpu"):
        evaluate(Options(real=real, fake=real, metrics=("swd",), device="gpu"))


def test_identical_folders(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(12))
    found = compared(real, real, features=NETWORK, paired=True, input=real)
    assert found.figure("swd").value == 0
    assert found.figure("frechet").value == pytest.approx(0, abs=1e-6)
    assert (found.figure("precision").value, found.figure("recall").value) == (1, 1)
    assert found.figure("l1").value == 0
    assert found.figure("psnr").value == 100
    assert "identical" in (found.figure("psnr").note or "")
    assert found.figure("ssim").value == pytest.approx(1)
    assert found.figure("structure").value == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_images_are_told(tmp_path: Path, count: int) -> None:
    real = write_pictures(tmp_path / "real", pictures(count))
    fake = write_pictures(tmp_path / "fake", pictures(count, seed=1))
    found = compared(real, fake, features=VECTORS)
    told = " ".join(found.warnings)
    assert "Precision (evaluations:small_vectors) is left out" in told
    assert ("it needs 2 images in each set" in told) == (count == 1)
    assert ("covariances are singular" in told) == (count > 1)  # eight features
    assert found.figure("swd").value is not None


def test_constant_images(tmp_path: Path) -> None:
    flat = [np.full((32, 32, 3), value, np.uint8) for value in (0, 100, 100, 255)]
    real, fake = write_pictures(tmp_path / "real", flat), write_pictures(tmp_path / "fake", flat[::-1])
    found = compared(real, fake, features=NETWORK, input=real, paired=True)
    assert all(one.value is not None for one in found.figures)


def test_mixed_sizes_depths_and_channels(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(3, 24))
    deep = [image.astype(np.uint16) * 257 for image in pictures(3, 32)]
    (tmp_path / "fake").mkdir()
    for index, image in enumerate(deep):
        tifffile.imwrite(tmp_path / "fake" / f"{index}.tif", image, photometric="rgb")
    write_pictures(tmp_path / "fake", pictures(1, (40, 32), channels=1), "grey.png")
    found = compared(real, tmp_path / "fake")
    assert found.figure("swd").protocol["size"] == "32 x 32"
    assert any("different sizes" in warning for warning in found.warnings)
    eight = write_pictures(tmp_path / "eight", pictures(3, 32))
    write_pictures(eight, pictures(1, (40, 32), channels=1), "grey.png")
    assert compared(real, eight).figure("swd").value == pytest.approx(found.figure("swd").value, rel=1e-3)


def test_deep_translations_are_measured_in_their_own_levels(tmp_path: Path) -> None:
    from unpaired.data.values import Domain

    model = write_small_model(tmp_path / "model", {"a": Domain(channels=3), "b": Domain(channels=3, dtype="uint16")})
    data = write_data(tmp_path / "data")
    found = evaluate(Options(model=model, data=data, device="cpu")).directions
    assert found["a2b"].figures[0].protocol["translations_are"] == "as PNG files hold them: 16-bit levels"
    assert found["b2a"].figures[0].protocol["translations_are"] == "as PNG files hold them: 8-bit levels"


def test_statistics_of_real_images_are_kept_by_content(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(9))
    fake = write_pictures(tmp_path / "fake", pictures(8, seed=1))
    first = compared(real, fake, features=VECTORS)
    kept = user_cache_folder() / "statistics"
    assert len(list(kept.glob("*.npz"))) == 3  # patches, colours, and features
    real.rename(tmp_path / "elsewhere")
    again = compared(tmp_path / "elsewhere", fake, features=VECTORS)
    assert [one.value for one in again.figures] == [one.value for one in first.figures]
    assert not first.reference_reused
    assert again.reference_reused
    for changed in ({"seed": 1}, {"size": (24, 24)}, {"features": NETWORK}):
        found = compared(tmp_path / "elsewhere", fake, **{"features": VECTORS, **changed})  # type: ignore[arg-type]
        assert not found.reference_reused
    write_pictures(tmp_path / "elsewhere", pictures(1, seed=9))  # another 0.png
    assert not compared(tmp_path / "elsewhere", fake).reference_reused


def test_statistics_of_images_prepared_otherwise_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path / "data", size=48)
    settings = {"root": str(data), "preprocess": "scale_width_and_crop", "crop_size": 32}
    runs = [
        write_small_run(tmp_path / f"run-{width}", {**settings, "load_size": width}, directions=("a2b",))
        for width in (32, 64)
    ]
    options = [Options(model=run, metrics=("swd",), bounds=False, device="cpu") for run in runs]
    _, second = (evaluate(one).directions["a2b"] for one in options)
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "another-cache"))
    fresh = evaluate(options[1]).directions["a2b"]
    assert second.figure("swd").value == fresh.figure("swd").value
    assert "scaled to a width of 64" in str(second.figure("swd").protocol["prepared"])


def test_damaged_statistics_are_made_again(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(9))
    fake = write_pictures(tmp_path / "fake", pictures(8, seed=1))
    first = compared(real, fake, metrics=("swd",))
    [kept] = (user_cache_folder() / "statistics").glob("*.npz")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    again = compared(real, fake, metrics=("swd",))
    assert again.figure("swd").value == first.figure("swd").value
    assert not again.reference_reused
    assert compared(real, fake, metrics=("swd",)).reference_reused


def test_halves_of_the_real_images_and_the_untranslated_input(tmp_path: Path) -> None:
    images = pictures(12)
    real = write_pictures(tmp_path / "real", images, "{:02d}.png")
    fake = write_pictures(tmp_path / "fake", [255 - image for image in images], "{:02d}.png")
    found = compared(real, fake, input=real)
    [untranslated] = [one for one in found.bounds["untranslated"] if one.name == "swd"]
    assert untranslated.value == 0
    even = write_pictures(tmp_path / "even", images[::2])
    odd = write_pictures(tmp_path / "odd", images[1::2])
    [halves] = [one for one in found.bounds["real_halves"] if one.name == "swd"]
    assert halves.value == pytest.approx(compared(even, odd).figure("swd").value, rel=1e-6)
    assert halves.protocol["reference_images"] == halves.protocol["translations"] == 6
    assert not compared(real, fake, input=real, bounds=False).bounds


def test_figures_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = write_small_model(tmp_path / "model"), write_data(tmp_path / "data")
    results = []
    for size in (1, 3):
        monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / f"cache-{size}"))
        options = Options(model=model, data=data, device="cpu", direction="a2b", batch_size=size, features=NETWORK)
        results.append(evaluate(options))
    directions = [found.directions["a2b"] for found in results]
    for figures in (
        [found.figures for found in directions],
        *([found.bounds[name] for found in directions] for name in ("untranslated", "real_halves")),
    ):
        one, two = ([figure.value for figure in each] for each in figures)
        assert len(one) > 4
        assert one == pytest.approx(two, rel=1e-4)
    assert not directions[1].reference_reused


def test_a_cache_that_cannot_be_written_only_takes_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "file" / "cache"))
    real = write_pictures(tmp_path / "real", pictures(4))
    for _ in range(2):
        found = compared(real, real)
        assert (found.figure("swd").value, found.reference_reused) == (0, False)


def test_memory_is_the_same_for_any_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the samples are full, four times the images take no more memory."""
    monkeypatch.setattr(statistics, "PATCHES", 512)
    monkeypatch.setattr(statistics, "ROWS", 8)
    monkeypatch.setattr(statistics, "COLOURS", 512)
    peaks = []
    for count in (40, 160):
        folder = write_pictures(tmp_path / str(count), pictures(count, 64))
        tracemalloc.start()
        compared(folder, folder, features=VECTORS, input=folder, paired=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    images = 120 * 64 * 64 * 3
    assert peaks[1] - peaks[0] < images / 2


def test_a_method_that_learns_from_pairs_is_measured_by_pairs(tmp_path: Path) -> None:
    for seed, part in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(tmp_path / "data" / part, pictures(4, 192, seed))
    settings = {"root": str(tmp_path / "data"), "crop_size": 192}
    run = write_small_run(tmp_path / "run", settings, "pix2pix", directions=("a2b",))
    found = evaluate(Options(model=run, device="cpu", metrics=("paired",))).directions["a2b"]
    assert [one.name for one in found.figures] == ["l1", "psnr", "ssim", "ms_ssim"]
    with pytest.raises(UserError, match=r"reconstruction cannot be measured here: A to B: .*one direction only"):
        evaluate(Options(model=run, device="cpu", metrics=("reconstruction",)))


def test_of_training_images_some_are_measured_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "TRAINING_IMAGES", 4)
    for seed, part in enumerate(("trainA", "trainB")):
        write_pictures(tmp_path / "data" / part, pictures(9 - 2 * seed, 32, seed))
    run = write_small_run(tmp_path / "run", {"root": str(tmp_path / "data"), "crop_size": 32})
    for asked, counted in ((None, (4, 4)), (8, (8, 7)), (1000, (9, 7))):
        document = evaluate(Options(model=run, device="cpu", metrics=("swd",), bounds=False, images=asked))
        figure = document.directions["a2b"].figures[0]
        assert (figure.protocol["translations"], figure.protocol["reference_images"]) == counted
        assert any("spread evenly" in notice for notice in document.notices) is (asked is None)


def test_the_best_checkpoint_of_a_run_has_a_place_of_its_own(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run", {"root": str(write_data(tmp_path / "data"))})
    (run / "checkpoints" / "000000012").rename(run / "best")
    assert settled(Options(model=run))[1:] == (run / "evaluations" / "best", [])
    assert evaluate(Options(model=run / "best", device="cpu", images=2)).data["split"] == "test"


def test_a_checkpoint_that_is_saved_meanwhile_changes_nothing(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run", {"root": str(write_data(tmp_path / "data"))})
    options, place, passed_over = settled(Options(model=run, device="cpu", images=2))
    shutil.copytree(run / "checkpoints" / "000000012", run / "checkpoints" / "000000024")
    assert passed_over == []
    assert place == run / "evaluations" / "000000012"
    assert evaluate(options).model.checkpoint == "000000012"


def test_a_broken_model_is_told(tmp_path: Path) -> None:
    model, data = write_small_model(tmp_path / "model", broken=True), write_data(tmp_path / "data")
    with pytest.raises(UserError, match="are not finite numbers"):
        evaluate(Options(model=model, data=data, device="cpu"))


@pytest.mark.slow
def test_a_program_of_torch_export(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    sides = {2: torch.export.Dim("height", min=16, max=512), 3: torch.export.Dim("width", min=16, max=512)}
    program = torch.export.export(
        SmallNetwork().eval(), (torch.zeros(2, 3, 32, 48),), dynamic_shapes={"images": {0: batch, **sides}}
    )
    torch.export.save(program, tmp_path / "small.pt2")
    real = write_pictures(tmp_path / "real", pictures(12))
    fake = write_pictures(tmp_path / "fake", pictures(12, seed=1))
    own = compared(real, fake, features=str(tmp_path / "small.pt2"), input=real)
    same = compared(real, fake, features=NETWORK, input=real)
    for name in ("frechet", "kernel", "precision", "recall", "structure"):
        assert own.figure(name).value == pytest.approx(same.figure(name).value, rel=1e-4)
    assert "small.pt2" in own.figure("frechet").title


@pytest.mark.slow
def test_inception_with_random_weights_is_no_fid(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(Inception().state_dict(), tmp_path / "random.pth")
    real = write_pictures(tmp_path / "real", pictures(6))
    fake = write_pictures(tmp_path / "fake", pictures(6, seed=1))
    found = compared(real, fake, inception=tmp_path / "random.pth", metrics=("fid", "kid", "precision", "recall"))
    assert [one.name for one in found.figures] == ["frechet_inception", "kernel_inception", "precision", "recall"]
    assert "random.pth" in found.figures[0].title
    assert found.figures[0].error is not None
    told = " ".join(found.warnings)
    assert "2,048 features" in told
    assert "use the kernel distance" in told


def test_a_model_of_images_of_several_sizes_and_of_one_image(tmp_path: Path) -> None:
    model, data = write_small_model(tmp_path / "model"), write_data(tmp_path / "data", test=4)
    write_pictures(data / "testA", pictures(2, (30, 45)), "odd{}.png")
    found = evaluate(Options(model=model, data=data, device="cpu", features=NETWORK)).directions
    assert found["a2b"].figure("swd").protocol["size"] == "32 x 32"
    assert found["a2b"].figure("swd").protocol["translations"] == 6
    assert any("different sizes" in warning for warning in found["a2b"].warnings)
    one = evaluate(Options(model=model, data=data, device="cpu", images=1, features=NETWORK)).directions["a2b"]
    assert "real_halves" not in one.bounds
    assert one.figure("reconstruction_l1").error is None
    assert one.figure("swd").value is not None
    assert any("it needs 2 images in each set" in warning for warning in one.warnings)


def test_documents_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Written before there were verdicts; unknown keys are passed over, missing ones have defaults."""
    figure = {
        "name": "swd",
        "title": "Sliced Wasserstein distance",
        "value": 12.5,
        "error": None,
        "unit": "",
        "better": "lower",
        "group": "distribution",
        "protocol": {"size": "32 x 32"},
        "note": None,
    }
    document = {
        "format": "unpaired-evaluation",
        "version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "command": "",
        "versions": {"unpaired": "0.1.0"},
        "data": {"split": "test"},
        "notices": [],
        "model": {
            "path": "runs/h2z",
            "checkpoint": "000012000",
            "images_seen": 12000,
            "method": "cyclegan",
            "origin": "trained",
            "fingerprints": {"a2b": "1"},
        },
        "directions": {
            "a2b": {
                "heading": "A to B",
                "figures": [figure],
                "bounds": {"untranslated": [figure]},
                "tables": [],
                "pictures": [{"file": "p.png", "title": "t", "alt": "a"}],
                "warnings": ["w"],
                "reference_reused": False,
            }
        },
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    found = Evaluation.read(tmp_path)
    assert found.model is not None
    assert (found.model.images_seen, found.directions["a2b"].verdict) == (12000, "")
    assert found.directions["a2b"].figure("swd").value == 12.5
    assert found.directions["a2b"].bounds["untranslated"][0].name == "swd"
