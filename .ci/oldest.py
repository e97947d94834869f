"""Print what setup.cfg asks for, each package in the oldest version that it allows: numpy>=2.0 as numpy==2.0."""

import configparser
from pathlib import Path

settings = configparser.ConfigParser()
settings.read(Path(__file__).parent.parent / "setup.cfg")
extras = settings["options.extras_require"]
for requirements in (settings["options"]["install_requires"], extras["convert"], extras["dev"]):
    print(requirements.strip().replace(">=", "=="))
