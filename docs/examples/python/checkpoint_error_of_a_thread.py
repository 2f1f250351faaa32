"""A save with two threads, one of which cannot open its file: `checkpoint_error_of_a_thread.py DIR`. Exit code 1: the
save is no error."""

import errno
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as checkpoint
from torch.distributed.checkpoint.filesystem import FileSystem

create_stream = FileSystem.create_stream


@contextmanager
def failing(self, path, mode):
    if mode == "wb" and threading.current_thread() is not threading.main_thread():
        raise OSError(errno.EIO, "a broken disk", str(path))
    with create_stream(self, path, mode) as stream:
        yield stream


def main(folder: str) -> int:
    FileSystem.create_stream = failing
    writer = checkpoint.FileSystemWriter(folder, thread_count=2)
    try:
        checkpoint.save({name: torch.ones(4) for name in "abcd"}, storage_writer=writer, no_dist=True)
    except (Exception, checkpoint.CheckpointException) as error:
        print(f"the save: {type(error).__name__}")
        return 0
    print("the save: no error;", "files:", sorted(path.name for path in Path(folder).iterdir()))
    return 1


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
