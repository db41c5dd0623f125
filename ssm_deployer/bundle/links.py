"""Where symbolic links of a tree lead, told from the links alone, as it will be where the tree is unpacked."""

from collections.abc import Mapping

MOST_FOLLOWED = 40  # Linux gives up after as many (path_resolution(7)), so what lies behind them is never reached


def leads_out(link: bytes, links: Mapping[bytes, bytes]) -> bool:
    """Tell whether following `link` leaves the tree at any step, even to come back.

    Args:
        link: a path in `links`.
        links: each link of the tree, as a path relative to its root, and what the link says. A name that is not among
            them counts as a plain one, whether it exists or not: a script may make it later.
    """
    place = link.split(b"/")[:-1]
    ahead = links[link].split(b"/")[::-1]
    followed = 1
    if links[link].startswith(b"/"):
        return True
    while ahead and followed <= MOST_FOLLOWED:
        name = ahead.pop()
        if name == b"..":
            if not place:
                return True
            place.pop()
        elif name not in (b"", b"."):
            place.append(name)
            target = links.get(b"/".join(place))
            if target is not None:
                if target.startswith(b"/"):
                    return True
                place.pop()
                ahead += target.split(b"/")[::-1]
                followed += 1
    return False
