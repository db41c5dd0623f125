"""Real clients of AWS whose requests go to botocore's Stubber: no service is behind them."""

from typing import Any

from ssm_deployer.aws import Aws


class Stubbed(Aws):
    """One real client a service, and what it was made for."""

    def __init__(self, *services: str) -> None:
        super().__init__(region="eu-west-1", credentials=("testing", "testing"))
        self.attempts: list[tuple[str, int]] = []
        self.clients: dict[str, Any] = {service: super(Stubbed, self).client(service) for service in services}

    def client(self, service: str, *, attempts: int = 3) -> Any:
        self.attempts.append((service, attempts))
        return self.clients[service]
