"""Packaging for pip and colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

package_name = "edfv_ros"

setup(
    name=package_name,
    version="0.1.0",
    description="Metric depth from an event camera whose lens sweeps focus.",
    license="Apache-2.0",
    maintainer="edfv_ros maintainers",
    maintainer_email="maintainers@edfv-ros.example",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=[package_name, f"{package_name}.*"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/launch", sorted(map(str, Path("launch").glob("*.launch.py")))),
        (f"share/{package_name}/config", sorted(map(str, Path("config").glob("*")))),
        (f"share/{package_name}/udev", sorted(map(str, Path("udev").glob("*")))),
        (f"share/{package_name}/systemd", sorted(map(str, Path("systemd").glob("*")))),
        (f"share/{package_name}/models", sorted(str(path) for path in Path("models").glob("*") if path.is_file())),
    ],
    zip_safe=True,
    install_requires=[
        "setuptools",
        "numpy>=2.0",
        "numba>=0.60",
        "opencv-python-headless>=4.8",
        "dv-processing>=2.0.4",
        "lz4>=4.3",
        "mcap>=1.6,<2",
        "onnxruntime>=1.19",
        "pyserial>=3.5",
        "pydantic>=2.6",
        "PyYAML>=6.0",
        "typer>=0.12",
        "rich>=13.0",
        "threadpoolctl>=3.1",
        "zstandard>=0.22",
        "matplotlib>=3.7",
    ],
    extras_require={
        "ros-wheels": [
            f"{requirement} ; python_version >= '3.11'"
            for requirement in (
                "ros-rclpy[fastrtps]==7.1.6",
                "ros-sensor-msgs==5.3.6",
                "ros-std-msgs==5.3.6",
                "ros-std-srvs==5.3.6",
                "ros-diagnostic-msgs==5.3.6",
                "ros-geometry-msgs==5.3.6",
                "ros-lifecycle-msgs==2.0.3",
            )
        ],
        "gpu": ["torch>=2.4", "triton>=3.0", "onnxruntime-gpu>=1.19"],
        "view": ["rerun-sdk>=0.41,<1 ; python_version >= '3.11'"],
        "train": ["torch>=2.4", "onnx>=1.16"],
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "mcap-ros2-support>=0.6",
            "onnx>=1.16",
            "rerun-sdk>=0.41,<1 ; python_version >= '3.11'",
            "ruff>=0.6",
            "mypy>=1.11",
            "types-PyYAML",
        ],
    },
    tests_require=["pytest"],
    entry_points={
        "console_scripts": [
            "edfv = edfv_ros.cli:main",
            "depth_node = edfv_ros.nodes.start:main",
        ],
    },
)
