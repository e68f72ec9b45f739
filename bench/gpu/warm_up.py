"""Fill the compilers' caches for one trainer: `python -m bench.gpu.warm_up FAMILY PRESET NUMBER`."""

import sys

from bench.gpu.runner import end_with_parent, warm_up

if __name__ == "__main__":
    end_with_parent()
    family, preset, number = sys.argv[1:]
    warm_up(family, preset, int(number))
