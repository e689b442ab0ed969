"""A store at a URL: a working copy on this machine, brought back as one file.

HDF5 writes in the middle of its file, which object storage cannot. So the copy is written, with
all that makes a local store safe, and the URL gets whole files only. The copy stays in the cache
folder: a run that was killed goes on there, and the next reading downloads only what has changed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from featx._progress import Progress
from featx._repr import OneLine
from featx.errors import FeatxError, FileFormatError, StoreWriteError
from featx.files.atomic import open_regular, replacing
from featx.files.formats import MissingFileError
from featx.files.locks import WriterLock
from featx.files.remote import (
    RemoteFile,
    download,
    fetch_head,
    filesystem,
    is_url,
    look,
    reason_of,
    upload,
)
from featx.store._container import HEAD_BYTES, open_for_reading
from featx.store.writer import StoreWriter

__all__ = ["readable_copy", "working_copy"]

# For another process of this machine that is fetching the copy.
TURN_S = 60.0
DAMAGED = "damaged"  # in the place of a commit id
log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Synced(OneLine):
    """What was at the URL, and in the copy, when the two were last the same.

    Parameters
    ----------
    remote : RemoteFile or None
        None where nothing was there.
    commit_id : str
        Of the copy, hexadecimal; "" where there was none, "damaged" where it is no store.
    """

    remote: RemoteFile | None = None
    commit_id: str = ""


class Copy:
    """The copy of one URL, which need not exist."""

    def __init__(self, url: str) -> None:
        self.url, self.subject = url, f"store {url!r}"
        digest = hashlib.sha256(url.encode()).hexdigest()[:32]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "featx"
        name = posixpath.basename(re.split("[?#]", url)[0].rstrip("/"))  # what signs it is no name
        self.path = folder / "stores" / digest / (name or "store.h5")
        self._note = self.path.with_name(f"{self.path.name}.json")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_symlink():  # it would be written where the link leads
                raise OSError(errno.ELOOP, f"{self.path.name!r} there is a link")  # noqa: TRY301
        except OSError as err:
            raise StoreWriteError(
                f"{self.subject}: its copy's folder {str(self.path.parent)!r} cannot be used "
                f"({err.strerror or err}); set XDG_CACHE_HOME to one that can be written"
            ) from err

    @property
    def synced(self) -> Synced:
        """As it was written down."""
        try:
            with open_regular(self._note, follow=False) as file:
                kept = json.loads(file.read())
            remote = kept["remote"]
            return Synced(remote and RemoteFile(**remote), kept["commit_id"])
        except FileNotFoundError:
            return Synced()
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise FileFormatError(
                f"{self.subject}: the note {str(self._note)!r} about its copy cannot be read "
                f"({reason_of(err)}); remove it and the copy beside it"
            ) from err

    @property
    def is_ahead(self) -> bool:
        """Whether something is committed that is not at the URL; never of a damaged copy."""
        found = self.commit_id
        return found not in ("", DAMAGED) and found != self.synced.commit_id

    @property
    def commit_id(self) -> str:
        """Of the copy as it is; "" where there is none, "damaged" where it cannot be opened."""
        return _commit_id(self.path) if self.path.exists() else ""

    @contextlib.contextmanager
    def lend(self, turn_s: float, timeout_s: float) -> Iterator[WriterLock]:
        """Keep others from writing and replacing the copy.

        Readers bring it up to date too, which takes as long as a download. So everybody waits for
        a turn first, and only a writer keeps the copy after its turn: one who finds it lent is
        never kept out by a reader.

        Yields
        ------
        WriterLock
            The turn, which may be released before the copy is.
        """
        with (
            WriterLock(self.path.with_name(f"{self.path.name}.turn"), turn_s) as turn,
            WriterLock(self.path.with_name(f"{self.path.name}.lent"), timeout_s),
        ):
            yield turn

    def bring_up_to_date(self) -> bool:
        """Make the copy what is there, unless it is ahead; return whether anything is there."""
        there = self.there()
        self._set_aside_if_damaged()
        if self.is_ahead:
            return there is not None
        if there is None:
            self.path.unlink(missing_ok=True)
            self.write_down(None)
        elif there != self.synced.remote or not there.mtime_ns or not self.path.exists():
            self.download(there)
        return there is not None

    def there(self) -> RemoteFile | None:
        """Ask what is at the URL."""
        with self._reaching("asked for"), contextlib.suppress(FileNotFoundError):
            filesystem(self.url).invalidate_cache()
            return look(self.url)
        return None

    def download(self, remote: RemoteFile) -> None:
        """Replace the copy; an interrupted download leaves the old one."""
        with self._reaching("downloaded"), replacing(self.path) as beside:
            with Progress(max(remote.size_bytes, 0), "download", unit="B") as bar:
                download(remote, beside, lambda n_bytes: bar.advance(n_bytes - bar.done))
            n_bytes = beside.stat().st_size
            if remote.size_bytes not in (-1, n_bytes):
                raise FileFormatError(
                    f"{self.subject}: {n_bytes} bytes came, expected {remote.size_bytes}; it was "
                    "changed meanwhile, or the connection broke: try again"
                )
        self.write_down(remote)

    def upload(self) -> None:
        """Put the copy at the URL, unless somebody else has changed what is there."""
        StoreWriter(self.path).close()  # finishes a commit of which a part is in the journal only
        n_bytes = self.path.stat().st_size
        self.require_unchanged(self.there())
        try:
            with Progress(n_bytes, "upload", unit="B") as bar:
                upload(self.path, self.url, lambda n_bytes: bar.advance(n_bytes - bar.done))
            there, is_ours = self.there(), self._holds(self.commit_id)
            # The note is to be of what was just looked into: nobody may have come in between.
            is_ours &= self.there() == there
        except Exception as err:
            why = err if isinstance(err, FeatxError) else reason_of(err)
            raise StoreWriteError(
                f"{self.subject}: cannot be written ({why}), expected a place that you may write; "
                f"everything is committed in {str(self.path)!r}: run again to put it there"
            ) from err
        if there is None or not is_ours or there.size_bytes not in (-1, n_bytes):
            found = 0 if there is None else there.size_bytes
            raise StoreWriteError(
                f"{self.subject}: {n_bytes} bytes were put there, and {found} are there now: the "
                "upload was cut short, or somebody else has put another store there; everything "
                f"is committed in {str(self.path)!r}: run again, which puts it there or says that "
                "there is somebody else's"
            )
        self.write_down(there)

    def require_unchanged(self, there: RemoteFile | None) -> None:
        """Refuse to mix two histories.

        What is there may be what was last noted, or what this copy was at a commit since: a run
        was killed, or cut off, before it noted that.
        """
        synced = self.synced
        if there == synced.remote and (there is None or there.mtime_ns):
            return
        if there is not None and (self._holds(self.commit_id) or self._holds(synced.commit_id)):
            return
        raise StoreWriteError(
            f"{self.subject}: somebody else has changed it since the copy {str(self.path)!r} was "
            "made, in which there is more that is not at the URL; copy that file away if you need "
            "it, remove it, and run again"
        )

    def _holds(self, commit_id: str) -> bool:
        """Tell whether what is at the URL stands at that commit, by its first bytes."""
        with self._reaching("downloaded"):
            head = fetch_head(self.url, HEAD_BYTES)
        return commit_id not in ("", DAMAGED) and bytes.fromhex(commit_id) in head

    def _set_aside_if_damaged(self) -> None:
        """Make room for what is at the URL, unless that is what is damaged."""
        if self.commit_id != DAMAGED or self.synced.commit_id == DAMAGED:
            return
        aside = self.path.with_name(f"{self.path.name}.damaged")
        self.path.replace(aside)
        log.warning(
            "%s: its copy %s is damaged; it is kept as %s, and the URL is downloaded again",
            self.subject,
            self.path,
            aside,
        )

    def write_down(self, remote: RemoteFile | None) -> None:
        """Note that copy and URL are the same now."""
        note = {"remote": remote and asdict(remote), "commit_id": self.commit_id}
        with replacing(self._note) as beside:
            beside.write_text(json.dumps(note))

    @contextlib.contextmanager
    def _reaching(self, action: str) -> Iterator[None]:
        """Say what could not be done at the URL; each file system has errors of its own."""
        try:
            yield
        except FeatxError:
            raise
        except Exception as err:
            raise FileFormatError(
                f"{self.subject}: cannot be {action} ({reason_of(err)}), expected one that can be "
                "reached and read; check the name, the credentials and the network"
            ) from err


def readable_copy(store: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return a path as it is; for a URL, a copy of what is there now.

    Raises
    ------
    MissingFileError
        If nothing is at the URL.
    FileFormatError
        If it cannot be had.
    """
    if not is_url(store):
        return store
    copy = Copy(str(store))
    if copy.is_ahead:
        log.warning(
            "%s: read from the copy %s, in which there is more than at the URL; featx extract "
            "puts it there",
            copy.subject,
            copy.path,
        )
        return copy.path
    try:
        with copy.lend(0 if copy.path.exists() else TURN_S, 0):
            is_there = copy.bring_up_to_date()
    except StoreWriteError:  # of a writer, which has brought it up to date
        if copy.path.exists():
            return copy.path
        raise
    if not is_there:
        raise MissingFileError(
            f"{copy.subject}: not found, expected a store made by featx; check the name"
        )
    return copy.path


@contextlib.contextmanager
def working_copy(store: str, *, timeout_s: float = 0.0) -> Iterator[Path]:
    """Lend a copy for writing; afterwards, however that ended, put what is committed at the URL.

    Parameters
    ----------
    store : str
        The URL.
    timeout_s : float, default 0.0
        How long to wait for another process of this machine that has lent it; -1 waits as long as
        it takes.

    Raises
    ------
    StoreWriteError
        If another process has it, somebody else has changed what is there, or it cannot be
        written; the copy stays.
    """
    copy = Copy(store)
    # From here on, since the copy may be replaced before a writer opens it, and after it closed.
    with copy.lend(TURN_S, timeout_s) as turn:
        if copy.is_ahead:  # of a run that was killed, or kept from putting it there
            copy.upload()
        else:
            copy.bring_up_to_date()
        turn.release()
        try:
            yield copy.path
        finally:
            if copy.is_ahead:
                copy.upload()


def _commit_id(path: Path) -> str:
    try:
        opened = open_for_reading(path)
    except FileFormatError:  # who reads it will say so
        return DAMAGED
    opened.close()
    return opened.id.hex()
