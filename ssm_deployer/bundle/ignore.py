"""What `.deployignore` files keep out of a bundle, in the syntax and with the precedence of `.gitignore`."""

import re
from typing import Self

import msgspec

from ssm_deployer.bundle.wildmatch import compiled

IGNORE_FILE = b".deployignore"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# All but the spaces at the end, of which a backslash keeps one.
MEANT = re.compile(rb"(?s)(?: *(?:\\.|[^ ]))*")


class Pattern(msgspec.Struct, frozen=True):
    """One line of an ignore file.

    Attributes:
        expression: of the path from the ignore file's folder, or of the name alone.
        anywhere: whether it is of the name alone.
        folders: whether it is about folders only.
        ignore: what follows where it matches.
    """

    expression: re.Pattern[bytes]
    anywhere: bool
    folders: bool
    ignore: bool

    def matches(self, path: bytes, *, folder: bool) -> bool:
        """Tell whether the line is about this entry; what is below it is another matter."""
        subject = path.rpartition(b"/")[2] if self.anywhere else path
        return (folder or not self.folders) and self.expression.fullmatch(subject) is not None


class Rules(msgspec.Struct, frozen=True):
    """The rules that hold in one folder: its own and those of the folders above it, outermost first.

    Attributes:
        layers: where each set of rules applies (the length of that folder's path, its slash included), and the set.
    """

    layers: tuple[tuple[int, tuple[Pattern, ...]], ...] = ()

    def within(self, prefix: bytes, content: bytes) -> Self:
        """Add the rules of a folder further in.

        Args:
            prefix: the folder's path, with its slash; empty for the root.
            content: of the ignore file.
        """
        lines = content.removeprefix(BYTE_ORDER_MARK).split(b"\n")
        patterns = tuple(pattern for line in lines if (pattern := _pattern(line.removesuffix(b"\r"))))
        return type(self)((*self.layers, (len(prefix), patterns)))

    def ignore(self, path: bytes, *, folder: bool) -> bool:
        """Tell whether an entry stays behind, provided that the folders above it do not.

        The last line that matches decides, of the innermost folder that has one.
        """
        for start, patterns in reversed(self.layers):
            for pattern in reversed(patterns):
                if pattern.matches(path[start:], folder=folder):
                    return pattern.ignore
        return False


def _pattern(line: bytes) -> Pattern | None:
    found = MEANT.match(line)
    meant = found[0] if found else b""
    if not meant or meant.startswith(b"#"):
        return None
    glob = meant.removeprefix(b"!").removesuffix(b"/")
    return Pattern(
        expression=compiled(glob.removeprefix(b"/")),
        anywhere=b"/" not in glob,
        folders=meant.endswith(b"/"),
        ignore=not meant.startswith(b"!"),
    )
