"""Public keys as a console shows them, whole in their form though nobody has the private half."""

import base64

FIELDS = {
    "ssh-ed25519": [b"\x07" * 32],
    "ecdsa-sha2-nistp256": [b"nistp256", b"\x04" + b"\x07" * 64],
    "ssh-rsa": [b"\x01\x00\x01", b"\x00" + b"\x87" * 384],
}


def key(kind: str, filler: bytes = b"\x07") -> str:
    """A key of a kind; another filler gives another key."""
    fields = [kind.encode(), *(field.replace(b"\x07", filler).replace(b"\x87", filler) for field in FIELDS[kind])]
    blob = b"".join(len(field).to_bytes(4) + field for field in fields)
    return f"{kind} {base64.b64encode(blob).decode()}"


def block(*keys: str, before: str = "", comment: str = " root@ip-10-0-0-1") -> str:
    """What cloud-init prints."""
    lines = [
        "-----BEGIN SSH HOST KEY KEYS-----",
        *(f"{key}{comment}" for key in keys),
        "-----END SSH HOST KEY KEYS-----",
    ]
    return "".join(f"{before}{line}\n" for line in lines)
