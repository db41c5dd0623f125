"""Everything behind the port, wired: gate, faults, Run Command, moto; and the loop under it."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

from ssm_deployer.sandbox import container
from ssm_deployer.sandbox.absent import Absent
from ssm_deployer.sandbox.account import Account, expirations, tokens
from ssm_deployer.sandbox.agent import Boot, Result
from ssm_deployer.sandbox.container import Traits
from ssm_deployer.sandbox.faults import FaultLayer, InstanceFaults, operation, query
from ssm_deployer.sandbox.fleet import Fleet
from ssm_deployer.sandbox.gate import Gate
from ssm_deployer.sandbox.instance import Instance, Role, Site
from ssm_deployer.sandbox.loop import Loop
from ssm_deployer.sandbox.rights import Rights
from ssm_deployer.sandbox.run_command import ManagedInstance, Pace, Refusal, RunCommand
from ssm_deployer.sandbox.ssm_api import Region, SsmApi
from ssm_deployer.sandbox.supervisor import become_subreaper

ADDRESS = "127.0.0.1"
REQUESTS_AT_ONCE = 64
IDLE_SECONDS = 60
MANAGED_SECONDS = 30.0
READING = ("Describe", "Get", "List")
_INSTANCE_ID = re.compile(rb"(?:^|&)InstanceId\.[0-9]+=(i-[0-9a-f]+)")


class Cloud:
    """One running sandbox.

    Attributes:
        port: where it answers, on 127.0.0.1.
        access_key: the operator's.
        secret_key: likewise.
        bucket: name of the seeded bucket.
        instances: ids of the seeded instances.
        isolation: `bubblewrap` or `plain directories`.
    """

    def __init__(self, folder: Path, size: int, region: str, *, plain: bool = False) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._regions: dict[str, tuple[RunCommand, Fleet]] = {}
        self._known: dict[str, tuple[float, Mapping[str, ManagedInstance]]] = {}
        self._system = container.distribution()
        self._account = Account(self._system)
        self._loop = Loop(self._lock, self._tick)
        self.isolation = container.PLAIN if plain or not container.usable(folder) else container.BUBBLEWRAP
        if self.isolation == container.PLAIN:
            # A supervisor that is killed leaves its scripts to the server.
            become_subreaper()
            if os.geteuid() == 0:
                # Whom root's scripts become (`--run-as`) must be able to pass through.
                folder.chmod(0o711)
        self.access_key, self.secret_key = self._account.keys.issue()
        self._role = self._account.keys.issue()
        self.bucket, self.instances = self._account.seed(size, region)
        self._faults = FaultLayer(self._ssm(Absent(self._watched(self._account.app))), self._changed)
        rights = Rights(self._faults, self._role[:1])
        self._server = _listen(Gate(rights, self._account.keys, tokens=tokens(), expirations=expirations()))
        self.port = self._server.server_port

    def start(self) -> None:
        """Begin to answer, in threads of its own."""
        threading.Thread(target=self._server.serve_forever, name="requests", daemon=True).start()
        threading.Thread(target=self._work, name="loop", daemon=True).start()

    def _work(self) -> None:
        try:
            self._loop.run()
        finally:
            # Without its loop a sandbox would accept commands and never run them: better that it ends, and says why.
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        """Close the port and end every process of every instance."""
        self._server.server_close()
        self._loop.stop()
        with self._lock:
            for _, fleet in self._regions.values():
                fleet.power_off()
        self._loop.settle()

    def _ssm(self, app: WSGIApplication) -> WSGIApplication:
        return SsmApi(app, self._region, self._lock, self._loop.wake)

    def _watched(self, app: WSGIApplication) -> WSGIApplication:
        """Let what EC2 does reach the instances: moto's states change at once, and a reboot leaves no trace there."""

        def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            action = operation(environ)
            rebooted = _INSTANCE_ID.findall(query(environ)) if action == "RebootInstances" else []
            answer = app(environ, start_response)
            if not action.startswith(("s3:", *READING)):
                with self._lock:
                    for _, fleet in self._regions.values():
                        fleet.reboot(each.decode("ascii") for each in rebooted)
                    self._changed()
            return answer

        return watched

    def _region(self, name: str) -> Region:
        if name not in self._regions:
            try:
                self._managed(name)
            except KeyError as error:
                raise Refusal("UnrecognizedClientException", f"{name} is no region") from error
            self._regions[name] = self._open(name)
        return Region(self._regions[name][0], lambda: self._managed(name))

    def _managed(self, region: str) -> Mapping[str, ManagedInstance]:
        """The instances as they are now. Reading a thousand takes 10 ms, and each end of an invocation asks anew."""
        until, managed = self._known.get(region, (0.0, {}))
        if time.monotonic() >= until:
            managed = self._account.managed(region, self._faults.current.instances)
            self._known[region] = (time.monotonic() + MANAGED_SECONDS, managed)
        return managed

    def _changed(self) -> None:
        self._known.clear()
        self._loop.wake()

    def _open(self, region: str) -> tuple[RunCommand, Fleet]:
        def managed() -> Mapping[str, ManagedInstance]:
            return self._managed(region)

        def finished(command_id: str, instance_id: str, result: Result) -> None:
            run_command.finished(command_id, instance_id, result)

        fleet = Fleet(
            managed,
            self._boots(region),
            finished,
            lambda name: self._account.parameter(region, name),
            time.time,
            lambda: self._faults.current.instances,
        )
        run_command = RunCommand(managed, fleet, time.time, self._pace)
        return run_command, fleet

    def _boots(self, region: str) -> Callable[[str], Boot]:
        site = Site(
            folder=self._folder,
            isolation=self.isolation,
            region=region,
            watcher=self._loop,
            put=self._put,
            role=Role(f"http://{ADDRESS}:{self.port}", region, *self._role),
            system=self._system,
        )

        def boots(instance_id: str) -> Boot:
            return lambda ended, lost: Instance(site, instance_id, self._traits(region, instance_id), ended, lost)

        return boots

    def _put(self, bucket: str, key: str, body: bytes) -> None:
        """An instance's upload: what strikes the requests of clients strikes it, too; the agent only logs that."""
        if self._faults.reaches("s3:PUT"):
            self._account.put(bucket, key, body)

    def _traits(self, region: str, instance_id: str) -> Traits:
        instance = self._managed(region)[instance_id]
        faults = self._faults.current.instances.get(instance_id, InstanceFaults())
        return Traits(instance.hostname.partition(".")[0] or instance_id, faults.hidden, faults.disk_bytes)

    def _pace(self) -> Pace:
        faults = self._faults.current
        return Pace(faults.visible_seconds, faults.delivery_seconds, faults.ramp_seconds)

    def _tick(self) -> float | None:
        due = [fleet.work(run_command.tick) for run_command, fleet in self._regions.values()]
        return min((each for each in due if each is not None), default=None)


class _Handler(MotoRequestHandler):
    timeout = IDLE_SECONDS

    def log_request(self, *_args: object) -> None:
        """Keep no log of requests: presigned URLs are secrets."""


def _listen(app: WSGIApplication) -> BaseWSGIServer:
    slots = threading.BoundedSemaphore(REQUESTS_AT_ONCE)

    def bounded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with slots:
            return app(environ, start_response)

    return make_server(ADDRESS, 0, bounded, threaded=True, request_handler=_Handler)
