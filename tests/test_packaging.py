"""The links resolve, the archive and the wheel hold every file, and the README's two commands are what they say."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import chainrule

ROOT = Path(__file__).parents[1]
ROOMS = ("frontend", "passes", "backends")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def files_below(folder: Path) -> set[str]:
    """The files of a package folder, links followed, without what Python leaves behind."""
    found: set[str] = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(where) / name).relative_to(folder).as_posix() for name in names if not name.endswith(".pyc")}
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built through the source archive, from a copy of the checkout."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    left_out = (".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache", "build", "dist", "tests")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*left_out))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.mark.parametrize("room", ROOMS)
def test_the_link_to_a_room_is_relative_and_leads_to_the_root_folder(room: str):
    link = ROOT / "src" / "chainrule" / room
    assert link.is_symlink(), f"{link} is no link: check the repository out on a system that has symbolic links"
    assert os.readlink(link) == f"../../{room}"
    assert link.resolve() == ROOT / room


def test_a_wheel_built_through_the_archive_holds_every_file_of_the_package(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name.removeprefix("chainrule/") for name in names if name.startswith("chainrule/")}
    assert held == files_below(wheel.parents[1] / "src" / "chainrule")
    assert {name.partition("/")[0] for name in names} == {"chainrule", f"chainrule-{chainrule.__version__}.dist-info"}


def test_a_wheel_names_its_licences_and_its_command(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        notes = f"chainrule-{chainrule.__version__}.dist-info"
        names = archive.namelist()
        entry_points = archive.read(f"{notes}/entry_points.txt").decode()
    assert "chainrule = chainrule.cli:main" in entry_points
    for licence in PROJECT["license-files"]:
        assert f"{notes}/licenses/{licence}" in names


def test_a_package_from_the_wheel_finds_its_rooms_and_its_data(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import chainrule, importlib\n"
        f"for room in {ROOMS!r}: importlib.import_module(f'chainrule.{{room}}')\n"
        "from chainrule.frontend.datasets import digits\n"
        "print(chainrule.__file__, digits()[0].shape)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.stdout == f"{tmp_path / 'chainrule' / '__init__.py'} (1797, 1, 8, 8)\n", done.stderr


def test_the_readme_has_two_commands_one_for_the_demo_and_one_for_the_tests():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    demo, tests = re.findall(r"^```sh\n(.*)\n```$", readme, flags=re.MULTILINE)
    assert demo.startswith("python3 -m venv ")
    assert demo.endswith("chainrule demo")
    assert tests.startswith("python3 -m venv ")
    assert tests.endswith("tools/check.py")
    assert (ROOT / "tools" / "check.py").exists()


def test_no_ordinary_install_asks_for_pytorch():
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert not [line for line in asked if re.match(r"(torch|jax|tensorflow|matplotlib)\b", line)]
    assert [line for line in PROJECT["optional-dependencies"]["bench"] if re.match(r"torch\b", line)]
