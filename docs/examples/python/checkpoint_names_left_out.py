"""A load that wants fewer names than the checkpoint has: `checkpoint_names_left_out.py DIR`. Exit code 1: nothing says
which names it leaves out."""

import logging
import sys
import warnings

import torch
import torch.distributed.checkpoint as checkpoint


class Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main(folder: str) -> int:
    saved = {"wanted": torch.ones(2), "loader of rank 0": 3, "loader of rank 1": 4}
    checkpoint.save(saved, checkpoint_id=folder, no_dist=True)
    said = Said()
    logging.getLogger().addHandler(said)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint.load({"wanted": torch.zeros(2), "loader of rank 0": 0}, checkpoint_id=folder, no_dist=True)
    texts = [*said.texts, *(str(warning.message) for warning in caught)]
    print(f"said: {texts}")
    return 0 if any("loader of rank 1" in text for text in texts) else 1


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
