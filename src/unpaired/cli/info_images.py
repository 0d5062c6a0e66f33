"""What `unpaired info` says of image files, folders of images and data sets, as plain data."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unpaired.core.errors import UserError

if TYPE_CHECKING:
    from unpaired.data.check import Checked

DESCRIBABLE = "a model folder, a run, a checkpoint, a folder of images, or an image file"
_WEIGHT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
_SEEN = 16
"""Of a file of many images, so many are decoded for the range of its values."""

_ANY = 2**60

Progress = Callable[[str, int, int], None]
"""Called with (what is read, images done, images in all)."""


def describe_file(path: Path) -> dict[str, Any]:
    """Return what an image file holds; `UserError` for any other file."""
    from unpaired.data.bad_image import BadImage, TooLarge
    from unpaired.data.decode import decode_valid, meaning_of, probe
    from unpaired.data.folders import in_frames

    if path.suffix.lower() in _WEIGHT_SUFFIXES:
        raise UserError(
            f"{path} is a file of weights, which does not say what it is. Convert it first: "
            f"unpaired convert {path} --out MODEL; then unpaired info MODEL."
        )
    try:
        files = in_frames([path])
        header, values = probe(path, max_pixels=_ANY), list[float]()
        height, width, channels, dtype = header
        with contextlib.suppress(TooLarge):  # what the file announces is said of any size
            for file in files[:: -(-len(files) // _SEEN)]:
                image, valid = decode_valid(file)
                seen = image if valid is None else image[valid]
                values += [seen.min().item(), seen.max().item()]
                (height, width, channels), dtype = image.shape, image.dtype.name
        meaning = meaning_of(path)
    except BadImage as error:
        raise UserError(f"{path} cannot be described: {error.reason}. Give {DESCRIBABLE}.") from error
    return {
        "kind": "image",
        "path": str(path),
        "bytes": path.stat().st_size,
        "images": len(files),
        "height": height,
        "width": width,
        "channels": channels,
        "dtype": dtype,
        "lowest": min(values) if values else None,
        "highest": max(values) if values else None,
        "unit": meaning.unit,
        "spacing": list(meaning.spacing),
        "spacing_unit": meaning.spacing_unit,
    }


def describe_folder(folder: Path, progress: Progress | None) -> dict[str, Any]:
    """Return what a folder of images, or a data set in a known layout, holds."""
    from unpaired.data.config import DataConfig
    from unpaired.data.folders import find_folders
    from unpaired.data.groups import groups_of, shared_groups
    from unpaired.data.pairs import count_pairs

    try:
        found = find_folders(DataConfig(root=str(folder)))
    except UserError:  # no known layout: any folder of images will do
        try:
            images = {"images": _describe_images(folder, _check("images", folder, progress))}
        except UserError as error:
            raise UserError(f"{error} Give {DESCRIBABLE}.") from error
        unknown = dict.fromkeys(("layout", "pairs", "unmatched", "shared_groups"))
        return {"kind": "data", "path": str(folder), **unknown, "folders": images}
    parts = {"train A": found.train_a, "train B": found.train_b, "test A": found.test_a, "test B": found.test_b}
    places = {name: part for name, part in parts.items() if isinstance(part, Path)}
    checked = {name: _check(name, part, progress) for name, part in places.items()}
    folders = {name: _describe_images(part, checked[name]) for name, part in places.items()}
    groups = {name: groups_of(found.good, None) for name, found in checked.items()}
    kinds = ("train", "test")
    train, test = ([one for name in groups if name.startswith(kind) for one in groups[name]] for kind in kinds)
    pairs, unmatched = count_pairs(found)
    known = {
        "layout": found.layout,
        "pairs": pairs,
        "unmatched": unmatched,
        "shared_groups": shared_groups(train, test),
    }
    return {"kind": "data", "path": str(folder), **known, "folders": folders}


def _check(name: str, folder: Path, progress: Progress | None) -> Checked:
    """Check the images below a folder; each is read once and remembered."""
    from unpaired.data.check import check_images
    from unpaired.data.folders import in_frames, list_images

    report = None if progress is None else lambda done, total: progress(name, done, total)
    # With a declared range nothing is refused for its values: a description judges no settings.
    return check_images(in_frames(list_images(folder)), value_range=(0.0, 1.0), progress=report)


def _describe_images(folder: Path, checked: Checked) -> dict[str, Any]:
    """Return counts and ranges of the images below a folder."""
    from unpaired.data.describe import median_spacing, remarks
    from unpaired.data.folders import left_out
    from unpaired.data.formats import Frame, suffix_of
    from unpaired.data.groups import groups_of

    images = [image.path for image in checked.good] + [image.path for image in checked.bad]
    paths = {os.fspath(image.path if isinstance(image, Frame) else image) for image in images}
    sizes = Counter((image.height, image.width) for image in checked.good)
    lows = [image.low for image in checked.good if image.low is not None]
    highs = [image.high for image in checked.good if image.high is not None]
    return {
        "path": str(folder),
        "images": len(images),
        "files": len(paths),
        "formats": _counted(suffix_of(path).lstrip(".") for path in paths),
        "channels": _counted(image.channels for image in checked.good),
        "dtypes": _counted(image.dtype for image in checked.good),
        "values": [min(lows), max(highs)] if lows else None,
        "missing": sum(image.missing for image in checked.good) / max(1, len(checked.good)),
        "units": _counted(image.meaning.unit for image in checked.good if image.meaning.unit),
        "spacing": list(median_spacing(checked.good, 0)) or None,
        "groups": len({group.name for group in groups_of(checked.good, None) if group.name}),
        "sizes": len(sizes),
        "most_common_size": list(sizes.most_common(1)[0][0]) if sizes else None,
        "height": [min(height for height, _ in sizes), max(height for height, _ in sizes)] if sizes else None,
        "width": [min(width for _, width in sizes), max(width for _, width in sizes)] if sizes else None,
        "unreadable": [{"path": str(bad.path), "reason": bad.reason} for bad in checked.bad],
        "left_out": left_out(folder),
        "remarks": remarks(None, checked.good),
    }


def _counted(values: Iterable[object]) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).most_common()}
