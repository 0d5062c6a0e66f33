"""Settings of the data: which images, what label maps mean, how images are read, prepared and cached."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.extensions import load_extension
from unpaired.core.settings import Allowed, Flag, Settings, option
from unpaired.data.directions import DOMAIN_NAME, Side, check_names
from unpaired.data.group_rule import check_rule

LabelKind = Literal["index", "colour"]
Feed = Literal["colour", "one_hot"]
Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
"""Red, green, blue, each 0 to 255."""
MAX_CLASSES = 254
"""Class indices fit into 8 bits, beside the marks for void and for what is no class at all."""
Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]
Axis = Literal["axial", "coronal", "sagittal"]
AXES: tuple[Axis, ...] = get_args(Axis)
Positive = Annotated[int, Field(gt=0, le=2**40)]
Pixels = Annotated[int, Field(gt=0, le=16384)]
Channels = Annotated[int, Field(gt=0, le=4096)]
PERCENTILES = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,6})?)\.\.p([0-9]{1,3}(?:\.[0-9]{1,6})?)", re.ASCII)
"""A range of values by percentiles: `p0.5..p99.5`."""
Range = Annotated[tuple[float, float] | str, Allowed("two numbers ([0,4095]), ct, file or percentiles (p0.5..p99.5)")]
Size = Annotated[
    Pixels | tuple[Pixels, Pixels], Allowed("a number of pixels (256) or HEIGHTxWIDTH (256x512), at most 16384")
]
"""One number for a square, or (height, width)."""


class LabelsConfig(Settings):
    """Label maps in place of pictures: what the files hold, and how it is fed to the networks."""

    kind: LabelKind
    """`index`: pixels are class indices (grey, or the stored index of palette files); `colour`: a colour per class."""
    palette: tuple[Colour, ...] | None = None
    """Colour of each class, [[r, g, b], ...]; by default that of the files, or distinct colours made for indices."""
    names: tuple[str, ...] | None = None
    """Name of each class, in the order of the palette."""
    void: tuple[int, ...] = ()
    """Values that are no class (unlabelled); for kind `colour`, positions in the palette. Shown black."""
    feed: Feed = "colour"
    """What the networks see: the palette's colours, or one channel per class (`one_hot`)."""

    def check(self) -> None:
        """Refuse palettes, names and void values that contradict one another."""
        check_classes(self.kind, self.palette, self.names, self.void)
        if self.kind == "colour" and self.palette is None and (self.names is not None or self.void):
            raise UserError(
                "names and void of label maps in colours follow the order of the palette, and none is given. "
                "Give the palette too, or leave them out."
            )


def check_classes(
    kind: LabelKind,
    palette: tuple[Colour, ...] | None,
    names: tuple[str, ...] | None,
    void: tuple[int, ...],
) -> None:
    """Raise `UserError` where palette, names and void values of label maps are impossible or contradict one another."""
    if palette is not None:
        if not 1 <= len(palette) <= MAX_CLASSES:
            raise UserError(f"a palette of label maps has 1 to {MAX_CLASSES} colours; received {len(palette)}.")
        twice = sorted({colour for colour in palette if palette.count(colour) > 1})
        if twice:
            raise UserError(f"the colours of a palette differ from one another; received {twice[0]} more than once.")
        if names is not None and len(names) != len(palette):
            raise UserError(
                f"label maps need one name for each colour of the palette; received {len(names)} names and "
                f"{len(palette)} colours."
            )
        if kind == "colour" and any(not 0 <= value < len(palette) for value in void):
            raise UserError(
                f"void values of label maps in colours are positions in the palette, 0 to {len(palette) - 1}; "
                f"received {list(void)}."
            )
    if names is not None and not 1 <= len(names) <= MAX_CLASSES:
        raise UserError(f"label maps have 1 to {MAX_CLASSES} classes; received {len(names)} names.")
    known = palette or names
    if known is not None and set(range(len(known))) <= set(void):
        raise UserError(f"label maps need at least one class, and void holds all of them: {list(void)}.")


