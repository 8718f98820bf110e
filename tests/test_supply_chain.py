"""What is shipped, and that nothing of it talks to the network unless it is told to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.small_models import save_projection

ROOT = Path(__file__).parents[1]
PACKAGES = ("evaluator", "training", "zoo")

# Python imports it at start from PYTHONPATH. Every way to a network goes through these.
NO_NETWORK = """
import socket

def refuse(*arguments, **options):
    raise AssertionError("the network was used")

class Refused(socket.socket):
    connect = connect_ex = sendto = bind = refuse

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built without network."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


def test_the_wheel_holds_the_packages_and_their_data_and_no_more(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= names
    assert "zoo/models.yaml" in names
    rest = {name for name in names - ours if ".dist-info/" not in name}
    assert rest == {"zoo/models.yaml"}
    assert zipfile.ZipFile(wheel).read("zoo/models.yaml") == (ROOT / "models.yaml").read_bytes()


def test_the_sdist_holds_what_the_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("Makefile", "constraints.txt", "models.yaml", "LICENSE", "SECURITY.md"):
        assert name in names
    assert {"tests/test_supply_chain.py", "fuzz/targets.py", "zoo/report/report.css"} <= names
    assert not any(name.startswith(("results/", ".venv/", "dist/")) for name in names)


def test_the_installed_package_finds_its_entries_outside_the_checkout(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    done = run(["list"], folder=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    entries = yaml.safe_load((ROOT / "models.yaml").read_text())["models"]
    assert all(name in done.stdout for name in entries)


def run(
    arguments: list[str], *, folder: Path, path: Path, code: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, the code run before it."""
    start = "import sys; from zoo.cli import main; main()"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    return subprocess.run(
        [sys.executable, "-c", f"{code}\n{start}", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(path), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with a small bin of real faces."""
    folder = tmp_path_factory.mktemp("offline")
    data = (shared / "bins" / "small_lfw.bin").read_bytes()
    (folder / "small.bin").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        "list",
        "show arc_8",
        "bins info small.bin",
        "bins convert small.bin small.npz",
        "eval missing.h5 --bins small",
        "leaderboard",
        "pull centsoft",
    ],
)
def test_no_command_reaches_for_the_network(workplace: Path, arguments: str) -> None:
    done = run(arguments.split(), folder=workplace, path=ROOT, code=NO_NETWORK)
    assert "the network was used" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)


@pytest.mark.slow
def test_evaluation_comparison_and_report_need_no_network(shared: Path, tmp_path: Path) -> None:
    """A real network on real faces, and a small one, then all that reads results."""
    model, bins = shared / "models" / "faceapi_resnet.h5", shared / "bins"
    save_projection(tmp_path / "small.onnx")
    for command in (
        ["eval", str(model), "small.onnx", "--bins", "small_lfw", "--data", str(bins)],
        ["leaderboard"],
        ["threshold", str(model), "--bins", "small_lfw", "--data", str(bins), "--far", "0.1"],
        ["report", "-o", "report.html"],
    ):
        done = run(command, folder=tmp_path, path=ROOT, code=NO_NETWORK)
        assert "Traceback" not in done.stderr
        assert "the network was used" not in done.stderr
    assert not re.search(
        r"(?:src|href)=[\"']?(?:https?:)?//", (tmp_path / "report.html").read_text()
    )


def test_the_blocked_network_is_noticed(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{NO_NETWORK}\nimport urllib.request as u; u.urlopen('http://a.b')",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the network was used" in done.stderr


# ---- Workflows -----------------------------------------------------------------------------------

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_asks_for_little_and_names_its_actions(path: Path) -> None:
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert job["timeout-minutes"] <= 120
        # Only jobs that check nothing out may write anywhere.
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        writes = {key for key, value in job.get("permissions", {}).items() if value == "write"}
        assert writes <= {"pages", "id-token"}
        assert not writes or not any(use.startswith("actions/checkout@") for use in uses)
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", f"a/b@{0:040}"))
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # A branch's or title's name in a shell line would be run.
            assert "${{ github." not in step.get("run", "")


def test_an_action_has_one_commit_in_all_workflows_and_its_version_beside_it() -> None:
    # A tag can be moved to other code after it was looked at; a commit cannot.
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([^@\s]+)@(.+)", path.read_text()):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), f"{path.name}: {action}"
            pins.setdefault(action, set()).add(pin)
    assert {"actions/checkout", "actions/setup-python"} <= set(pins)
    assert all(len(found) == 1 for found in pins.values()), pins


def test_newer_actions_are_proposed() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert "github-actions" in {update["package-ecosystem"] for update in updates}


def test_the_workflows_test_every_python_that_is_supported() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    wanted = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert flow["jobs"]["tests"]["strategy"]["matrix"]["python"] == wanted


def test_every_make_target_of_a_workflow_exists() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = {name for path in WORKFLOWS for name in re.findall(r"make ([\w-]+)", path.read_text())}
    assert {"lint", "test"} <= used
    assert used - {"docs"} <= set(targets)
