"""How the tests share several processes (`-n`): whole files, and one browser at a time; failures
are told when they happen, and how busy the machine is fails nothing."""

import contextlib
import importlib.util
import os
import signal
from pathlib import Path

import pytest

# What not every test needs is imported by the fixtures that need it.

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each process has a core; torch's threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.setdefault("RAY_worker_niceness", "0")  # else Ray's workers give way to all others

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what runs in its background ignore Ctrl-C, and programs started here inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the tests that need a GPU do without
    import hypothesis

    # How long an example takes says how busy the machine is, no more.
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")

if importlib.util.find_spec("jaxtyping"):  # the tests that need a GPU do without
    from tests.shapes import check_shapes

    check_shapes()

BROWSER = Path(__file__).parent / "browser"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a file's tests in one process, for what they set up; and all that start a browser."""
    group = "browser" if BROWSER in item.path.parents else item.path.name
    item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Lines have no width, wherever the tests run."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="module")
def case(request):
    """The golden case that a module names as CASE."""
    from tests.golden_cases import golden_case

    return golden_case(request.module.CASE)


@pytest.fixture(scope="module")
def network(case):
    """The network of the golden case, with its weights."""
    return case.network()


@pytest.fixture(scope="module")
def one_thread():
    """One for torch in every thread, because another number rounds otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A recorded session of two lanes and a few frames."""
    from tests.test_export_formats import make_session

    return make_session(tmp_path_factory.mktemp("session"))


@pytest.fixture
def source(session):
    """The recorded session, to be exported."""
    from ttt3r_viewer.export.lane_source import Source
    from ttt3r_viewer.recording.reader import Recording

    return Source(Recording.open(session))


@pytest.fixture(scope="module")
def used_server():
    """A viser server for all tests of a module."""
    import viser

    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield server
    server.stop()


@pytest.fixture
def server(used_server):
    """A viser server without the nodes of the tests before."""
    used_server.scene.reset()
    return used_server


@pytest.fixture
def show():
    """Show made-up runs in pages that end with the test: `tests.pages.shown`."""
    from tests.pages import shown

    with contextlib.ExitStack() as stack:
        yield lambda *given, **options: stack.enter_context(shown(*given, **options))


class FailuresAtOnce:
    """Tells each failure in a line when it happens: a run that is ended by force tells no more."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            why = report.longreprtext.strip().splitlines() or [""]
            said = [line for line in why if line.startswith("E ")] or why[-1:]
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{report.when} of {report.nodeid}: {said[0][:300]}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if isinstance(terminal, pytest.TerminalReporter) and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(FailuresAtOnce(terminal))