class DataConfig(Settings):
    """Where the images are and what happens to them before training sees them."""

    root: Annotated[str | None, Flag("--data")] = None
    """Folder with trainA and trainB (and testA, testB), train_A and train_B, train/A and train/B, A/train and B/train
    (and the same with test), or trainannot and train (and testannot, test). Or the name of a published data set
    (`unpaired download` lists them), which is downloaded where it is first needed."""
    a: Annotated[str | None, Flag("--a")] = None
    """Folder of the training images of domain A; with one for B, in place of a folder of both. Or shards: a pattern in
    quotes such as 'horses-{000..010}.tar', x.parquet#COLUMN, hf:USER/NAME, also s3://, gs:// and https://."""
    b: Annotated[str | None, Flag("--b")] = None
    """Folder or shards of the training images of domain B."""
    test_a: Annotated[str | None, Flag("--test-a")] = None
    """Folder or shards of held-out images of domain A."""
    test_b: Annotated[str | None, Flag("--test-b")] = None
    """Folder or shards of held-out images of domain B."""
    source_a: str | None = None
    """Your own images of domain A, `package.module:Name`, in place of the folder `a`: an object, or what makes one,
    with `len`, `[index]` (an image [H, W, C]) and `name(index)`."""
    source_b: str | None = None
    """Your own images of domain B, in place of the folder `b`."""
    test_source_a: str | None = None
    """Your own held-out images of domain A, in place of the folder `test_a`."""
    test_source_b: str | None = None
    """Your own held-out images of domain B, in place of the folder `test_b`."""
    readers: tuple[str, ...] = ()
    """Your own readers of image files, `package.module:Name`, asked before those of the package."""
    name_a: Annotated[str, Flag("--name-a"), Field(max_length=40, pattern=DOMAIN_NAME)] = ""
    """What domain A is called, such as `horse`: letters, digits, spaces, `-` and `_`."""
    name_b: Annotated[str, Flag("--name-b"), Field(max_length=40, pattern=DOMAIN_NAME)] = ""
    """What domain B is called, such as `zebra`."""
    side_by_side: Annotated[Literal["ab", "ba"] | None, Flag("--side-by-side")] = None
    """Every file (of train, test or val in the folder, or of the folder itself) holds an image of each domain: A on
    the left (ab) or on the right (ba)."""
    labels_a: LabelsConfig | None = None
    """Says that the images of domain A are label maps, and of which kind."""
    labels_b: LabelsConfig | None = None
    """Says that the images of domain B are label maps, and of which kind."""
    preprocess: Annotated[Preprocess, Flag("--preprocess")] = "resize_and_crop"
    """How an image becomes a training image, as in the authors' code."""
    crop_size: Annotated[Size, Flag("--crop-size")] = 256
    """Size of a training image: 256, or HEIGHTxWIDTH."""
    load_size: Annotated[Size | None, Flag("--load-size")] = None
    """Size to which images are resized before the crop: 286, or HEIGHTxWIDTH. By default 1.12 x the crop size."""
    flip: bool = True
    """Flip every second image from left to right, at random."""
    channels_a: Channels | None = None
    """Channels of domain A; taken from the images by default (3 for colour, 1 where all are grey). 4 keeps transparency
    (2 for grey), which is otherwise laid over white."""
    channels_b: Channels | None = None
    """Channels of domain B; taken from the images by default."""
    range_a: Range | None = None
    """Values of domain A that become -1 and 1; by dtype by default (8 bit: 0, 255; 16 bit: 0, 65535; float: 0, 1). Two
    numbers; `ct` (-1024 to 3071 HU); `file` (what all files say); or percentiles of the training images' values, such
    as `p0.5..p99.5`, which are found once and stored as numbers."""
    range_b: Range | None = None
    """Values of domain B that become -1 and 1; by dtype by default."""
    axis: Annotated[Axis, Flag("--axis")] = "axial"
    """Along which axis volumes are cut into slices. The orientation that a medical volume declares counts, whatever the
    order of its array; of other volumes these are the first, the second and the third axis."""
    neighbours: Annotated[int, Field(ge=0, le=8)] = 0
    """Slices on either side that networks see as channels before and behind a slice (2.5-D), in both domains. The
    translations of all slabs that hold a slice are averaged."""
    every: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Take every n-th image of files that hold several: neighbouring frames of a clip are nearly the same."""
    group: str | None = None
    """What images of one origin have in common: `patient`, as DICOM files say, or a pattern of the end of paths, such
    as "{group}_*" or "{group}/*". By default what files say, else every file is a group."""
    held_out: Annotated[float, Field(ge=0.001, le=0.9)] | None = None
    """Share of the groups of each domain that is kept out of training and measured on, where there are no test images.
    Groups stay whole; their names decide which ones."""
    unit_a: Annotated[str, Field(max_length=40)] = ""
    """Unit of the values of domain A, such as `HU`, `K`, or `0.01 K` where 100 is one kelvin; by default what the files
    say. Errors are reported in it."""
    unit_b: Annotated[str, Field(max_length=40)] = ""
    """Unit of the values of domain B; by default what the files say."""
    whole_pixels: Positive = 64_000_000
    """Larger images are never decoded whole where `preprocess` is `crop` and their format has tiles or strips: training
    reads every crop straight from the file, checking looks at a few windows, and measuring sees at most 16 crops of
    each."""
    sampling: Literal["image", "area"] = "image"
    """How often an image is seen in an epoch: once, or once for every crop that fits into it side by side (`area`), so
    that large files count for more. `area` needs `preprocess` `crop`."""
    keep: Literal["all", "valid", "tissue"] = "all"
    """Which crops are trained on: all, those of which half has a value (`valid`: no nodata, no mask), or those that
    show tissue on a quarter (`tissue`: saturated, by Otsu's threshold). Others are drawn again, up to 16 or 64
    times; needs `preprocess` `crop`."""
    level: Annotated[int, Field(ge=0, le=63)] = 0
    """Which of the resolutions that files hold is trained on (slides, overviews of GeoTIFF): 0 is the full one."""
    cache: Annotated[Literal["auto", "memory", "disk", "none"], Flag("--cache")] = "auto"
    """Where decoded images are kept: in memory, memory-mapped on disk, not at all, or where they fit (auto)."""
    window: Annotated[Positive | None, Flag("--window")] = None
    """Take images from so many shards at a time, which the seed chooses, so that few shards are needed at once. By
    default every image is drawn from all shards, as from a folder."""
    shard_cache: Annotated[float, Field(gt=0, le=2**20)] = 20.0
    """GiB of shards that are kept on disk after they were fetched from remote storage or unpacked."""
    on_bad_image: Annotated[Literal["fail", "skip"], Flag("--on-bad-image")] = "fail"
    """What to do when files cannot be used: fail with the list of all of them, or skip them."""
    max_pixels: Annotated[Positive, Flag("--max-pixels")] = 178_956_970
    """Larger images are refused as decompression bombs; the default is Pillow's limit of about 179 megapixels."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads that decode and prepare images; 0 takes one per CPU core, at most 8."""

    def check(self) -> None:
        """Refuse ranges and names that make no sense; import the user's own code that was chosen."""
        check_names(self.name_a, self.name_b)
        for name, span in (("range_a", self.range_a), ("range_b", self.range_b)):
            if isinstance(span, str):
                _check_named_range(name, span)
            elif span is not None and not span[0] < span[1]:
                raise UserError(
                    f"{option(f'data.{name}', list(span))}: a range goes from a lower value to a higher one, such as "
                    f"{option(f'data.{name}', [0, 4095])}."
                )
        check_rule(self.group)
        if self.neighbours and any(
            (self.channels_a, self.channels_b, self.labels_a, self.labels_b, self.side_by_side, self.window)
        ):
            raise UserError(
                f"{option('data.neighbours', self.neighbours)}: channels are slices then. Leave out the channels, "
                f"labels, {option('data.side_by_side')} and {option('data.window')}."
            )
        for reader in self.readers if self.is_set("readers") else ():
            load_extension(reader, "reader")
        for name, source in self.sources().items():
            if source is not None and self.is_set(name):
                load_extension(source, "source")

    def folders(self) -> dict[str, str | None]:
        """Return the folders of both domains by the name of their setting."""
        return {"a": self.a, "b": self.b, "test_a": self.test_a, "test_b": self.test_b}

    def sources(self) -> dict[str, str | None]:
        """Return the user's own sources by the name of their setting, in the order of `folders`."""
        return {
            "source_a": self.source_a,
            "source_b": self.source_b,
            "test_source_a": self.test_source_a,
            "test_source_b": self.test_source_b,
        }

    @property
    def axis_number(self) -> int:
        """The axis as frames count it."""
        return AXES.index(self.axis)

    def title(self, side: Side) -> str:
        """Return what a domain is called: its name, or its letter."""
        return (self.name_a if side == "a" else self.name_b) or side.upper()

    def labels(self, side: Side) -> LabelsConfig | None:
        """Return what is set about the label maps of a domain."""
        return self.labels_a if side == "a" else self.labels_b

    def channels(self, side: Side) -> int | None:
        """Return the channels that are set for a domain."""
        return self.channels_a if side == "a" else self.channels_b

    def given_range(self, side: Side) -> tuple[float, float] | str | None:
        """Return the range of values of a domain as it is set: numbers, or what is to be found in the files."""
        return self.range_a if side == "a" else self.range_b

    def value_range(self, side: Side) -> tuple[float, float] | None:
        """Return the range of values that is declared for a domain; None where it is still to be found."""
        given = self.given_range(side)
        return None if isinstance(given, str) else given

    def unit(self, side: Side) -> str:
        """Return the unit that is set for the values of a domain."""
        return self.unit_a if side == "a" else self.unit_b


def _check_named_range(name: str, given: str) -> None:
    found = PERCENTILES.fullmatch(given)
    if given not in ("ct", "file") and not (found and 0 <= float(found[1]) < float(found[2]) <= 100):
        raise UserError(
            f"{option(f'data.{name}', given)}: allowed are two numbers ({option(f'data.{name}', [0, 4095])}), ct "
            "(-1024 to 3071 HU), file (what the files say), and percentiles from a lower to a higher one, such as "
            "p0.5..p99.5."
        )
