"""A text that people read → one that means the same and is small."""

import re
from collections import Counter
from collections.abc import Mapping
from string import ascii_lowercase


def compact(text: str, names: Mapping[str, str]) -> str:
    """Drop comments, indentation and blanks, and shorten names: they are for readers, and here size counts."""
    lines = (line.strip() for line in text.splitlines())
    code = "\n".join(line for line in lines if line and not line.startswith("#"))

    def shorten(found: re.Match[str]) -> str:
        return re.sub(r"[a-z_0-9]+", lambda word: names.get(word[0], word[0]), found[0])

    return re.sub(r" (&&|\|\||\|) ", r"\1", _short_functions(_VARIABLES.sub(shorten, code)))


def _short_functions(code: str) -> str:
    """Shorten those whose names have an underscore, as no other words have, but what is put together when called."""
    functions = re.findall(r"^((?!by_)[a-z]+_[a-z_]+)\(\)", code, re.MULTILINE)
    for name, letter in zip(functions, ascii_lowercase, strict=False):
        code = re.sub(rf"\b{name}\b", f"_{letter}", code)
    return code


def short_names(text: str) -> Mapping[str, str]:
    """Give each variable of `text` a name of a letter or two."""
    used = Counter(re.findall(r"\$\{?([a-z_][a-z0-9_]*)", text))
    short = (first + second for first in ("", *ascii_lowercase) for second in ascii_lowercase)
    return dict(
        zip(
            (name for name, _ in used.most_common()),
            (name for name in short if name not in {"do", "fi", "if", "in"}),
            strict=False,
        )
    )


# Where a word is a variable: expanded, reckoned with, assigned, read, or looped over. Capitals are left alone.
_VARIABLES = re.compile(
    r"\$(\{#?)?[a-z_][a-z0-9_]*"
    r"|\$\(\([^)]*\)\)"
    r"|(?<![\w$./?&-])[a-z_][a-z0-9_]*(?==)"
    r"|(?<=\bread -r )[a-z_ ]+"
    r"|(?<=\bfor )[a-z_]+(?= in )"
)
