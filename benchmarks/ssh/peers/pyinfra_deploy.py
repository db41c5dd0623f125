"""An archive put without asking what is there already, then the command."""

import os

from pyinfra.operations import files, server

files.put(
    src=f"{os.environ['OUT']}/bundle", dest=os.environ["ARCHIVE"], force=True, create_remote_dir=False, mode=False
)
server.shell(commands=[os.environ["PLACED"]])
