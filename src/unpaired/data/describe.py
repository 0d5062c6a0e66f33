"""What the images of a domain are, as far as the settings leave it open, and what a person should know about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.directions import Side
from unpaired.data.reading import Reading
from unpaired.data.values import Domain


def describe_domain(
    side: Side, infos: Sequence[ImageInfo], reading: Reading, config: DataConfig
) -> tuple[Domain, list[str]]:
    """Return what a domain is, by all its images (those for tests included), and what a person should know."""
    title, name = config.title(side), config.name_a if side == "a" else config.name_b
    if reading.labels is not None:
        domain = Domain(channels=reading.labels.channels, labels=reading.labels, name=name)
        return domain, _of_labels(side, reading, config)
    declared, notices = config.value_range(side), list[str]()
    counts = Counter(info.channels for info in infos)
    channels = config.channels(side) or _channels(side, infos, counts, config)
    if channels == 3 and counts[1]:
        notices.append(f"{title} has {plural(counts[1], 'grey image')} of {len(infos):,}; RGB is made of them")
    if channels == 1 and counts[3]:
        notices.append(f"{title} has {plural(counts[3], 'colour image')} of {len(infos):,}; they become grey")
    dtypes = Counter(info.dtype for info in infos)
    if len(dtypes) > 1:
        kinds = ", ".join(f"{count} of {dtype}" for dtype, count in dtypes.most_common())
        notices.append(f"{title} mixes types of values ({kinds}); each is mapped to [-1, 1] by its own range")
    clipped = 0 if declared is None else sum(_outside(info, declared) for info in infos)
    if clipped:
        notices.append(
            f"{title} has {plural(clipped, 'image')} with values outside the declared range {declared}; they are "
            "clipped"
        )
    alpha = reading.alpha and channels in (2, 4)
    return Domain(channels=channels, dtype=_widest(set(dtypes)), range=declared, name=name, alpha=alpha), notices


def overlaps(digests: dict[str, set[bytes]]) -> list[str]:
    """Return where the same file contents appear on two sides that should have nothing in common, by their titles."""
    titles = list(digests)  # A, B and, where there are any, their test images
    pairs = [(titles[0], titles[1]), *zip(titles[:2], titles[2:], strict=False)]
    shared = [(one, two, len(digests[one] & digests[two])) for one, two in pairs]
    return [
        f"{plural(count, 'image')} {'is' if count == 1 else 'are'} the same in {one} and {two}"
        for one, two, count in shared
        if count
    ]


def _of_labels(side: Side, reading: Reading, config: DataConfig) -> list[str]:
    assert reading.labels is not None
    asked, title = config.labels(side), config.title(side)
    found = asked is not None and asked.palette is None and asked.names is None
    notices = [f"{title} holds {reading.labels.in_words()}{' (found in the files)' if found else ''}"]
    if reading.labels.hidden_in is not None:
        notices.append(
            f"{title}: void is printable black, which is also the colour of class {reading.labels.hidden_in}, so "
            f"networks cannot tell the two apart; they can with {option(f'data.labels_{side}.feed', 'one_hot')}, or a "
            "palette without black"
        )
    return notices


def _channels(side: Side, infos: Sequence[ImageInfo], counts: Counter[int], config: DataConfig) -> int:
    if len(counts) == 1:
        return next(iter(counts))
    if set(counts) == {1, 3}:
        return 3
    examples = {info.channels: info.path for info in reversed(infos)}
    found = "; ".join(f'{n} with {c} channels (such as "{printable(examples[c])}")' for c, n in counts.most_common())
    raise UserError(
        f"the images of domain {config.title(side)} do not agree in their channels: {found}. Only grey and RGB can be "
        f"mixed. Set {option(f'data.channels_{side}')} to the number that is right, and remove the others or set "
        f"{option('data.on_bad_image', 'skip')}."
    )


def _outside(info: ImageInfo, declared: tuple[float, float]) -> bool:
    return info.low is not None and info.high is not None and (info.low < declared[0] or info.high > declared[1])


def _widest(dtypes: set[str]) -> Literal["uint8", "uint16", "int16", "float32"]:
    """Return the type that holds every image of a domain; what none of three integer types holds becomes float32."""
    if dtypes == {"uint8"}:
        return "uint8"
    if dtypes <= {"uint8", "uint16"}:
        return "uint16"
    if dtypes <= {"uint8", "int16"}:
        return "int16"
    return "float32"
