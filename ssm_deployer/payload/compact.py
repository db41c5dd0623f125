"""A text that people read → one that means the same and is small."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from string import ascii_lowercase


def compact(text: str, names: Mapping[str, str]) -> str:
    """Drop comments, indentation and blanks, and shorten names: they are for readers, and here size counts."""
    lines = (line.strip() for line in text.splitlines())
    code = "\n".join(line for line in lines if line and not line.startswith("#"))

    def shorten(found: re.Match[str]) -> str:
        return re.sub(r"[a-z_0-9]+", lambda word: names.get(word[0], word[0]), found[0])

    code = re.sub(r" (&&|\|\||\|) ", r"\1", _short_functions(_VARIABLES.sub(shorten, code)))
    code = re.sub(r"\$\(\([^)]*\)\)", lambda found: found[0].replace(" ", ""), code)
    # After a quote nothing is the number of a file.
    code = re.sub(r'(?<=") (?=[<>])', "", code)
    code = re.sub(r"\(\) \{", "(){", re.sub(r" ?; ?(;|then\b|do\b|\})", r";\1", code))
    return f"N={_NOWHERE}\n{code.replace(_NOWHERE, '$N')}" if _NOWHERE in code else code


def _short_functions(code: str) -> str:
    """Shorten the names of functions, but of those that are put together when called, or handed to others."""
    used = Counter(_NAME.findall(code))
    functions = set(re.findall(r"^((?!by_)[a-z_]+)\(\)", code, re.MULTILINE)) - _HANDED
    most_used = sorted(functions, key=lambda name: (-used[name], name))
    short = {name: f"_{letters}" for name, letters in zip(most_used, _letters(), strict=False)}

    def shorten(found: re.Match[str]) -> str:
        name = found[0]
        return short[name] if name in short and _is_function(found) else name

    return _NAME.sub(shorten, code)


def _is_function(found: re.Match[str]) -> bool:
    """Whether this is the name of one. With an underscore it is like no other word; else it begins a command."""
    code, start, end = found.string, found.start(), found.end()
    if "_" in found[0]:
        return True
    if code[start - 2 : start] == "$(" and code[end] == ")":
        return True
    return code[end] not in "=)-" and (start == 0 or _COMMAND.search(code, max(start - 7, 0), start) is not None)


def _letters() -> Iterator[str]:
    return (first + second for first in ("", *ascii_lowercase) for second in ascii_lowercase)


def short_names(text: str) -> Mapping[str, str]:
    """Give each variable of `text` a name of a letter or two."""
    used = Counter(re.findall(r"\$\{?([a-z_][a-z0-9_]*)", text))
    for sum_ in re.findall(r"\$\(\(([^)]*)\)\)", text):
        used.update(re.findall(r"(?<![$\w])[a-z_][a-z0-9_]*", sum_))
    return dict(
        zip(
            (name for name, _ in used.most_common()),
            (name for name in _letters() if name not in {"do", "fi", "if", "in"}),
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

# What is named most often of all.
_NOWHERE = "/dev/null"
_NAME = re.compile(r"(?<!\w)[a-z_]+(?!\w)")
# What comes before a command.
_COMMAND = re.compile(r"(\n|[|&({;)!] ?|\b(then|do|else|if|elif|while|until) )$")
# Functions whose names are said elsewhere: as arguments of `hunt` and `trap`, and by the last line of the text.
_HANDED = {"tree", "prey", "unforked", "guard", "attend", "main"}
