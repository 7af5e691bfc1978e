"""Say where pip should look for PyTorch besides its own index, as pip arguments on standard output.

On Linux the package index gives out CUDA builds of several gigabytes; a machine without an NVIDIA driver is
better served by the public CPU builds. Where those cannot be reached (no network, a proxy, a mirror), nothing
is printed and pip's own index or wheelhouse has to hold PyTorch. The environment variable TORCH_INDEX replaces
all of this: an address is passed on, an empty value adds nothing.
"""

import os
import shutil
import sys
import threading
import urllib.request

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS = 3.0


def answers(url: str) -> bool:
    """Whether `url` answers within `SECONDS`, looking up its name included."""
    found = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS):
                found.set()
        except (OSError, ValueError):
            pass

    # a thread, because the timeout of urlopen does not cover the look-up of the name
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return found.is_set()


def choose() -> str:
    """The extra index, empty for none."""
    wanted = os.environ.get("TORCH_INDEX")
    if wanted is not None:
        return wanted.strip()
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        return ""
    if answers(f"{CPU_INDEX}/torch/"):
        return CPU_INDEX
    print(
        f"{CPU_INDEX} does not answer: PyTorch comes from pip's own index or wheelhouse. If that is a CUDA build\n"
        "of several gigabytes, stop and name an index that holds CPU builds: make TORCH_INDEX=https://...",
        file=sys.stderr,
    )
    return ""


if __name__ == "__main__":
    index = choose()
    if index:
        print(f"--extra-index-url {index}")
