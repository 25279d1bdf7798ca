"""The two machines that ``python -m vagrant.vms e2e`` has started, and frazil on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_vagrant.hosts import MIRROR, Hosts
from vagrant.vms.install import install, prepare
from vagrant.vms.readme import Step
from vagrant.vms.vagrantfile import Vagrant

collect_ignore_glob = [] if "FRAZIL_E2E_PACKAGE" in os.environ else ["test_*.py"]
"""Without machines there is nothing to collect here."""

LIMIT_SECONDS = 2700
"""Of one test: emulated machines with busy neighbours take minutes for what takes seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Booting and installing count as part of the first test."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


@pytest.fixture(scope="session")
def bare() -> Iterator[Hosts]:
    """Machines with an application's filesystem and the package, not installed yet."""
    vagrant = Vagrant(
        os.environ["FRAZIL_E2E_DRIVER"], tuple(os.environ["FRAZIL_E2E_PREFIX"].split())
    )
    package = Path(os.environ["FRAZIL_E2E_PACKAGE"])
    hosts = Hosts(vagrant, package, Path(os.environ["FRAZIL_E2E_NEWER"]))
    if not hosts.are_installed():
        prepare(hosts.machines, package)
    hosts.prepare_writers()
    yield hosts
    hosts.keep_logs()


@pytest.fixture(scope="session")
def hosts(bare: Hosts) -> Hosts:
    """frazil installed by the README's words, mirroring ``data``; kept machines have it."""

    def look(step: Step) -> None:
        if "apt-get install" in step.script:
            bare.after_installing = [bare.traces_of_running(one) for one in ("local", "remote")]

    if not bare.are_installed():
        install(bare.machines, look)
        # Emulated processors, one each: without a break there is time for little but cycles.
        bare.local.run(f"frazil mirror set {MIRROR} --interval 5s")
    return bare


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that fails shows how both machines stand."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    hosts = getattr(item, "funcargs", {}).get("hosts")
    if report.failed and isinstance(hosts, Hosts):
        report.sections.append(("machines", hosts.standing()))
