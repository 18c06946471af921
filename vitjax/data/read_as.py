"""A source that is read with other options: EXIF orientation applied, another value of ignored mask pixels."""

from __future__ import annotations

from dataclasses import dataclass

from vitjax.data.arrays import Arrays
from vitjax.data.checks import digest_of
from vitjax.data.source import Raw, Source
from vitjax.data.wrapped import Wrapped
from vitjax.errors import ConfigError
from vitjax.images.picture import Exif, check_exif


@dataclass(frozen=True)
class ReadAs(Wrapped):
    """The images of `base`, with `exif` and `mask_ignore` of `read_as`."""

    exif: Exif
    mask_ignore: int | None

    def read(self, index: int) -> Raw:
        raw = self.base.read(index)._replace(exif=self.exif)
        return raw if self.mask_ignore is None else raw._replace(ignore=self.mask_ignore, values=None)

    def digest(self) -> str:
        return digest_of(self.base.digest(), self.exif, self.mask_ignore)


def read_as(source: Source, exif: Exif = "ignore", mask_ignore: int | None = None) -> Source:
    """The source itself, or `ReadAs` where an option differs from the default.

    Args:
        source: the data set.
        exif: whether pictures, and masks with them, are turned by their EXIF orientation.
        mask_ignore: value of ignored mask pixels, -1 if none is ignored; None leaves it to the source.

    Raises:
        ConfigError: an option is invalid, or the source is `Arrays`, whose masks have fixed values.
    """
    check_exif(exif)
    if mask_ignore is not None and (isinstance(mask_ignore, bool) or not isinstance(mask_ignore, int)):
        raise ConfigError(f"mask_ignore={mask_ignore!r} must be a mask value, -1 (none is ignored) or None")
    if isinstance(source, Arrays):
        if mask_ignore is not None:
            raise ConfigError(f"{source.name}: the masks of arrays have fixed values; mask_ignore does not apply")
        return source
    return source if exif == "ignore" and mask_ignore is None else ReadAs(source, exif, mask_ignore)
