"""The targets as pyinfra wants them."""

import os
from pathlib import Path

targets = [
    (
        f"t{number}",
        {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": int(port),
            "ssh_user": "root",
            "ssh_key": os.environ["KEY"],
            "ssh_known_hosts_file": os.environ["KNOWN_HOSTS"],
            "ssh_look_for_keys": False,
            "ssh_allow_agent": False,
        },
    )
    for number, port in enumerate(Path(os.environ["PORTS"]).read_text().split(), 1)
]
