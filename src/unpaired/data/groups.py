"""Images that belong together, such as those of one patient: held-out images never share a group with training ones."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import listing, percent, plural, printable
from unpaired.data.check import BadFile, ImageInfo, listed
from unpaired.data.directions import Side
from unpaired.data.formats import Frame
from unpaired.data.group_rule import PATIENT, PLACE

_LISTED = 3
LEAST_IN_PART = 20
"""Images of each domain that both parts of the held-out images have, where nobody asks for parts."""


class Group(NamedTuple):
    """What some images have in common."""

    name: str
    """The patient, or what a pattern found in the path; empty for the images of one file that belongs to nothing."""
    file: str = ""
    """That file."""


def groups_of(infos: Sequence[ImageInfo], rule: str | None) -> list[Group]:
    """Return the group of each image: by the rule, else what its file says, else that of the file alone.

    Raises `UserError` that lists the files of which the rule says nothing.
    """
    pattern = None if rule in (None, PATIENT) else _compiled(rule or "")
    groups, without = list[Group](), list[BadFile]()
    for info in infos:
        path = os.fspath(info.path.path if isinstance(info.path, Frame) else info.path)
        if pattern is None:
            # Files that are groups by themselves say so by their own name, which others may have too.
            name = info.meaning.group if info.meaning.group not in (path, os.path.basename(path)) else ""
        else:
            found = pattern.search(Path(path).as_posix())
            name = found["group"] if found else ""
        if not name and rule is not None:
            without.append(BadFile(info.path, "names no patient" if rule == PATIENT else f"does not end like {rule}"))
        groups.append(Group(name, "" if name else path))
    if without:
        raise UserError(
            f"{option('data.group', rule)}: {plural(len(without), 'image')} {'has' if len(without) == 1 else 'have'} "
            f"no group:\n{listed(without)}\nChange the pattern, or move the files."
        )
    return groups


def _compiled(rule: str) -> re.Pattern[str]:
    """Return the pattern as one of regular expressions, which fits the end of a path from the start of a name."""
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in rule.split(PLACE))
    return re.compile(rf"(?:^|/){r'(?P<group>[^/]+?)'.join(parts)}$")


def held_out(members: Mapping[Side, Sequence[tuple[Group, ImageInfo]]], share: float) -> frozenset[Group]:
    """Return the groups that are kept out of training: `share` of those of each domain, at least one, whole.

    A digest of a group's name chooses, or of what its file holds: never the seed, the place or the other files. A
    group of one domain that is held out is so in the other. Raises `UserError` where nothing would be left.
    """
    chosen = set[Group]()
    every = {side: _ordered(found) for side, found in members.items()}
    for groups in every.values():
        chosen |= set(groups[: max(1, math.floor(share * len(groups) + 0.5))])
    for side, groups in every.items():
        if set(groups) <= chosen:
            raise UserError(
                f"{option('data.held_out', share)}: domain {side.upper()} has {plural(len(groups), 'group')} of "
                "images, and nothing would be left for training. Add images of other groups (patients, files), or give "
                "test images in a folder of their own."
            )
    return frozenset(chosen)


def group_names(infos: Sequence[ImageInfo], rule: str | None) -> list[str]:
    """Return what tells the group of each image from others, wherever the files lie: its name, or that of its file."""
    groups = groups_of(infos, rule)
    alone = names_below([Path(group.file) for group in groups if not group.name])
    return [group.name or alone.pop(0) for group in groups]


def names_below(paths: Sequence[Path]) -> list[str]:
    """Return names without suffix, as paths below the folder that all lie in."""
    parents = [path.parent.parts for path in paths]
    common = 0
    while all(len(parts) > common for parts in parents) and len({parts[common] for parts in parents}) == 1:
        common += 1
    return ["/".join(path.with_suffix("").parts[common:]) for path in paths]


def selection_part(groups: Mapping[Side, Sequence[str]], most: int) -> dict[Side, list[int]]:
    """Return the positions of the held-out images that choose checkpoints, by the groups of all of them.

    At most half of the groups of each domain and at most `most`, whole. A digest of a group's name chooses, so that
    partners of equal names stay together; a group that chooses in one domain does so in the other.
    """
    chosen = set[str]()
    for names in groups.values():
        keys = {name: hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest() for name in names}
        chosen |= set(sorted(keys, key=keys.__getitem__)[: min(most, len(keys) // 2)])
    return {side: [place for place, name in enumerate(names) if name in chosen] for side, names in groups.items()}


def _ordered(members: Iterable[tuple[Group, ImageInfo]]) -> list[Group]:
    contents = defaultdict[Group, list[bytes]](list)
    for group, info in members:
        contents[group].append(info.digest)
    keys = {
        group: hashlib.blake2b(group.name.encode(), digest_size=16).digest() if group.name else min(digests)
        for group, digests in contents.items()
    }
    return sorted(keys, key=keys.__getitem__)


def split_notice(groups: frozenset[Group], images: int, share: float) -> str:
    """Return in words what is held out."""
    named = sorted(printable(group.name) for group in groups if group.name)
    such = f" ({listing(named[:_LISTED])}{' and others' if len(named) > _LISTED else ''})" if named else ""
    return (
        f"{plural(len(groups), 'group' if named else 'file')}{such} with {plural(images, 'image')} "
        f"{'is' if len(groups) == 1 else 'are'} held out of training: {option('data.held_out', share)} "
        f"({percent(share)} of each domain)"
    )


def shared_groups(train: Iterable[Group], test: Iterable[Group]) -> str | None:
    """Return a warning where named groups have images among training and among held-out images."""
    both = sorted({group.name for group in train if group.name} & {group.name for group in test})
    if not both:
        return None
    names = listing([f'"{printable(name)}"' for name in both[:_LISTED]])
    one = len(both) == 1
    return (
        f"{plural(len(both), 'group')} {'has' if one else 'have'} images for training and for tests, such as {names}: "
        f"what is measured on {'it' if one else 'them'} is too good. Move whole groups, or leave the test folders out "
        f"and set {option('data.held_out', 0.1)}"
    )
