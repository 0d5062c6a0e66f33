"""What `unpaired info` says of a segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unpaired.evaluation.segmentation.model import BEST, DOCUMENT, find_segmenter, read_description
from unpaired.evaluation.segmentation.score import class_name
from unpaired.models.folder import read_document


def is_segmenter(folder: Path) -> bool:
    """Say whether a folder is a segmenter, or a training that holds one."""
    return any((place / DOCUMENT).is_file() for place in (folder, folder / BEST))


def describe_segmenter(folder: Path) -> dict[str, Any]:
    """Return what a segmenter is, as JSON holds it. Raises `DamagedError` where its files are not what was written."""
    place = find_segmenter(folder)
    description = read_description(place)
    labels = description.labels
    document = read_document(place, DOCUMENT)
    return {
        "kind": "segmenter",
        "path": str(place),
        "words": description.in_words(),
        "classes": [class_name(labels, index) for index in labels.classes],
        "void": list(labels.void),
        "size": list(description.size),
        "channels": description.photos.channels,
        "held_out": dict(description.held_out),
        "versions": document.get("versions", {}),
        "fingerprint": document.get("fingerprint"),
    }


def render_segmenter(found: dict[str, Any]) -> str:
    """Return the description of a segmenter as a person reads it."""
    held, (height, width) = found["held_out"], found["size"]
    lines = [
        f"{found['path']}: {found['words']}",
        f"Photos: {found['channels']} channels, trained at {height} x {width} (height x width)",
        f"Classes: {', '.join(found['classes'])}; void: {', '.join(map(str, found['void'])) or 'none'}",
    ]
    if "class_iou" in held:
        lines.append(
            f"On {held['photos']:,} held-out photos ({held['from']}): per-pixel {held['pixel_accuracy']:.3f}, "
            f"per-class {held['class_accuracy']:.3f}, class IoU {held['class_iou']:.3f}"
        )
    lines.append("Written by " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    return "\n".join(lines)
