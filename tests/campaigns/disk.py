"""A disk whose power can be cut: a file with an ext4 file system, mounted.

A cut freezes the file system as it is at that moment, without writing anything more (what xfstests calls godown),
copies the file below it, and mounts the copy: the journal is replayed as after a real cut. What the file system had
handed to its disk is kept; a disk that loses its own write cache is not played.
"""

import fcntl
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

SIZE = 400 << 20

#: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: stop all writes now, the journal's included.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def unavailable() -> str | None:
    """Why nothing can be mounted here; None where it can."""
    if os.geteuid() != 0:
        return "only root may mount"
    with tempfile.TemporaryDirectory(prefix="trainyard-mount-") as folder:
        disk = Disk(Path(folder), size=16 << 20)
        try:
            disk.make()
            disk.mount()
            disk.freeze()
        except OSError as error:
            return f"no file system can be mounted and frozen here: {error}"
        finally:
            disk.drop()
    return None


class Disk:
    """The present disk. `folder` keeps the image files, `mounted` is where the present one is mounted."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self.folder, self.size = folder, size
        self.mounted = folder / "disk"
        self.mounted.mkdir()
        self.number = 0
        self.is_mounted = False

    @property
    def image(self) -> Path:
        """The file of the present disk."""
        return self.folder / f"image-{self.number}"

    def make(self) -> None:
        """An empty file system."""
        with self.image.open("wb") as image:
            image.truncate(self.size)
        _do("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))

    def mount(self, commit_seconds: int = 5) -> None:
        """Mounts the image. A long commit interval leaves less to luck."""
        _do("mount", "-o", f"loop,data=ordered,commit={commit_seconds}", "-t", "ext4", str(self.image), str(self.mounted))
        self.is_mounted = True

    def freeze(self) -> None:
        """Nothing more reaches the image from here on."""
        folder = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def copy(self) -> Path:
        """Copies the image as it is; it becomes the next disk with `take`."""
        copy = self.folder / f"image-{self.number + 1}"
        _do("cp", "--sparse=always", str(self.image), str(copy))
        return copy

    def take(self, commit_seconds: int) -> None:
        """Drops the present disk and mounts its copy."""
        old = self.image
        self.drop()
        old.unlink()
        self.number += 1
        self.mount(commit_seconds)

    def check(self) -> str | None:
        """What e2fsck says against an image that was unmounted; None for nothing."""
        done = subprocess.run(["e2fsck", "-f", "-n", str(self.image)], capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else done.stdout.strip()

    def drop(self) -> None:
        """Unmounts, whoever still has files open there."""
        if self.is_mounted:
            _do("umount", "-l", str(self.mounted))
            self.is_mounted = False

    def unmount(self) -> None:
        """Unmounts in order; what was killed a moment ago may take another one to let go."""
        deadline = time.monotonic() + 5
        while True:
            try:
                _do("umount", str(self.mounted))
                self.is_mounted = False
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
