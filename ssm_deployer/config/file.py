"""`config.yaml`: what stands in it, and where. YAML takes long to import, so this is, when there is a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ssm_deployer.config.settings import Settings
from ssm_deployer.config.template import EXAMPLE
from ssm_deployer.errors import UsageError

_KEY_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}


def read(chosen: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's content, and for each key (`staging.bucket`) where it stands (`config.yaml line 7`)."""
    try:
        node = yaml.compose(chosen.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        # Before the tree: making it writes merged keys (`<<`) into the node.
        places = dict(_places(node, "", chosen)) if node is not None else {}
        tree = yaml.SafeLoader("").construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{chosen}{line}: no valid YAML: {error.problem}", EXAMPLE) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {chosen}: it is no text in UTF-8", "save it as UTF-8") from error
    except (OSError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"cannot read {chosen}: {reason}", "give another with --config") from error
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise UsageError(f"{chosen} line 1: expected keys such as `aws:`", EXAMPLE)
    # A section that is there but empty (`aws:` with all its keys commented out) is a section with its defaults.
    empty = {key for key in Settings.__struct_fields__ if key in tree and tree[key] is None}
    return {key: value for key, value in tree.items() if key not in empty}, places


def _places(node: yaml.Node, prefix: str, path: Path) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{path} line {key.start_mark.line + 1}"
            if key.tag not in _KEY_TAGS:
                raise UsageError(f"{where}: a key must be text", "write it in quotes, as in 'yes': 1")
            if key.value in seen:
                raise UsageError(f"{where}: `{prefix}{key.value}` stands twice", "keep one of them")
            seen.add(key.value)
            yield f"{prefix}{key.value}", where
            yield from _places(value, f"{prefix}{key.value}.", path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{prefix.rstrip('.')}[{index}]", f"{path} line {item.start_mark.line + 1}"
            yield from _places(item, f"{prefix.rstrip('.')}[{index}].", path)
