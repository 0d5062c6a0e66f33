from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.serve.accept import MEDIA, choose

ALL = [*MEDIA]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("IMAGE/JPEG ; charset=x", "image/jpeg"),
        ("image/png;q=0.2, image/webp;q=0.9", "image/webp"),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/png"),
        ("image/png;q=0, */*", "image/webp"),
        ("image/*;q=0.1, application/x-npy;q=0.5", "application/x-npy"),
        ("application/octet-stream", "application/octet-stream"),
        ("text/html", None),
        ("image/png;q=0", None),
        ("*/*;q=0", None),
        ("image/png;q=2, image/tiff;q=0.5", "image/png"),  # no quality: as if there were none
        ("nonsense, ,;;, image/tiff", "image/tiff"),
        ("image / png", None),
    ],
)
def test_the_best_of_what_is_taken(accept: str | None, chosen: str | None) -> None:
    assert choose(accept, ALL) == chosen


def test_nothing_that_cannot_hold_the_image_is_chosen() -> None:
    assert choose("image/png, image/tiff;q=0.1", ["image/tiff"]) == "image/tiff"
    assert choose("*/*", []) is None
    assert choose(None, []) is None


@settings(max_examples=50)
@given(
    st.text()
    | st.lists(st.sampled_from([*MEDIA, "image/*", "*/*", "text/html", ";q=", "0.3", ",", ";", "q=1"])).map("".join)
)
def test_no_header_is_an_error(accept: str) -> None:
    assert choose(accept, ALL) in (*ALL, None)


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from([*MEDIA, "image/*", "application/*", "*/*"]), st.integers(0, 1000), min_size=1),
    st.permutations(ALL),
)
def test_it_is_the_first_of_the_highest_quality(ranges: dict[str, int], able: list[str]) -> None:
    def quality(media: str) -> int:
        return next((ranges[key] for key in (media, f"{media.split('/')[0]}/*", "*/*") if key in ranges), 0)

    accept = ", ".join(f"{name};q={quality / 1000:.3f}" for name, quality in ranges.items())
    best = max(able, key=quality)
    assert choose(accept, able) == (best if quality(best) else None)
