"""Builds ROS interface packages for the tests, with the generators that come with rclpy's wheels and the machine's gcc.

A package becomes a folder for PYTHONPATH: the generated Python modules, and one extension module that holds the C types
and the type support for Fast DDS. Nothing of ament or colcon is needed. Run as a script, this file generates the
sources; that is done in a process of its own, since the generators look for their templates by an environment variable.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

EVENT_CAMERA_MSGS = {
    "msg/EventPacket.msg": """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
}
"""The one message of event_camera_msgs, field by field as that package defines it."""

_TYPE_SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")
_GENERATORS = ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_c", *_TYPE_SUPPORTS)
_RUNTIME = ("rosidl_runtime_c", *_GENERATORS[2:], "rosidl_typesupport_fastrtps_cpp", "fastcdr", "rcutils", "rmw")
_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # the folders live as long as the tests


def interface_folder(package: str, definitions: Mapping[str, str]) -> Path | None:
    """Build a package once per run of the tests and make it importable here; skip the test where a tool is missing.

    Args:
        package: its name.
        definitions: text by path within the package: ``msg/NAME.msg``, ``srv/NAME.srv`` or ``action/NAME.action``.

    Returns:
        The folder for PYTHONPATH of other processes; None where the package is installed already.
    """
    return _built(package, tuple(definitions.items()))


def environment_with(*folders: Path | None) -> dict[str, str]:
    """An environment for other processes: this one's, with folders before what PYTHONPATH has."""
    path = [str(folder) for folder in folders if folder is not None]
    return dict(os.environ, PYTHONPATH=os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH", "")])]))


@functools.cache
def _built(package: str, definitions: tuple[tuple[str, str], ...]) -> Path | None:
    if importlib.util.find_spec(package) is not None:
        return None
    missing = [name for name in _GENERATORS if importlib.util.find_spec(name) is None]
    missing += [name for name in ("gcc", "g++") if shutil.which(name) is None]
    headers = Path(sysconfig.get_path("include"))
    missing += [] if (headers / "Python.h").exists() else ["Python.h"]
    if missing:
        pytest.skip(f"{package} is not installed and cannot be built: no {', '.join(missing)}")
    _KEPT.append(tempfile.TemporaryDirectory(prefix=f"{package}-"))
    work = Path(_KEPT[-1].name)
    for name, text in definitions:
        (work / "definitions" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "definitions" / name).write_text(text, encoding="utf-8")
    prefix = _prefix()
    _run(
        [sys.executable, __file__, str(work), package, *(name for name, _ in definitions)],
        environment=dict(os.environ, AMENT_PREFIX_PATH=os.environ.get("AMENT_PREFIX_PATH") or str(prefix)),
    )
    _compile(work, package, prefix, headers)
    sys.path.insert(0, str(work / "python"))
    return work / "python"


def _prefix() -> Path:
    """Where ROS is installed: the directory of ``lib``, ``include`` and ``share``."""
    for prefix in (*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix):
        if prefix and (Path(prefix) / "share/rosidl_generator_py").is_dir():
            return Path(prefix)
    pytest.skip("interface packages cannot be built: the templates of rosidl_generator_py are not installed")


def _compile(work: Path, package: str, prefix: Path, headers: Path) -> None:
    """Make libraries of everything that was generated.

    rosidl_typesupport_c asks the loader for one library by type support. All code is in the first one; the other has
    nothing but a reference to it. Since the extension module needs both, the loader has them when it is asked.
    """
    import numpy

    sources = [*work.glob("generated/**/*.c"), *work.glob("generated/**/*.cpp")]
    included = {name for path in sources for name in re.findall(r'#include "(\w+)/(?:msg|srv)/', path.read_text())}
    needed = [f"{name}__{generator}" for name in sorted(included - {package}) for generator in _GENERATORS]
    include = [work / "include", prefix / "include", *(prefix / "include").iterdir(), headers, numpy.get_include()]
    flags = ["-O0", "-fPIC", "-w", *(f"-I{folder}" for folder in include)]

    def compiled(source: Path) -> str:
        target = f"{source}.o"
        _run(["gcc" if source.suffix == ".c" else "g++", *flags, "-c", str(source), "-o", target])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    folder = work / "python" / package
    libraries = [f"-l{name}" for name in (*needed, *_RUNTIME) if (prefix / "lib" / f"lib{name}.so").exists()]
    link = ["g++", "-shared", "-Wl,--no-as-needed", f"-L{folder}", f"-L{prefix}/lib", "-Wl,-rpath,$ORIGIN"]
    ours = [f"{package}__{name}" for name in _TYPE_SUPPORTS]
    for name, content in zip(ours, ([*objects, *libraries], [f"-l{ours[0]}"]), strict=True):
        _run([*link, f"-Wl,-rpath,{prefix}/lib", f"-Wl,-soname,lib{name}.so", *content, "-o", f"{folder}/lib{name}.so"])
    module = folder / f"{package}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
    entry = [name for name in objects if ".ep." in name]
    _run([*link, *entry, "-o", str(module), *(f"-l{name}" for name in ours)])


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{command[0]} failed:\n{done.stdout}{done.stderr}", pytrace=False)


def _generate(work: Path, package: str, names: Iterable[str]) -> None:
    """Write C and Python sources for the definitions in ``work``."""
    # Not imported by name: none of them is needed by anything else, and all of them come with rclpy.
    adapter = {kind: import_module(f"rosidl_adapter.{kind}") for kind in ("msg", "srv", "action")}
    generators = [
        import_module("rosidl_generator_c.cli").GenerateC("c"),
        import_module("rosidl_typesupport_fastrtps_c.cli").GenerateFastRTPSCTypesupport("fastrtps"),
        import_module("rosidl_typesupport_introspection_c.cli").GenerateIntrospectionCTypesupport("introspection"),
        import_module("rosidl_typesupport_c.cli").GenerateCTypesupport(
            "dispatch", typesupport_implementations=list(_TYPE_SUPPORTS)
        ),
        import_module("rosidl_generator_py.cli").GeneratePython(
            "python", typesupport_implementations=["rosidl_typesupport_c"]
        ),
    ]
    files = []
    for name in map(Path, names):
        kind = name.suffix[1:]
        convert = getattr(adapter[kind], f"convert_{kind}_to_idl")
        convert(work / "definitions", package, name, work / "idl" / name.parent)
        files.append(f"{work / 'idl'}:{name.with_suffix('.idl').as_posix()}")
    share = [str(_prefix() / "share")]
    (work / "python" / package).mkdir(parents=True)
    (work / "python" / package / "__init__.py").touch()
    for generator in generators:
        generated = work / "generated" / generator.name  # some write files of the same name
        generator.generate(package, files, share, output_path=generated)
        for path in generated.rglob("*"):
            kind = {".h": "include", ".py": "python"}.get(path.suffix)
            if kind is not None:
                target = work / kind / package / path.relative_to(generated)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)


if __name__ == "__main__":
    _generate(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
