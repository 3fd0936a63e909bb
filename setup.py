"""What goes into the wheel. Everything else about the package stands in pyproject.toml.

In a checkout the entry points live in scripts/ and the configs in conf/. The wheel calls them `vla_scripts`
and `vla_conf`, so that nothing as common as `scripts` lands in a user's site-packages; pyproject.toml alone
cannot rename two folders and find the packages of the others.
"""

from setuptools import find_packages, setup

found = find_packages(include=["vla", "vla.*", "envs", "envs.*", "policies", "policies.*"])

setup(
    packages=[*found, "vla_scripts", "vla_conf"],
    package_dir={"vla_scripts": "scripts", "vla_conf": "conf"},
    package_data={
        "vla_conf": ["*.yaml", "**/*.yaml"],
        "policies": ["pretrained/**/*"],
    },
)
