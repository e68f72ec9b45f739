"""Answer the question for the processor from the environment: a plugin for the runs that tests start.

py-cpuinfo asks the processor in a process of its own, which takes as long as the rest of a small run.
"""

import json
import os

import cpuinfo

cpuinfo.get_cpu_info = lambda: json.loads(os.environ["KNOWN_CPU"])
