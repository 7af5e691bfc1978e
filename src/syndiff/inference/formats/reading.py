"""Reading files that may be damaged in any way: whatever goes wrong becomes one sentence."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from syndiff.errors import SyndiffError

_PANIC = "PanicException"  # of decoders in Rust, such as that of RLE: no Exception, but no more than one


@contextlib.contextmanager
def readable(path: Path, what: str = "") -> Iterator[None]:
    """Whatever goes wrong with `path`, or with `what` of it ("frame 3 of "), becomes a SyndiffError.

    Nothing of the file is quoted, since its header may name a patient: libraries do quote what they cannot read. A
    missing library stays a ModuleNotFoundError.
    """
    try:
        yield
    except (SyndiffError, ModuleNotFoundError):
        raise
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist, or is a link that leads nowhere.") from None
    except MemoryError:
        raise SyndiffError(f"{what}{path} does not fit into memory; cut it into parts or free memory.") from None
    except BaseException as error:  # damaged bytes make parsers and decoders raise nearly anything
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        if isinstance(error, OSError) and error.strerror:
            raise SyndiffError(
                f"{path} cannot be read ({error.strerror}); check its permissions and its disk."
            ) from None
        why = "it ends too early" if isinstance(error, EOFError) else f"{type(error).__name__} while it was read"
        raise SyndiffError(f"{what}{path} is damaged or cut off ({why}); copy or export it again.") from None
